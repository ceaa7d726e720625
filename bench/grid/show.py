"""A table in the paper's shape: a row a model, a column a dataset and metric; Markdown and what every form of it says.

Each cell: our mean, its 95 % interval, n of N where fewer; in suites paper and published the paper's value with its
mark. SSIM, DINO, CVS and CTS are printed x100 as in the paper. Rounding happens here and nowhere before.
bench.grid.latex and bench.grid.terminal print the same grid; bench.grid.between says what its tests say.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from bench.grid.between import (
    BEST,
    SMALLEST,
    best,
    better,
    column_name,
    dataset_name,
    few_groups,
    in_words,
    model_name,
    smallest,
    test_name,
)  # fmt: skip
from bench.grid.cells import OTHER_SETTINGS
from bench.grid.paper import MARK, as_printed, reported
from bench.grid.rows import COPY, MODELS, Comparison, TableRow
from bench.registry import BENCHMARKS, DATASETS, METRICS, SUITES, metric_entry, plain
from bench.resampling.intervals import METHODS
from mgie.convert.released import released_in

PAPERS = frozenset(metric for name in BENCHMARKS for metric in DATASETS[name].metrics)  # metrics of its tables
TITLES = {1: "zero-shot editing", 2: "fine-tuned on each dataset", 3: "the architecture of LGIE and MGIE, zero-shot"}


class CellText(NamedTuple):
    value: str  # empty: not run
    half: str  # half the width of the interval; empty: there is none
    interval: str  # or, of too few groups, the range of their means
    # only where fewer than all examples have a value; it hides tuple's method, which nobody calls on a cell
    count: str  # type: ignore[assignment]
    paper: str  # with its mark; empty: suite mini, or the paper prints none, or it is not transcribed
    verdict: str
    best: bool
    reason: str


class Grid(NamedTuple):
    table: int
    suite: str
    models: list[tuple[str, str]]  # model, form
    columns: list[tuple[str, str]]  # dataset, metric
    cells: dict[tuple[str, str, str, str], CellText]  # model, form, dataset, metric
    rows: list[TableRow]
    tests: list[Comparison]


def grid(rows: Sequence[TableRow], tests: Sequence[Comparison] = ()) -> Grid:
    """tests: what decides which cells are marked as best."""
    models = list(dict.fromkeys((r.model, r.form) for r in rows))
    columns = list(dict.fromkeys((r.dataset, r.metric) for r in rows))
    columns.sort(key=lambda column: column[0] == "all")  # the time last
    marked, cells = best(rows, tests), {}
    for r in rows:
        key = (r.model, r.form, r.dataset, r.metric)
        printed = reported(r.table, r.setting, r.form, r.dataset, r.model, r.metric)
        count = "" if r.of is None or r.n == r.of else f"n {r.n} of {r.of}"
        half = "" if r.low is None or r.high is None else as_printed((r.high - r.low) / 2, r.metric)
        paper = "" if r.suite == "mini" else printed.printed + printed.mark
        verdict = r.verdict if r.suite == "paper" and r.mean is not None else ""
        cells[key] = CellText(
            "" if r.mean is None else as_printed(r.mean, r.metric), half, _interval(r), count, paper, verdict,
            key in marked, r.reason,
        )  # fmt: skip
    return Grid(rows[0].table, rows[0].suite, models, columns, cells, list(rows), list(tests))


def _interval(r: TableRow) -> str:
    if r.low is not None and r.high is not None:
        return f"[{as_printed(r.low, r.metric)}, {as_printed(r.high, r.metric)}]"
    if r.group_least is None or r.group_most is None or r.groups < 2:
        return ""
    return f"groups {as_printed(r.group_least, r.metric)} to {as_printed(r.group_most, r.metric)}"


def datasets_of(g: Grid) -> list[str]:
    return list(dict.fromkeys(dataset for dataset, _ in g.columns))


def sizes(g: Grid, dataset: str) -> str:
    """ "32 examples in 8 groups, 1 seed", of the cells in which nothing is missing."""
    scored = [r for r in g.rows if r.of is not None and r.dataset == dataset and r.n == r.of]
    found = sorted({(r.of, r.groups) for r in scored})
    seeds = {key: max(r.seeds for r in scored if (r.of, r.groups) == key) for key in found}  # one serves the copies
    return "; ".join(f"{of} examples in {groups} groups, {_seeds(seeds[of, groups])}" for of, groups in found)


def title(g: Grid) -> str:
    return f"Table {g.table}: {TITLES[g.table]} (suite {g.suite})"


REAL = "--suite paper (make: SUITE=paper)"


def suite_line(suite: str, datasets: Sequence[str], split: str = "") -> str:
    """What the numbers are of, and what they are not: the first line of everything."""
    names = ", ".join(DATASETS[d].printed for d in datasets if d in DATASETS)
    if suite == "mini":
        return f"suite mini: the built-in miniatures of {names}, not these datasets themselves; those: {REAL}"
    if SUITES[suite].hand_picked(split):
        return f"suite published: the MGIE authors' own output images, hand-picked by them, for examples of {names}"
    if suite == "published":
        return f"suite published: output images for whole test sets of {names} that their authors made public"
    return f"suite paper: {names} from their official files"


def head(g: Grid, notes: Sequence[str], split: str) -> list[str]:
    """What a reader must know of the numbers: which data, how many, how scored, what the marks mean."""
    scored = [r for r in g.rows if r.of is not None and r.dataset != "all"]
    lines = []
    counts = [f"{dataset_name(d, g.suite)} {said}" for d in datasets_of(g) if d != "all" and (said := sizes(g, d))]
    if counts:
        lines.append(f"Data{f', split {split}' if split else ''}: {'; '.join(counts)}.")
    if SUITES[g.suite].hand_picked(split) and scored:
        n = sorted({r.of for r in scored if r.of is not None})
        picked = f"Hand-picked by the authors, n = {' and '.join(map(str, n))} a dataset"
        lines.append(f"{picked}: no claim about the paper's own table follows from these numbers.")
    lines += [f"Note: {note}" for note in notes]
    lines += [
        f"Each cell: mean over examples and seeds, 95 % interval ({METHODS}); n where a value is missing.",
        *_few(g),
        "SSIM, DINO, CVS and CTS are printed x100 as in the paper, L1 and LPIPS raw"
        f"{scaled(m for _, m in g.columns)}; the CSV beside this is unscaled.",
    ]
    if g.suite != "mini":
        lines.append(f"The paper's value follows where it prints one; {MARK} = recalled, not confirmed; none = not "
                     "transcribed.")  # fmt: skip
        lines.append("The verdict says whether the paper's value lies in our interval; the paper gives no interval of "
                     "its own." if g.suite == "paper" else
                     "The paper's values are of other data than this suite's: not comparable.")  # fmt: skip
    lines.append(f"Bold: {BEST}.")
    lines.append("The input copy and the goal image are no models: many of these metrics reward doing nothing, so "
                 "compare with the input copy first.")  # fmt: skip
    if any(model == "codec" for model, _ in g.models):
        lines.append("The codec copy is the input image through the editors' VAE and back, without an edit: what their "
                     "latents cost.")  # fmt: skip
    return lines


def _few(g: Grid) -> list[str]:
    groups = [(dataset_name(r.dataset, g.suite), r.groups) for r in g.rows if r.dataset != "all" and r.mean is not None]
    return few_groups(groups, "lowest and highest mean of a group in its place")


def scaled(metrics: Iterable[str]) -> str:
    """How those that the paper's tables do not have are printed, where not raw: goes on a sentence about the others."""
    ours = {m: metric_entry(m) for m in metrics if m not in PAPERS}
    return "".join(f", {entry.printed} x{entry.scale}" for entry in ours.values() if entry.scale != 1)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def protocols(g: Grid) -> list[str]:
    """What exactly each metric computed: one line a metric and protocol."""
    found = {(r.metric, r.protocol) for r in g.rows if r.protocol}
    rank = {metric: place for place, metric in enumerate(METRICS)}
    in_order = sorted(found, key=lambda f: (rank.get(plain(f[0]), len(rank)), *f))
    # the miniature's networks are its own
    return [f"{metric_entry(m).printed}: {p}{'' if g.suite == 'mini' else released_in(p)}" for m, p in in_order]


def remarks(g: Grid) -> list[str]:
    """Why cells are empty, or what to know of them; cells with the same reason together."""
    where: dict[str, list[TableRow]] = {}
    for r in g.rows:
        if r.reason:
            where.setdefault(r.reason, []).append(r)
    lines = []
    for reason, rows in where.items():
        parts = [[metric_entry(r.metric).printed for r in rows], [dataset_name(r.dataset, g.suite) for r in rows],
                 [model_name(r.model, r.form, g.table) for r in rows]]  # fmt: skip
        names = "; ".join(", ".join(dict.fromkeys(part)) for part in parts)
        lines.append(f"{len(rows)} cell{'s' if len(rows) > 1 else ''} ({names}): {reason}")
    return lines


def markdown(g: Grid, notes: Sequence[str], split: str, more: Sequence[str] = ()) -> str:
    """The answer first, and settings that are not the default; a block a dataset; what a reader of the numbers must
    know. more: below the blocks."""
    lines = [f"# {title(g)}", "", suite_line(g.suite, datasets_of(g), split), ""]
    lines += [f"{note}\n" for note in notes if note.startswith(OTHER_SETTINGS)]
    lines += [f"- {line}" for line in in_words(g.tests)] + [""]
    for dataset in datasets_of(g):
        lines += [*_block(g, dataset), ""]
    lines += _shown(g) + list(more) + _paper(g)
    lines += ["Notes", "", *(f"- {line}" for line in head(g, notes, split))]
    lines += listed("Remarks", remarks(g)) + listed("Protocols", protocols(g))
    return "\n".join(lines + _tests(g)) + "\n"


def _block(g: Grid, dataset: str) -> list[str]:
    metrics = [metric for d, metric in g.columns if d == dataset]
    size = sizes(g, dataset) if dataset != "all" else ""
    rows = [
        [model_name(model, form, g.table), *(_markdown_cell(g.cells.get((model, form, dataset, m))) for m in metrics)]
        for model, form in g.models
    ]
    heading = f"**{dataset_name(dataset, g.suite)}**{size and f', {size}'}"
    return [heading, "", *markdown_table(["Model", *map(column_name, metrics)], rows)]


def _shown(g: Grid) -> list[str]:
    found = smallest(g.tests)
    return [f"{SMALLEST}:", "", *(f"- {name}: {', '.join(said)}" for name, said in found), ""] if found else []


def paper_rows(g: Grid) -> list[tuple[str, list[tuple[str, str]]]]:
    """By dataset and metric, "MGIE 71.49": what the paper reports on the real data; empty but in suite mini."""
    found = []
    for dataset, metric in g.columns if g.suite == "mini" else ():
        here = [r for r in g.rows if (r.dataset, r.metric) == (dataset, metric)]
        printed = [(r, reported(r.table, r.setting, r.form, dataset, r.model, metric)) for r in here]
        values = [(model_name(r.model, r.form, g.table), p.printed + p.mark) for r, p in printed if p.printed]
        if values:
            found.append((f"{DATASETS[dataset].printed} {column_name(metric)}", values))
    return found


def _paper(g: Grid) -> list[str]:
    return paper_block([(name, dict(values)) for name, values in paper_rows(g)])


def paper_block(rows: Sequence[tuple[str, dict[str, str]]], what: str = "Dataset and metric") -> list[str]:
    """rows: a name and the paper's printed values by column. Nothing where the paper prints none."""
    if not rows:
        return []
    columns = list(dict.fromkeys(column for _, values in rows for column in values))
    table = [[name, *(values.get(column, "") for column in columns)] for name, values in rows]
    said = [
        "What the paper reports on the real data",
        "",
        f"Other data than this suite's: not comparable with any number above. {MARK} = recalled, not confirmed.",
        "",
    ]
    return [*said, *markdown_table([what, *columns], table), ""]


def said(g: Grid, notes: Sequence[str], split: str) -> list[str]:
    """All that stands around the numbers, for a form that has no room for it."""
    return [suite_line(g.suite, datasets_of(g), split), *head(g, notes, split), *remarks(g), *protocols(g)]


def _markdown_cell(cell: CellText | None) -> str:
    if cell is None:
        return ""
    value = (f"**{cell.value}**" if cell.best else cell.value) or "not run"
    paper = f"paper {cell.paper}" if cell.paper else ""
    paper += f", {cell.verdict}" if paper and cell.verdict else ""
    return "<br>".join(filter(None, (value, cell.interval, cell.count, paper)))


def _tests(g: Grid) -> list[str]:
    tests, without = [t for t in g.tests if t.p is not None], sum(t.p is None for t in g.tests)
    if not g.tests:
        return []
    counts = [sum(t.family == family for t in tests) for family in (MODELS, COPY)]
    lines = ["", "## Between models", "", "Paired permutation test that flips whole groups, two-sided; the 95 % "
             "interval is the differences that it does not reject. Two families, each with its own Holm: "
             f"{counts[0]} tests between models, {counts[1]} against the input copy. Difference: first minus second, "
             "scaled as in the table. Better: who, where p (Holm) is below 0.05.", ""]  # fmt: skip
    table = [
        [dataset_name(t.dataset, g.suite), column_name(t.metric), " - ".join(map(test_name, (t.a, t.b))),
         test_name(better(t)), signed(t.difference, t.metric), _between(t), f"{t.p:.4f}", f"{t.p_holm:.4f}", str(t.n),
         str(t.groups)]
        for t in sorted(tests, key=lambda t: t.family == COPY) if t.difference is not None  # what has a p has one
    ]  # fmt: skip
    header = ["Dataset", "Metric", "Models", "Better", "Difference", "95 % interval", "p", "p (Holm)", "n", "Groups"]
    lines += markdown_table(header, table, 4)
    if without:
        lines += ["", f"{without} comparisons are left out: a side has no value; the CSV of the tests lists them."]
    return lines


def _between(t: Comparison) -> str:
    return "" if t.low is None or t.high is None else f"[{signed(t.low, t.metric)}, {signed(t.high, t.metric)}]"


def signed(difference: float, metric: str) -> str:
    return ("+" if difference >= 0 else "") + as_printed(difference, metric)


class Printed(Protocol):
    """What a cell of a figure's table needs of its row."""

    @property
    def suite(self) -> str: ...
    @property
    def mean(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def n(self) -> int: ...
    @property
    def of(self) -> int | None: ...
    @property
    def verdict(self) -> str: ...


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """The lines of a table whose first `left` columns are words, the others numbers."""
    align = ["---"] * left + ["---:"] * (len(header) - left)
    lines = [header, align, *rows]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines]


def cell(row: Printed, number: Callable[[float], str], paper: str) -> str:
    """Mean, interval, n and, where the paper prints one, its value. paper: that value as shown, empty without one."""
    if row.mean is None:
        return "not run" if row.of is None else "no value"
    interval = "" if row.low is None or row.high is None else f"<br>[{number(row.low)}, {number(row.high)}]"
    count = f"n {row.n}" if row.n == row.of else f"n {row.n} of {row.of}"
    verdict = f", {row.verdict}" if paper and row.suite == "paper" else ""
    return f"{number(row.mean)}{interval}<br>{count}{paper and f'<br>paper {paper}'}{verdict}"


def listed(title: str, said: Iterable[str]) -> list[str]:
    """Lines of a list below its title, each said once; nothing where nothing is said."""
    found = list(dict.fromkeys(line for line in said if line))
    return ["", title, "", *(f"- {line}" for line in found)] if found else []
