"""Editors behind rewriters: `python -m bench.tables rewrite`.

    python -m bench.tables rewrite                                                    the built-in miniature
    python -m bench.tables rewrite --models inspix2pix,diffusers:FOLDER --rewriters none,mgie,texts.jsonl

The same editor with the instruction as it is (none) and with what each rewriter makes of it; every difference to none
is tested in pairs. The texts are written once a rewriter and dataset. Writes rewrite.csv, rewrite.md, rewrite-tests.csv
and the scores behind them below results/<suite>/. Exit codes: 0 done, 1 stopped or (--strict) something was not run,
2 wrong use, or nothing could be run.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.grid.cells import Cell, make_weights, read_run, refuse_nothing, run_cells
from bench.grid.options import Selection, parser, selected
from bench.grid.reference import against
from bench.grid.rows import Measured
from bench.grid.show import suite_line
from bench.grid.stored import scores_name, write_scores
from bench.grid.terminal import wrapped
from bench.metrics.sets import described, expanded
from bench.registry import METRICS, TIMES, form_of, metrics_of, open_dataset, short_name
from bench.rewriting.rows import NONE, Known, RewriteRow, RewriteTest, Rewritten, deaf, rows_of, tests_of
from bench.rewriting.show import Shown, markdown, terminal
from bench.runs.description import by
from bench.runs.rewriting.named import NAMES
from bench.runs.rewriting.texts import NAME, lines_in
from mgie.io.files import write_atomic, write_csv

MODELS = ("inspix2pix",)
REWRITERS = "none,lgie,mgie"
FILE = "rewrite"


@dataclass(frozen=True, kw_only=True)
class Asked(Selection):
    rewriters: tuple[str, ...]  # as they are given; none is the first

    def metrics(self, dataset: str) -> tuple[str, ...]:
        return expanded(self.options.metrics, dataset) or metrics_of(self.suite, dataset)


def table_parser() -> argparse.ArgumentParser:
    p = parser("bench.tables rewrite", __doc__, leave=("rewrite",))
    p.add_argument("--models", help=f"comma-separated, such as edit by instruction; default: {','.join(MODELS)}")
    p.add_argument("--rewriters", default=REWRITERS, help="comma-separated, each as --rewrite of bench.run takes it; "
                   f"none is always among them; default: {REWRITERS}")  # fmt: skip
    p.add_argument("--metrics", help=f"comma-separated, of {', '.join(METRICS)}; sets: {described()}; default: those "
                   "of Table 1")  # fmt: skip
    p.add_argument("--seeds", type=int, default=1, help="how many: seeds 0 to N-1 (default 1)")
    return p


def asked_of(argv: Sequence[str] | None) -> Asked:
    """What a command line asks for. Raises ValueError for wrong use."""
    args = table_parser().parse_args(argv)
    chosen = selected(args, MODELS, (), args.seeds)
    names = tuple(dict.fromkeys(name.strip() for name in args.rewriters.split(",") if name.strip()))
    rewriters = (NONE, *(name for name in names if name != NONE))
    printed = [printed_name(name) for name in rewriters]
    if twice := next((name for name in printed if printed.count(name) > 1), None):
        raise ValueError(f"--rewriters {args.rewriters}: two of them are called {twice}; rename one")
    if len(rewriters) == 1:
        raise ValueError(f"--rewriters {args.rewriters}: nobody to compare with none; for example {REWRITERS}")
    named = () if set(rewriters) == set(REWRITERS.split(",")) else tuple(printed[1:])
    return Asked(**vars(chosen) | {"only": (*chosen.only, *named)}, rewriters=rewriters)


def printed_name(rewriter: str) -> str:
    """Of a path or Hub id the last part, as the runs call it: folders are private."""
    return rewriter if rewriter in NAMES else Path(rewriter).name


def cells_of(asked: Asked) -> list[Cell]:
    return [
        Cell(asked.suite, dataset, model, "zero-shot", form_of(model), rewriter)
        for model in asked.models for rewriter in asked.rewriters for dataset in asked.datasets
    ]  # fmt: skip


def measure(asked: Asked) -> list[Rewritten]:
    """Every cell, run where it was not, and read back."""
    cells = cells_of(asked)
    make_weights(cells, asked.options)
    results = run_cells(cells, asked.options)
    refuse_nothing(results)
    return [
        Rewritten(
            Measured(r.cell, None if r.reason else read_run(r.finished, asked.options.seeds, r.protocols), r.reason),
            printed_name(r.cell.rewriter), None if r.reason else r.finished,
        )
        for r in results
    ]  # fmt: skip


def knowing(asked: Asked) -> dict[str, Known]:
    """By dataset, whether an example's instruction is ambiguous; only of those that know it."""
    found: dict[str, Known] = {}
    for dataset in asked.datasets:
        facts = getattr(open_dataset(asked.suite, dataset, asked.data_root, asked.options.data), "facts", None)
        if facts:
            found[dataset] = ambiguous_by(facts)
    return found


def ambiguous_by(facts: Callable[[str], Any]) -> Known:
    def ambiguous(example_id: str) -> bool:
        return facts(example_id).ambiguous

    return ambiguous


def notes_of(asked: Asked, cells: Sequence[Rewritten]) -> list[str]:
    """Settings, data, who wrote which texts by which question, and editors that do not look at their instruction."""
    runs = [one.run for one in cells if one.run and one.rewriter == NONE]
    lines = [*asked.options.said, *sorted({run.note for run in runs if run.note})]
    for rewriter in dict.fromkeys(one.rewriter for one in cells if one.rewriter != NONE):
        folders = [one.folder for one in cells if one.rewriter == rewriter and one.folder]
        texts = [text for folder in folders for text in lines_in(folder / NAME)]
        if texts:
            template = f"asked: {' '.join(texts[0].template.split())}" if texts[0].template else "its texts were given"
            lines.append(f"Rewriter {rewriter} ({texts[0].hash}), {template}")
    plain = {(one.cell.dataset, one.cell.model): one for one in cells if one.rewriter == NONE}
    for one in cells:
        alike, of = deaf(one, plain[one.cell.dataset, one.cell.model])
        if one.rewriter != NONE and of and alike == of:
            lines.append(f"{short_name(one.cell.model)} on {one.cell.dataset}: all {of} edits by other texts "
                         f"({one.rewriter}) are the same pixels: it does not look at its instruction")  # fmt: skip
    return lines


def write_stored(asked: Asked, cells: Sequence[Rewritten]) -> None:
    """The scores behind the table, as they are in the runs."""
    for one in cells:
        if one.run:
            cell, wanted = one.cell, asked.metrics(one.cell.dataset)
            name = scores_name(cell.dataset, f"{cell.model}{by(one.rewriter)}", cell.setting, cell.form)
            write_scores(asked.stem(f"scores-{FILE}") / name, [s for s in one.run.scores if s.metric in wanted])


def make(argv: Sequence[str] | None) -> int:
    """Run what is missing, write and print the table; the exit code."""
    asked = asked_of(argv)
    print("\n".join([suite_line(asked.suite, asked.datasets), asked.options.placed, *asked.options.said]), flush=True)
    cells, metrics = measure(asked), {dataset: asked.metrics(dataset) for dataset in asked.datasets}
    knows: Mapping[str, Known] = knowing(asked)
    rows = rows_of(cells, metrics, knows, asked.options.seeds, f"{asked.options.out.name}/{asked.suite}")
    tests = tests_of(cells, metrics, knows)
    shown = Shown(asked.suite, asked.options.split, asked.datasets, rows, tests, notes_of(asked, cells))
    stem = asked.stem(FILE)
    files = [stem.with_suffix(".csv"), stem.with_suffix(".md"), stem.with_name(f"{stem.name}-tests.csv")]
    write_csv(files[0], RewriteRow, rows)
    write_atomic(files[1], markdown(shown))
    write_csv(files[2], RewriteTest, tests)
    write_stored(asked, cells)
    print("\n".join(wrapped(terminal(shown))))
    print(f"written: {', '.join(map(str, files))}")
    print("\n".join(against(files[0], asked.suite)))
    missing = sum(row.of is None for row in rows if row.metric not in TIMES)
    if missing and asked.strict:
        print(f"error: --strict: {missing} cells were not run", file=sys.stderr)
    return 1 if missing and asked.strict else 0
