"""Runs of one dataset scored and finished together: goal by goal, all models and seeds at once."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from bench.runs.execute import features_of, finish, metrics_of
from bench.runs.folder import Busy
from bench.runs.plan import Plan
from bench.runs.runner import TooManyFailures, WorkerDied
from bench.runs.scorers.collecting import Looking, Scoring, collect
from bench.runs.scorers.tasks import Engine
from bench.runs.scoring import ChangedImages, Metric

# What leaves a run as it is: its own command then ends in the same, and says it in words.
LEFT = (Busy, ChangedImages, TooManyFailures, WorkerDied, ValueError, OSError)


class Edited(NamedTuple):
    """A run whose edits are there."""

    plan: Plan
    tick: Callable[[int], None]


def alike(plan: Plan) -> tuple:
    """Runs that are equal in this may be scored together."""
    return plan.run.suite, plan.run.dataset, plan.metrics, plan.strict, plan.metric_settings, features_of(plan)


def score_together(runs: Sequence[Edited], engine: Callable[[dict[str, Metric]], Engine]) -> list[int]:
    """Score and finish runs that are alike; the places of those that are finished."""
    from bench.runs.sessions import logged

    finished: list[int] = []
    plans = [run.plan for run in runs]
    with suppress(*LEFT), ExitStack() as held:
        logs = []
        for plan in plans:
            held.enter_context(plan.folder.locked())
            logs.append(held.enter_context(logged(plan.folder.path / "log.txt")))
        metrics = metrics_of(plans[0])
        looking = Looking(metrics.ready, plans[0].metric_settings, features_of(plans[0]))
        scorings = [Scoring(r.plan.run, r.plan.folder, looking, r.plan.seeds, r.tick) for r in runs]
        collect(scorings, looking, engine(metrics.ready))
        for place, (run, scoring) in enumerate(zip(runs, scorings, strict=True)):
            try:
                scores, unread = scoring.result()
                failures = [f for f in run.plan.folder.failures() if f["stage"] == "edit"]
                finish(run.plan, metrics, run.plan.folder.earlier(), failures + unread, scores)
            except LEFT as error:
                logs[place].end = f"error: {error}"
                continue
            finished.append(place)
    return finished
