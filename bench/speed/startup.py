"""Start-up and overhead: what a user waits for that is no model's work.

    python -m bench.speed.startup                 writes results/mini/speed/startup.csv
    python -m bench.speed.startup --only help,example

help: `python -m bench.run --help`, aimed at under .5 s. table: `make table1`'s command with every cell finished, aimed
at under 5 s (what is not finished is run first, untimed). example: one more example of `bench.run --model identity
--metrics l1` on 128 px files (read, edit, write, hash, score), from the difference of two runs of other sizes; of the
wall time the model's own seconds are taken off; aimed at under 3 ms. Medians of --runs; processor times beside wall
times, since other processes on the machine disturb the latter.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mgie.io.devices import device_name

SPEED = Path(__file__).parents[2] / "results" / "mini" / "speed"  # the accepted ones: results/speed

AIMS = {"help": 0.5, "table": 5.0, "example": 0.003}  # seconds
SIZES = (50, 450)  # examples


def run(argv: list[str]) -> tuple[float, float, str]:
    """Wall seconds, processor seconds of the child, its stdout. Raises CalledProcessError."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    out = subprocess.run([sys.executable, *argv], check=True, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, out.stdout


def command(argv: list[str], runs: int, warm_up: bool) -> tuple[float, float]:
    """Medians of wall and processor seconds."""
    if warm_up:
        run(argv)
    walls, processors, _ = zip(*(run(argv) for _ in range(runs)), strict=True)
    return statistics.median(walls), statistics.median(processors)


def an_example(runs: int) -> tuple[float, float]:
    """Seconds one more example costs: wall without what the model took of it, processor with it (identity only reads).
    Loading is over by then: all runs are in this process, after one to warm up."""
    from many_examples import draw

    walls, processors = [], []
    for attempt in range(runs + 1):
        found = []
        for examples in SIZES:
            with tempfile.TemporaryDirectory() as scratch:
                draw(Path(scratch) / "data", examples)
                found.append(in_this_process(Path(scratch)))
        if attempt:
            walls.append((found[1][0] - found[0][0]) / (SIZES[1] - SIZES[0]))
            processors.append((found[1][1] - found[0][1]) / (SIZES[1] - SIZES[0]))
    return statistics.median(walls), statistics.median(processors)


def in_this_process(scratch: Path) -> tuple[float, float]:
    """Wall seconds of one run on scratch/data less the model's own; processor seconds, all."""
    from bench.run import main as bench_run

    argv = ["--suite", "paper", "--dataset", "ma5k", "--model", "identity", "--metrics", "l1", "--json"]
    argv += ["--data-root", f"{scratch}/data", "--out", f"{scratch}/runs"]
    start, used, out = time.perf_counter(), time.process_time(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        if bench_run(argv):
            raise RuntimeError("bench.run did not finish")
    wall, processor = time.perf_counter() - start, time.process_time() - used
    edits = (Path(json.loads(out.getvalue())["run"]) / "edits.jsonl").read_text().splitlines()
    model = sum(sum(json.loads(line)["seconds"].values()) for line in edits)
    return wall - model, processor


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--only", default=",".join(AIMS))
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for what in args.only.split(","):
            if what == "help":
                wall, processor = command(["-m", "bench.run", "--help"], args.runs, True)
            elif what == "table":
                wall, processor = command(["-m", "bench.tables", "1", "--results", scratch], args.runs, True)
            else:
                wall, processor = an_example(args.runs)
            rows.append({
                "what": what, "wall_s": round(wall, 4), "processor_s": round(processor, 4), "aim_s": AIMS[what],
                "runs": args.runs, "threads": 1, "device": device_name("cpu"),
            })  # fmt: skip
            print(f"{what}: {wall:.4f} s, processor {processor:.4f} s; aimed at under {AIMS[what]} s")
    SPEED.mkdir(parents=True, exist_ok=True)
    with open(SPEED / "startup.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
