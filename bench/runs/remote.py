"""Data roots and run folders that are no local paths: s3://, memory://, any address fsspec knows.

They are worked on in local copies. A data root's dataset is copied whole to data/remote-<hash8>/ (only files whose size
or stamp changed are fetched again) and never written back. A run folder lives in runs/remote-<hash8>/; at a start the
remote one takes its place, from then on what changes is sent: images first, the lines that promise them after them.

Not covered: two machines at the same remote run folder (the lock is local); a kill loses what was not yet sent, at most
EVERY seconds of edits, which are redone.
"""

import argparse
import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from mgie.io.files import TEMPORARY, write_atomic

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

LISTING = ".listing.json"  # of a copied folder: file -> stamp of what was fetched
EVERY = 5.0  # seconds between two transfers of a run's lines
AT_ONCE = 64  # files a transfer
UNSENT = (".lock", ".scratch")  # of a run folder: what only the machine at work has
LAST = ("done.json",)  # written last, here too: its existence means the run is whole
STAMPS = ("size", "ETag", "etag", "LastModified", "mtime", "created", "md5Hash", "generation")


def place(text: str) -> "Path | str":
    """A path, or the address of something remote, as argparse reads it."""
    return text.rstrip("/") if is_remote(text) else Path(text)


def local_place(text: str) -> Path:
    """For what must be a local folder: a Path of an address would quietly be a folder called s3:."""
    if is_remote(text):
        raise argparse.ArgumentTypeError(f"{text}: only bench.run works on a remote folder; give a local path")
    return Path(text)


def is_remote(text: object) -> TypeGuard[str]:
    """s3://bucket/data is, C:/data and data are not."""
    return isinstance(text, str) and re.match(r"[a-z][a-z0-9+.-]+://", text) is not None


def copy_of(address: str, below: Path) -> Path:
    """Where the local copy of something remote lies."""
    return below.absolute() / f"remote-{hashlib.sha256(address.encode()).hexdigest()[:8]}"


class Remote(NamedTuple):
    fs: "AbstractFileSystem"
    path: str  # of the folder, in the file system's own spelling
    address: str  # as it was given

    def at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def files(self) -> dict[str, dict]:
        """Every file below the folder: its name within -> what the file system says of it. None: no folder."""
        from mgie.io.files import inside

        self.fs.invalidate_cache()
        try:
            found = self.fs.find(self.path, detail=True)
        except FileNotFoundError:
            return {}
        listed = {}
        for path, info in sorted(found.items()):
            name = path.removeprefix(self.path).strip("/")
            inside(Path("."), name, self.address)  # a name from elsewhere must not leave the folder it is copied to
            listed[name] = info
        return listed

    def fetch(self, names: list[str], folder: Path) -> None:
        """Each under a temporary name first, so that a name in the folder is always a whole file."""
        for start in range(0, len(names), AT_ONCE):
            part = names[start : start + AT_ONCE]
            partial = [(folder / n).with_name(f".{PurePosixPath(n).name}.0") for n in part]
            for path in {p.parent for p in partial}:
                path.mkdir(parents=True, exist_ok=True)
            self.fs.get([self.at(n) for n in part], [str(p) for p in partial])
            for name, path in zip(part, partial, strict=True):
                path.replace(folder / name)

    def send(self, names: list[str], folder: Path) -> None:
        for start in range(0, len(names), AT_ONCE):
            part = names[start : start + AT_ONCE]
            self.fs.put([str(folder / n) for n in part], [self.at(n) for n in part])


@contextmanager
def said(address: str) -> Iterator[None]:
    """Whatever a storage client raises (each has its own exceptions), as one OSError that names the address."""
    try:
        yield
    except (ValueError, TypeError, AssertionError):
        raise
    except Exception as error:
        raise OSError(f"{address}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def connect(address: str) -> Remote:
    """Raises ValueError for an address that no installed package serves."""
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        extra = "pip install 'mgie-bench[s3]'" if address.startswith("s3") else "pip install what it names"
        raise ValueError(f"{address}: {' '.join(str(error).split())}; {extra}, or give a local path") from None
    return Remote(fs, path.rstrip("/"), address)


def stage(address: str, dataset: str, below: Path) -> Path:
    """A local data root with the dataset's folder in it, equal to the remote one. Raises OSError, ValueError."""
    remote = connect(f"{address}/{dataset}")
    root = copy_of(address, below)
    folder = root / dataset
    with said(remote.address):
        listed = {name: stamp(info) for name, info in remote.files().items()}
        if not listed:
            raise ValueError(f"{remote.address}: no files at this address; --data-root names the parent of {dataset}/")
        known = json.loads((folder / LISTING).read_text()) if (folder / LISTING).exists() else {}
        stale = [n for n, s in listed.items() if known.get(n) != s or not (folder / n).exists()]
        if stale:
            remote.fetch(stale, folder)
    for name in known.keys() - listed.keys():
        (folder / name).unlink(missing_ok=True)
    if listed != known and folder.exists():
        write_atomic(folder / LISTING, json.dumps(listed, indent=0) + "\n")
    return root


def stamp(info: dict) -> str:
    """What changes when a file does, as far as this file system says."""
    return " ".join(str(info[key]) for key in STAMPS if key in info)


class Mirror:
    """A run folder's remote side. The remote one counts: what it lacks when a run is taken up is done again."""

    def __init__(self, address: str, folder: Path) -> None:
        self.remote, self.folder = connect(address), folder
        self.sent: dict[str, tuple[int, int]] = {}  # file -> size and time of what the remote has
        self.last = 0.0

    def pull(self) -> None:
        """Make the local folder equal to the remote one. An image of the same size is taken to be the same: its pixels
        are checked against edits.jsonl before they are scored."""
        with said(self.remote.address):
            listed = self.remote.files()
            local = self.local()
            kept = {n for n, (size, _) in local.items() if n.endswith(".png") and listed.get(n, {}).get("size") == size}
            for name in local.keys() - kept:
                (self.folder / name).unlink()
            self.remote.fetch([name for name in listed if name not in kept], self.folder)
        self.sent = self.local()

    def push(self, now: bool = True) -> None:
        """Send what changed since the last time; with now=False only if that is long enough ago."""
        if not now and time.monotonic() - self.last < EVERY:
            return
        local = self.local()
        changed = [name for name, state in local.items() if self.sent.get(name) != state]
        with said(self.remote.address):
            gone = [self.remote.at(name) for name in self.sent.keys() - local.keys()]
            if gone:  # first: done.json must not vouch for files that change after it
                self.remote.fs.rm(gone)
            lines = [n for n in changed if not n.endswith((".png", *LAST))]
            for names in ([n for n in changed if n.endswith(".png")], lines, [n for n in changed if n in LAST]):
                if names:
                    self.remote.send(names, self.folder)
        self.sent, self.last = local, time.monotonic()

    def local(self) -> dict[str, tuple[int, int]]:
        """Every file of the local folder, but lock, scratch and what an atomic write has not renamed yet."""
        found = {}
        for path in sorted(self.folder.rglob("*")) if self.folder.exists() else ():
            name = path.relative_to(self.folder)
            if path.is_file() and name.parts[0] not in UNSENT and not TEMPORARY.fullmatch(path.name):
                stat = path.stat()
                found[name.as_posix()] = stat.st_size, stat.st_mtime_ns
        return found
