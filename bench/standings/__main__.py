"""The standings: what papers print, by protocol, and your own runs among the rows that they can be compared with.

    python -m bench.standings                               MagicBrush, each turn on the true input
    python -m bench.standings --turns multi --with runs/paper/magicbrush--mine--1a2b3c4d
    python -m bench.standings --dataset emu-edit            another dataset: published rows alone

A run stands among the published rows only where its stored protocols are those of MagicBrush's own script; else the
command says which setting would place it. Writes results/paper/standings-<dataset>[-<turns>].csv, .md and .png.
Exit codes: 0 done, 2 wrong use.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.grid.reference import made_here
from bench.standings.blocks import COLUMNS
from bench.standings.section import collected, write
from bench.standings.show import terminal
from mgie.io.command import command, written


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("bench.standings", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument(
        "--dataset",
        default="magicbrush",
        help="whose published rows; an unknown one lists those there are (default: magicbrush)",
    )
    p.add_argument(
        "--turns", choices=("single", "multi"), default="single", help="which published turns (default: single)"
    )
    p.add_argument(
        "--with",
        dest="given",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="RUN",
        help="run folders that lie elsewhere than below --out, or bundles that bench.verify has verified",
    )
    p.add_argument("--by", choices=COLUMNS, default="l1", help="the metric that orders the rows (default: l1)")
    p.add_argument("--out", type=Path, default=Path("runs"), help="holds the run folders (default: runs)")
    p.add_argument(
        "--results", type=made_here, default=Path("results"), help="files go to RESULTS/paper/ (default: results)"
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    def make() -> int:
        found = collected(args.dataset, args.turns, args.out, args.given, args.by)
        print(terminal(found), flush=True)  # before the plot, which takes longer than all else
        print(written(write(found, args.results / "paper")))
        return 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
