"""Figure 4's measuring: every text (instruction, LGIE's, MGIE's) against every image (input, goal), by CLIP-S."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures.figure4 import IMAGES, TEXTS, TextRow, TextTest, reported, spelled
from bench.given.fits import refuse_unlike
from bench.grid.cells import Cell, Options, nothing_ran, one_line, run_all
from bench.grid.options import Selection
from bench.grid.rows import compare
from bench.records import Edit, Example, Score
from bench.registry import WITH_FORMS, open_dataset
from bench.runs.folder import RunFolder, records
from bench.settings import EditSettings, MetricSettings
from bench.stats import Summary, holm, paired_test, summarise
from mgie.io.images import ImageError

if TYPE_CHECKING:
    from bench.metrics.clip_s import CLIPS
    from bench.metrics.pairs import Picture


def pairs_of(texts: Sequence[str]) -> list[tuple[str, str]]:
    """mgie - lgie, mgie - instruction, lgie - instruction; before them those of a run that was given."""
    return list(combinations(reversed(texts), 2))


@dataclass
class Texts:
    """The texts of a dataset's examples, by example id; a text that is not there has its reason."""

    dataset: str
    examples: list[Example]
    by_kind: dict[str, dict[str, str]]
    reasons: dict[str, str] = field(default_factory=dict)  # kind -> why there is none at all
    runs: dict[str, str] = field(default_factory=dict)  # kind -> run folder

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys((*TEXTS, *self.by_kind, *self.reasons)))


def texts_of(asked: Selection, dataset: str, examples: list[Example], folders: Mapping[str, Path | str]) -> Texts:
    """folders: by model, its finished run, or why there is none."""
    found = Texts(dataset, examples, {"instruction": {e.id: e.instruction.strip() for e in examples}})
    for model, folder in folders.items():
        if isinstance(folder, str):
            found.by_kind[model], found.reasons[model] = {}, f"not run: {folder}"
            continue
        edits = [e for e in RunFolder(folder).edits().values() if e.seed == 0]
        found.by_kind[model] = {e.example_id: (e.expressive_instruction or "").strip() for e in edits}
        found.runs[model] = f"{asked.options.out.name}/{asked.suite}/{folder.name}"
    for name in dict.fromkeys(given.name for given in asked.given):
        here = [given for given in asked.given if (given.name, given.dataset) == (name, dataset)]
        if not here:
            found.by_kind[name], found.reasons[name] = {}, f"not run: no run of {name} on {dataset} was given"
            continue
        beside = [Path(folder) for folder in folders.values() if isinstance(folder, Path)]
        if beside:
            refuse_unlike(here[0].folder, beside[0], 1)
        found.by_kind[name], found.runs[name] = written_in(here[0].folder), here[0].folder.name
    return found


def written_in(folder: Path) -> dict[str, str]:
    """The expressive instructions of a run's first seed, by example id; the outputs themselves need not be there."""
    edits = [e for e in records(folder / "edits.jsonl", Edit) if e.seed == 0]
    return {e.example_id: e.expressive_instruction.strip() for e in edits if e.expressive_instruction}


def score(
    texts: Texts, metric: "CLIPS", truncated: dict[tuple[str, str], int], settings: EditSettings
) -> Iterator[Score]:
    """Every text that is there against both images; truncated counts, by (image, text), the texts that CLIP cut."""
    from bench.metrics.pairs import Picture

    size, protocol = metric.clip.batch_size, _protocol(metric)
    for start in range(0, len(texts.examples), size):
        chunk = texts.examples[start : start + size]
        for image in IMAGES:
            paths = {e.id: e.input_image if image == "input image" else e.goal_image for e in chunk}
            how = settings if image == "input image" else settings.for_goal()
            pictures = {name: Picture(path, how) for name, path in paths.items() if path}
            broken = {name: why for name, picture in pictures.items() if (why := _unreadable(picture))}
            for kind in texts.kinds:
                if kind in texts.reasons:
                    continue
                given = texts.by_kind[kind]
                ready = [e for e in chunk if e.id in pictures and e.id not in broken and given.get(e.id)]
                before = metric.truncated
                values = metric.of([pictures[e.id] for e in ready], [given[e.id] for e in ready]) if ready else []
                truncated[image, kind] = truncated.get((image, kind), 0) + metric.truncated - before
                by_id = {e.id: value for e, value in zip(ready, values, strict=True)}
                for e in chunk:
                    value, reason = by_id[e.id] if e.id in by_id else (None, _why(e.id, pictures, broken, given))
                    yield Score(e.id, e.group, 0, f"clip_s({image}, {kind})", value, reason, protocol)


def _unreadable(picture: "Picture") -> str:
    try:
        _ = picture.image
    except ImageError as error:
        return f"unreadable: {error}"
    return ""


def _why(name: str, pictures: Mapping, broken: Mapping[str, str], given: Mapping[str, str]) -> str:
    if name not in pictures:
        return "no goal image"
    return broken.get(name) or ("the text is empty" if name in given else "not edited: there is no text")


def _protocol(metric: "CLIPS") -> str:
    context = metric.clip.config["text_cfg"]["context_length"]
    return f"clip_s: {metric.clip.protocol}, 100 x cosine image/text, texts of at most {context} tokens, end token kept"


def wanted_of(asked: Selection) -> list[tuple[Cell, Options]]:
    """The runs that bring the texts, each asked for the least that a run can be: one that is finished, with whatever
    metrics, is taken as it is.
    """
    options = replace(asked.options, seeds=1, metrics=("l1",))
    return [(Cell(asked.suite, d, m, "zero-shot", "e2e"), options) for m in WITH_FORMS for d in asked.datasets]


def opened(asked: Selection) -> tuple[dict[str, list[Example]], dict[str, str]]:
    """The examples of each dataset that is there, and of the others what to do."""
    found, helps = {}, {}
    for name in asked.datasets:
        try:
            dataset = open_dataset(asked.suite, name, asked.data_root, asked.options.data)
            found[name] = [e for e in dataset.examples() if e.scored]
        except (ValueError, OSError, ImportError) as error:  # as for the cells of a table
            helps[name] = str(error)
    return found, helps


def measure(asked: Selection, networks: MetricSettings) -> tuple[list[TextRow], list[TextTest], list[Score]]:
    """Runs what is missing of LGIE and MGIE, scores, summarises. A dataset that is not there is rows with the reason.

    Raises ValueError, with what to do, where no dataset is there or no CLIP.
    """
    from bench.metrics.clip_s import CLIPS
    from bench.metrics.networks.features import FeatureCache

    examples, helps = opened(asked)
    try:
        metric = CLIPS(networks, FeatureCache(asked.options.out / "features"))
    except FileNotFoundError as error:
        raise nothing_ran([*helps.values(), str(error)]) from None
    if not examples:
        raise nothing_ran(helps.values())
    results = run_all([(cell, options) for cell, options in wanted_of(asked) if cell.dataset in examples])
    folders = {(r.cell.dataset, r.cell.model): r.folder or r.reason for r in results}
    rows, parts, kinds = [], [], [*TEXTS, *dict.fromkeys(given.name for given in asked.given)]
    scores: dict[str, list[Score]] = {}
    cut: dict[str, dict[tuple[str, str], int]] = {}
    for dataset in asked.datasets:
        if dataset in helps:
            texts = Texts(dataset, [], {}, dict.fromkeys(kinds, f"not run: {one_line(helps[dataset])}"))
        else:
            texts = texts_of(asked, dataset, examples[dataset], {m: folders[dataset, m] for m in WITH_FORMS})
        cut[dataset] = {}
        scores[dataset] = list(score(texts, metric, cut[dataset], asked.edit))
        parts.append(texts)
        rows += rows_of(asked, texts, scores[dataset], cut[dataset])
    if len(asked.datasets) > 1:
        rows += rows_of_all(asked, parts, scores, cut)
    everything = [s for part in scores.values() for s in part]
    tests = paired_tests(asked, scores | ({"all": everything} if len(scores) > 1 else {}))
    return rows, tests, everything


def rows_of(asked: Selection, texts: Texts, scores: Sequence[Score], cut: Mapping) -> list[TextRow]:
    return [
        _row(asked, texts.dataset, image, text, _of(scores, image, text), texts.reasons.get(text, ""),
             cut.get((image, text), 0), texts.runs.get(text, ""))
        for image in IMAGES for text in texts.kinds
    ]  # fmt: skip


def rows_of_all(asked: Selection, parts: Sequence[Texts], scores: Mapping, cut: Mapping) -> list[TextRow]:
    """Over every example of every dataset, where each dataset has the text: bars side by side are of the same data."""
    rows = []
    for image in IMAGES:
        for text in dict.fromkeys(kind for part in parts for kind in part.kinds):
            without = [part.reasons[text] for part in parts if text in part.reasons]
            found = [] if without else [s for part in scores.values() for s in _of(part, image, text)]
            count = sum(part.get((image, text), 0) for part in cut.values())
            rows.append(_row(asked, "all", image, text, found, without[0] if without else "", count))
    return rows


def _of(scores: Sequence[Score], image: str, text: str) -> list[Score]:
    return [s for s in scores if s.metric == f"clip_s({image}, {text})"]


def _row(
    asked: Selection,
    dataset: str,
    image: str,
    text: str,
    scores: Sequence[Score],
    reason: str,
    cut: int = 0,
    run: str = "",
) -> TextRow:
    printed = reported(dataset, image, text)
    summary = summarise(scores) if scores else Summary(None, None, None, 0, 0)
    missing = [s.reason for s in scores if s.value is None]
    said = f"{dataset}, {image}, {spelled(text)}: {len(missing)} of {len(scores)} without a value: {missing[0]}" \
        if missing else ""  # fmt: skip
    why = "; ".join(dict.fromkeys(part for part in (reason, summary.reason if scores else "", said) if part))
    verdict = compare(asked.suite, summary, printed) if printed.value is not None else (None, "")
    return TextRow(
        4, asked.suite, "zero-shot", dataset, image, text, summary.mean, summary.low, summary.high, summary.n,
        len(scores) if scores else None, summary.groups, cut, printed.value, printed.confirmed, *verdict, why,
        scores[0].protocol if scores else "", run,
    )  # fmt: skip


def paired_tests(asked: Selection, scores: Mapping[str, Sequence[Score]]) -> list[TextTest]:
    """Every pair of texts against either image, Holm-corrected over the whole figure."""
    found, pairs = [], pairs_of([*TEXTS, *dict.fromkeys(given.name for given in asked.given)])
    for dataset, part in scores.items():
        for image in IMAGES:
            for a, b in pairs:
                t = paired_test(_of(part, image, a), _of(part, image, b))
                found.append(TextTest(4, asked.suite, "zero-shot", dataset, image, a, b, t.difference, t.p, None, t.n,
                                  t.groups, t.method, t.reason))  # fmt: skip
    adjusted = iter(holm([t.p for t in found if t.p is not None]))
    return [replace(t, p_holm=None if t.p is None else next(adjusted)) for t in found]
