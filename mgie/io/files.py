"""Files in and out: written whole or not at all, read with errors that name the file and what to do next.

Whatever is wrong with a file that others wrote, the error is a ValueError. Names stay inside their folder.
"""

import csv
import fcntl
import io
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import astuple, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


LOOKING: ContextVar[bool] = ContextVar("LOOKING", default=False)


class NotYet(FileNotFoundError):
    """What is made at first use, and is not there yet: to whoever only looks, the reason."""


@contextmanager
def looking() -> Iterator[None]:
    """Within it nothing is made, fetched, mended or kept: for plans, which leave the disk as they found it."""
    token = LOOKING.set(True)
    try:
        yield
    finally:
        LOOKING.reset(token)


def is_looking() -> bool:
    return LOOKING.get()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in path. Raises FileNotFoundError, ValueError."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; the folder is incomplete, get it again") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested or numbers too long to be meant
        raise ValueError(f"{path} is not JSON: {error}; get it again") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}; expected a JSON object with names and values")
    return data


def check_json(folder: Path) -> None:
    """Raises ValueError that names a JSON file of the folder which is none: libraries name line and column alone."""
    for path in sorted(folder.glob("*.json")):
        if not path.is_file():
            raise ValueError(f"{path} is no plain file; get it again")
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}; get it again") from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """For libraries that raise anything at all on a damaged file: it becomes a ValueError that names the path."""
    try:
        yield
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:
        torch = sys.modules.get("torch")
        if torch and isinstance(error, torch.OutOfMemoryError):  # of the GPU: the file is whole
            raise
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise ValueError(
            f"{path} is damaged or not what its name says ({type(error).__name__}: {said}); get or make it again"
        ) from error


HALVES = re.compile("[\ud800-\udfff]")  # of a surrogate pair, which JSON can spell: no tokenizer and no file takes one
UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # and NUL, which no file name and no terminal takes


def refuse_unwritable(text: str, what: str) -> None:
    if odd := UNWRITABLE.search(text):
        code = f"U+{ord(odd[0]):04X}"
        raise ValueError(f"{what} holds the character {code}, which no text may hold: {text!r:.60}; refused")


def inside(folder: Path, name: str, where: str) -> Path:
    """folder/name, refused when it would lie outside folder (or is no file name at all)."""
    parts = name.replace("\\", "/").split("/")
    refuse_unwritable(name.replace("\0", ""), f"{where}: the file name")
    if not name or "\0" in name or name != name.strip("/\\") or ".." in parts or ":" in parts[0]:
        raise ValueError(f"{where}: the file name {name!r} is not a name inside {folder}; refused")
    return folder / name


def existing(path: Path) -> Path:
    """The path itself, or the nearest above it that is there: whose disk it will lie on."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def refuse_special(path: Path) -> None:
    """Raises OSError for a named pipe, a socket or a device: opening one may wait for ever."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError("no plain file")


class Bounded(io.BufferedReader):
    """A file that gives no more than it holds. Python makes room first for whatever number of bytes is asked for, and
    a damaged length field or pickle asks for gigabytes. A pipe or a device, which may never end, is an OSError."""

    def __init__(self, path: Path) -> None:
        refuse_special(path)
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        return super().read(-1 if size is None or size < 0 else min(size, self.size))


TEMPORARY = re.compile(r"\..+\.\d+")  # what an atomic write is called before it is renamed


def unfinished(path: Path, ending: str = "") -> Path:
    """Where a file is written before it is whole. ending: for libraries that judge a format by the name."""
    return path.with_name(f".{path.name}.{os.getpid()}{ending}")


@contextmanager
def replacing(path: Path, ending: str = "") -> Iterator[Path]:
    """A temporary name beside path, whose file becomes path when the block ends: a name is always a whole file.

    When the block fails the file is removed, and path is what it was. Folders above path are made. ending: as above.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path, ending)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(folder: Path, ending: str = "partial") -> Iterator[Path]:
    """A new folder beside `folder`, which takes its name when the block ends and is removed when the block fails.

    What a killed process left under that name is removed first, so one process at a time may do this with an ending.
    Raises OSError when `folder` is there and not empty.
    """
    part = folder.with_name(f".{folder.name.lstrip('.')}.{ending}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_whole(data: bytes, path: Path) -> None:
    """Atomic, see replacing()."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_atomic(path: Path, text: str) -> None:
    """Text as UTF-8; atomic, see replacing()."""
    write_whole(text.encode("utf-8"), path)


def write_json(path: Path, data: dict | list) -> None:
    """A line a name, non-ASCII letters escaped; atomic, see replacing()."""
    write_atomic(path, json.dumps(data, indent=1) + "\n")


def write_csv(path: Path, kind: "type[DataclassInstance]", rows: "Iterable[DataclassInstance]") -> None:
    """rows: instances of the dataclass `kind`. Atomic; None is an empty field, a float reads back equal."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([f.name for f in fields(kind)])
        table.writerows(["" if v is None else v for v in astuple(row)] for row in rows)


def hold(file: IO[str], busy: str | Exception) -> None:
    """Lock an open file for this process until it is closed; the system drops the lock of a killed process.

    Where another process holds it: an exception is raised, a text is said and the lock waited for.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if isinstance(busy, Exception):
            raise busy from None
        print(busy, file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time writes a file of lines. ValueError for the second one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        hold(file, ValueError(f"{path} is written by another process at present; wait, or name another --out"))
        yield
