"""Table 1 of the miniature, cold, by this code and by another checkout of it, which take turns.

    git worktree add ../before COMMIT
    python -m bench.speed.before_after ../before --runs 3      about two minutes a side and run

Every run has an empty folder for its runs; the miniature's data are drawn before. Writes
results/mini/speed/table1-before-after.csv; the claim is the ratio of the medians of the wall clock.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.speed.metric_engine import SPEED
from mgie.io.devices import device_name

HERE = Path(__file__).resolve().parents[2]


def seconds(checkout: Path, data: Path) -> float:
    """Of the command in that checkout."""
    with tempfile.TemporaryDirectory() as out:
        argv = [sys.executable, "-m", "bench.tables", "1", "--out", f"{out}/runs", "--results", f"{out}/results"]
        (Path(out) / "data").symlink_to(data)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
        start = time.perf_counter()
        done = subprocess.run(argv, cwd=out, env=environment, capture_output=True, text=True, check=False)
        spent = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{checkout}: bench.tables ended with {done.returncode}: {done.stderr[-500:]}")
    return spent


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("before", type=Path, help="the other checkout")
    p.add_argument("--runs", type=int, default=3)
    args = p.parse_args()
    sides = {"before": args.before.resolve(), "after": HERE}
    spent: dict[str, list[float]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as data:
        for checkout in sides.values():  # draws the data, and fills the caches of the file system
            seconds(checkout, Path(data))
        for _ in range(args.runs):
            for name, checkout in sides.items():
                spent[name].append(seconds(checkout, Path(data)))
    s = {name: statistics.median(values) for name, values in spent.items()}
    commits = {name: subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=at, capture_output=True, text=True,
                                    check=False).stdout.strip() for name, at in sides.items()}  # fmt: skip
    row = {
        "runs": args.runs, "before_s": round(s["before"], 1), "after_s": round(s["after"], 1),
        "ratio": round(s["before"] / s["after"], 2), "before": commits["before"], "after": commits["after"],
        "cores": os.cpu_count(), "device": device_name("cpu"),
    }  # fmt: skip
    SPEED.mkdir(parents=True, exist_ok=True)
    with open(SPEED / "table1-before-after.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    print(f"Table 1 of the miniature, cold: {row['before_s']} s before, {row['after_s']} s after, {row['ratio']} times")


if __name__ == "__main__":
    main()
