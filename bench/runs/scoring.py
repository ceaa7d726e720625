"""Edits x metrics -> scores. Raw values; None with a reason where a metric is not defined; never a dropped row.

Pairs are scored in fixed chunks, a chunk's missing metrics together, so that each image is opened and encoded once
and a run that was interrupted ends in the same bytes, whoever scores it (bench/runs/scorers). Chunks of several runs
and seeds over the same examples are scored together: their goal images are decoded once.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

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
    from bench.metrics.networks.features import FeatureCache
    from bench.metrics.pairs import Pair, Picture, Value

OPENED = ("goal_image", "input_image", "mask")  # what a metric may need decoded
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

    # and where it is so: by_pair = True, it looks at each pair for itself, so that pairs may come in any company

    def __call__(self, pairs: "list[Pair]") -> "list[Value]":
        """One value a pair, in order."""
        ...


class TextMetric(Metric, Protocol):
    """One that reads texts beside its pairs."""

    clip: "CLIP"

    def texts(self, example: Example) -> dict[str, str | None]: ...


@runtime_checkable
class Keeps(Protocol):
    """A metric that keeps what it made of the last goal image."""

    def let_go(self) -> None: ...


class Metrics(NamedTuple):
    ready: dict[str, Metric]  # name -> metric
    not_run: dict[str, str]  # name -> why: its network is not at hand


def load_metrics(names: tuple[str, ...], settings: MetricSettings, cache: "Path | FeatureCache | None") -> Metrics:
    """The metrics in the registry's order; those whose network is not at hand with the reason.

    Raises ValueError for a name or variant that is not known.
    """
    from bench.metrics.networks.features import FeatureCache

    features = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
    ready, not_run = {}, {}
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
        """What of the settings moves a value; a folder does not, device and batch size do within the stated tolerance.

        What only a masked metric looks at, or a metric of output and input, is left out of the others'.
        """
        settings = metric_of(name, self.settings)
        without = {"fetched", "metric_device", "metric_batch_size"}
        without |= set() if settings.region else {"region", "mask_grow"}
        without |= set() if settings.against != "goal" else {"against"}
        return {k: str(v) for k, v in asdict(settings).items() if k not in without}

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
    """Examples of one run and seed that are scored together, with all that whoever scores them must know of the run."""

    seed: int
    examples: list[Example]
    metrics: list[str]  # those with at least one score missing in this chunk
    edits: dict[str, Edit]  # by example id
    reasons: dict[str, str]  # by example id, why there is no edit
    settings: EditSettings
    folder: Path  # of the run


class ScoredChunk(NamedTuple):
    scores: list[Score]
    failures: list[dict]  # to read an image, or for want of memory
    changed: list[tuple[int, str]]  # edits whose image is no longer what was written; then there are no scores


class Opened(NamedTuple):
    """One example's images, decoded."""

    example: Example
    edit: Edit | None
    pair: "Pair | None"  # None without an edit
    broken: dict[str, str]  # what a metric needs -> why it could not be decoded
    changed: bool  # the output image is not the one that was written


def decode(chunk: Chunk, metrics: dict[str, Metric], seen: "dict[tuple[Path, EditSettings], Picture]") -> list[Opened]:
    """The chunk's images, those that its metrics need decoded. seen: pictures of the dataset that were opened before,
    for another run's chunk of the same examples."""
    needs = {need for name in chunk.metrics for need in metrics[name].needs}
    return [opened(example, chunk, needs, seen) for example in chunk.examples]


def opened(example: Example, chunk: Chunk, needs: set[str], seen: "dict[tuple[Path, EditSettings], Picture]") -> Opened:
    from bench.datasets.masks import Marked
    from bench.metrics.pairs import Pair, Picture

    def shared(path: Path, settings: EditSettings) -> Picture:
        return seen.setdefault((path, settings), Picture(path, settings))

    edit, settings = chunk.edits.get(example.id), chunk.settings
    if edit is None:
        return Opened(example, None, None, {}, False)
    # an output image is what the model returned, so the settings for the dataset's images are not applied to it
    output = Picture(chunk.folder / edit.output_image, EditSettings())
    if example.previous is None:
        source = shared(example.input_image, settings)
    else:
        source = Picture(chunk.folder / RunFolder(chunk.folder).image(chunk.seed, example.previous), settings)
    goal = shared(example.goal_image, settings.for_goal()) if example.goal_image else None
    try:
        changed = output.sha256 != edit.image_sha256
    except ImageError:
        changed = True
    mask = Marked(example.mask, settings.exif, settings.size) if example.mask else None
    looked_at: dict[str, Picture | Marked | None] = {"goal_image": goal, "input_image": source, "mask": mask}
    broken = {}
    for need, what in looked_at.items():
        try:
            if what and need in needs:
                _ = what.own if isinstance(what, Marked) else what.image
        except ImageError as error:
            broken[need] = str(error)
    return Opened(example, edit, Pair(example, output, goal, source, mask), broken, changed)


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


def why_not(metric: Metric, o: Opened, chunk: Chunk) -> str:
    """Why a metric is not asked for a value of this example; empty where it is."""
    if o.edit is None:
        return f"{NOT_EDITED}{chunk.reasons.get(o.example.id, 'no output image')}"
    if unread := [o.broken[n] for n in metric.needs if n in o.broken]:
        return f"{UNREADABLE}{unread[0]}"
    if lacking := [n for n in OPENED if n in metric.needs and getattr(o.example, n) is None]:
        return f"no {lacking[0].replace('_', ' ')}"
    blank = [what for what, text in texts_of(metric, o.example).items() if not (text and text.strip())]
    return f"no {blank[0]}" if blank else ""


Known = dict[tuple[str, str], "Value"]  # (metric, example id) -> value


def by_pair(chunks: Sequence[Chunk], opened: Sequence[list[Opened]], metrics: dict[str, Metric]) -> list[Known]:
    """Of each chunk the values of those metrics that look at a pair for itself: example by example, all chunks' pairs
    with its goal image one after the other, so that what is made of the goal image serves them all and is let go."""
    from bench.metrics.pairs import LATEST

    found: list[Known] = [{} for _ in chunks]
    for row in zip(*opened, strict=True):
        for o, chunk, values in zip(row, chunks, found, strict=True):
            for name in chunk.metrics:
                metric = metrics[name]
                if getattr(metric, "by_pair", False) and not why_not(metric, o, chunk):
                    assert o.pair is not None  # it has an edit
                    (values[name, o.example.id],) = values_of(metric, [o.pair])
    LATEST.clear()
    for metric in metrics.values():
        if isinstance(metric, Keeps):
            metric.let_go()
    return found


def score_chunks(
    chunks: Sequence[Chunk], opened: Sequence[list[Opened]], metrics: dict[str, Metric]
) -> list[ScoredChunk]:
    """opened: what decode made of each. All chunks have the same examples. A chunk with changed images gets none."""
    changed = [changed_in(chunk, row) for chunk, row in zip(chunks, opened, strict=True)]
    sound = [place for place, ids in enumerate(changed) if not ids]
    known = dict(zip(sound, by_pair([chunks[p] for p in sound], [opened[p] for p in sound], metrics), strict=True))
    found = []
    for place, (chunk, row) in enumerate(zip(chunks, opened, strict=True)):
        if changed[place]:
            found.append(ScoredChunk([], [], changed[place]))
            continue
        scores = score_chunk(chunk, row, metrics, known[place])
        failures = [failure(o.example, chunk.seed, next(iter(o.broken.values())), "score") for o in row if o.broken]
        by_id = {e.id: e for e in chunk.examples}
        short = {s.example_id: s.reason for s in scores if s.reason.startswith(OUT_OF_MEMORY)}
        failures += [failure(by_id[i], chunk.seed, reason, "score") for i, reason in short.items()]
        found.append(ScoredChunk(scores, failures, []))
    return found


def changed_in(chunk: Chunk, row: list[Opened]) -> list[tuple[int, str]]:
    """The edits whose image is another one than was written, or gone: there is none, and nothing says why."""
    lost = [o for o in row if o.changed or (o.edit is None and o.example.id not in chunk.reasons)]
    return [(chunk.seed, o.example.id) for o in lost]


def score_chunk(chunk: Chunk, opened: list[Opened], metrics: dict[str, Metric], known: Known) -> list[Score]:
    """known: values that are there already."""
    rows = []
    for name in chunk.metrics:
        metric = metrics[name]
        ready: list[Pair] = []
        values: dict[str, tuple[float | None, str]] = {}
        protocol = protocol_of(metric, chunk.settings)
        for o in opened:
            if why := why_not(metric, o, chunk):
                values[o.example.id] = (None, why)
            elif (name, o.example.id) in known:
                values[o.example.id] = known[name, o.example.id]
            else:
                assert o.pair is not None  # it has an edit
                ready.append(o.pair)
        for pair, value in zip(ready, values_of(metric, ready), strict=True):
            values[pair.example.id] = value
        for o in opened:
            raw, reason = values[o.example.id]
            number = None if raw is None else float(raw)
            rows.append(Score(o.example.id, o.example.group, chunk.seed, name, number, reason, protocol))
    return rows
