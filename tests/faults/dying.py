"""A process that dies at its n-th write, wherever that is: an audit hook sees every file that Python opens to write,
renames, makes or removes below a folder, and kills the process with signal 9 just before.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}


def in_a_child(use: Callable[[], None], folder: Path, at: int = 0) -> int:
    """Runs use() in a fork that dies at its at-th write below folder (0: never).

    Returns how many writes it made if it came to its end, else 0.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        writes, below = 0, str(folder)

        def watch(event: str, args: tuple) -> None:
            nonlocal writes
            to_write = set(args[1] or "") & set("wax+") if event == "open" else event in EVENTS
            if to_write and isinstance(args[0], str | os.PathLike) and str(args[0]).startswith(below):
                writes += 1
                if writes == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        sys.addaudithook(watch)
        code = 1
        try:
            use()
            os.write(writing, str(writes).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert told or os.WIFSIGNALED(status), f"the child ended with {status}, neither whole nor killed"
    return int(told or 0)


def said_by_a_child(use: Callable[[], int], before: Callable[[], None]) -> tuple[int, str]:
    """(what use() returned, what it wrote to stderr), in a fork where `before` was called first."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.dup2(writing, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stderr = os.fdopen(2, "w")  # not pytest's
            before()
            code = use()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), told


def without_root() -> None:
    """Root writes where it may not; without its capabilities it obeys like anybody."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    nothing = (ctypes.c_uint32 * 6)()
    if os.geteuid() == 0 and libc.capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def spread(points: int, of: int) -> list[int]:
    """Write numbers from the first to the last, about equally far apart."""
    return sorted({1 + round(i * (of - 1) / (points - 1)) for i in range(points)})
