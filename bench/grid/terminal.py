"""A table on a terminal: one line a model and dataset, readable at 80 columns and in a log; --verbose: all of it.

Compact: the mean, ± half the width of its interval, * where the model is marked as best. What every cell shares (how
many examples, what the marks mean) is said once, below; why a cell is empty, once a reason.
"""

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from bench.grid.between import BEST, SMALLEST, column_name, dataset_name, in_words, model_name, smallest
from bench.grid.paper import MARK
from bench.grid.show import CellText, Grid, datasets_of, head, paper_rows, protocols, remarks, sizes, title
from bench.registry import METRICS, TIMES, model_entry

SHORT = {"identity": "Input copy", "codec": "Codec copy", "oracle": "Goal image"}


def show(g: Grid, notes: Sequence[str], split: str, files: Sequence[Path], verbose: bool) -> None:
    lines = [f"{title(g)}{f', split {split}' if split else ''}"]
    for dataset in datasets_of(g):
        lines += ["", *(_seconds(g) if dataset == "all" else _block(g, dataset, verbose))]
    lines += ["", *_legend(g, verbose)]
    if verbose:
        lines += [*head(g, notes, split), *protocols(g), *(f"- {line}" for line in remarks(g))]
        lines += [f"{SMALLEST}:", *(f"  {name}: {', '.join(said)}" for name, said in smallest(g.tests))]
        if rows := paper_rows(g):
            lines.append(f"What the paper reports on the real data: other data, not comparable; {MARK} not confirmed:")
            lines += [f"  {name}: {', '.join(map(' '.join, values))}" for name, values in rows]
    else:
        lines += [f"- {line}" for line in [*not_run(g), *(line for line in remarks(g) if "texts cut at" in line)]]
        lines += [f"Smallest difference shown (80 % power, p < 0.05), {name}: {', '.join(said)}"
                  for name, said in smallest(g.tests)]  # fmt: skip
    print("\n".join(wrapped([*lines, *in_words(g.tests)])))
    if files:
        print("written: " + ", ".join(map(str, files)))


def wrapped(lines: Sequence[str]) -> list[str]:
    """Lines of words broken at the edge; those of a table are left as they are, they are made to fit."""
    width = shutil.get_terminal_size((80, 24)).columns
    out: list[str] = []
    for line in lines:
        prose = len(line) > width and not line.startswith(" ")
        out += textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False) if prose else [line]
    return out


def columns(table: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """The lines of a table, aligned. Columns that do not fit the width follow below, behind the same first ones."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    room = shutil.get_terminal_size((80, 24)).columns - sum(2 + width for width in widths[:left])
    pages: list[list[int]] = [[]]
    for i in range(left, len(widths)):
        if pages[-1] and sum(2 + widths[at] for at in (*pages[-1], i)) > room:
            pages.append([])
        pages[-1].append(i)
    return [("  " + "  ".join(line[i].ljust(widths[i]) for i in (*range(left), *page))).rstrip()
            for page in pages for line in table]  # fmt: skip


def _block(g: Grid, dataset: str, verbose: bool) -> list[str]:
    metrics = [metric for d, metric in g.columns if d == dataset]
    texts = [[_short(model, form, g.table), *(_text(g.cells.get((model, form, dataset, m)), verbose) for m in metrics)]
             for model, form in g.models]  # fmt: skip
    size = sizes(g, dataset)
    return [
        f"{dataset_name(dataset, g.suite)}{size and f', {size}'}",
        *columns([["", *map(column_name, metrics)], *texts]),
    ]


def _short(model: str, form: str, table: int) -> str:
    return SHORT.get(model) or model_name(model, form, table)


def _text(cell: CellText | None, verbose: bool) -> str:
    if cell is None:
        return ""
    if not cell.value:
        return "not run" if cell.reason.startswith("not run") else "no value"
    text = cell.value + (f" ±{cell.half}" if cell.half and not verbose else "") + ("*" if cell.best else "")
    if not verbose:
        return text + (f" ({cell.count})" if cell.count else "")
    paper = cell.paper and f"paper {cell.paper}{cell.verdict and f' {cell.verdict}'}"
    return " ".join(filter(None, (text, cell.interval, cell.count, paper)))


def _seconds(g: Grid) -> list[str]:
    said = []
    for model, form in g.models:
        cell = g.cells.get((model, form, "all", "seconds"))
        if cell and cell.value and not model_entry(model).bound:
            said.append(f"{_short(model, form, g.table)} {cell.value}{_rewriting(g, model, form)}")
    return [f"Median seconds an edit: {', '.join(said)}"] if said else ["Median seconds an edit: nothing was timed"]


def _rewriting(g: Grid, model: str, form: str) -> str:
    cell = g.cells.get((model, form, "all", "rewriting"))
    return f" (of it rewriting {cell.value})" if cell and cell.value else ""


def _legend(g: Grid, verbose: bool) -> list[str]:
    lines = [f"* {BEST}."] if any(c.best for c in g.cells.values()) else []
    if any(c.half for c in g.cells.values()):
        lines.append("[ ]: 95 % interval over groups." if verbose else
                     "± half the width of the 95 % interval over groups. The intervals: --verbose.")  # fmt: skip
    shown = [m.printed for name, m in METRICS.items() if m.scale != 1 and any(c == name for _, c in g.columns)]
    return [*lines, f"{', '.join(shown)} x100. " * bool(shown) + "The input copy does nothing: compare with it first."]


def not_run(g: Grid) -> list[str]:
    empty = {r.reason for r in g.rows if r.mean is None and r.metric not in TIMES}
    return [line for line in remarks(g) if any(reason in line for reason in empty)]
