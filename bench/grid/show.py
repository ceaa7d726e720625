"""A table in the paper's shape: a row a model, a column a dataset and metric; Markdown and what every form of it says.

Each cell: our mean, its 95 % interval, n (n of N when fewer), the paper's value with its mark. SSIM, DINO, CVS and CTS
are printed x100 as in the paper. Rounding happens here and nowhere before. bench.grid.latex prints the same grid.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.grid.paper import MARK, as_printed, reported
from bench.grid.rows import Comparison, TableRow
from bench.registry import BENCHMARKS, DATASETS, METRICS, metric_entry, model_entry, short_name
from bench.resampling.intervals import METHODS

PAPERS = frozenset(metric for name in BENCHMARKS for metric in DATASETS[name].metrics)  # metrics of its tables
TITLES = {1: "zero-shot editing", 2: "fine-tuned on each dataset", 3: "the architecture of LGIE and MGIE, zero-shot"}


class CellText(NamedTuple):
    value: str  # empty: not run
    interval: str
    count: str
    paper: str  # with its mark; empty: the paper prints none, or it is not transcribed
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


def grid(rows: Sequence[TableRow]) -> Grid:
    models = list(dict.fromkeys((r.model, r.form) for r in rows))
    columns = list(dict.fromkeys((r.dataset, r.metric) for r in rows))
    columns.sort(key=lambda column: column[0] == "all")  # the time last
    best = {column: _best(column, rows) for column in columns}
    cells = {}
    for r in rows:
        printed = reported(r.table, r.setting, r.form, r.dataset, r.model, r.metric)
        value = "" if r.mean is None else as_printed(r.mean, r.metric)
        interval = "" if r.low is None else f"[{as_printed(r.low, r.metric)}, {as_printed(r.high, r.metric)}]"
        count = "" if r.of is None else f"n {r.n}" if r.n == r.of else f"n {r.n} of {r.of}"
        verdict = r.verdict if r.suite == "paper" and r.mean is not None else ""
        cells[r.model, r.form, r.dataset, r.metric] = CellText(
            value, interval, count, printed.printed + printed.mark, verdict,
            bool(value) and not model_entry(r.model).bound and value == best[r.dataset, r.metric], r.reason,
        )  # fmt: skip
    return Grid(rows[0].table, rows[0].suite, models, columns, cells, list(rows))


def _best(column: tuple[str, str], rows: Sequence[TableRow]) -> str:
    """The best printed value of a column among the models that edit; empty when fewer than two were run."""
    here = [r for r in rows if (r.dataset, r.metric) == column and not model_entry(r.model).bound]
    means = [r.mean for r in here if r.mean is not None]
    if len(means) < 2 or column[1] == "seconds":
        return ""
    return as_printed((min if metric_entry(column[1]).lower else max)(means), column[1])


def model_name(model: str, form: str, table: int) -> str:
    name = model_entry(model).printed
    return f"{name} {form.upper()}" if table == 3 and form != "none" else name


def column_name(metric: str) -> str:
    return f"{metric_entry(metric).printed} {metric_entry(metric).arrow}"


def dataset_name(dataset: str, suite: str) -> str:
    if dataset not in DATASETS:
        return "all datasets"
    return f"{'mini-' if suite == 'mini' else ''}{DATASETS[dataset].printed}"


def title(g: Grid) -> str:
    return f"Table {g.table}: {TITLES[g.table]} (suite {g.suite})"


def suite_line(suite: str, datasets: Sequence[str]) -> str:
    """What the numbers are of, and what they are not: the first line of everything."""
    names = ", ".join(DATASETS[d].printed for d in datasets if d in DATASETS)
    if suite == "mini":
        return f"suite mini: the built-in miniatures of {names}, not these datasets themselves; those: --suite paper"
    if suite == "published":
        return f"suite published: the MGIE authors' own output images, hand-picked by them, for examples of {names}"
    return f"suite paper: {names} from their official files"


def head(g: Grid, notes: Sequence[str], split: str) -> list[str]:
    """What a reader must know before a number: which data, how many, how scored, what the marks mean."""
    scored = [r for r in g.rows if r.of is not None and r.dataset != "all"]
    lines = []
    counts = []
    for dataset in dict.fromkeys(r.dataset for r in scored):
        sizes = {(r.of, r.groups, r.seeds) for r in scored if r.dataset == dataset and r.n == r.of}
        counts += [f"{dataset_name(dataset, g.suite)} {of} examples in {groups} groups, {_seeds(seeds)}"
                   for of, groups, seeds in sorted(sizes)]  # fmt: skip
    if counts:
        lines.append(f"Data{f', split {split}' if split else ''}: {'; '.join(counts)}.")
    if g.suite == "published" and scored:
        n = sorted({r.of for r in scored})
        picked = f"Hand-picked by the authors, n = {' and '.join(map(str, n))} a dataset"
        lines.append(f"{picked}: no claim about the paper's own table follows from these numbers.")
    lines += [f"Note: {note}" for note in notes]
    lines += [
        f"Each cell: mean over examples and seeds, 95 % interval ({METHODS}), n.",
        "SSIM, DINO, CVS and CTS are printed x100 as in the paper, L1 and LPIPS raw"
        f"{scaled(m for _, m in g.columns)}; the CSV beside this is unscaled.",
        f"The paper's value follows where it prints one; {MARK} = recalled, not confirmed; none = not transcribed.",
        "The paper's values are of other data than this suite's: not comparable." if g.suite != "paper" else
        "The verdict says whether the paper's value lies in our interval; the paper gives no interval of its own.",
        "Best of the models in bold. The input copy and the goal image are no models: many of these metrics reward "
        "doing nothing, so compare with the input copy first.",
        *(["The codec copy is the input image through the editors' VAE and back, without an edit: what their latents "
           "cost."] if any(model == "codec" for model, _ in g.models) else []),
    ]  # fmt: skip
    return lines


def scaled(metrics: Iterable[str]) -> str:
    """How those that the paper's tables do not have are printed, where not raw: goes on a sentence about the others."""
    ours = {m: metric_entry(m) for m in metrics if m not in PAPERS}
    return "".join(f", {entry.printed} x{entry.scale}" for entry in ours.values() if entry.scale != 1)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _datasets(g: Grid) -> list[str]:
    return list(dict.fromkeys(dataset for dataset, _ in g.columns))


def protocols(g: Grid) -> list[str]:
    """What exactly each metric computed: one line a metric and protocol."""
    found = {(r.metric, r.protocol) for r in g.rows if r.protocol}
    rank = {metric: place for place, metric in enumerate(METRICS)}
    return [f"{metric_entry(m).printed}: {p}" for m, p in sorted(found, key=lambda f: (rank.get(f[0], len(rank)), *f))]


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


def markdown(g: Grid, notes: Sequence[str], split: str, tests: Sequence[Comparison]) -> str:
    lines = [f"# {title(g)}", "", suite_line(g.suite, _datasets(g)), ""]
    lines += [f"- {line}" for line in head(g, notes, split)] + [""]
    header = [f"{dataset_name(d, g.suite)}<br>{column_name(m)}" for d, m in g.columns]
    lines += [_line(["Model", *header]), _line(["---", *["---:"] * len(header)])]
    for model, form in g.models:
        texts = [_markdown_cell(g.cells.get((model, form, d, m))) for d, m in g.columns]
        lines.append(_line([model_name(model, form, g.table), *texts]))
    if remarks(g):
        lines += ["", "Remarks", ""] + [f"- {line}" for line in remarks(g)]
    lines += ["", "Protocols", ""] + [f"- {line}" for line in protocols(g)]
    return "\n".join(lines + _tests(g, tests)) + "\n"


def said(g: Grid, notes: Sequence[str], split: str) -> list[str]:
    """All that stands around the numbers, for a form that has no room for it."""
    return [suite_line(g.suite, _datasets(g)), *head(g, notes, split), *remarks(g), *protocols(g)]


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _markdown_cell(cell: CellText | None) -> str:
    if cell is None:
        return ""
    value = (f"**{cell.value}**" if cell.best else cell.value) or "not run"
    paper = f"paper {cell.paper}" if cell.paper else ""
    paper += f", {cell.verdict}" if paper and cell.verdict else ""
    return "<br>".join(filter(None, (value, cell.interval, cell.count, paper)))


def _tests(g: Grid, tests: Sequence[Comparison]) -> list[str]:
    if not tests:
        return []
    lines = ["", "## Between models", "", "Paired permutation test that flips whole groups, two-sided; Holm over the "
             f"{sum(t.p is not None for t in tests)} comparisons of this table. Difference: first minus second, scaled "
             "as in the table. Better: who, where p (Holm) is below .05.", "",
             _line(["Dataset", "Metric", "Models", "Difference", "p", "p (Holm)", "n", "Groups", "Better"]),
             _line(["---"] * 3 + ["---:"] * 5 + ["---"])]  # fmt: skip
    for t in tests:
        if t.p is None:
            continue
        pair = " - ".join(_test_name(name) for name in (t.a, t.b))
        difference, p = signed(t.difference, t.metric), [f"{t.p:.4f}", f"{t.p_holm:.4f}"]
        lines.append(_line([dataset_name(t.dataset, g.suite), column_name(t.metric), pair, difference, *p, str(t.n),
                            str(t.groups), _test_name(better(t))]))  # fmt: skip
    without = sum(t.p is None for t in tests)
    if without:
        lines += ["", f"{without} comparisons are left out: a side has no value; the CSV of the tests lists them."]
    return lines


def _test_name(name: str) -> str:
    model, _, form = name.partition(" ")
    return f"{short_name(model)} {form.upper()}".strip()


def signed(difference: float, metric: str) -> str:
    return ("+" if difference >= 0 else "") + as_printed(difference, metric)


def better(test: Comparison) -> str:
    """Whose mean is better, where the difference holds after Holm; else empty."""
    if test.p_holm is None or test.p_holm >= 0.05:
        return ""
    return test.a if (test.difference < 0) == metric_entry(test.metric).lower else test.b


def show(g: Grid, notes: Sequence[str], split: str, tests: Sequence[Comparison], files: Sequence[Path]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)  # in a file or a pipe there is no edge to keep to
    for line in (title(g), *head(g, notes, split)):
        console.print(line, markup=False)
    for dataset in dict.fromkeys(dataset for dataset, _ in g.columns):
        metrics = [metric for d, metric in g.columns if d == dataset]
        name = dataset_name(dataset, g.suite)
        table = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
        table.add_column("model", no_wrap=True)
        for metric in metrics:
            table.add_column(column_name(metric), justify="right")
        for model, form in g.models:
            cells = [g.cells.get((model, form, dataset, metric)) for metric in metrics]
            texts = [Text(_text(cell), style="bold" if cell and cell.best else "") for cell in cells]
            table.add_row(model_name(model, form, g.table), *texts)
        console.print()
        console.print(table)
    for line in remarks(g):
        console.print(f"- {line}", markup=False)
    tested = [t for t in tests if t.p is not None]
    if tested:
        held = sum(bool(better(t)) for t in tested)
        console.print(f"\n{held} of {len(tested)} differences between models hold after Holm (p < .05).", markup=False)
    if files:
        console.print("written: " + ", ".join(map(str, files)), markup=False, soft_wrap=True)


def _text(cell: CellText | None) -> str:
    if cell is None:
        return ""
    paper = f"paper {cell.paper}" if cell.paper else ""
    first = " ".join(filter(None, (cell.value or "not run", cell.interval.replace(" ", "\N{NO-BREAK SPACE}"))))
    return "\n".join(filter(None, (first, cell.count, paper, cell.verdict)))


class Printed(Protocol):
    """What a cell of a figure's table needs of its row."""

    suite: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    of: int | None
    verdict: str


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """The lines of a table whose first `left` columns are words, the others numbers."""
    align = ["---"] * left + ["---:"] * (len(header) - left)
    lines = [header, align, *rows]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines]


def cell(row: Printed, number: Callable[[float], str], paper: str) -> str:
    """Mean, interval, n and, where the paper prints one, its value. paper: that value as shown, empty without one."""
    if row.mean is None:
        return "not run" if row.of is None else "no value"
    interval = "" if row.low is None else f"<br>[{number(row.low)}, {number(row.high)}]"
    count = f"n {row.n}" if row.n == row.of else f"n {row.n} of {row.of}"
    verdict = f", {row.verdict}" if paper and row.suite == "paper" else ""
    return f"{number(row.mean)}{interval}<br>{count}{paper and f'<br>paper {paper}'}{verdict}"


def listed(title: str, said: Iterable[str]) -> list[str]:
    """Lines of a list below its title, each said once; nothing where nothing is said."""
    found = list(dict.fromkeys(line for line in said if line))
    return ["", title, "", *(f"- {line}" for line in found)] if found else []
