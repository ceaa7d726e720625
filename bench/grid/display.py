"""What a table shows while its runs last: how much of all cells is done, rate and time left of each stage, device,
failures so far.

A bar on a terminal; elsewhere (a log, Slurm) a line now and then. Everything goes to stderr.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 30.0  # seconds between two lines where there is no terminal


@dataclass
class Stage:
    """Edits, scores or texts of all runs."""

    total: int
    done: int = 0
    made: int = 0  # of them by this command: what an earlier one left says nothing of the rate
    seconds: float = 0.0  # that these took

    def said(self) -> str:
        said, left = [f"{self.done:,} of {self.total:,}"], self.total - self.done
        if self.made:
            rate = self.made / max(self.seconds, 1e-3)
            said.append(f"{rate:.1f}/s" if rate >= 0.1 else f"{60 * rate:.1f}/min")
            said += [f"{spelled(left / rate)} left"] if left else []
        elif left:
            said.append("time left not known yet")
        return ", ".join(said)


class Display:
    def __init__(self, steps: Sequence[Mapping[str, int]], device: str) -> None:
        """steps: of each run, by stage, what is to be made."""
        self.device, self.at, self.not_run = device, "", 0
        self.stages = {name: Stage(0) for of in steps for name in of}
        for of in steps:
            for name, count in of.items():
                self.stages[name].total += count
        self.stage_of: dict[int, str] = {}  # of each run, where it is
        self.new: set[int] = set()  # runs whose next tick says what was there
        self.ticks: dict[tuple[int, str], int] = {}  # of each run and stage
        self.failed: dict[int, int] = {}  # edits of each run
        self.told: set[str] = set()  # notices
        self.since: float | None = None  # the last tick
        self.said, self.stream = time.monotonic(), sys.stderr  # no log of a run that is scored meanwhile
        self.bar: Progress | None = None

    def __enter__(self) -> "Display":
        from mgie.io.devices import device_name

        self.device = device_name(self.device)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self.bar = Progress(TextColumn("{task.description}"), BarColumn(), console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task(self.line(), total=sum(stage.total for stage in self.stages.values()))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def begun(self, place: int, label: str, stage: str) -> None:
        self.at = f"{label}: {stage}"
        self.stage_of[place] = stage
        self.new.add(place)
        if stage in self.stages:  # it may be tried again
            self.stages[stage].done -= self.ticks.pop((place, stage), 0)
        if stage == "edits":
            self.failed[place] = 0
        self.show()

    def tick(self, place: int, n: int, failed: int = 0) -> None:
        """n more of a run are settled, of them so many failed. The first tick after begun: what was there before."""
        name, now = self.stage_of[place], time.monotonic()
        if name not in self.stages:
            return
        stage = self.stages[name]
        stage.done += n
        self.ticks[place, name] = self.ticks.get((place, name), 0) + n
        self.failed[place] = self.failed.get(place, 0) + failed
        if place in self.new:
            self.new.discard(place)
            self.since = self.since or now
        else:
            stage.made += n
            stage.seconds += now - (self.since or now)
            self.since = now
        self.show()

    def ended(self, place: int, steps: Mapping[str, int], failed: bool) -> None:
        """A run ended; whatever it did not get to is no longer to be waited for."""
        for name, count in steps.items():
            self.stages[name].done += count - self.ticks.get((place, name), 0)
            self.ticks[place, name] = count
        self.not_run += failed
        self.show()

    def say(self, notice: str) -> None:
        """Above the bar, once: a run that is tried again says the same again."""
        if notice not in self.told:
            self.told.add(notice)
            print(notice, file=sys.stderr, flush=True)

    def line(self) -> str:
        edits = sum(self.failed.values())
        failures = [f"{edits:,} edits failed"] if edits else []
        failures += [f"{self.not_run} not run"] if self.not_run else []
        stages = [f"{name}: {stage.said()}" for name, stage in self.stages.items()]
        return "; ".join([*stages, f"on {self.device}", *failures])

    def show(self) -> None:
        if self.bar:
            done = sum(stage.done for stage in self.stages.values())
            self.bar.update(self.task, completed=done, description=f"{self.line()}; {self.at}")
        elif time.monotonic() - self.said > EVERY:
            self.said = time.monotonic()
            print(f"{self.line()}; now {self.at}", file=self.stream, flush=True)


def spelled(seconds: float) -> str:
    """A time as one would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
