"""Scores collected: what runs lack is handed to whoever scores (bench.runs.scorers), and written here alone.

Runs of one dataset may be scored together: chunks over the same examples, of all runs and seeds, are one task, so that
a goal image is decoded once for all of them, and so is what LPIPS makes of it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bench.records import Example, Score
from bench.registry import METRICS, plain
from bench.runs.description import Run
from bench.runs.folder import RunFolder
from bench.runs.scorers.memory import pixels_of
from bench.runs.scorers.processes import here
from bench.runs.scorers.tasks import Engine, Task
from bench.runs.scoring import (
    NOT_EDITED,
    OUT_OF_MEMORY,
    UNREADABLE,
    ChangedImages,
    Chunk,
    Metric,
    ScoredChunk,
    protocol_of,
)
from bench.settings import MetricSettings

MOST_TOGETHER = 8  # chunks of one task
TOGETHER = 256 * 2**20  # bytes of their images, decoded


class Looking(NamedTuple):
    """What runs are scored with."""

    metrics: dict[str, Metric]
    settings: MetricSettings
    cache: Path | None  # of features


class Scoring:
    """One run while it is scored."""

    def __init__(
        self, run: Run, folder: RunFolder, looking: Looking, seeds: range, tick: Callable[[int], None]
    ) -> None:
        self.run, self.folder, self.tick = run, folder, tick
        self.scores, size = folder.every_score(), looking.settings.metric_batch_size
        self.chunks = list(missing_chunks(run, folder, looking.metrics, seeds, size, self.scores))
        self.failures: dict[int, list[dict]] = {}
        self.changed: ChangedImages | None = None
        tick(len(run.scored) * len(seeds) - sum(len(c.examples) for c in self.chunks))

    def take(self, number: int, answer: ScoredChunk) -> None:
        """Write a chunk's scores; of a run whose images changed no more is written."""
        if answer.changed or self.changed:
            self.changed = self.changed or ChangedImages(answer.changed)
            return
        self.folder.append("scores.jsonl", answer.scores)
        self.scores |= {(s.seed, s.example_id, s.metric, s.protocol): s for s in answer.scores}
        self.failures[number] = answer.failures
        self.tick(len(self.chunks[number].examples))

    def result(self) -> tuple[list[Score], list[dict]]:
        """All scores in final order (seed, example, metric, protocol), and the failures to read an image.

        Raises ChangedImages.
        """
        if self.changed:
            raise self.changed
        order = {e.id: place for place, e in enumerate(self.run.examples)}
        rank = {name: place for place, name in enumerate(METRICS)}
        kept = [s for s in self.scores.values() if s.example_id in order and plain(s.metric) in rank]
        kept.sort(key=lambda s: (s.seed, order[s.example_id], rank[plain(s.metric)], s.metric, s.protocol))
        return kept, [failure for number in sorted(self.failures) for failure in self.failures[number]]


def missing_chunks(
    run: Run, folder: RunFolder, metrics: dict[str, Metric], seeds: range, size: int, scores: dict
) -> Iterator[Chunk]:
    """The chunks of which scores (RunFolder.every_score) lacks something, in order."""
    edits, failures = folder.edits(), folder.failures()
    reasons = {(f["seed"], f["example_id"]): f["reason"] for f in failures if f["stage"] == "edit"}
    for seed in seeds:
        for start in range(0, len(run.scored), size):
            examples = run.scored[start : start + size]

            def whole(name: str, seed: int = seed, examples: list[Example] = examples) -> bool:
                protocol = protocol_of(metrics[name], run.edit)
                for e in examples:
                    score = scores.get((seed, e.id, name, protocol))
                    if score is None:
                        return False
                    if score.reason.startswith((UNREADABLE, OUT_OF_MEMORY)):
                        return False
                    if score.reason.startswith(NOT_EDITED) and (seed, e.id) in edits:
                        return False
                return True

            todo = [name for name in metrics if not whole(name)]
            if todo:
                ids = [e.id for e in examples]
                made = {i: edits[seed, i] for i in ids if (seed, i) in edits}
                why = {i: reasons[seed, i] for i in ids if (seed, i) in reasons}
                yield Chunk(seed, examples, todo, made, why, run.edit, folder.path)


def score_all(
    run: Run, folder: RunFolder, looking: Looking, seeds: range, tick: Callable[[int], None],
    engine: Engine | None = None,
) -> tuple[list[Score], list[dict]]:  # fmt: skip
    """Score every edit; returns all scores in final order and the failures to read an image.

    What scores.jsonl already holds is kept, under whatever protocol. Raises ChangedImages.
    """
    scoring = Scoring(run, folder, looking, seeds, tick)
    collect([scoring], looking, engine or here(looking.metrics))
    return scoring.result()


def collect(runs: Sequence[Scoring], looking: Looking, engine: Engine) -> None:
    """Score what the runs lack. A run whose images changed is left as it is, and says so in its result."""
    tasks, owners = tasks_of(runs, looking)
    with closing(engine(tasks)) as answers:
        for place, scored in answers:
            for (owner, number), answer in zip(owners[place], scored, strict=True):
                runs[owner].take(number, answer)
            if all(run.changed for run in runs):
                return


Owner = tuple[int, int]  # the run's place, the chunk's number in it


def tasks_of(runs: Sequence[Scoring], looking: Looking) -> tuple[list[Task], list[list[Owner]]]:
    """Chunks of the same examples together, as many as memory may hold; and whose they are."""
    alike: dict[tuple, list[Owner]] = {}
    for place, run in enumerate(runs):
        for number, chunk in enumerate(run.chunks):
            alike.setdefault(tuple((e.id, e.goal_image) for e in chunk.examples), []).append((place, number))
    tasks, owners = [], []
    for group in alike.values():
        size = together(runs[group[0][0]].chunks[group[0][1]])
        for start in range(0, len(group), size):
            part = group[start : start + size]
            chunks = [runs[place].chunks[number] for place, number in part]
            tasks.append(Task(chunks, tuple(looking.metrics), looking.settings, looking.cache))
            owners.append(part)
    return tasks, owners


def together(chunk: Chunk) -> int:
    """How many chunks like this one make a task."""
    each = 3 * pixels_of(chunk) * len(chunk.examples)
    return MOST_TOGETHER if not each else max(1, min(MOST_TOGETHER, TOGETHER // each - 1))
