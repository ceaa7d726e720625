"""The report's first screen: what was run, one small table, what its tests say in words, one plot.

Made of Table 1's own files; a run folder that is here adds when, where and at which commit it was made.
"""

import csv
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, get_args

from bench.given.fits import refuse_unlike
from bench.given.named import Given
from bench.grid.between import LEVEL, better, column_name, dataset_name, in_words, model_name, test_name
from bench.grid.cells import Cell, read_run
from bench.grid.rows import COPY, MODELS, Comparison, Measured, TableRow, comparisons, rows_of
from bench.grid.show import Grid, grid, markdown_table, sizes
from bench.registry import metrics_of, model_entry
from bench.runs.folder import RunFolder

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ALONE = "★"
HALF = "±\u00a0"  # never parted from its number
MARKS = (
    f"Bold: the models that no other is shown to beat; {ALONE}: beats every other model (p < {LEVEL} after Holm). The "
    "input copy is no model."
)
Row = TypeVar("Row", bound="DataclassInstance")


class Answer(NamedTuple):
    lines: list[str]
    grid: Grid | None  # None: there is no Table 1
    columns: list[tuple[str, str]]  # dataset and metric of the small table and the plot


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """The rows of write_csv; a field that an older file does not have is empty. No file: no row."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [kind(**{f.name: _value(f.type, row.get(f.name, _default(f))) for f in fields(kind)})
                for row in csv.DictReader(file)]  # fmt: skip


def _default(field: Field) -> str:
    return "" if field.default is MISSING or field.default is None else str(field.default)


def _value(kind: object, text: str) -> object:
    options = get_args(kind) or (kind,)
    if not text:
        return None if str not in options else ""
    return next(t for t in (float, int, str) if t in options)(text)


def comparisons_of(path: Path) -> list[Comparison]:
    from dataclasses import replace

    tests = read_rows(path, Comparison)
    return [t if t.family else replace(t, family=COPY if "identity" in (t.a, t.b) else MODELS) for t in tests]


def answer(stem: Path, split: str, runs: Sequence[Path], given: Sequence[Given] = ()) -> Answer:
    """stem: of Table 1's files, without ending. runs: the folders of its runs that are here. given: rows added to it.

    Raises ValueError for one of these on other examples than the table's, or scored under other protocols.
    """
    rows = read_rows(stem.with_name(f"{stem.name}.csv"), TableRow)
    tests = comparisons_of(stem.with_name(f"{stem.name}-tests.csv"))
    if given:
        rows, tests = with_given(rows, runs, given)
    if not any(r.mean is not None for r in rows):
        parts = sorted(stem.parent.glob(f"{stem.name}-only-*.md"))
        said = f" Selections of it are here: {', '.join(f'[{p.name}]({p.name})' for p in parts)}." if parts else ""
        return Answer([f"Table 1 has no number here: make table1 makes it.{said}", ""], None, [])
    g = grid(rows, tests)
    columns = main_columns(g)
    data = "; ".join(f"{dataset_name(d, g.suite)} {sizes(g, d)}" for d, _ in columns if sizes(g, d))
    lines = [f"{made(runs)} Data{f', split {split}' if split else ''}: {data}.", ""]
    lines += [f"**Table 1 in short**: mean ± half of its 95 % interval. {MARKS}", "", *table(g, columns), ""]
    lines += [f"- {line}" for line in verdict(g.tests)] or ["- No test: fewer than two models have numbers."]
    return Answer([*lines, ""], g, columns)


def with_given(
    rows: list[TableRow], runs: Sequence[Path], given: Sequence[Given]
) -> tuple[list[TableRow], list[Comparison]]:
    """Table 1's rows and those of the runs that were given; and the tests between all whose run folders are here."""
    by_name = {folder.name: folder for folder in runs}
    here = {(r.model, r.dataset): (r, by_name[r.run.rpartition("/")[2]]) for r in rows
            if r.run.rpartition("/")[2] in by_name}  # fmt: skip
    seeds, suite = max((r.seeds for r in rows), default=1), RunFolder(given[0].folder).run()["suite"]
    metrics: dict[str, Sequence[str]] = {
        d: list(dict.fromkeys(r.metric for r in rows if r.dataset == d)) or list(metrics_of(suite, d))
        for d in dict.fromkeys([*(r.dataset for r in rows if r.dataset != "all"), *(g.dataset for g in given)])
    }
    cells, own = [], []
    for r, folder in here.values():
        protocols = {x.metric: x.protocol for x in rows if (x.model, x.dataset) == (r.model, r.dataset) and x.protocol}
        cell = Cell(suite, r.dataset, r.model, r.setting, r.form)
        cells.append(Measured(cell, read_run(folder, seeds, protocols)))
    for g in given:
        protocols = {r.metric: r.protocol for r in rows if r.dataset == g.dataset and r.protocol}
        beside = next((folder for (_, dataset), (_, folder) in here.items() if dataset == g.dataset), None)
        refuse_unlike(g.folder, beside or g.folder, seeds, protocols)
        own.append(Measured(Cell(suite, g.dataset, g.name, g.setting, g.form), read_run(g.folder, seeds, protocols)))
    added = [row for m in own for row in rows_of(1, m, metrics[m.cell.dataset], seeds, "given")]
    return rows + added, comparisons(1, cells + own, metrics)


def main_columns(g: Grid) -> list[tuple[str, str]]:
    """One metric a dataset: the first that all datasets have, else each one's first."""
    metrics: dict[str, Sequence[str]] = {
        d: [m for dataset, m in g.columns if dataset == d] for d, _ in g.columns if d != "all"
    }
    shared = [m for m in next(iter(metrics.values())) if all(m in here for here in metrics.values())]
    return [(d, shared[0] if shared else here[0]) for d, here in metrics.items()]


def made(runs: Sequence[Path]) -> str:
    """When, where and at which commit; several of them are counted."""
    sessions = [s for folder in runs for s in RunFolder(folder).sessions()]
    if not sessions:
        return "The run folders are not here, so date, machine and commit are not known."
    days = sorted({s["started"][:10] for s in sessions if "started" in s})
    when = days[-1] if len(set(days)) == 1 else f"{days[0]} to {days[-1]}" if days else "at an unknown time"
    devices = " and ".join(sorted({s.get("device", "an unknown device") for s in sessions}))
    commits = list(dict.fromkeys(s.get("commit", "unknown")[:10] for s in sessions))
    others = f" and {len(commits) - 1} others" if len(commits) > 1 else ""
    return f"Run {when} on {devices}, commit {commits[-1]}{others}."


def table(g: Grid, columns: Sequence[tuple[str, str]]) -> list[str]:
    rows = []
    for model, form in g.models:
        if model_entry(model).bound and model != "identity":
            continue
        cells = [_cell(g, (model, form, *column)) for column in columns]
        rows.append([model_name(model, form, g.table), *cells])
    heads = [f"{dataset_name(d, g.suite)}<br>{column_name(m)}" for d, m in columns]
    return markdown_table(["Model", *heads], rows)


def _cell(g: Grid, key: tuple[str, str, str, str]) -> str:
    cell = g.cells.get(key)
    if cell is None or not cell.value:
        return "not run"
    marked = [other for other, c in g.cells.items() if other[2:] == key[2:] and c.best]
    value = f"**{cell.value}**" if cell.best else cell.value
    half = f" {HALF}{cell.half}" if cell.half else ""
    return f"{value}{half}{f' {ALONE}' if marked == [key] else ''}"


def verdict(tests: Sequence[Comparison]) -> list[str]:
    """What holds, and between which models nothing was shown in any metric on any dataset."""
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for t in tests:
        if t.family == MODELS and t.p is not None:
            pairs.setdefault((t.a, t.b), []).append(t)
    level = [f"{test_name(a)} and {test_name(b)} ({len(of)} {'tests' if len(of) > 1 else 'test'})"
             for (a, b), of in pairs.items() if not any(map(better, of))]  # fmt: skip
    nothing = [f"No difference shown between {', between '.join(level)}."] if level else []
    between, *copy = in_words(tests) or [""]
    return list(filter(None, [between, *nothing, *copy]))
