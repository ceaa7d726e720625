"""The paper's tables: run the cells that are missing, then print and write the table.

    python -m bench.tables 1                                                  the built-in miniature
    python -m bench.tables 1 --suite published --data-root data               the authors' own output images
    python -m bench.tables 1 --suite paper --data-root data --weights weights the reproduction

Writes CSV, Markdown, LaTeX, a plot, the paired tests and the scores behind it below results/<suite>/. A cell that
cannot be run says why. Exit codes: 0 done, 1 stopped or (--strict) a cell was not run, 2 wrong use.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cells import (
    BENCHMARKS,
    KNOWN_SPLITS,
    PAPER_MODELS,
    SPLITS,
    WITH_FORMS,
    Options,
    beside,
    cells_of,
    make_weights,
    read_run,
    run_cells,
)
from bench.comparisons import Comparison, comparisons
from bench.engines import add_engine_flags, workers_of
from bench.layout import grid, markdown, suite_line
from bench.registry import DATASETS, METRICS, SUITES
from bench.remote import local_place, place
from bench.rows import Measured, Row, rows_of, seconds_row, write_csv
from bench.runfolder import write_atomic
from bench.suites import metrics_of

SEEDS = {"mini": (1, 5), "published": (1, 1), "paper": (5, 5)}


@dataclass(frozen=True)
class Asked:
    """What one command line asks for."""

    table: int
    suite: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    options: Options
    results: Path
    strict: bool

    @property
    def folder(self) -> Path:
        return self.results / self.suite

    @property
    def suffix(self) -> str:
        return beside(self.suite, self.options.split)

    def metrics(self, dataset: str) -> tuple[str, ...]:
        return self.options.metrics or metrics_of(self.suite, dataset)


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("bench.tables", description=__doc__, formatter_class=raw)
    p.add_argument("table", type=int, choices=(1, 2, 3), help="1 zero-shot, 2 fine-tuned, 3 FZ, FT and E2E")
    p.add_argument("--suite", choices=SUITES, help="default: mini, the built-in miniature")
    p.add_argument("--data-root", type=place, help="holds evr/ gier/ ma5k/ magicbrush/ published/; default: data")
    p.add_argument("--weights", type=Path, help="holds <model>[-<form>][-<dataset>]/")
    p.add_argument("--models", help="comma-separated; default: those of the table")
    p.add_argument("--datasets", help=f"comma-separated, of {', '.join(DATASETS)}; default: those of the table")
    p.add_argument("--metrics", help=f"comma-separated, of {', '.join(METRICS)}; default: those of the table")
    p.add_argument("--seeds", type=int, help="how many: seeds 0 to N-1; default: mini 1, published 1, paper 5")
    p.add_argument("--split", help="default: mini quick (32 a dataset), published all, paper the test split")
    p.add_argument("--full", action="store_true", help="mini: the whole test split (200 a dataset) and 5 seeds")
    add_engine_flags(p)
    p.add_argument("--strict", action="store_true", help="exit 1 when a cell was not run")
    p.add_argument("--out", type=local_place, default=Path("runs"), help="run folders go below it (default: runs)")
    p.add_argument("--results", type=Path, default=Path("results"), help="tables go below it (default: results)")
    return p


def asked_of(argv: Sequence[str] | None) -> Asked:
    """Raises ValueError for wrong use."""
    args = parser().parse_args(argv)
    if args.suite is None and (args.data_root or args.weights):
        given = "--data-root" if args.data_root else "--weights"
        raise ValueError(f"{given} needs --suite: the default suite is the miniature; for real data add --suite paper")
    suite = args.suite or "mini"
    if suite == "published" and args.table != 1:
        raise ValueError(f"table {args.table} cannot be made of suite published: it holds one output of each model an "
                         "example, neither fine-tuned nor by form; table 1 can")  # fmt: skip
    split = SPLITS[suite][args.full] if args.split is None else args.split
    if suite in KNOWN_SPLITS and split not in KNOWN_SPLITS[suite]:
        raise ValueError(f"suite {suite} has no split '{split}'; known: {', '.join(KNOWN_SPLITS[suite])}")
    seeds = SEEDS[suite][args.full] if args.seeds is None else args.seeds
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: expected at least 1")
    models = WITH_FORMS if args.table == 3 else PAPER_MODELS
    models = ("identity", "codec", *models, "oracle") if suite == "mini" else ("identity", *models)
    datasets = (*BENCHMARKS, *(("ipr2pr",) if suite == "published" and split != "sample" else ()))
    options = Options(
        split, seeds, chosen(args.metrics, (), METRICS, "metric"), args.data_root, args.weights, args.out,
        workers_of(args, "auto").flags(),
    )  # fmt: skip
    return Asked(
        args.table, suite, chosen(args.models, models), chosen(args.datasets, datasets, DATASETS, "dataset"), options,
        args.results, args.strict,
    )  # fmt: skip


def chosen(given: str | None, default: tuple[str, ...], known: dict | None = None, what: str = "") -> tuple[str, ...]:
    """The names of a comma-separated list; an unknown model is left to bench.run, which says why it cannot run."""
    names = tuple(dict.fromkeys(name.strip() for name in (given or "").split(",") if name.strip())) or default
    if unknown := [name for name in names if known is not None and name not in known]:
        raise ValueError(f"unknown {what} '{unknown[0]}'; known: {', '.join(known)}")
    return names


def measure(asked: Asked) -> list[Measured]:
    """Every cell of the table, run where it was not, and read back."""
    cells = cells_of(asked.table, asked.suite, asked.models, asked.datasets)
    make_weights(cells, asked.options)
    # dataset by dataset within a model, so that processes side by side work on different data
    results = run_cells(cells, asked.options)
    return [
        Measured(r.cell, None, r.reason) if r.reason else Measured(r.cell, read_run(r.folder, asked.options.seeds))
        for r in results
    ]


def table_rows(asked: Asked, measured: Sequence[Measured]) -> list[Row]:
    """In the paper's order: model by model; in Table 1 the inference time of each model at its end."""
    rows, seeds, runs = [], asked.options.seeds, f"{asked.options.out.name}/{asked.suite}"
    for model, form in dict.fromkeys((m.cell.model, m.cell.form) for m in measured):
        here = [m for m in measured if (m.cell.model, m.cell.form) == (model, form)]
        for m in here:
            rows += rows_of(asked.table, m, asked.metrics(m.cell.dataset), seeds, runs)
        if asked.table == 1:
            rows.append(seconds_row(asked.table, here, seeds))
    return rows


def write(asked: Asked, measured: Sequence[Measured], rows: Sequence[Row], tests: Sequence[Comparison]) -> list[Path]:
    """All files of the table; returns those a reader would open."""
    from bench.latex import latex
    from bench.plots import plot_table

    stem = asked.folder / f"table{asked.table}{asked.suffix}"
    g, notes = grid(rows), notes_of(measured)
    write_csv(stem.with_suffix(".csv"), Row, rows)
    tests_csv = stem.with_name(f"{stem.name}-tests.csv")
    write_csv(tests_csv, Comparison, tests)
    write_atomic(stem.with_suffix(".md"), markdown(g, notes, asked.options.split, tests))
    write_atomic(stem.with_suffix(".tex"), latex(g, notes, asked.options.split))
    plotted = plot_table(rows, stem)
    write_stored(asked, measured)
    return [stem.with_suffix(".csv"), stem.with_suffix(".md"), stem.with_suffix(".tex"), *plotted, tests_csv]


def notes_of(measured: Sequence[Measured]) -> list[str]:
    return sorted({m.run.note for m in measured if m.run and m.run.note})


def write_stored(asked: Asked, measured: Sequence[Measured]) -> None:
    """The scores behind the table, as they are in the runs; a cell that was not run leaves what is stored as it is."""
    from bench.stored import file_name, write_scores

    for cell, run, _ in measured:
        if run:
            wanted = asked.metrics(cell.dataset)
            name = file_name(cell.dataset, cell.model, cell.setting, cell.form)
            write_scores(asked.folder / f"scores{asked.suffix}" / name, [s for s in run.scores if s.metric in wanted])


def main(argv: Sequence[str] | None = None) -> int:
    from bench.terminal import show

    try:
        asked = asked_of(argv)
        print(suite_line(asked.suite, asked.datasets), flush=True)
        measured = measure(asked)
        rows = table_rows(asked, measured)
        tests = comparisons(asked.table, measured, {dataset: asked.metrics(dataset) for dataset in asked.datasets})
        # a table without a number, made where data or weights are missing, must not replace one with numbers
        keep = not any(m.run for m in measured) and (asked.folder / f"table{asked.table}{asked.suffix}.csv").exists()
        files = [] if keep else write(asked, measured, rows, tests)
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(grid(rows), notes_of(measured), asked.options.split, tests, files)
    if keep:
        print(f"nothing was run: the files in {asked.folder} are left as they are")
    missing = sum(row.of is None for row in rows if row.metric != "seconds")
    if missing and asked.strict:
        print(f"error: --strict: {missing} cells were not run", file=sys.stderr)
    return 1 if missing and asked.strict else 0


if __name__ == "__main__":
    sys.exit(main())
