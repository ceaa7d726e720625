"""The paper's tables: run the cells that are missing, then print and write the table.

    python -m bench.tables 1                                                  the built-in miniature
    python -m bench.tables rewrite                                            editors behind rewriters; add --help
    python -m bench.tables 1 --suite published --data-root data               the authors' own output images
    python -m bench.tables 1 --suite paper --data-root data --weights weights the reproduction
    python -m bench.tables 1 --datasets magicbrush --with mine                your own outputs beside the others

Writes CSV, Markdown, LaTeX, a plot, the paired tests and the scores behind it below results/<suite>/, and says how it
compares with what is accepted in results/reference/. --models, --datasets, --metrics and --with give a table of another
name. A cell that cannot be run says why; a run of --with that does not belong there is refused. Exit codes: 0 done,
1 stopped or (--strict) a cell was not run, 2 wrong use, or nothing could be run.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.controls.rates import YARDSTICKS, RateRow, block, footer, rates
from bench.given.fits import other_protocols, refuse_unlike
from bench.given.named import Given, add_with
from bench.grid.cells import (
    Cell,
    Options,
    Result,
    cells_of,
    is_own,
    make_weights,
    read_run,
    refuse_nothing,
    run_all,
    setting_of,
)
from bench.grid.options import Selection, parser, selected, suite_of
from bench.grid.rows import Comparison, Measured, TableRow, comparisons, rows_of, seconds_rows
from bench.grid.show import Grid, grid, markdown, suite_line
from bench.metrics.sets import DISTANCE, SETS, Scored, described, expanded, said
from bench.registry import METRICS, PAPER_MODELS, SUITES, TIMES, WITH_FORMS, metrics_of, model_entry, split_of
from bench.rewriting import table as rewriting
from bench.runs.remote import place
from bench.settings import planned
from mgie.io.command import command
from mgie.io.files import write_atomic, write_csv

COPIES = {"mini": ("codec", "oracle"), "published": ("oracle",), "paper": ("codec", "oracle")}  # run beside a table
SEEDS = {"mini": (1, 5), "published": (1, 1), "paper": (5, 5)}  # by default, and on the split of --full


@dataclass(frozen=True, kw_only=True)
class Table(Selection):
    number: int  # the paper's
    verbose: bool = False
    argv: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Without its ending."""
        return self.stem(f"table{self.number}")

    def metrics(self, dataset: str) -> tuple[str, ...]:
        return expanded(self.options.metrics, dataset) or metrics_of(self.suite, dataset)


def table_parser() -> argparse.ArgumentParser:
    p = parser("bench.tables", __doc__, place, "the whole test split (200 a dataset) and 5 seeds")
    p.add_argument(
        "table",
        type=int,
        choices=(1, 2, 3),
        help="1 zero-shot, 2 fine-tuned, 3 FZ, FT and E2E; or rewrite: see bench.tables rewrite --help",
    )
    p.add_argument("--models", help="comma-separated; default: those of the table")
    p.add_argument(
        "--metrics",
        help=f"comma-separated, of {', '.join(METRICS)}; variants behind @: lpips@vgg, "
        f"cvs@ViT-L-14, cts@local, l1@outside; sets: {described()}; default: those of the table",
    )
    p.add_argument(
        "--seeds", type=int,
        help="how many: seeds 0 to N-1; default: mini 1 (its test split 5), published 1, paper 5",
    )  # fmt: skip
    p.add_argument("--verbose", action="store_true", help="print intervals, n, protocols and every remark too")
    add_with(p)
    return p


def table_of(argv: Sequence[str] | None) -> Table:
    """What a command line asks for. Raises ValueError for wrong use."""
    args = table_parser().parse_args(argv)
    suite = suite_of(args)
    if suite == "published" and args.table != 1:
        raise ValueError(f"table {args.table} cannot be made of suite published: it holds one output of each model an "
                         "example, neither fine-tuned nor by form; table 1 can")  # fmt: skip
    models = WITH_FORMS if args.table == 3 else PAPER_MODELS
    models = ("identity", "codec", *models, "oracle") if suite == "mini" else ("identity", *models)
    usual = SEEDS[suite][split_of(suite, args.full, args.split) == SUITES[suite].full]
    seeds = usual if args.seeds is None else args.seeds
    asked = selected(args, models, (), seeds, setting_of(args.table), usual_seeds=usual)
    given = tuple(sys.argv[1:] if argv is None else argv)
    return Table(**vars(asked), number=args.table, verbose=args.verbose, argv=given)


def measure(asked: Table) -> list[Measured]:
    """Every cell of the table, run where it was not, and read back."""
    cells = cells_of(asked.number, asked.suite, asked.models, asked.datasets)
    make_weights(cells, asked.options)
    results = run_all(wanted_of(asked))
    rows = results[: len(cells)]
    if not asked.given:
        refuse_nothing(rows)
    return [measured_of(asked, r, rows) for r in results] + given_cells(asked, rows)


def wanted_of(asked: Table) -> list[tuple[Cell, Options]]:
    """The cells of the table, then the copies beside it; dataset by dataset within a model, so that processes side by
    side work on different data."""
    cells = cells_of(asked.number, asked.suite, asked.models, asked.datasets)
    return [(cell, scoring_distance(asked, cell)) for cell in (*cells, *copies_beside(asked))]


def measured_of(asked: Table, result: Result, results: Sequence[Result]) -> Measured:
    """A cell read back. Of somebody's own run (--models mine) the scores under the other rows' protocols are taken."""
    if result.reason:
        return Measured(result.cell, None, result.reason)
    protocols = result.protocols
    if is_own(result.cell.model) and (other := beside(result.cell.dataset, results)):
        protocols = other.protocols
        if why := other_protocols(result.finished, protocols):
            return Measured(result.cell, None, f"{result.finished.name} does not belong here: {'; '.join(why)}")
    return Measured(result.cell, read_run(result.finished, asked.options.seeds, protocols))


def beside(dataset: str, results: Sequence[Result]) -> Result | None:
    """The first finished run of our own on that dataset: what others must be like."""
    return next((r for r in results if r.cell.dataset == dataset and not r.reason and r.protocols), None)


def given_cells(asked: Table, results: Sequence[Result]) -> list[Measured]:
    """The cells of --with. Raises ValueError for a run on other examples, or scored under other protocols."""
    seeds, found = asked.options.seeds, []
    for name, form in dict.fromkeys((g.name, g.form) for g in asked.given):
        for dataset in asked.datasets:
            cell = Cell(asked.suite, dataset, name, setting_of(asked.number), form)
            given = next((g for g in asked.given if (g.name, g.form, g.dataset) == (name, form, dataset)), None)
            if given is None:
                found.append(Measured(cell, None, f"no run of {name} on {dataset} was given"))
                continue
            other = beside(dataset, results)
            protocols = other.protocols if other else {}
            if other:
                refuse_unlike(given.folder, other.finished, seeds, protocols)
            found.append(Measured(cell, read_run(given.folder, seeds, protocols)))
    return found


def judges_edits(asked: Table) -> bool:
    """Whether no-op and over-edit rates are made: the table has a model to judge, or what they are measured by."""
    return bool(asked.given) or any(m in YARDSTICKS.values() or not model_entry(m).bound for m in asked.models)


def copies_beside(asked: Table) -> list[Cell]:
    """What is run for the no-op and over-edit rates, and is no row; nothing where the table has no model to judge."""
    if not asked.given and all(model_entry(m).bound for m in asked.models):
        return []
    return [Cell(asked.suite, d, m) for m in COPIES[asked.suite] if m not in asked.models for d in asked.datasets]


def scoring_distance(asked: Table, cell: Cell) -> Options:
    """The table's options, with the distance to the input among the metrics: whether a row edits at all."""
    if not judges_edits(asked):
        return asked.options
    return replace(asked.options, metrics=tuple(dict.fromkeys((*asked.metrics(cell.dataset), DISTANCE))))


def shown_of(asked: Table, measured: Sequence[Measured]) -> list[Measured]:
    """The rows of the table, without the copies that were run beside it."""
    shown = {*asked.models, *(given.name for given in asked.given)}
    return [m for m in measured if m.cell.model in shown]


def table_rows(asked: Table, measured: Sequence[Measured]) -> list[TableRow]:
    """In the paper's order: model by model; in Table 1 the inference time of each model at its end."""
    rows, seeds = [], asked.options.seeds
    for model, form in dict.fromkeys((m.cell.model, m.cell.form) for m in measured):
        here = [m for m in measured if (m.cell.model, m.cell.form) == (model, form)]
        for m in here:
            rows += rows_of(asked.number, m, asked.metrics(m.cell.dataset), seeds, where(asked, m))
        if asked.number == 1:
            rows += seconds_rows(asked.number, here, seeds)
    return rows


def where(asked: Table, measured: Measured) -> str:
    """The folder that a cell's run is said to be in."""
    cell, here = measured.cell, asked.options.out / asked.suite
    given = [g for g in asked.given if (g.name, g.dataset) == (cell.model, cell.dataset)]
    if given and given[0].folder.parent.resolve() != here.resolve():
        return "elsewhere"  # whose folders are called what is nobody's business
    return f"{asked.options.out.name}/{asked.suite}"


def write(asked: Table, measured: Sequence[Measured], g: Grid, edits: Sequence[RateRow] = ()) -> list[Path]:
    """All files of the table; returns those a reader would open."""
    from bench.figures.bars import plot_table
    from bench.grid.latex import latex

    stem, notes = asked.file, notes_of(asked, measured)
    write_csv(stem.with_suffix(".csv"), TableRow, g.rows)
    tests_csv = stem.with_name(f"{stem.name}-tests.csv")
    write_csv(tests_csv, Comparison, g.tests)
    write_atomic(stem.with_suffix(".md"), markdown(g, notes, asked.options.split, block(edits)))
    write_atomic(stem.with_suffix(".tex"), latex(g, notes, asked.options.split))
    plotted = plot_table(g, stem)
    rates_csv = asked.stem(f"rates{asked.number}").with_suffix(".csv")
    if edits:
        write_csv(rates_csv, RateRow, edits)
    else:
        rates_csv.unlink(missing_ok=True)  # of an earlier call, which had a model to judge
    write_stored(asked, measured)
    files = [stem.with_suffix(ending) for ending in (".csv", ".md", ".tex")]
    return [*files, *plotted, tests_csv, *([rates_csv] if edits else [])]


def notes_of(asked: Table, measured: Sequence[Measured]) -> list[str]:
    notes = sorted({m.run.note for m in measured if m.run and m.run.note})
    return [*asked.options.said, *notes, *map(said_of, asked.given), *asked.notices, *of_sets(asked, measured)]


def said_of(given: Given) -> str:
    more = f", {given.said}" if given.said else ""
    return f"{given.name} on {given.dataset}: a finished run, taken as it is (--with): {given.folder.name}{more}"


def of_sets(asked: Table, measured: Sequence[Measured]) -> list[str]:
    """What the rows of a set may be compared with, dataset by dataset: they share data, size rule and networks."""
    lines, data = [], asked.options.data
    for name in (n for n in asked.options.metrics if n in SETS):
        for dataset in asked.datasets:
            runs = [m.run for m in measured if m.run and m.cell.dataset == dataset]
            if runs:
                scored = Scored(asked.suite, dataset, data.split, data.turns, data.limit, runs[0].of, asked.edit.size,
                                asked.edit.max_side, {s.metric: s.protocol for s in runs[0].scores},
                                data.wrong_captions)  # fmt: skip
                lines += said(name, scored, "bench.tables", asked.argv)
    return list(dict.fromkeys(lines))


def write_stored(asked: Table, measured: Sequence[Measured]) -> None:
    """The scores behind the table, as they are in the runs; a cell that was not run leaves what is stored as it is."""
    from bench.grid.stored import scores_name, write_scores

    for cell, run, _ in measured:
        if run:
            wanted = asked.metrics(cell.dataset)
            name = scores_name(cell.dataset, cell.model, cell.setting, cell.form)
            write_scores(asked.stem("scores") / name, [s for s in run.scores if s.metric in wanted])


def refuse_empty(rows: Sequence[TableRow]) -> None:
    """Raises ValueError for a table of edits without any score, as where the network of its only metric is missing."""
    scores = [r for r in rows if r.metric not in TIMES]
    if scores and all(r.of is None for r in scores):
        why = (f"{r.dataset} {r.model} {r.metric}: {r.reason}" for r in scores)
        raise ValueError("\n".join(["no cell of the table has a score, so nothing was written.", *why]))


def make(asked: Table) -> int:
    """Run what is missing, write and print the table; the exit code."""
    from bench.grid.reference import against
    from bench.grid.terminal import show, wrapped

    lines = [suite_line(asked.suite, asked.datasets, asked.options.split), asked.options.placed, *asked.options.said]
    print("\n".join(lines), flush=True)
    for notice in asked.notices:
        print(f"notice: {notice}", file=sys.stderr)
    measured = measure(asked)
    rows = shown_of(asked, measured)
    edits = rates(asked.number, rows, measured) if judges_edits(asked) else []
    measured = rows
    tests = comparisons(asked.number, measured, {dataset: asked.metrics(dataset) for dataset in asked.datasets})
    cells = table_rows(asked, measured)
    refuse_empty(cells)
    g = grid(cells, tests)
    files = write(asked, measured, g, edits)
    show(g, notes_of(asked, measured), asked.options.split, files, asked.verbose)
    print("\n".join(wrapped([*footer(edits), *of_sets(asked, measured)])))
    for name in (f"table{asked.number}", *([f"rates{asked.number}"] if edits else [])):
        print("\n".join(wrapped(against(asked.stem(name).with_suffix(".csv"), asked.suite))))
    missing = sum(row.of is None for row in g.rows if row.metric not in TIMES)
    if missing and asked.strict:
        print(f"error: --strict: {missing} cells were not run", file=sys.stderr)
    return 1 if missing and asked.strict else 0


def plan(asked: Table, args: argparse.Namespace) -> int:
    """What make would take: its cells and the copies beside them, told and not run."""
    from bench.planning.command import of_cells

    return of_cells(f"Table {asked.number}", asked, args, wanted_of(asked), on_demand=True)


def plan_rewriting(argv: Sequence[str], args: argparse.Namespace) -> int:
    """The same of the table of rewriters."""
    from bench.planning.command import of_cells

    asked = rewriting.asked_of(argv)
    wanted = [(cell, asked.options) for cell in rewriting.cells_of(asked)]
    return of_cells("the table of rewriters", asked, args, wanted, on_demand=True)


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else list(argv)

    def run() -> int:
        if given[:1] == [rewriting.FILE]:
            args = rewriting.table_parser().parse_args(given[1:])
            return plan_rewriting(given[1:], args) if planned(args) else rewriting.make(given[1:])
        asked, args = table_of(given), table_parser().parse_args(given)
        return plan(asked, args) if planned(args) else make(asked)

    return command(run)


if __name__ == "__main__":
    sys.exit(main())
