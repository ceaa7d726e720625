"""A command in a process group of its own, stopped as a terminal would stop it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def heed_ctrl_c() -> None:
    """As in a terminal: a shell starts what runs in the background with Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Stopped:
    """The command runs until `ready()`, then gets the signal; what it said, its exit code and how long it took."""

    def __init__(self, argv: Sequence[str], ready: Callable[[], object], number: int = signal.SIGINT,
                 group: bool = True, env: dict | None = None) -> None:  # fmt: skip
        process = subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   start_new_session=True, env=env, preexec_fn=heed_ctrl_c)  # fmt: skip
        self.session = process.pid
        while not ready():
            if process.poll() is not None:
                raise AssertionError(f"ended before it was stopped: {process.communicate()[0]}")
            time.sleep(0.01)
        start = time.monotonic()
        (os.killpg if group else os.kill)(process.pid, number)
        self.said, _ = process.communicate(timeout=300)
        self.seconds, self.code = time.monotonic() - start, process.returncode

    def left(self) -> list[str]:
        """Command lines of what is still alive of it."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                line = stat.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile
                continue
            if int(session) == self.session and state != "Z":
                found.append(line)
        return found
