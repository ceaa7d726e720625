"""Edits x metrics -> scores. Raw values; None with a reason where a metric is not defined; never a dropped row.

Pairs are scored in fixed chunks, a chunk's missing metrics together, so that each image is opened and encoded once
and a run that was interrupted ends in the same bytes. Images are decoded ahead in worker threads.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from bench.records import Edit, Example, Score, to_line
from bench.registry import METRICS, in_order, load, metric_of, plain
from bench.runs.description import Run
from bench.runs.folder import RunFolder
from bench.runs.runner import failure
from bench.settings import EditSettings, MetricSettings
from mgie.io.images import ImageError
from mgie.io.sizes import described

if TYPE_CHECKING:
    from bench.metrics.networks.clip import CLIP
    from bench.metrics.pairs import Pair, Value

DECODING_THREADS = 2
IMAGES = ("goal_image", "input_image")  # what a metric may need decoded
# Reasons that may not hold any more when the same command is given again: those scores are made anew.
NOT_EDITED, UNREADABLE, OUT_OF_MEMORY = "not edited: ", "unreadable: ", "out of memory: "


class ChangedImages(RuntimeError):
    """Output images that are no longer what was written, or gone; `.edits` names them by (seed, example id)."""

    def __init__(self, edits: list[tuple[int, str]]) -> None:
        super().__init__(f"{len(edits)} output images changed since they were written, first: {edits[0][1]}")
        self.edits = edits


class Metric(Protocol):
    needs: tuple[str, ...]  # what of an example it looks at
    protocol: str  # what exactly it computes

    def __call__(self, pairs: "list[Pair]") -> "list[Value]":
        """One value a pair, in order."""
        ...


class TextMetric(Metric, Protocol):
    """One that reads texts beside its pairs."""

    clip: "CLIP"

    def texts(self, example: Example) -> dict[str, str | None]: ...


class Metrics(NamedTuple):
    ready: dict[str, Metric]  # name -> metric
    not_run: dict[str, str]  # name -> why: its network is not at hand


def load_metrics(names: tuple[str, ...], settings: MetricSettings, cache: Path | None) -> Metrics:
    """The metrics in the registry's order; those whose network is not at hand with the reason.

    Raises ValueError for a name or variant that is not known.
    """
    from bench.metrics.networks.features import FeatureCache

    features, ready, not_run = FeatureCache(cache), {}, {}
    for name in in_order(names):
        own = metric_of(name, settings)
        try:
            ready[name] = load(METRICS, plain(name), "metric")(own, features)
        except FileNotFoundError as error:
            not_run[name] = str(error)
    return Metrics(ready, not_run)


class Wanted(NamedTuple):
    """What a run is asked to score, and the networks to look with."""

    names: tuple[str, ...]
    settings: MetricSettings

    def of(self, name: str) -> dict[str, str]:
        """What of the settings moves a value; device and batch size do so within the stated tolerance."""
        settings = asdict(metric_of(name, self.settings))
        return {k: str(v) for k, v in settings.items() if k not in ("metric_device", "metric_batch_size")}

    def protocols(self, done: dict) -> dict[str, str]:
        """By name, the protocol under which a finished run (done.json) has scored it; without those it has not."""
        known = {(s["metric"], to_line(s["settings"])): s["protocol"] for s in done.get("scored", [])}
        found = {name: known.get((name, to_line(self.of(name)))) for name in self.names}
        return {name: protocol for name, protocol in found.items() if protocol is not None}


def scored(metrics: dict[str, Metric], wanted: Wanted, run: Run, before: dict | None) -> list[dict]:
    """done.json's account of every metric and protocol that was scored in this run, now or earlier (before).

    texts: how many a metric reads; cut: how many of them are longer than its network reads.
    """
    found = {}
    for entry in (before or {}).get("scored", []):
        found[entry["metric"], entry["protocol"]] = entry
    for name, metric in metrics.items():
        read = [t for e in run.scored for t in texts_of(metric, e).values() if t and t.strip()]
        clip = cast(TextMetric, metric).clip if read else None
        cut = {"texts": len(read), "cut": clip.cut(read), "context": clip.context} if clip is not None else {}
        protocol = protocol_of(metric, run.edit)
        found[name, protocol] = {"metric": name, "settings": wanted.of(name), "protocol": protocol, **cut}
    return list(found.values())


def texts_of(metric: Metric, example: Example) -> dict[str, str | None]:
    """The texts of an example that a metric reads, each by what it is; most read none."""
    return cast(TextMetric, metric).texts(example) if hasattr(metric, "texts") else {}


def cut_said(entry: dict) -> str:
    """How many texts were cut, in words; empty for a metric that reads none."""
    if not entry.get("texts"):
        return ""
    return f"{entry['cut']} of {entry['texts']} texts cut at {entry['context']} tokens"


def protocol_of(metric: Metric, settings: EditSettings) -> str:
    """The metric's own protocol, and what was done to the dataset's images before it saw them."""
    said = [f"size {described(settings.size)}"]
    said += [f"images at most {settings.max_side} px"] if settings.max_side else []
    said += ["EXIF orientation ignored"] if settings.exif != "apply" else []
    said += ["alpha dropped"] if settings.alpha != "white" else []
    said += ["colour profiles ignored"] if settings.icc != "convert" else []
    return "; ".join([metric.protocol, *said])


class Chunk(NamedTuple):
    seed: int
    examples: list[Example]
    metrics: list[str]  # those with at least one score missing in this chunk


def score_all(
    run: Run, folder: RunFolder, metrics: dict[str, Metric], seeds: range, size: int, tick: Callable[[int], None]
) -> tuple[list[Score], list[dict]]:
    """Score every edit; returns all scores in final order (seed, example, metric, protocol) and the failures to
    read an image.

    What scores.jsonl already holds is kept, under whatever protocol. Raises ChangedImages.
    """
    edits, scores, failures = folder.edits(), folder.every_score(), folder.failures()
    reasons = {(f["seed"], f["example_id"]): f["reason"] for f in failures if f["stage"] == "edit"}
    found: list[dict] = []
    chunks = list(missing_chunks(run, metrics, seeds, size, scores, edits))
    tick(len(run.scored) * len(seeds) - sum(len(c.examples) for c in chunks))
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        ahead: Future | None = None
        for place, chunk in enumerate(chunks):
            pairs = ahead.result() if ahead else decode(chunk, run, folder, edits, metrics)
            rest = chunks[place + 1 : place + 2]
            ahead = pool.submit(decode, rest[0], run, folder, edits, metrics) if rest else None
            lost = {p.example.id for p in pairs if p.edit is None and (chunk.seed, p.example.id) not in reasons}
            changed = [(chunk.seed, p.example.id) for p in pairs if p.changed or p.example.id in lost]
            if changed:
                raise ChangedImages(changed)
            new = score_chunk(chunk, pairs, metrics, reasons, run.edit)
            folder.append("scores.jsonl", new)
            scores |= {(s.seed, s.example_id, s.metric, s.protocol): s for s in new}
            found += [failure(p.example, chunk.seed, next(iter(p.broken.values())), "score") for p in pairs if p.broken]
            by_id = {e.id: e for e in chunk.examples}
            short = {s.example_id: s.reason for s in new if s.reason.startswith(OUT_OF_MEMORY)}
            found += [failure(by_id[i], chunk.seed, reason, "score") for i, reason in short.items()]
            tick(len(chunk.examples))
    order = {e.id: place for place, e in enumerate(run.examples)}
    rank = {name: place for place, name in enumerate(METRICS)}
    kept = [s for s in scores.values() if s.example_id in order and plain(s.metric) in rank]
    return sorted(kept, key=lambda s: (s.seed, order[s.example_id], rank[plain(s.metric)], s.metric, s.protocol)), found


def missing_chunks(
    run: Run, metrics: dict[str, Metric], seeds: range, size: int, scores: dict, edits: dict
) -> Iterator[Chunk]:
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
                yield Chunk(seed, examples, todo)


class Opened(NamedTuple):
    """One example's images, decoded."""

    example: Example
    edit: Edit | None
    pair: "Pair | None"  # None without an edit
    broken: dict[str, str]  # what a metric needs -> why it could not be decoded
    changed: bool  # the output image is not the one that was written


def decode(chunk: Chunk, run: Run, folder: RunFolder, edits: dict, metrics: dict[str, Metric]) -> list[Opened]:
    """The chunk's images, those that its metrics need decoded; runs in a worker thread, one chunk ahead."""
    needs = {need for name in chunk.metrics for need in metrics[name].needs}
    return [opened(e, chunk.seed, run.edit, folder, edits.get((chunk.seed, e.id)), needs) for e in chunk.examples]


def opened(
    example: Example, seed: int, settings: EditSettings, folder: RunFolder, edit: Edit | None, needs: set[str]
) -> Opened:
    from bench.metrics.pairs import Pair, Picture

    if edit is None:
        return Opened(example, None, None, {}, False)
    # an output image is what the model returned, so the settings for the dataset's images are not applied to it
    output = Picture(folder.path / edit.output_image, EditSettings())
    path = example.input_image if example.previous is None else folder.path / folder.image(seed, example.previous)
    source = Picture(path, settings)
    goal = Picture(example.goal_image, settings.for_goal()) if example.goal_image else None
    try:
        changed = output.sha256 != edit.image_sha256
    except ImageError:
        changed = True
    broken = {}
    for need, picture in (("goal_image", goal), ("input_image", source)):
        try:
            _ = picture and need in needs and picture.image
        except ImageError as error:
            broken[need] = str(error)
    return Opened(example, edit, Pair(example, output, goal, source), broken, changed)


def values_of(metric: Metric, pairs: "list[Pair]") -> "list[Value]":
    """The metric's answers. Out of memory, the chunk is halved until one pair is left, which then has no value."""
    from bench.metrics.pairs import Value

    try:
        return metric(pairs) if pairs else []
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search("out of memory|allocate memory", str(error)):
            raise
        if len(pairs) == 1:
            return [Value(None, f"{OUT_OF_MEMORY}{(str(error).splitlines() or [''])[0][:200]}")]
    middle = len(pairs) // 2
    return values_of(metric, pairs[:middle]) + values_of(metric, pairs[middle:])


def score_chunk(
    chunk: Chunk, opened: list[Opened], metrics: dict[str, Metric], reasons: dict, settings: EditSettings
) -> list[Score]:
    rows = []
    for name in chunk.metrics:
        metric = metrics[name]
        ready: list[Pair] = []
        values: dict[str, tuple[float | None, str]] = {}
        protocol = protocol_of(metric, settings)
        for o in opened:
            if o.edit is None:
                why = reasons.get((chunk.seed, o.example.id), "no output image")
                values[o.example.id] = (None, f"{NOT_EDITED}{why}")
            elif unread := [o.broken[n] for n in metric.needs if n in o.broken]:
                values[o.example.id] = (None, f"{UNREADABLE}{unread[0]}")
            elif lacking := [n for n in IMAGES if n in metric.needs and getattr(o.example, n) is None]:
                values[o.example.id] = (None, f"no {lacking[0].replace('_', ' ')}")
            elif blank := [what for what, text in texts_of(metric, o.example).items() if not (text and text.strip())]:
                values[o.example.id] = (None, f"no {blank[0]}")
            else:
                assert o.pair is not None  # it has an edit
                ready.append(o.pair)
        for pair, value in zip(ready, values_of(metric, ready), strict=True):
            values[pair.example.id] = (None if value.value is None else float(value.value), value.reason)
        rows += [
            Score(o.example.id, o.example.group, chunk.seed, name, *values[o.example.id], protocol) for o in opened
        ]
    return rows
