"""Files in and out: written whole or not at all, read with errors that name the file and what to do next.

Whatever is wrong with a file that others wrote, the error is a ValueError. Names stay inside their folder.
"""

import csv
import fcntl
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path

NAMES = {dict: "object with names and values", list: "list"}


def read_json(path: Path, kind: type = dict) -> dict | list:
    """The JSON object (or list) in path. Raises FileNotFoundError, ValueError."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; the folder is incomplete, get it again") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested or numbers too long to be meant
        raise ValueError(f"{path} is not JSON: {error}; get it again") from error
    if not isinstance(data, kind):
        raise ValueError(f"{path} holds a {type(data).__name__}; expected a JSON {NAMES[kind]}")
    return data


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """For libraries that raise anything at all on a damaged file: it becomes a ValueError that names the path."""
    try:
        yield
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise ValueError(
            f"{path} is damaged or not what its name says ({type(error).__name__}: {said}); get or make it again"
        ) from error


def refuse_unwritable(text: str, what: str) -> None:
    """NUL and half a surrogate pair, which JSON can spell: no file name, no terminal and no UTF-8 file takes them."""
    odd = next((c for c in text if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    if odd is not None:
        raise ValueError(f"{what} holds the character U+{ord(odd):04X}, which no text may hold: {text!r:.60}; refused")


def inside(folder: Path, name: str, where: str) -> Path:
    """folder/name, refused when it would lie outside folder (or is no file name at all)."""
    parts = name.replace("\\", "/").split("/")
    refuse_unwritable(name.replace("\0", ""), f"{where}: the file name")
    if not name or "\0" in name or name != name.strip("/\\") or ".." in parts or ":" in parts[0]:
        raise ValueError(f"{where}: the file name {name!r} is not a name inside {folder}; refused")
    return folder / name


def refuse_special(path: Path) -> None:
    """Raises OSError for a named pipe, a socket or a device: opening one may wait for ever."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError("no plain file")


class Bounded(io.BufferedReader):
    """An open file of which no more is asked than it holds: Python sets aside whatever a damaged length field says.

    A pipe or a device, which may never end, is an OSError.
    """

    def __init__(self, path: Path) -> None:
        refuse_special(path)
        super().__init__(io.FileIO(path))
        self.bytes = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        return super().read(-1 if size is None else min(size, self.bytes))


def write_whole(data: bytes, path: Path) -> None:
    """Atomic: under a temporary name first, so that a name in the folder is always a whole image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def write_csv(path: Path, kind: type, rows: Iterable[object]) -> None:
    """rows: instances of the dataclass `kind`. Atomic; None is an empty field, a float reads back equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([f.name for f in fields(kind)])
        table.writerows(["" if v is None else v for v in astuple(row)] for row in rows)
    os.replace(temporary, path)


TEMPORARY = re.compile(r"\..+\.\d+")  # what an atomic write is called before it is renamed


def write_atomic(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time writes a file of lines. ValueError for the second one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{path} is written by another process at present; wait, or name another --out") from None
        yield


class Whole(io.BufferedReader):
    """A file that gives no more than it holds: Python makes room first for whatever number of bytes is asked for, and
    a damaged pickle asks for gigabytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))
