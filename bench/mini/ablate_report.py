"""ablations.csv, .md and .png: each variant in L1, CVS and right expressive instructions, against the full one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures.drawing import drawing
from bench.grid.show import markdown_table
from bench.mini.evidence import Runs
from bench.mini.finetune import Tuning
from bench.mini.verdicts import ClaimTest, test
from bench.records import Score
from bench.resampling.intervals import METHODS
from bench.stats import summarise
from mgie.io.files import replacing, write_atomic, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IDENTITY = "input copy"
METRICS = ("l1", "cvs", "right")
NAMES = {"l1": "L1 ↓", "cvs": "CVS ↑", "right": "right expressive instructions ↑"}
COLOURS = {IDENTITY: "#999999", "full": "#009E73"}


@dataclass(frozen=True)
class VariantRow:
    variant: str
    visual_tokens: int | None  # None: the input copy
    ins_weight: float | None
    dataset: str
    metric: str  # right: share of ambiguous examples whose text names the cause, by the grammar
    mean: float | None
    low: float | None
    high: float | None
    n: int
    groups: int
    difference: float | None  # to the full variant
    p: float | None
    p_holm: float | None  # over the variants on this dataset and metric
    reason: str


def rows_of(runs: Mapping[str, Runs], same: Runs, variants: "Sequence[Variant]",
            judged: Callable[[Sequence[ClaimTest]], list[ClaimTest]]) -> list[VariantRow]:  # fmt: skip
    rows, full = [], runs[variants[0].name]
    for dataset in same.datasets:
        for metric in METRICS:
            base = scores_of(full, dataset, metric)
            tests = judged([test("ablation", f"{dataset} {metric}", metric, (v.name, "full"),
                                 scores_of(runs[v.name], dataset, metric), base) for v in variants[1:]])  # fmt: skip
            by_name = {t.first: t for t in tests}
            for v in variants:
                why = runs[v.name].why("mgie")
                rows.append(row(v.name, v.tokens, v.ins_weight, dataset, metric,
                                scores_of(runs[v.name], dataset, metric), by_name.get(v.name), why))  # fmt: skip
            if metric != "right":
                copy = same.scores(metric, "identity", datasets=[dataset])
                rows.append(row(IDENTITY, None, None, dataset, metric, copy, None, same.why("identity")))
    return rows


def row(name: str, tokens: int | None, weight: float | None, dataset: str, metric: str, scores: Sequence[Score],
        against: ClaimTest | None, why: str) -> VariantRow:  # fmt: skip
    gap = (against.difference, against.p, against.p_holm) if against else (None, None, None)
    if not scores:
        return VariantRow(name, tokens, weight, dataset, metric, None, None, None, 0, 0, *gap, why or "no such example")
    s = summarise(scores)
    return VariantRow(name, tokens, weight, dataset, metric, s.mean, s.low, s.high, s.n, s.groups, *gap, s.reason)


def scores_of(runs: Runs, dataset: str, metric: str) -> list[Score]:
    return right(runs, dataset) if metric == "right" else runs.scores(metric, "mgie", datasets=[dataset])


def right(runs: Runs, dataset: str) -> list[Score]:
    """1 where the expressive instruction names the cause, else 0; ambiguous examples only."""
    from mgie.mini.world import grammar

    found, edits = [], runs.edits(dataset, "mgie")
    for e in runs.examples[dataset]:
        facts = runs.worlds[dataset].facts(e.id)
        if facts.family in grammar.QUESTIONS and e.id in edits:
            text = edits[e.id].expressive_instruction or ""
            value = float(grammar.names(facts.family, facts.cause, text))
            found.append(Score(e.id, e.group, 0, "right", value, "", "mgie/mini/world/grammar.py"))
    return found


def write(rows: Sequence[VariantRow], stem: Path, recipe: Tuning, split: str) -> list[Path]:
    paths = [stem.with_suffix(ending) for ending in (".csv", ".md", ".png")]
    write_csv(paths[0], VariantRow, rows)
    write_atomic(paths[1], markdown(rows, recipe, split))
    plot(rows, paths[2], split)
    return paths


def markdown(rows: Sequence[VariantRow], recipe: Tuning, split: str) -> str:
    said = [
        f"Suite mini, split {split}. Each variant: {recipe.steps} steps of {recipe.batch_size} on {recipe.pairs} pairs "
        "of mini-IPr2Pr, same order and noise, from MGIE's shipped MLLM, InsPix2Pix's shipped UNet, a new edit head.",
        "Assumed: a short training shows the sign of an effect, not where long ones would end. The MLLM's start was "
        "trained with L_ins: \"no L_ins\" shows what is lost when it is dropped, not what never came to be.",
        f"Mean, 95 % interval ({METHODS}), n; difference to the full variant with Holm's p over the "
        "variants (paired permutation test that flips whole photographs). CVS is x100.",
    ]  # fmt: skip
    lines = ["# Ablations of MGIE-mini", "", *(f"- {line}" for line in said)]
    for dataset in dict.fromkeys(r.dataset for r in rows):
        lines += ["", f"## mini-{dataset}", ""]
        names = list(dict.fromkeys(r.variant for r in rows))
        found = {(r.variant, r.metric): r for r in rows if r.dataset == dataset}
        table = [[name, *(cell(found.get((name, m))) for m in METRICS)] for name in names]
        lines += markdown_table(["Variant", *(NAMES[m] for m in METRICS)], table)
    return "\n".join(lines) + "\n"


def cell(r: VariantRow | None) -> str:
    if r is None:
        return ""
    if r.mean is None:
        return f"not run: {r.reason}"
    scale, digits = (100, 2) if r.metric == "cvs" else (1, 4 if r.metric == "l1" else 3)
    text = f"{scale * r.mean:.{digits}f}"
    text += "" if r.low is None or r.high is None else f" [{scale * r.low:.{digits}f}, {scale * r.high:.{digits}f}]"
    text += f"<br>n {r.n} in {r.groups} groups"
    if r.difference is None or r.p is None:
        return text
    return f"{text}<br>{scale * r.difference:+.{digits}f}, p (Holm) {r.p_holm:.4f}"


def plot(rows: Sequence[VariantRow], path: Path, split: str) -> None:
    """A panel a dataset and metric, a bar a variant, whiskers = 95 % interval; the numbers are the CSV's."""
    from matplotlib.figure import Figure

    datasets = list(dict.fromkeys(r.dataset for r in rows))
    with drawing():
        figure = Figure(figsize=(12, 1 + 2.7 * len(datasets)), layout="constrained")
        panels = figure.subplots(len(datasets), len(METRICS), squeeze=False)
        for line, dataset in zip(panels, datasets, strict=True):
            for axes, metric in zip(line, METRICS, strict=True):
                panel(axes, [r for r in rows if (r.dataset, r.metric) == (dataset, metric)])
        said = f"Ablations of MGIE-mini: short trainings from one start (suite mini, split {split})"
        figure.suptitle(said, fontsize=11)
        with replacing(path, ".png") as temporary:
            figure.savefig(temporary, dpi=100, metadata={"Software": None})


def panel(axes: "Axes", rows: Sequence[VariantRow]) -> None:
    first = rows[0]
    scale = 100 if first.metric == "cvs" else 1
    for place, r in enumerate(rows):
        if r.mean is None:
            axes.text(place, 0.03, "not run", rotation=90, fontsize=8, transform=axes.get_xaxis_transform())
            continue
        axes.bar(place, scale * r.mean, color=COLOURS.get(r.variant, "#9BD8C4"), width=0.8)
        if r.low is not None and r.high is not None:
            ends = [[max(0, scale * (r.mean - r.low))], [max(0, scale * (r.high - r.mean))]]
            axes.errorbar(place, scale * r.mean, yerr=ends, color="#222222", capsize=2.5, linewidth=1)
    names = [f"{r.variant}\n{scale * r.mean:.3g}" if r.mean is not None else r.variant for r in rows]
    axes.set_xticks(range(len(rows)), names, fontsize=8)
    n = max((r.n for r in rows), default=0)
    axes.set_title(f"mini-{first.dataset}: {NAMES[first.metric]}, n {n}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def summary(rows: Sequence[VariantRow]) -> list[str]:
    """For the terminal."""
    return [f"mini-{r.dataset} {r.metric:5} {r.variant:10} {cell(r).replace('<br>', '; ')}" for r in rows]


@dataclass(frozen=True)
class Variant:
    name: str
    tokens: int = 8
    ins_weight: float = 1.0

    @property
    def folder(self) -> str:
        return self.name.replace(" ", "-").replace("_", "")


FULL = Variant("full")
VARIANTS = (FULL, Variant("no L_ins", ins_weight=0.0), Variant("4 tokens", 4), Variant("2 tokens", 2),
            Variant("1 token", 1))  # fmt: skip
