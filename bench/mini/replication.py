"""The miniature trained a second time, from nothing, on another machine: how far do its figures move?

    python -m mgie.mini.make --out W --results R --work K                    hours of a core
    python -m bench.tables 1 --suite mini --split fresh --weights W --results T --out K/runs
    python -m bench.mini.replication R T                                     writes results/mini/replication.csv

A row each for every score of every stage and for every cell of the trained editors in Table 1: shipped, and again.
`within`, of a table's cell: the second mean lies in the first one's 95 % interval. The judges (CLIP, DINO, LPIPS) are
the shipped ones both times. A stage of other pictures, steps, seed or precision is refused: exit code 2.
"""

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.registry import PAPER_MODELS
from mgie.io.command import command
from mgie.io.files import write_csv

RESULTS, TABLE = Path(__file__).parents[2] / "results", "table1-fresh.csv"
ACCEPTED = RESULTS / "reference" / "mini"
SAME = ("data", "steps", "seed", "precision")  # the recipe's hash names the weights of earlier stages: other ones here


@dataclass(frozen=True)
class Again:
    where: str  # a stage, or a dataset
    what: str
    shipped: float
    again: float
    within: bool | None  # None: the first one has no interval
    shipped_on: str
    again_on: str


def of_stages(shipped: Path, again: Path) -> list[Again]:
    """ValueError: a stage of other pictures, steps, seed or precision."""
    rows = []
    for path in sorted(again.glob("*/scores.json")):
        new, old = json.loads(path.read_text()), json.loads((shipped / path.parent.name / "scores.json").read_text())
        if any(new[key] != old[key] for key in SAME) or new["scores"].keys() != old["scores"].keys():
            kept = shipped / path.parent.name
            raise ValueError(f"{path}: not the pictures, steps, seed, precision and scores of {kept}")
        rows += [Again(new["stage"], name, old["scores"][name], value, None, old["device"], new["device"])
                 for name, value in new["scores"].items()]  # fmt: skip
    if not rows:
        raise ValueError(f"{again} holds no <stage>/scores.json; mgie.mini.make --results {again} writes them")
    return rows


def of_tables(shipped: Path, again: Path) -> list[Again]:
    """ValueError: not the same cells, or one without a number."""
    first, second = cells_of(shipped), cells_of(again)
    if first.keys() != second.keys():
        raise ValueError(f"{again}: not the cells of {shipped}; make the whole table")
    rows = []
    for (dataset, what), old in first.items():
        mean = float(second[dataset, what]["mean"])
        inside = float(old["low"]) <= mean <= float(old["high"])
        rows.append(Again(f"mini-{dataset}", what, float(old["mean"]), mean, inside, "", ""))
    return rows


def cells_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Of the trained editors, but their seconds. ValueError: one was not run."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["model"] in PAPER_MODELS and r["metric"] != "seconds"]
    if lost := [r for r in rows if not r["mean"]]:
        raise ValueError(f"{path}: {lost[0]['model']} on {lost[0]['dataset']} was not run")
    return {(r["dataset"], f"{r['model']} {r['metric']}"): r for r in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="--results of mgie.mini.make")
    parser.add_argument("tables", type=Path, help="--results of bench.tables")
    options = parser.parse_args()
    return command(lambda: compare(options.results, options.tables))


def compare(results: Path, tables: Path) -> int:
    rows = of_stages(ACCEPTED / "training", results)
    cells = of_tables(ACCEPTED / TABLE, tables / "mini" / TABLE)
    write_csv(RESULTS / "mini" / "replication.csv", Again, rows + cells)
    for row in cells:
        print(f"{row.where:16}{row.what:18}{row.shipped:8.4f}{row.again:8.4f}  {'within' if row.within else 'OUTSIDE'}")
    print(f"{sum(bool(r.within) for r in cells)} of {len(cells)} cells of Table 1 (fresh) lie within the shipped "
          f"weights' interval; {len({r.where for r in rows})} stages compared")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
