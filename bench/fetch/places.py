"""What was fetched, in its folder: which files are there and right, told without reading gigabytes twice.

`.fetched.json` in the folder names each file with its size, SHA-256 and time stamp, and each unpacked archive with its
files. A file that is not in it (put there by hand) is hashed once. The file is written after the files it names.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.fetch.sources import Row, Source
from mgie.io.files import write_whole

RECORD = ".fetched.json"
PARTIAL = ".partial"
Told = Callable[[int], None]  # is told how many bytes more have been done


class Refused(Exception):
    """A file that another try would not make right. Its text is one line."""


class Damaged(Refused):
    """An archive that came whole and is not what it should be."""


class Unreachable(Exception):
    """A host that does not answer at all. Its text is one line."""


class Wanted(NamedTuple):
    """One file to be had: a row of the sources, or one of the files that a row's host lists."""

    source: Source
    row: Row
    name: str  # below the thing's folder
    bytes: int | None = None
    sha256: str = ""
    git: str = ""  # the SHA-1 that git gives its content, where the host states that alone
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        return self.bytes or (0 if self.row.listed else self.row.size)


def wanted(source: Source, row: Row) -> Wanted:
    """The file of a row that names one."""
    return Wanted(source, row, row.name, row.bytes, row.sha256, url=row.address if row.how == "http" else "")


def within(files: list[Wanted], left: float | None, notes: list[str]) -> list[Wanted]:
    """The first files of a set whose sum is within what --limit-gb leaves. notes: gets a line where others follow."""
    found: list[Wanted] = []
    for want in files:
        left = less(left, found[-1:])
        if left is not None and (want.bytes is None or want.bytes > left):
            notes.append(
                f"{want.source.name}: --limit-gb leaves out {want.name} and what follows it in {want.row.name}"
            )
            break
        found.append(want)
    return found


def less(left: float | None, files: list[Wanted]) -> float | None:
    """What --limit-gb leaves after these files; single files are none of its business."""
    return left if left is None else left - sum(want.size for want in files if want.row.listed)


class Digest(NamedTuple):
    bytes: int
    sha256: str
    git: str


def digest(path: Path, told: Told = lambda count: None) -> Digest:
    size = path.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            git.update(block)
            told(len(block))
    return Digest(size, sha256.hexdigest(), git.hexdigest())


def difference(found: Digest, want: Wanted) -> str:
    """What is not as stated, or nothing."""
    if want.bytes is not None and found.bytes != want.bytes:
        return f"it has {found.bytes:,} bytes, expected {want.bytes:,}"
    if want.sha256 and not found.sha256.startswith(want.sha256):
        return f"its SHA-256 is {found.sha256}, expected {want.sha256}"
    if want.git and not want.sha256 and found.git != want.git:
        return f"git's SHA-1 of it is {found.git}, expected {want.git}"
    return ""


class Folder:
    """The folder of one thing, and what is known of its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            data = json.loads((path / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # absent or damaged: the files are hashed again
            data = {}
        self.known: dict[str, dict] = data if isinstance(data, dict) else {}

    def place(self, name: str) -> Path:
        return self.path / name

    def partial(self, name: str) -> Path:
        place = self.place(name)
        return place.with_name(place.name + PARTIAL)

    def has(self, want: Wanted) -> bool:
        """Whether the file is there and right."""
        return self.has_unpacked(want.name) if want.row.packed else self.has_file(want)

    def has_file(self, want: Wanted) -> bool:
        """The same of the file itself, which of an archive lies there until it is unpacked."""
        path = self.place(want.name)
        if not path.is_file():
            return False
        stat, entry = path.stat(), self.known.get(want.name, {})
        if want.bytes is not None and stat.st_size != want.bytes:
            return False
        if entry.get("stamp") == [stat.st_size, stat.st_mtime_ns] and (
            not want.sha256 or str(entry.get("sha256", "")).startswith(want.sha256)
        ):
            return True
        found = digest(path)
        if difference(found, want):
            return False
        self.keep(want.name, found)
        return True

    def has_unpacked(self, name: str) -> bool:
        """Whether the files of an archive, or of a set, are there as they are recorded."""
        files = self.known.get(name, {}).get("files")
        if isinstance(files, list) and files:
            return all(isinstance(name, str) and self.place(name).is_file() for name in files)
        return False

    def there(self, row: Row) -> str:
        """In words for --list, without a network or a digest: yes, nothing, or how much of a set."""
        entry = self.known.get(row.name, {})
        if row.listed:
            begin = row.name.partition("*")[0]
            count = sum(name.startswith(begin) and self.place(name).is_file() for name in self.known)
            if not self.has_unpacked(row.name):
                return f"{count} so far" if count else ""
            return "yes" if entry.get("limit") is None else f"first {count}"
        if row.packed:
            return "yes" if self.has_unpacked(row.name) else ""
        path, stamp = self.place(row.name), entry.get("stamp")
        size = row.bytes if row.bytes is not None else stamp[0] if isinstance(stamp, list) and stamp else None
        return "yes" if path.is_file() and path.stat().st_size == size else ""

    def keep(self, name: str, found: Digest, **more: object) -> None:
        """Remembers a file that lies at its final name."""
        stat = self.place(name).stat()
        self.known[name] = {"stamp": [stat.st_size, stat.st_mtime_ns], "sha256": found.sha256, **more}
        self.save()

    def keep_unpacked(self, name: str, files: list[str], found: Digest | None, came: str) -> None:
        """Remembers an archive by the files it gave; the archive itself may be gone."""
        self.known[name] = {"files": sorted(files), "sha256": found.sha256 if found else None, "from": came}
        self.save()

    def save(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(json.dumps(self.known, indent=1, ensure_ascii=False).encode(), self.path / RECORD)


def settle(want: Wanted, folder: Folder, told: Told = lambda count: None) -> Digest:
    """The finished `.partial` becomes the file once size and digest are right. Refused: they are not, it is removed."""
    partial, place = folder.partial(want.name), folder.place(want.name)
    found = digest(partial, told)
    wrong = difference(found, want)
    if wrong:
        partial.unlink()
        raise Refused(f"{want.name}: {wrong}; it was removed")
    os.replace(partial, place)
    folder.keep(want.name, found)
    return found
