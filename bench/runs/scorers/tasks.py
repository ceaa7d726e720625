"""What is scored in one go: chunks of several runs and seeds over the same examples; its scores, wherever it is done.

Chunks are fixed and scored with one thread, so that no bit depends on how many score. Only the parent writes: features
that a process makes come back with its scores.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.runs.pool import Tell
from bench.runs.scoring import Chunk, Metric, Opened, ScoredChunk, decode, load_metrics, score_chunks
from bench.settings import MetricSettings
from mgie.io.devices import device_of, threads

if TYPE_CHECKING:
    import numpy as np

    from bench.metrics.networks.features import FeatureCache
    from bench.metrics.pairs import Picture
    from bench.settings import EditSettings


class Task(NamedTuple):
    """As it travels."""

    chunks: list[Chunk]  # all of the same examples
    names: tuple[str, ...]  # of the metrics
    settings: MetricSettings
    cache: Path | None  # of features


class Answer(NamedTuple):
    scored: list[ScoredChunk]  # one a chunk
    features: "dict[str, np.ndarray]"  # that were made and are to be kept
    error: Exception | None = None  # which ends the run, as it would in the parent


# Scores tasks in any order; each with its place in the list.
Scored = Generator[tuple[int, list[ScoredChunk]], None, None]
Engine = Callable[[Sequence[Task]], Scored]


def opened_of(task: Task, metrics: dict[str, Metric]) -> list[list[Opened]]:
    """The images of a task; those of the dataset once for all its chunks."""
    seen: dict[tuple[Path, EditSettings], Picture] = {}
    return [decode(chunk, metrics, seen) for chunk in task.chunks]


def is_on_gpu(task: Task) -> bool:
    return device_of(task.settings.metric_device).startswith("cuda")


def label(task: Task) -> str:
    examples = task.chunks[0].examples
    return f"{examples[0].id} .. {examples[-1].id}"


def settled(task: Task, answer: Answer) -> list[ScoredChunk]:
    """The scores of an answer whose features are kept. Raises what ended the work."""
    from bench.metrics.networks.features import FeatureCache

    if answer.error:
        raise answer.error
    FeatureCache(task.cache).keep(answer.features)
    return answer.scored


def score_task(task: Task, tell: Tell) -> Answer:
    """In a process of a pool, or an actor of Ray."""
    listener = Listener(tell)
    logging.getLogger("mgie").addHandler(listener)
    try:
        metrics, features = loaded(task.names, task.settings, task.cache)
        with threads(1):
            scored = score_chunks(task.chunks, opened_of(task, metrics), metrics)
        return Answer(scored, features.handed_over())
    except (ValueError, OSError) as error:  # a file or a setting: the message says what to do
        return Answer([], {}, error)
    finally:
        logging.getLogger("mgie").removeHandler(listener)


class Listener(logging.Handler):
    """What is warned of in a process is said by the parent, which says it once."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(record.getMessage())


@lru_cache(maxsize=1)
def loaded(
    names: tuple[str, ...], settings: MetricSettings, cache: Path | None
) -> "tuple[dict[str, Metric], FeatureCache]":
    """Once a process for all tasks alike. Raises FileNotFoundError for a network that is not at hand."""
    from bench.metrics.networks.features import FeatureCache

    features = FeatureCache(cache, writes=False)
    metrics = load_metrics(names, settings, features)
    for why in metrics.not_run.values():
        raise FileNotFoundError(why)
    return metrics.ready, features


def networks_of(metric: Metric) -> list[Any]:
    """Those that are given pictures through a transform of their own: CLIP, DINO."""
    holders = (metric, getattr(metric, "direction", None))
    found = [getattr(holder, name, None) for holder in holders for name in ("clip", "dino")]
    return [network for network in found if network is not None]
