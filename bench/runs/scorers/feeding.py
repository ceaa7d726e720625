"""A GPU that scores is fed: processes decode, transform and score what needs no network; this one runs the networks.

So a GPU does not wait for PNGs. The numbers are those of one process: images travel as they are decoded.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bench.runs.pool import Pool, Tell
from bench.runs.scorers.processes import answers
from bench.runs.scorers.tasks import Engine, Scored, Task, loaded, networks_of, opened_of
from bench.runs.scoring import Chunk, Metric, Opened, ScoredChunk, score_chunks
from mgie.io.devices import threads


class Prepared(NamedTuple):
    """A task without what its networks say."""

    opened: list[list[Opened]]
    scored: list[ScoredChunk]  # by the metrics that have no network
    error: Exception | None = None


def fed(pool: Pool, metrics: dict[str, Metric]) -> Engine:
    """The networks here, all else in the pool."""

    def scored(tasks: Sequence[Task]) -> Scored:
        for place, prepared in answers(pool, prepare_task, tasks):
            if prepared.error:
                raise prepared.error
            chunks = [with_metrics(chunk, metrics, True) for chunk in tasks[place].chunks]
            with threads(1):
                rest = score_chunks(chunks, prepared.opened, metrics)
            yield place, [joined(a, b) for a, b in zip(prepared.scored, rest, strict=True)]

    return scored


def prepare_task(task: Task, tell: Tell) -> Prepared:
    """In a process of the pool."""
    try:
        metrics, _ = loaded(task.names, task.settings, task.cache)
        with threads(1):
            opened = opened_of(task, metrics)
            chunks = [with_metrics(chunk, metrics, False) for chunk in task.chunks]
            scored = score_chunks(chunks, opened, metrics)
            for chunk, row in zip(task.chunks, opened, strict=True):
                for name in chunk.metrics:
                    for o in row:
                        transform(metrics[name], o)
        return Prepared(opened, scored)
    except (ValueError, OSError) as error:  # a file or a setting: the message says what to do
        return Prepared([], [], error)


def with_metrics(chunk: Chunk, metrics: dict[str, Metric], network: bool) -> Chunk:
    """Of its metrics those with, or without, a network."""
    return chunk._replace(metrics=[n for n in chunk.metrics if bool(getattr(metrics[n], "networks", ())) == network])


PICTURES = {"goal_image": "goal", "input_image": "input"}


def transform(metric: Metric, o: Opened) -> None:
    """What the metric's networks are given of an example's pictures, left with these."""
    if o.pair is None:
        return
    named = [PICTURES[need] for need in metric.needs if need in PICTURES and need not in o.broken]
    pictures = [o.pair.output, *(getattr(o.pair, name) for name in named)]
    for network in networks_of(metric):
        for picture in pictures:
            if picture is not None and not o.changed:
                network.prepare(picture)


def joined(one: ScoredChunk, other: ScoredChunk) -> ScoredChunk:
    """The scores of one chunk by different metrics."""
    failures = one.failures + [f for f in other.failures if f not in one.failures]
    return ScoredChunk(one.scores + other.scores, failures, one.changed or other.changed)
