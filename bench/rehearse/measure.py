"""A stage of the rehearsal as a process of its own: its seconds, its peak memory, its lines; killed where it is due."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

Line = Callable[[str], None]


class Ended(NamedTuple):
    code: int  # of the process; negative: the signal that ended it
    seconds: float
    peak: int  # bytes of main memory, of the process or the largest of those it waited for
    killed: bool  # by `until`


class Failed(RuntimeError):
    """A stage ended otherwise than it should; the text says how, with the last that it said."""


def python(arguments: Sequence[str], log: Path, line: Line | None = None, seconds: float | None = None) -> Ended:
    """`python -m ARGUMENTS`; stderr goes to log. Raises Failed."""
    ended = run([sys.executable, "-m", *arguments], log, line, seconds=seconds)
    if ended.code != 0:
        raise Failed(f"python -m {' '.join(arguments[:2])} {how(ended.code)}: {last(log)} (all of it: {log})")
    return ended


def run(
    command: Sequence[str],
    log: Path,
    line: Line | None = None,
    until: Callable[[], bool] | None = None,
    seconds: float | None = None,
) -> Ended:
    """line: shown each line of stdout as it comes. until: asked now and then; when it says so, the process and its
    children are killed, by SIGKILL. seconds: after so many they are too, and that counts as a failure.

    However this is left, nothing of it goes on running.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(log, "ab") as said:
        said.write(f"\n$ {' '.join(command)}\n".encode())
        said.flush()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE if line else said, stderr=said, start_new_session=True, text=True
        )
        killed = False
        limit = threading.Timer(seconds or threading.TIMEOUT_MAX, end, [process.pid])
        limit.daemon = True
        limit.start()
        try:
            for text in process.stdout or ():
                assert line is not None  # else nothing is piped
                line(text)
            while True:
                pid, status, usage = os.wait4(process.pid, 0 if until is None else os.WNOHANG)
                if pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    break
                if until is not None and until():
                    killed, until = True, None
                    end(process.pid)
                time.sleep(0.02)
        finally:
            limit.cancel()
            if process.returncode is None:
                end(process.pid)
                process.wait()
    return Ended(process.returncode, time.monotonic() - start, usage.ru_maxrss * 1024, killed)


def end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def how(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed by the system, as when main memory is full, or took longer than there was time"
    return f"ended with {code}"


def last(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
