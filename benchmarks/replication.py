"""The miniature trained a second time, from nothing, on another machine: how far do its figures move?

    python -m mgie.mini.make --out W --results R --work K                    hours of a core
    python -m bench.tables 1 --suite mini --split fresh --weights W --results T --out K/runs
    python benchmarks/replication.py R T                                     writes benchmarks/replication.csv

A row each for every score of every stage and for every cell of the trained editors in Table 1: shipped, and again.
`within`, of a table's cell: the second mean lies in the first one's 95 % interval. The judges (CLIP, DINO, LPIPS) are
the shipped ones both times. A stage of other pictures, steps, seed or precision is refused: exit code 2.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parents[1] / "results" / "mini"
EDITORS = ("inspix2pix", "lgie", "mgie")
SAME = ("data", "steps", "seed", "precision")  # the recipe's hash names the weights of earlier stages: other ones here


class Row(NamedTuple):
    where: str  # a stage, or a dataset
    what: str
    shipped: float
    again: float
    within: bool | None  # None: the first one has no interval
    shipped_on: str
    again_on: str


def of_stages(shipped: Path, again: Path) -> list[Row]:
    """ValueError: a stage of other pictures, steps, seed or precision."""
    rows = []
    for path in sorted(again.glob("*/scores.json")):
        new, old = json.loads(path.read_text()), json.loads((shipped / path.parent.name / "scores.json").read_text())
        if any(new[key] != old[key] for key in SAME):
            raise ValueError(f"{path}: not the pictures, steps, seed and precision of {shipped / path.parent.name}")
        rows += [Row(new["stage"], name, old["scores"][name], value, None, old["device"], new["device"])
                 for name, value in new["scores"].items()]  # fmt: skip
    if not rows:
        raise ValueError(f"{again} holds no <stage>/scores.json; mgie.mini.make --results {again} writes them")
    return rows


def of_tables(shipped: Path, again: Path) -> list[Row]:
    cells = {(r["dataset"], r["model"], r["metric"]): r for r in read(shipped)}
    rows = []
    for new in read(again):
        old = cells[new["dataset"], new["model"], new["metric"]]
        if new["model"] in EDITORS and new["metric"] != "seconds":
            mean, inside = float(new["mean"]), float(old["low"]) <= float(new["mean"]) <= float(old["high"])
            what = f"{new['model']} {new['metric']}"
            rows.append(Row(f"mini-{new['dataset']}", what, float(old["mean"]), mean, inside, "", ""))
    return rows


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="--results of mgie.mini.make")
    parser.add_argument("tables", type=Path, help="--results of bench.tables")
    options = parser.parse_args()
    try:
        rows = of_stages(RESULTS / "training", options.results)
        name = "table1-fresh.csv"
        cells = of_tables(RESULTS / name, options.tables / "mini" / name)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with open(Path(__file__).with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows + cells)
    for row in cells:
        print(f"{row.where:16}{row.what:18}{row.shipped:8.4f}{row.again:8.4f}  {'within' if row.within else 'OUTSIDE'}")
    print(f"{sum(bool(r.within) for r in cells)} of {len(cells)} cells of Table 1 (fresh) lie within the shipped "
          f"weights' interval; {len({r.where for r in rows})} stages compared")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
