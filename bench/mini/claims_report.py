"""claims.md: each claim with its tests in words and numbers, what the figures reached, the pictures; CSV beside it."""

from collections.abc import Sequence
from pathlib import Path

from bench.grid.cells import beside
from bench.grid.options import only_these
from bench.grid.show import markdown_table
from bench.mini import side_by_side as comparison
from bench.mini.evidence import Runs
from bench.mini.verdicts import ClaimTest, Figure
from bench.registry import BENCHMARKS, metric_entry
from mgie.io.files import write_atomic, write_csv

CLAIMS = {
    "1 sight": "MGIE over LGIE over InsPix2Pix on ambiguous instructions",
    "2 form": "E2E over FT over FZ",
    "3 text": "CLIP-S: MGIE's expressive instruction over the human one over LGIE's",
    "MagicBrush": "mini-MagicBrush: the caption is met, what is asked for changes, the rest stays",
}
HEAD = [
    "Suite mini: small models of the same classes on the built-in miniature. Nothing here is the paper's number, and "
    "what holds or fails here need not do so at full size.",
    "Difference: first minus second, mean over examples (and seeds); p from a paired permutation test that flips whole "
    "photographs, two-sided; 95 % interval: the differences that this test does not reject, so it leaves out 0 where p "
    "before Holm is below 0.05. Holm within a claim, subset and metric.",
    "holds: p (Holm) below 0.05 in the claim's direction; contradicted: below 0.05 against it; not shown: neither.",
    "Pooled metrics take every example of the datasets in brackets once. L1: lower is better; CVS, CTS and CLIP-S: "
    "higher. CVS and CTS are printed x100. The judges are the miniature's own networks.",
    "Assumed: ambiguous is what the world's families call so (ten families whose instruction does not say what to do).",
]


def write(runs: Runs, tests: Sequence[ClaimTest], figures: Sequence[Figure], folder: Path) -> list[Path]:
    ending = "" if runs.options.split == "test" else beside("mini", runs.options.split) or "-quick"
    ending += only_these([] if set(runs.datasets) == set(BENCHMARKS) else runs.datasets)
    stem = folder / f"claims{ending}"
    pictures = {d: folder / f"comparison-{d}{ending}.png" for d in runs.datasets}
    pictures = {d: path for d, path in pictures.items() if comparison.compare(runs, d, path)}
    examples = stem.with_name(f"claims-examples{ending}.png")
    shown = comparison.extremes(runs, examples)
    write_csv(stem.with_suffix(".csv"), ClaimTest, tests)
    write_csv(stem.with_name(f"claims-figures{ending}.csv"), Figure, figures)
    lines = [*head(runs), *claims(tests), *reached(figures), *pictured(pictures, examples if shown else None)]
    write_atomic(stem.with_suffix(".md"), "\n".join(lines) + "\n")
    return [stem.with_suffix(".md"), stem.with_suffix(".csv"), stem.with_name(f"claims-figures{ending}.csv"),
            *([examples] if shown else []), *pictures.values()]  # fmt: skip


def head(runs: Runs) -> list[str]:
    counts = "; ".join(
        f"mini-{d} {len(rows)} examples on {len({e.group for e in rows})} photographs, "
        f"{sum(runs.ambiguous(d, e.id) for e in rows)} ambiguous"
        for d, rows in runs.examples.items()
    )
    seeds = "1 seed" if runs.options.seeds == 1 else f"{runs.options.seeds} seeds"
    where: dict[str, list[str]] = {}
    for (dataset, model, form), why in sorted(runs.reasons.items()):
        where.setdefault(why, []).append(f"{model} {form} on mini-{dataset}")
    missing = [f"Not run: {', '.join(names)}: {why}" for why, names in where.items()]
    lines = [f"Data, split {runs.options.split}, {seeds}: {counts}.", *HEAD, *missing]
    return ["# The paper's claims, tested on the miniature", "", *(f"- {line}" for line in lines)]


def claims(tests: Sequence[ClaimTest]) -> list[str]:
    lines = []
    for claim, words in CLAIMS.items():
        mine = [t for t in tests if t.claim == claim]
        if not mine:
            continue
        lines += ["", f"## {words}", ""] + [f"- {line}" for line in in_words(mine)]
        for subset in dict.fromkeys(t.subset for t in mine):
            lines += ["", f"Examples: {subset}", ""]
            header = ["Metric", "First - second", "Verdict", "First", "Second", "Difference", "p", "p (Holm)", "n",
                      "Groups"]  # fmt: skip
            lines += markdown_table(header, [cells(t) for t in mine if t.subset == subset], 3)
    return lines


def in_words(tests: Sequence[ClaimTest]) -> list[str]:
    """One sentence a subset and pair on its first metric, which pools all datasets."""
    said = []
    for subset in dict.fromkeys(t.subset for t in tests):
        mine = [t for t in tests if t.subset == subset]
        first = [t for t in mine if t.metric == mine[0].metric] if mine[0].claim != "MagicBrush" else mine
        for t in first:
            said.append(sentence(t))
    return said


def sentence(t: ClaimTest) -> str:
    pair = f"{subset_words(t)}: {t.first} over {t.second}, {t.metric}"
    if t.p_holm is None:
        return f"{pair}: **not run** ({t.reason})"
    return (f"{pair}: **{t.verdict}**: {number(t.difference, t.metric, True)} [{number(t.low, t.metric, True)}, "
            f"{number(t.high, t.metric, True)}], p (Holm) {t.p_holm:.4f}, n {t.n} in {t.groups} groups")  # fmt: skip


def subset_words(t: ClaimTest) -> str:
    return {"all": "All examples", "ambiguous": "Ambiguous", "not ambiguous": "Not ambiguous"}[t.subset]


def cells(t: ClaimTest) -> list[str]:
    if t.p is None:
        return [t.metric, f"{t.first} - {t.second}", f"not run: {t.reason}", *[""] * 7]
    gap = number(t.difference, t.metric, True)
    interval = "" if t.low is None else f" [{number(t.low, t.metric, True)}, {number(t.high, t.metric, True)}]"
    return [
        t.metric,
        f"{t.first} - {t.second}",
        t.verdict,
        number(t.first_mean, t.metric),
        number(t.second_mean, t.metric),
        gap + interval,
        f"{t.p:.4f}",
        f"{t.p_holm:.4f}",
        str(t.n),
        str(t.groups),
    ]


def number(value: float | None, metric: str, signed: bool = False) -> str:
    if value is None:
        return "none"
    name = metric.split()[0]
    sign = "+" if signed else ""
    if metric_entry(name).scale == 100:
        return f"{100 * value:{sign}.2f}"
    return f"{value:{sign}.2f}" if name == "clip_s" else f"{value:{sign}.4f}"


def reached(figures: Sequence[Figure]) -> list[str]:
    said = "95 % interval of whole photographs; a ratio is a sum over a sum on the examples both have."
    lines = ["", "## Figures to reach", "", said, ""]
    rows = [[f.what, f.who, *value_of(f), f.target, f.reached, f.note] for f in figures]
    header = ["Figure", "Of", "Value", "n (in groups)", "Target", "Reached", "Note"]
    return lines + markdown_table(header, rows, 2)


def value_of(f: Figure) -> tuple[str, str]:
    if f.value is None:
        return "not run", ""
    interval = "" if f.low is None else f" [{f.low:.3f}, {f.high:.3f}]"
    return f"{f.value:.3f}{interval}", f"{f.n} in {f.groups}" if f.groups else str(f.n)


def pictured(pictures: dict[str, Path], examples: Path | None) -> list[str]:
    lines = ["", "## Pictures", ""] if pictures or examples else []
    if examples:
        lines += [f"![where each model gains and loses most]({examples.name})", ""]
    rule = "of each family the example at the 25th percentile of MGIE's L1 relative to the input copy's, x3, nearest"
    for dataset, path in pictures.items():
        lines += [f"mini-{dataset}: {rule}", "", f"![mini-{dataset}]({path.name})", ""]
    return lines


def summary(tests: Sequence[ClaimTest], figures: Sequence[Figure]) -> list[str]:
    """For the terminal."""
    lines = []
    for claim, words in CLAIMS.items():
        mine = [t for t in tests if t.claim == claim]
        lines += [words, *(f"  {line.replace('**', '')}" for line in in_words(mine))] if mine else []
    lines.append("figures with a target:")
    return lines + [f"  {f.what}, {f.who}: {value_of(f)[0]} ({f.target}: {f.reached or 'not run'})"
                    for f in figures if f.target]  # fmt: skip
