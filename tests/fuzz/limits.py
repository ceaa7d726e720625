"""What no input may do, whatever it holds: hang, eat the memory, write outside the output folder, end in a traceback
that is not ours.

A watched call runs in this process, for speed: an alarm ends a hang, a limit on memory turns a greedy input into a
MemoryError, and an audit hook sees every file that Python opens for writing, renames or removes.
"""

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SECONDS, MEMORY = 10, 2 * 2**30
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree", "os.truncate"}
ALWAYS = ("/dev/null", "/dev/shm", "/proc/")  # where libraries keep locks and counters


class Hang(BaseException):
    """An input took longer than SECONDS."""


class Watch:
    """Runs calls one after the other; what they write must lie below one of `folders`."""

    def __init__(self, *folders: Path) -> None:
        self.folders = tuple(str(folder.resolve()) for folder in folders)
        self.outside: list[str] = []
        self.on = False
        sys.addaudithook(self.see)
        signal.signal(signal.SIGALRM, self.ring)

    def ring(self, *_: object) -> None:
        raise Hang

    def see(self, event: str, args: tuple) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = args
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if mode is None else set(mode) & set("wax+")
            names = [path] if writes else []
        else:
            names = list(args[:2]) if event in WRITES else []
        for name in names:
            if isinstance(name, str | bytes | os.PathLike):
                self.judge(os.fsdecode(name))

    def judge(self, name: str) -> None:
        with suppress(ValueError):  # a NUL in the name: the system refuses it
            full = os.path.realpath(name)
            if not full.startswith((*self.folders, *ALWAYS)):
                self.outside.append(full)

    def call(self, use: Callable[[], None], *places: str) -> str:
        """'' or what went wrong. places: a message of ours must name one of them, so that a reader finds the file."""
        self.outside.clear()
        before, self.on = peak(), True
        resource.setrlimit(resource.RLIMIT_DATA, (private_bytes() + MEMORY, resource.RLIM_INFINITY))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            use()
            said = ""
        except Hang:
            said = f"no end within {SECONDS} s"
        except MemoryError:
            said = f"more than {MEMORY / 2**30:.0f} GB"
        except BaseException as error:  # whatever it is, it is judged and reported
            said = judged(error, places)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.on = False
            resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if peak() - before > MEMORY:
            said = f"{(peak() - before) / 2**30:.1f} GB"
        return f"wrote outside: {self.outside[0]}" if self.outside else said


def judged(error: BaseException, places: tuple[str, ...]) -> str:
    """'' for an error of ours: one that a command turns into one line, and that names a place."""
    ours = isinstance(error, ValueError | OSError) and any(place in str(error) for place in places)
    if ours and not isinstance(error, UnicodeError):
        return ""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:160]!r} at {Path(frame.filename).name}:{frame.lineno}"


def peak() -> int:
    """Bytes of memory this process has held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def private_bytes() -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmData"))
    return int(line.split()[1]) * 1024
