"""SHA-256 of a dataset's files and whether each can be used: both found out once a machine, not once a model.

They are kept in one file of lines below --out, under a stamp of size, both time stamps, inode and device. What was
changed a moment ago is not kept: it may change again under the same stamp.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mgie.io.files import is_looking, refuse_special
from mgie.io.images import ImageError, load

FILE = ".digests.jsonl"
SETTLED = 2.0  # seconds since a file's last change
THREADS = 4
MISSING = "missing"
HELD: "dict[str, tuple[list[int], Digest]]" = {}  # what a plan found out in this process


class Digest(NamedTuple):
    sha256: str  # or MISSING
    fault: str = ""  # why it cannot be used


class Digests:
    def __init__(self, folder: Path | None = None) -> None:
        """folder: where they are kept; None: for the life of this object."""
        self.file = folder / FILE if folder else None
        self.known: dict[str, tuple[list[int], Digest]] = {}
        self.size = 0

    def of(self, paths: Iterable[Path], check: Callable[[Path], str] | None = None) -> dict[Path, Digest]:
        """check: why a file cannot be used, empty where it can; by default they are images, which are decoded."""
        check = check or fault_of
        self.read()
        self.known = HELD | self.known
        paths = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(THREADS) as pool:
            found = dict(zip(paths, pool.map(lambda path: self.one(path, check), paths), strict=True))
        self.write([line for _, line in found.values() if line])
        return {path: digest for path, (digest, _) in found.items()}

    def one(self, path: Path, check: Callable[[Path], str]) -> tuple[Digest, dict | None]:
        """And the line that is to be kept of it, where there is something new."""
        try:
            refuse_special(path)
            stat = path.stat()
            stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]
            name = str(path.absolute())
            before = self.known.get(name)
            if before and before[0] == stamp:
                return before[1], None
            with open(path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            why = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
            return Digest(MISSING, f"{path}: {why}"), None
        digest = Digest(sha256, check(path))
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < SETTLED * 1e9:
            return digest, None
        self.known[name] = stamp, digest
        return digest, {"path": name, "stamp": stamp, **digest._asdict()}

    def read(self) -> None:
        """What this or another process has written since the last time."""
        if self.file is None or not self.file.exists() or self.file.stat().st_size == self.size:
            return
        with open(self.file, "rb") as file:
            data = file.read()
        self.size = len(data)
        for line in data.splitlines():
            try:
                kept = json.loads(line)
                self.known[kept["path"]] = kept["stamp"], Digest(kept["sha256"], kept["fault"])
            except (ValueError, LookupError, TypeError):  # cut by a kill or changed by hand: it is found out again
                continue

    def write(self, lines: list[dict]) -> None:
        if is_looking():  # nothing is written, and the next cell of the plan need not read it all again
            HELD.update(self.known)
            return
        if self.file is None or not lines:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        except OSError:  # a full disk, a folder that is read alone: nothing is lost but time
            return


def fault_of(path: Path) -> str:
    try:
        load(path)
    except ImageError as error:
        return str(error)
    return ""
