"""What a table shows while its runs last: how much of all cells is done, rate, time left, device, failures so far.

A bar on a terminal; elsewhere (a log, Slurm) a line now and then. Everything goes to stderr.
"""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 30.0  # seconds between two lines where there is no terminal


class Display:
    def __init__(self, total: int, device: str) -> None:
        """total: edits and scores to be made."""
        self.total, self.device = total, device
        self.done, self.failed, self.at = 0, 0, ""
        self.ticks: dict[int, int] = {}  # of each run
        self.told: set[str] = set()  # notices
        self.start = self.said = time.monotonic()
        self.bar: Progress | None = None

    def __enter__(self) -> "Display":
        from mgie.io.devices import device_name

        self.device = device_name(self.device)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self.bar = Progress(TextColumn("{task.description}"), BarColumn(), console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task(self.line(), total=self.total)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def begun(self, place: int, label: str, stage: str) -> None:
        self.at = f"{label}: {stage}"
        self.show()

    def tick(self, place: int, n: int) -> None:
        self.ticks[place] = self.ticks.get(place, 0) + n
        self.done += n
        self.show()

    def ended(self, place: int, steps: int, failed: bool) -> None:
        """A run ended; whatever it did not get to is no longer to be waited for."""
        self.done += steps - self.ticks.get(place, 0)
        self.failed += failed
        self.show()

    def say(self, notice: str) -> None:
        """Above the bar, once: a run that is tried again says the same again."""
        if notice not in self.told:
            self.told.add(notice)
            print(notice, file=sys.stderr, flush=True)

    def line(self) -> str:
        seconds = time.monotonic() - self.start
        rate = self.done / seconds if seconds > 0 else 0.0
        left = f", {spelled((self.total - self.done) / rate)} left" if rate and self.done < self.total else ""
        failures = f", {self.failed} not run" if self.failed else ""
        return f"{self.done:,} of {self.total:,} edits and scores, {rate:.1f}/s{left}, on {self.device}{failures}"

    def show(self) -> None:
        if self.bar:
            self.bar.update(self.task, completed=self.done, description=f"{self.line()}; {self.at}")
        elif time.monotonic() - self.said > EVERY:
            self.said = time.monotonic()
            print(f"{self.line()}; now {self.at}", file=sys.stderr, flush=True)


def spelled(seconds: float) -> str:
    """A time as one would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
