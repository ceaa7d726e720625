"""Runs of bench.run carried out by worker processes: those of one model one after the other in one process, which loads
it once; then those of one dataset scored together. With what a display shows of them while they last.
"""

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.grid.display import Display
from bench.runs.plan import Plan, shown_in
from bench.runs.pool import Pool, Tell

if TYPE_CHECKING:
    from bench.runs.execute import Held
    from bench.runs.runner import Tick

MOST = 8  # processes
LOADING = "loading"  # where every run begins


@dataclass(frozen=True)
class Job:
    """One bench.run."""

    argv: tuple[str, ...]
    label: str
    model: str  # jobs of one model share a process
    alone: bool  # nothing runs beside it: its model may fill the GPU, or it has workers of its own
    steps: Mapping[str, int]  # edits and scores, or texts, that it ends with
    device: str  # it is asked to run on
    plan: Plan | None = None  # what bench.run makes of argv; None: it is left to bench.run as a whole
    notices: tuple[str, ...] = ()  # of it that were said before


class Ended(NamedTuple):
    folder: Path | None  # of the finished run
    reason: str = ""  # why there is none
    protocols: dict[str, str] | None = None  # by metric, how it was scored


def run_jobs(jobs: Sequence[Job]) -> Iterator[tuple[int, Ended]]:
    """How each ended, with its place in the list, as they end. What died with its worker is tried once more, alone;
    so is what its worker did not come to."""
    if not jobs:
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers' too
    left, lost = set(range(len(jobs))), Counter[int]()
    alone = any(job.alone for job in jobs)
    most = 1 if alone else min(len(os.sched_getaffinity(0)), MOST)
    with Display([job.steps for job in jobs], jobs[0].device) as display:
        for again in (False, True):
            workers = 1 if again else most
            groups = groups_of(jobs, sorted(left), workers, again)
            if not groups:
                return
            with Pool(min(workers, len(groups)), fresh=alone or again) as pool:
                if not again:
                    for place, ended in edited_then_scored(jobs, workers, pool, alone, display, lost):
                        left.discard(place)
                        yield place, ended
                    groups = groups_of(jobs, [i for i in sorted(left) if not lost[i]], workers)
                # beside others each scores by itself
                one = ("--score-workers", "1") if workers > 1 else ()
                for news in pool.each(run_group, [[(i, (*jobs[i].argv, *one)) for i in group] for group in groups]):
                    if news.kind == "said":
                        for place, ended in told_of(news.value, jobs, display, lost):
                            left.discard(place)
                            yield place, ended
                    elif news.kind == "failed":  # what bench.run does not turn into a line: a fault of ours
                        for place in groups[news.place]:
                            if place in left and (again or lost[place]):
                                left.discard(place)
                                display.ended(place, jobs[place].steps, True)
                                yield place, Ended(None, str(news.value))
        for place in sorted(left):
            display.ended(place, jobs[place].steps, True)
            yield place, Ended(None, DIED[min(2, lost[place])])


# What is said of a job that ended with its process, by how often it did.
DIED = (
    "not begun: its process died at its start (killed for memory?)",
    "its process died (killed for memory?); its edits are kept",
    "its process died, twice (killed for memory?); its edits are kept",
)


def edited_then_scored(
    jobs: Sequence[Job], workers: int, pool: Pool, alone: bool, display: Display, lost: Counter[int]
) -> Iterator[tuple[int, Ended]]:
    """All edits, then the scores of each dataset's runs together. What cannot be edited ends with its reason; what is
    not told of is left to bench.run as a whole, which says why it does not end well."""
    from bench.runs.scorers.local import beside
    from bench.runs.scorers.together import Edited, alike, score_together

    plans = {i: job.plan for i, job in enumerate(jobs) if job.plan and job.plan.workers.engine == "local"}
    edited: set[int] = set()
    dealt = groups_of(jobs, sorted(plans), workers)
    for news in pool.each(edit_group, [[(i, jobs[i].argv) for i in group] for group in dealt]):
        if news.kind == "said" and news.value[0] == "edited":
            edited.add(news.value[1])
            lost[news.value[1]] = 0
        elif news.kind == "said":
            yield from told_of(news.value, jobs, display, lost)
    groups: dict[tuple, list[int]] = {}
    for place in sorted(edited):
        groups.setdefault(alike(plans[place]), []).append(place)
    for group in groups.values():
        first = plans[group[0]]
        for place in group:
            display.begun(place, first.run.dataset, "scores")
        runs = [Edited(plans[i], partial(display.tick, i)) for i in group]
        by = partial(beside, pool, first.workers.scoring, alone)
        for at in score_together(runs, by):
            display.ended(group[at], jobs[group[at]].steps, False)
            yield group[at], Ended(runs[at].plan.folder.path, protocols=shown_in(runs[at].plan))


def told_of(said: tuple, jobs: Sequence[Job], display: Display, lost: Counter[int]) -> Iterator[tuple[int, Ended]]:
    """What a worker says of one of its runs: shown; how it ended is handed on. lost: by place, how often a run was
    begun and came to no end."""
    told, place, *more = said
    if told == "ended":
        lost[place] = 0
        display.ended(place, jobs[place].steps, bool(more[0].reason))
        yield place, more[0]
    elif told == "tick":
        display.tick(place, *more)
    elif told == "notice":
        if more[0].removeprefix("notice: ") not in jobs[place].notices:
            display.say(f"{jobs[place].label}: {more[0]}")
    else:
        lost[place] += more[0] == LOADING
        display.begun(place, jobs[place].label, *more)


def groups_of(jobs: Sequence[Job], places: Sequence[int], workers: int, single: bool = False) -> list[list[int]]:
    """The jobs by model, those of the longest first. Where there are more workers than models, a model's jobs are dealt
    to several: each of these loads it. single: each job for itself, so that none falls with another."""
    if single:
        return [[place] for place in places]
    by_model: dict[str, list[int]] = {}
    for place in places:
        by_model.setdefault(jobs[place].model, []).append(place)
    shares = max(1, workers // max(1, len(by_model)))
    dealt = [group[k::shares] for group in by_model.values() for k in range(min(shares, len(group)))]
    return sorted(dealt, key=lambda group: -sum(sum(jobs[i].steps.values()) for i in group))


Group = list[tuple[int, tuple[str, ...]]]  # places and arguments


def edit_group(task: Group, tell: Tell) -> None:
    """In a worker: run_group without the scores. A run that has all its edits is not at its end."""
    run_group(task, tell, scores=False)


def run_group(task: Group, tell: Tell, scores: bool = True) -> None:
    """In a worker: one bench.run after the other, with what they load kept between them."""
    from bench.runs.execute import Held

    with Held() as held:
        for place, argv in task:
            tell(("begun", place, LOADING))
            ended = run_one(place, argv, held, tell, scores)
            tell(("ended", place, ended) if ended else ("edited", place))


def run_one(place: int, argv: Sequence[str], held: "Held", tell: Tell, scores: bool) -> Ended | None:
    from bench.run import main

    @contextmanager
    def progress(label: str, stage: str, total: int) -> Iterator["Tick"]:
        tell(("begun", place, stage))
        yield lambda n, failed=0: tell(("tick", place, n, failed))

    out, err = io.StringIO(), Heard(lambda line: tell(("notice", place, line)))
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*argv, "--json"], held, progress, scores)
    if code == 0 and not scores:
        return None
    if code == 0:
        said = json.loads(out.getvalue().splitlines()[-1])
        return Ended(Path(said["run"]), protocols={name: m["protocol"] for name, m in said["metrics"].items()})
    text = err.getvalue().strip()
    said = text[text.rfind("error: ") + len("error: ") :] if "error: " in text else text[-300:]
    return Ended(None, said or f"bench.run ended with exit code {code}")


class Heard(io.StringIO):
    """What a run says; its notices and warnings are handed on as they come."""

    def __init__(self, hand_on: Callable[[str], None]) -> None:
        super().__init__()
        self.hand_on, self.begun = hand_on, ""

    def write(self, text: str) -> int:
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            if line.startswith(("notice: ", "warning: ")):
                self.hand_on(line)
        return super().write(text)
