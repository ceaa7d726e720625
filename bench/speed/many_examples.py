"""Does memory grow with the number of examples, and what does the harness itself cost an example?

    python -m bench.speed.many_examples        writes results/mini/speed/many_examples.csv

Runs the command itself (identity, L1) on 1,000 and on 10,000 drawn examples in MA5k's layout, each in a process of
its own, and notes that process's peak memory and wall time; then L1, SSIM and CVS (the miniature's CLIP) of 1,000 and
10,000 pairs scored by two processes, where the peak is that of the largest process. One thread each.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mgie.folder import MINI
from mgie.io.devices import device_name

SPEED = Path(__file__).parents[2] / "results" / "mini" / "speed"  # the accepted ones: results/speed

SIDE = 128  # px


def draw(root: Path, examples: int) -> None:
    """MA5k's layout with five experts a photo; every file is an image of its own."""
    folder = root / "ma5k"
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    rng, records = np.random.default_rng(0), []
    for photo in range(1, examples // 5 + 1):
        base = rng.integers(0, 256, (SIDE // 16, SIDE // 16, 3), dtype=np.uint8)
        for k, letter in enumerate("OABCDE"):
            image = Image.fromarray(np.clip(base.astype(int) + 8 * k, 0, 255).astype(np.uint8))
            image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / "images" / f"{photo:04d}_{letter}.jpg")
        records += [
            {"input": f"{photo:04d}_O.jpg", "output": f"{photo:04d}_{letter}.jpg", "request": "brighten it"}
            for letter in "ABCDE"
        ]
    (folder / "annotations" / "test_sess_1.json").write_text(json.dumps(records))


def measure(examples: int, metrics: str = "l1", score_workers: int = 1) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        draw(Path(scratch) / "data", examples)
        argv = ["--suite", "paper", "--dataset", "ma5k", "--model", "identity", "--metrics", metrics, "--json"]
        argv += ["--data-root", f"{scratch}/data", "--out", f"{scratch}/runs"]
        argv += ["--score-workers", str(score_workers), "--clip", str(MINI / "mini-clip")]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.run", *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise RuntimeError(f"bench.run ended with status {status}")
    return {
        "examples": examples, "peak_mb": round(usage.ru_maxrss / 1024), "seconds": round(seconds, 2),
        "ms_per_example": round(1000 * seconds / examples, 2), "image_px": SIDE, "threads": 1,
        "metrics": metrics, "score_workers": score_workers,
        "device": device_name("cpu"), "python": platform.python_version(),
    }  # fmt: skip


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser("bench.speed.many_examples", description=__doc__, formatter_class=raw).parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = [measure(1_000), measure(10_000), *(measure(n, "l1,ssim,cvs", 2) for n in (1_000, 10_000))]
    SPEED.mkdir(parents=True, exist_ok=True)
    with open(SPEED / "many_examples.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{'examples':>9} {'peak MB':>8} {'seconds':>8} {'ms each':>8}  scored by")
    for row in rows:
        print(f"{row['examples']:>9} {row['peak_mb']:>8} {row['seconds']:>8} {row['ms_per_example']:>8}  "
              f"{row['score_workers']} ({row['metrics']})")  # fmt: skip


if __name__ == "__main__":
    main()
