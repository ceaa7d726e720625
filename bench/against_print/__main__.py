"""MagicBrush's own outputs, scored here, beside what their paper prints: the protocol's check from end to end.

    python -m bench.against_print --data-root data

Its authors made the outputs of their best system public (`python -m bench.fetch magicbrush-outputs`). No model is
needed. Printed values: results/paper/published.csv, Table 2 of the paper. The script that printed them took the turns
of a session in the order in which the disk listed them (mended on 2025-02-19), so both orders are scored: by turn, and
as this disk lists the folders; the disk of that time may have listed others. Writes results/published/against-print.csv
and .md. Exit codes: 0 done, 1 stopped or something was not run, 2 wrong use, or nothing could be run.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.datasets.outputs import BY_FOLDER, MagicBrushOutputs
from bench.grid.cells import Cell, Options, Result, read_run, refuse_nothing, run_all
from bench.grid.reference import made_here
from bench.registry import MetricEntry, metric_entry, metric_settings
from bench.settings import (
    SUITES_OWN,
    Choice,
    DataSettings,
    MetricSettings,
    add_metric_flags,
    choices_of,
    from_flags,
)
from bench.standings.published import METRICS, SCRIPT, Published, read
from bench.stats import summarise
from mgie.io.command import command, written
from mgie.io.files import write_atomic, write_csv

PAPER = "MagicBrush arXiv 2306.10012 Table 2"
SYSTEM = ("InstructPix2Pix", "MagicBrush-epoch-000168")  # "the checkpoint in our paper", whose outputs these are
ORDERS = {"by turn": "test", "by folder": BY_FOLDER}
TURNS = ("single", "multi")
DIGITS = 4  # as print has them


class Printed(NamedTuple):
    turns: str
    metric: str  # our name
    value: str


@dataclass(frozen=True)
class Line:
    """One number in both orders. Empty: not run, see reason."""

    outputs: str
    turns: str
    metric: str
    printed: str
    by_turn: float | None
    by_folder: float | None
    n: int | None
    moved: int | None  # pairs that are others by folder than by turn
    reason: str = ""

    def nearer(self) -> str:
        """What the comparison says, in words."""
        if self.by_turn is None or self.by_folder is None:
            return f"not run: {self.reason}"
        off = {
            "by turn": abs(self.by_turn - float(self.printed)),
            "by folder": abs(self.by_folder - float(self.printed)),
        }
        half = 0.5 * 10**-DIGITS
        equal = [order for order, by in off.items() if by <= half]
        if equal:
            return f"as printed, {' and '.join(equal)}"
        least = min(off, key=lambda order: off[order])
        return f"off by {off[least]:.{DIGITS}f} {least}"


def printed(path: Path | None = None) -> list[Printed]:
    """What the paper prints for these outputs, in its order. Raises ValueError where a number is missing."""
    rows: Sequence[Published] = read(path) if path else read()
    ours = [r for r in rows if (r.system, r.checkpoint) == SYSTEM and r.protocol == SCRIPT and r.reported_by == PAPER]
    found = [Printed(row.turns, METRICS[row.metric][1], row.value) for row in ours]
    if len(found) != 10:
        raise ValueError(f"results/paper/published.csv has {len(found)} of the 10 numbers of {PAPER} for {SYSTEM[1]}")
    return found


def measure(args: argparse.Namespace, names: Sequence[str]) -> dict[tuple[str, str, str], Result]:
    """The finished run of each outputs folder, turns and order."""
    metrics = tuple(dict.fromkeys(p.metric for p in printed()))
    networks, own = (metric_settings("published", s) for s in (from_flags(MetricSettings, args), SUITES_OWN))
    wanted = {}
    for name in names:
        for turns in TURNS:
            for split in ORDERS.values():
                chosen = (
                    Choice("--turns", turns, turns),
                    Choice("--caption", "local", "local"),
                    *choices_of(own, networks),
                )
                options = Options(split, 1, metrics, args.data_root, None, args.out, chosen=chosen)
                wanted[name, turns, split] = (Cell("published", "magicbrush", name), options)
    labels = [f"{name}, {turns} turn, {split}" for name, turns, split in wanted]
    return dict(zip(wanted, run_all(list(wanted.values()), labels), strict=True))


def pairs_moved(data_root: Path, turns: str, name: str) -> int:
    """How many pairs of output and goal are others by folder than by turn."""
    pairs = []
    for split in ORDERS.values():
        data = MagicBrushOutputs(data_root, DataSettings(split=split, turns=turns, caption="local"))
        found = data.outputs(name)
        pairs.append({(found.get(e.id), e.goal_image) for e in data.examples() if e.scored})
    return len(pairs[0] - pairs[1])


def lines_of(args: argparse.Namespace, names: Sequence[str], results: dict) -> list[Line]:
    found = []
    for name in names:
        for turns in TURNS:
            here = [results[name, turns, split] for split in ORDERS.values()]
            reason = next((r.reason for r in here if r.reason), "")
            runs = [] if reason else [read_run(r.finished, 1, r.protocols) for r in here]
            moved = None if reason else pairs_moved(args.data_root, turns, name)
            for row in (p for p in printed() if p.turns == turns):
                sums = [summarise([s for s in run.scores if s.metric == row.metric]) if any(
                    s.metric == row.metric for s in run.scores) else None for run in runs]  # fmt: skip
                why = reason or next((run.not_run[row.metric] for run in runs if row.metric in run.not_run), "")
                by_turn, by_folder = [s.mean if s else None for s in sums] or [None, None]
                n = sums[0].n if sums and sums[0] else None
                found.append(Line(name, turns, row.metric, row.value, by_turn, by_folder, n, moved, why))
    return found


def head(names: Sequence[str]) -> list[str]:
    return [
        f"MagicBrush's own outputs ({', '.join(names)}) scored here, beside {PAPER}.",
        "By folder: turns as this disk lists them, which the script did until 2025-02-19; the disk of that time may "
        "have listed others, so print need not be either number.",
        "Assumption: the outputs are those of the checkpoint in the paper, as the repository's README says.",
    ]


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.{DIGITS}f}"


def table(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    names = ["outputs", "turns", "metric", "print", "by turn", "by folder", "n", "pairs moved", "says"]
    rows = []
    for line in lines:
        entry: MetricEntry = metric_entry(line.metric)
        n, moved = ("-" if count is None else f"{count:,}" for count in (line.n, line.moved))
        rows.append([line.outputs, line.turns, f"{entry.printed} {entry.arrow}", line.printed, shown(line.by_turn),
                     shown(line.by_folder), n, moved, line.nearer()])  # fmt: skip
    return names, rows


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "bench.against_print", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--data-root", type=Path, default=Path("data"), help="holds magicbrush/ and magicbrush-outputs/ (default: data)"
    )
    p.add_argument("--outputs", help="which of the folders in magicbrush-outputs/, comma-separated; default: all")
    p.add_argument("--out", type=Path, default=Path("runs"), help="run folders go below it (default: runs)")
    p.add_argument("--results", type=made_here, default=Path("results"), help="files go below it (default: results)")
    add_metric_flags(p.add_argument_group("the metrics' networks"))
    return p


def make(args: argparse.Namespace) -> int:
    from bench.grid.show import markdown_table

    data = MagicBrushOutputs(args.data_root, DataSettings(split="test"))
    names = [name for name in (args.outputs or "").split(",") if name] or list(data.models)
    if unknown := [name for name in names if name not in data.models]:
        raise ValueError(f"--outputs {unknown[0]}: in {data.folder} are {', '.join(data.models)}")
    print("\n".join(head(names)), flush=True)
    results = measure(args, names)
    refuse_nothing(list(results.values()))
    lines = lines_of(args, names, results)
    columns, rows = table(lines)
    stem = args.results / "published" / "against-print"
    write_csv(stem.with_suffix(".csv"), Line, lines)
    text = [f"# {head(names)[0]}", "", *head(names)[1:], "", *markdown_table(columns, rows)]
    write_atomic(stem.with_suffix(".md"), "\n".join(text) + "\n")
    for row in (columns, *rows):
        print("  ".join(cell.ljust(max(len(r[i]) for r in (columns, *rows))) for i, cell in enumerate(row)).rstrip())
    print(written([stem.with_suffix(".csv"), stem.with_suffix(".md")]))
    return 1 if any(line.by_turn is None for line in lines) else 0


def main(argv: Sequence[str] | None = None) -> int:
    return command(lambda: make(parser().parse_args(argv)))


if __name__ == "__main__":
    import sys

    sys.exit(main())
