"""What a file or a folder of weights is: its SHA-256, kept beside it so that 30 GB are read once."""

import hashlib
import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from mgie.io.components import pipeline_files
from mgie.io.files import is_looking, write_atomic


def digest(*files: Path) -> str:
    """SHA-256 of a file; of the names and SHA-256 of several."""
    if len(files) > 1:
        lines = [f"{file.name} {digest(file)}\n" for file in files]
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    return digest_of(files[0], *stamp_of(files[0]))


def stamp_of(file: Path) -> list[int]:
    """What changes when a file's bytes do: a file put in its place, even of equal size and time, is another inode."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


@lru_cache
def digest_of(file: Path, *stamp: int) -> str:
    """stamp: so that a file that was changed is read again."""
    return file_digest(file)


HELD: dict[Path, dict[str, dict]] = {}  # what a plan found out and does not write, for its other cells
NOT_WEIGHTS = (".csv", ".log", ".md", ".png", ".svg")  # what a trainer or the Hub leaves beside them
CACHED_FROM = 16 * 2**20  # bytes: the digest of a smaller file costs less than trusting size and time stamp


def weights_hash(folder: Path) -> str:
    """SHA-256 over the names (sorted, relative) and the SHA-256 of every file below folder."""
    total = hashlib.sha256()
    for name, digest in digests(folder).items():
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """name (sorted, relative) -> SHA-256 of every file below folder.

    Of a diffusers pipeline only what its model_index.json names and a loader reads counts: a clean download and a full
    clone are the same model. Hidden files, tables, plots and notes are left out: they change no pixel.
    Digests of large files are kept beside the folder, in .<folder>.sha256.json, keyed by size, times and inode, so that
    30 GB are read once. Where that file cannot be written, they are computed again.
    """
    folder = Path(folder)
    names = sorted(path.relative_to(folder).as_posix() for path in files_below(folder))
    if not names:
        raise FileNotFoundError(f"no weights: {folder} holds none")
    cache = folder.parent / f".{folder.name}.sha256.json"
    known = read_cache(cache)
    found, kept = {}, {}
    for name in names:
        stamp = stamp_of(folder / name)
        entry = known.get(name, {})
        found[name] = entry["sha256"] if entry.get("stamp") == stamp else file_digest(folder / name)
        if stamp[0] >= CACHED_FROM:
            kept[name] = {"stamp": stamp, "sha256": found[name]}
    if kept != known and kept:
        write_cache(cache, kept)
    return found


def files_below(folder: Path) -> list[Path]:
    """Links are followed: the Hub's cache is made of them."""
    paths = pipeline_files(folder)
    if paths is None:
        paths = [Path(top) / name for top, _, names in os.walk(folder, followlinks=True) for name in names]
    shown = [p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    return [p for p in shown if p.suffix not in NOT_WEIGHTS and p.is_file()]


def file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_cache(path: Path) -> dict[str, dict]:
    if path in HELD:
        return HELD[path]
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):  # absent, unreadable or cut short: the digests are computed again
        return {}
    return data if isinstance(data, dict) else {}


def write_cache(path: Path, digests: dict[str, dict]) -> None:
    if is_looking():
        HELD[path] = digests
        return
    with suppress(OSError):  # a read-only folder; nothing is lost but time
        write_atomic(path, json.dumps(digests, indent=1))
