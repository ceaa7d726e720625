"""What ends a fetch: is it what its authors released? bench.audit on a dataset, rows of tables, digests of weights.

For MGIE the conversion comes before it. Commands are started as a user would: each with its own memory.
"""

import subprocess
import sys
from pathlib import Path

from bench.fetch.fetching import CONVERTED, Options, Outcome
from bench.fetch.places import Folder
from bench.fetch.sources import Source
from mgie.convert.released import verdict
from mgie.io.files import read_json

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def lines(source: Source, options: Options) -> list[str]:
    """One line a split, a set, a system or a file of weights; whatever was fetched has one."""
    folder = options.folder(source)
    if source.audit:
        return audited(source.audit, options.data_root)
    if source.rows:
        return counted(source, folder)
    if source.root == "weights":
        known = Folder(folder).known
        names = [row.name for row in source.files if row.name in known and row.name.endswith(WEIGHTS)]
        digests = {name: str(known[name].get("sha256", "")) for name in names}
        digests |= converted(options.weights / CONVERTED) if source.made else {}
        return [f"{source.name}: {name}: {verdict(name, sha256)}" for name, sha256 in digests.items()]
    if any(row.how == "page" for row in source.files):
        return [page(source, folder)]
    return [line for row in source.files if "{system}" in row.into for line in systems(source, folder)]


def page(source: Source, folder: Path) -> str:
    from bench.fetch.published import is_right, wanted

    images, _ = wanted("all")
    right = sum(is_right(folder / listed.path, listed) for listed in images)
    return f"{source.name}: {right} of {len(images)} images as released"


def systems(source: Source, folder: Path) -> list[str]:
    """Sessions and turns of each folder of outputs, by MagicBrush's names: <id>/<id>_1, _inde_k (and _iter_k)."""
    from bench.datasets.magicbrush import OFFICIAL

    said, (official, of) = [], OFFICIAL["test"]
    for system in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        turns = {(file.parent.name, file.stem) for file in system.glob("*/*_*") if "_iter_" not in file.stem}
        sessions = {session for session, _ in turns}
        same = (len(turns), len(sessions)) == (official, of)
        how = "as released" if same else f"officially {official:,} in {of}"
        said.append(f"{source.name} {system.name}: turns: {len(turns):,}, sessions: {len(sessions)}, {how}")
    return said


def converted(folder: Path) -> dict[str, str]:
    """LLaVA's files by name, with the digests that the conversion has recorded."""
    from mgie.folder import RECORD

    try:
        llava = read_json(folder / RECORD).get("llava")
    except (OSError, ValueError):  # not converted yet
        return {}
    return {str(name): str(sha256) for name, sha256 in llava.items()} if isinstance(llava, dict) else {}


def audited(dataset: str, data_root: Path) -> list[str]:
    command = [sys.executable, "-m", "bench.audit", "--dataset", dataset, "--data-root", str(data_root), "--line"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"{dataset}: not audited: {(done.stderr.strip().splitlines() or ['no reason given'])[0]}"]
    return done.stdout.splitlines()


def counted(source: Source, folder: Path) -> list[str]:
    """Rows of parquet files by the beginning of their names, beside the official number."""
    import pyarrow
    from pyarrow import parquet

    said = []
    for begin, official in (source.rows or {}).items():
        files = sorted(folder.glob(f"{begin}*.parquet"))
        if not files:
            continue
        where = f"{source.name} {begin.rpartition('/')[2].rstrip('-')}"
        try:
            rows = sum(parquet.read_metadata(file).num_rows for file in files)
        except (pyarrow.ArrowInvalid, OSError) as error:
            said.append(f"{where}: a file cannot be read: {error}")
            continue
        how = "as released" if rows == official else f"officially {official:,}"
        said.append(f"{where}: {rows:,} rows in {len(files)} files, {how}")
    return said


def convert(options: Options, folder: Path, outcome: Outcome) -> None:
    """MGIE's folder from the released files, where they are all there and it is not."""
    out = options.weights / CONVERTED
    if out.is_dir() and any(out.iterdir()):
        return
    command = [
        sys.executable, "-m", "mgie.convert", "--llava", str(folder / "llava"), "--mllm", str(folder / "mllm.pt"),
        "--unet", str(folder / "unet.pt"), "--instruct-pix2pix", str(options.weights / "inspix2pix"),
        "--clip", str(folder / "clip"), "--out", str(out),
    ]  # fmt: skip
    print(f"converting to {out} (mgie.convert)", flush=True)
    if subprocess.run(command, check=False).returncode:
        outcome.missing[CONVERTED] = "mgie.convert refused the files; what it says stands above"
