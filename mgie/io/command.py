"""How a command ends: exit codes, one line for its user, the files it wrote; how it is stopped."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STOPPED = "stopped; the same command continues from here"


def command(make: Callable[[], int], begins: str = "error", stopped: str = STOPPED) -> int:
    """Run it; what its user can mend becomes one line and exit code 2, being stopped exit code 1.

    begins: how that line does. stopped: what is said of a command that was stopped.
    """
    try:
        with stoppable():
            return make()
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"{begins}: {error}", file=sys.stderr)
        return 2


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM alike: "stopping ..." is said at once, and KeyboardInterrupt ends the block.

    A second one ends the process there and then. Nothing is changed in a thread, nor where Ctrl-C is ignored: in a
    worker (bench.runs.pool), whose parent decides.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is not threading.main_thread() or before[signal.SIGINT] in (signal.SIG_IGN, None):
        yield
        return

    def stop(number: int, frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        os.write(2, b"\nstopping ...\n")  # print may be what was interrupted
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)


def written(paths: Sequence[Path]) -> str:
    return "written: " + ", ".join(map(str, paths))
