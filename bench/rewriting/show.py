"""The table of rewriters in Markdown and on a terminal: what holds in words, a block a dataset, then the notes.

A cell is the mean, below it the difference to none with its p after Holm. Printed as the paper's tables are: SSIM,
DINO, CVS and CTS x100.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bench.grid.between import LEVEL, column_name, dataset_name, few_groups
from bench.grid.paper import as_printed
from bench.grid.show import listed, markdown_table, signed, suite_line
from bench.grid.terminal import columns
from bench.registry import METRICS, TIMES, metric_entry, plain, short_name
from bench.resampling.intervals import METHODS
from bench.rewriting.rows import ALL, AMBIGUOUS, NONE, PARTS, UNAMBIGUOUS, WHOLE, RewriteRow, RewriteTest

LISTED = 6  # findings that a line spells out


class Shown(NamedTuple):
    suite: str
    split: str
    datasets: tuple[str, ...]
    rows: list[RewriteRow]
    tests: list[RewriteTest]
    notes: list[str]  # of data, rewriters and settings

    @property
    def title(self) -> str:
        return f"Expressive instructions for other editors (suite {self.suite})"

    def row(self, dataset: str, subset: str, pair: tuple[str, str], metric: str) -> RewriteRow | None:
        key = (dataset, subset, *pair, metric)
        return next((r for r in self.rows if (r.dataset, r.subset, r.model, r.rewriter, r.metric) == key), None)

    def test(self, dataset: str, subset: str, pair: tuple[str, str], metric: str) -> RewriteTest | None:
        key = (dataset, subset, *pair, metric)
        return next((t for t in self.tests if (t.dataset, t.subset, t.model, t.rewriter, t.metric) == key), None)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((r.model, r.rewriter) for r in self.rows))

    def metrics(self, dataset: str) -> list[str]:
        return list(dict.fromkeys(r.metric for r in self.rows if r.dataset == dataset))


def holds(test: RewriteTest) -> bool:
    return test.p_holm is not None and test.p_holm < LEVEL


def is_better(test: RewriteTest) -> bool:
    """Whether the rewriter's mean is the better one."""
    assert test.difference is not None  # what is tested has one
    return (test.difference < 0) == metric_entry(test.metric).lower


def in_words(tests: Sequence[RewriteTest]) -> list[str]:
    """One line a family of tests: how many differences to none hold, which, and what points which way."""
    lines = []
    for family in (WHOLE, PARTS):
        mine = [t for t in tests if t.family == family and t.p is not None]
        if not mine:
            continue
        found, better = [t for t in mine if holds(t)], sum(map(is_better, mine))
        count = f"Rewriter against none, {family}, {len(mine)} test{'s' * (len(mine) > 1)}: "
        ways = f"the mean is better with the rewriter in {better} of {len(mine)}"
        if not found:
            lines.append(f"{count}none holds after Holm (p < {LEVEL:g}); {ways}.")
            continue
        said = "; ".join(map(finding, found[:LISTED]))
        more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
        lines.append(f"{count}{len(found)} hold{'s' * (len(found) == 1)}: {said}{more}; {ways}.")
    return lines


def finding(test: RewriteTest) -> str:
    """ "InsPix2Pix is better by mgie in L1 on mini-MA5k, ambiguous"."""
    part = "" if test.subset == ALL else f", {test.subset}"
    where = f"{metric_entry(test.metric).printed} on {dataset_name(test.dataset, test.suite)}{part}"
    return f"{short_name(test.model)} is {'better' if is_better(test) else 'worse'} by {test.rewriter} in {where}"


def markdown(shown: Shown) -> str:
    lines = [f"# {shown.title}", "", suite_line(shown.suite, shown.datasets), ""]
    lines += [f"- {line}" for line in in_words(shown.tests)] + [""]
    for dataset in shown.datasets:
        lines += [*block(shown, dataset), ""]
    lines += [*times(shown), ""]
    lines += ["Notes", "", *(f"- {line}" for line in head(shown))]
    lines += listed("Remarks", remarks(shown)) + listed("Protocols", protocols(shown))
    return "\n".join([*lines, *tested(shown)]) + "\n"


def block(shown: Shown, dataset: str) -> list[str]:
    """Editor, rewriter, then a column a metric; below it the parts by ambiguity, where they are known."""
    metrics, lines = shown.metrics(dataset), []
    subsets = list(dict.fromkeys(r.subset for r in shown.rows if r.dataset == dataset))
    for subset in subsets:
        rows = [[short_name(model), rewriter, *(cell(shown, dataset, subset, (model, rewriter), m) for m in metrics)]
                for model, rewriter in shown.pairs]  # fmt: skip
        part = "" if subset == ALL else f", {subset} instructions only"
        size = sizes(shown, dataset, subset)
        lines += ["", f"**{dataset_name(dataset, shown.suite)}**{part}{size and f', {size}'}", ""]
        lines += markdown_table(["Editor", "Rewriter", *map(column_name, metrics)], rows, 2)
    return lines[1:]


def cell(shown: Shown, dataset: str, subset: str, pair: tuple[str, str], metric: str, brief: bool = False) -> str:
    row, test = shown.row(dataset, subset, pair, metric), shown.test(dataset, subset, pair, metric)
    if row is None or row.mean is None:
        return "not run" if row is None or row.of is None else "no value"
    value, between = as_printed(row.mean, metric), "" if brief else interval(row)
    count = f"n {row.n} of {row.of}" if row.n != row.of else ""
    moved = ""
    if test and test.difference is not None:
        p = "" if test.p_holm is None else f" (p {test.p_holm:.3f})"
        moved = f"{signed(test.difference, metric)}{'*' if holds(test) else ''}{p}"
    return (" " if brief else "<br>").join(filter(None, (value, between, moved, count)))


def interval(row: RewriteRow) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"[{as_printed(row.low, row.metric)}, {as_printed(row.high, row.metric)}]"


def sizes(shown: Shown, dataset: str, subset: str) -> str:
    found = {(r.of, r.groups) for r in shown.rows
             if (r.dataset, r.subset) == (dataset, subset) and r.of is not None and r.n == r.of}  # fmt: skip
    return "; ".join(f"{of} examples in {groups} groups" for of, groups in sorted(found))


def times(shown: Shown) -> list[str]:
    rows = []
    for model, rewriter in shown.pairs:
        found = [shown.row("all", ALL, (model, rewriter), name) for name in TIMES]
        texts = [as_printed(r.mean, r.metric) if r and r.mean is not None else "" for r in found]
        rows.append([short_name(model), rewriter, *texts])
    header = ["Editor", "Rewriter", *(metric_entry(name).printed for name in TIMES)]
    return ["**Median seconds an edit**, with the time of rewriting in it", "", *markdown_table(header, rows, 2)]


def head(shown: Shown) -> list[str]:
    split = f", split {shown.split}" if shown.split else ""
    counts = [f"{dataset_name(d, shown.suite)} {size}" for d in shown.datasets if (size := sizes(shown, d, ALL))]
    lines = [f"Data{split}: {'; '.join(counts)}."] if counts else []
    lines += [f"Note: {note}" for note in shown.notes]
    lines += [
        f"Each cell: mean over examples and seeds, 95 % interval ({METHODS}); below it the difference to none, same "
        f"editor, examples and seeds, with its p after Holm; * where it is below {LEVEL:g}.",
        "Paired permutation test that flips whole groups, two-sided. Two families, each with its own Holm: all "
        "examples, and the parts by ambiguity.",
        "SSIM, DINO, CVS and CTS are printed x100, the others raw; the CSV beside this is unscaled.",
    ]
    groups = [(f"{dataset_name(r.dataset, shown.suite)}{'' if r.subset == ALL else f' {r.subset}'}", r.groups)
              for r in shown.rows if r.dataset != "all" and r.mean is not None]  # fmt: skip
    lines += few_groups(groups, "no interval stands there")
    if any(r.subset in (AMBIGUOUS, UNAMBIGUOUS) for r in shown.rows):
        lines.append("Ambiguous: what the instruction asks for can be told from the image alone; the miniature knows "
                     "this of each of its examples.")  # fmt: skip
    return lines


def protocols(shown: Shown) -> list[str]:
    found = {(r.metric, r.protocol) for r in shown.rows if r.protocol}
    rank = {metric: place for place, metric in enumerate((*METRICS, *TIMES))}
    return [f"{metric_entry(m).printed}: {p}" for m, p in sorted(found, key=lambda f: (rank.get(plain(f[0]), 99), *f))]


def remarks(shown: Shown) -> list[str]:
    """Why cells are empty, those with the same reason together."""
    where: dict[str, list[RewriteRow]] = {}
    for r in shown.rows:
        if r.reason and r.metric != "rewriting" and not r.reason.startswith("no interval"):
            where.setdefault(r.reason, []).append(r)
    return [f"{len(rows)} cell{'s' * (len(rows) > 1)} ("
            f"{', '.join(dict.fromkeys(f'{short_name(r.model)} by {r.rewriter}' for r in rows))}): {reason}"
            for reason, rows in where.items()]  # fmt: skip


def tested(shown: Shown) -> list[str]:
    tests = [t for t in shown.tests if t.p is not None and t.difference is not None]
    if not tests:
        return []
    table = [
        [dataset_name(t.dataset, shown.suite), t.subset, column_name(t.metric), short_name(t.model), t.rewriter,
         "" if not holds(t) else "rewriter" if is_better(t) else NONE, signed(t.difference or 0.0, t.metric), span(t),
         f"{t.p:.4f}", f"{t.p_holm:.4f}", str(t.n), str(t.groups), smallest(t)]
        for t in sorted(tests, key=lambda t: t.family == PARTS)
    ]  # fmt: skip
    header = ["Dataset", "Examples", "Metric", "Editor", "Rewriter", "Better", "Difference", "95 % interval", "p",
              "p (Holm)", "n", "Groups", "Smallest shown"]  # fmt: skip
    said = "Difference: with the rewriter minus without, scaled as in the table. Smallest shown: the smallest " \
           "difference that so many groups show with 80 % power at p < 0.05, before Holm."  # fmt: skip
    return ["", "## Between rewriters", "", said, "", *markdown_table(header, table, 6)]


def span(t: RewriteTest) -> str:
    return "" if t.low is None or t.high is None else f"[{signed(t.low, t.metric)}, {signed(t.high, t.metric)}]"


def smallest(t: RewriteTest) -> str:
    return "" if t.smallest is None else as_printed(t.smallest, t.metric)


def terminal(shown: Shown) -> list[str]:
    """The same without intervals, of all examples and of the ambiguous ones."""
    lines = [f"{shown.title}{f', split {shown.split}' if shown.split else ''}"]
    for dataset in shown.datasets:
        metrics = shown.metrics(dataset)
        for subset in dict.fromkeys(r.subset for r in shown.rows if r.dataset == dataset):
            part, size = "" if subset == ALL else f", {subset}", sizes(shown, dataset, subset)
            table = [["editor", "rewriter", *map(column_name, metrics)]]
            table += [[short_name(pair[0]), pair[1], *(cell(shown, dataset, subset, pair, m, True) for m in metrics)]
                      for pair in shown.pairs]  # fmt: skip
            lines += ["", f"{dataset_name(dataset, shown.suite)}{part}{size and f', {size}'}", *columns(table, 2)]
    lines += ["", "Median seconds an edit", *columns([["editor", "rewriter", *(m.printed for m in TIMES.values())], *(
        [short_name(model), rewriter, *(as_printed(r.mean, r.metric) if r and r.mean is not None else "-"
         for r in (shown.row("all", ALL, (model, rewriter), name) for name in TIMES))]
        for model, rewriter in shown.pairs)], 2)]  # fmt: skip
    lines += ["", "Behind a mean: its difference to none and its p after Holm; * where that is below 0.05."]
    lines += [f"- {line}" for line in remarks(shown) if "not run" in line]
    return lines + [f"Note: {note}" for note in shown.notes] + in_words(shown.tests)
