"""How far does --engine ray scale? Real actors, a stub model that only takes its time, and the driver's cost an edit.

    python -m bench.speed.scale             1, 2, 4, 8 workers, 0.4 s an edit; writes results/mini/speed/scale.csv

The stub sleeps for a model's measured seconds and returns a 512 px photograph; what a worker does to it (PNG, hash),
the way back and the driver's writing are the real ones. `driver_ms` is the driver's processor time an edit: the number
of workers that one driver keeps busy is the model's seconds an edit over it. `speedup` compares with one worker.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from pathlib import Path

from PIL import Image

from bench.records import Example, Output
from bench.runs.description import Run
from bench.runs.folder import RunFolder
from bench.runs.runner import edit_all
from bench.settings import DataSettings, EditSettings
from mgie.io.devices import device_name
from mgie.mini.world.assets import PHOTOS

SPEED = Path(__file__).parents[2] / "results" / "mini" / "speed"  # the accepted ones: results/speed

SIDE = 512
BATCH = 8
MODELS = {"MGIE at batch 8 on the paper's A100": 36.9 / 8, "MGIE-mini, one CPU core": 0.11}  # seconds an edit


class Stub:
    name, defaults = "stub", EditSettings()

    def __init__(self, seconds: float, photo: Image.Image) -> None:
        self.seconds, self.photo = seconds, photo

    def fingerprint(self) -> dict[str, str]:
        return {}

    def load(self) -> None:
        pass

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        time.sleep(self.seconds * len(examples))
        return [Output(self.photo, "a stub's words", 4, {"edit": self.seconds}) for _ in examples]


def measure(workers: int, seconds: float, slices_each: int) -> dict:
    """One run of workers x slices_each slices, from the first answer on: starting Ray is not scaling."""
    from bench.runs.engines import Workers, pool

    photo = Image.open(next(PHOTOS.glob("*.*"))).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    examples = [Example(f"stub/{k}", f"stub/{k}", Path("none"), "edit") for k in range(workers * slices_each * BATCH)]
    settings, stub = EditSettings(batch_size=BATCH), Stub(seconds, photo)
    run = Run("mini", "stub", "stub", "zero-shot", "none", DataSettings(), settings, {}, examples, "none")
    with tempfile.TemporaryDirectory() as folder, pool(stub, settings, Workers("ray", workers), "cpu") as made:
        while len(made.idle) < workers:
            made.wait()
        wall, cpu = time.perf_counter(), time.process_time()
        failures = edit_all(run, stub, RunFolder(Path(folder)), range(1), 0.0, lambda n: None, made.outcomes)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert not failures
    return {"workers": workers, "edits": len(examples), "seconds": wall, "driver_ms": 1000 * cpu / len(examples)}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--workers", default="1,2,4,8")
    p.add_argument("--seconds", type=float, default=0.4, help="the stub's, an edit")
    p.add_argument("--slices", type=int, default=3, help="slices of 8 for each worker")
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from bench.speed import scale  # so that workers find the stub by a name that is not __main__

    rows = [scale.measure(int(workers), args.seconds, args.slices) for workers in args.workers.split(",")]
    rate = rows[0]["edits"] / rows[0]["seconds"] / rows[0]["workers"]
    for row in rows:
        row["edits_per_s"] = round(row["edits"] / row["seconds"], 3)
        row["speedup"] = round(row["edits_per_s"] / rate, 2)
        row |= {"seconds": round(row["seconds"], 2), "driver_ms": round(row["driver_ms"], 2), "stub_s": args.seconds,
                "image_px": SIDE, "batch": BATCH, "device": device_name("cpu"), "cores": os.cpu_count()}  # fmt: skip
        print(f"{row['workers']:>3} workers: {row['edits_per_s']} edits/s, {row['speedup']} times one worker, driver "
              f"{row['driver_ms']} ms an edit")  # fmt: skip
    SPEED.mkdir(parents=True, exist_ok=True)
    with open(SPEED / "scale.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    cost = statistics.median(row["driver_ms"] for row in rows) / 1000
    for name, seconds in MODELS.items():
        print(f"{name} ({seconds:.2f} s an edit): one driver keeps {seconds / cost:.0f} workers busy")


if __name__ == "__main__":
    main()
