"""How far does --engine ray scale? Real actors, stubs that take their time, and the driver's cost an edit and a score.

    python -m bench.speed.scale     1, 2, 4, 8 workers, 0.4 s an edit and a score; writes results/mini/speed/scale.csv

The stub sleeps for a model's measured seconds and returns a 512 px photograph; what a worker does to it (PNG, hash),
the way back and the driver's writing are the real ones. `driver_ms` is the driver's processor time an edit: the number
of workers that one driver keeps busy is the model's seconds an edit over it. `speedup` compares with one worker. The
same for the scores (score_...): output images travel to the worker, scores come back and are written.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bench.records import Example, Output, Score
from bench.runs.description import Run
from bench.runs.folder import RunFolder
from bench.runs.runner import edit_all
from bench.settings import DataSettings, EditSettings, MetricSettings
from mgie.io.devices import device_name
from mgie.mini.world.assets import PHOTOS

if TYPE_CHECKING:
    from bench.runs.scorers.collecting import Looking
    from bench.runs.scorers.tasks import Answer, Task

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


def stub_scores(task: "Task", files: dict[str, bytes], scratch: Path | None) -> "tuple[Answer, list[str]]":
    """In a worker: the time that scoring takes, and a score an example."""
    from bench.runs.scorers.tasks import Answer
    from bench.runs.scoring import ScoredChunk

    (chunk,) = task.chunks
    assert len(files) == len(chunk.examples)
    time.sleep(float(task.names[1]) * len(chunk.examples))
    scores = [Score(e.id, e.group, chunk.seed, "l1", 0.5, "", "a stub's") for e in chunk.examples]
    return Answer([ScoredChunk(scores, [], [])], {}), []


def measure(workers: int, seconds: float, slices_each: int) -> dict:
    """One run of workers x slices_each slices, from the first answer on: starting Ray is not scaling."""
    from bench.runs.engines import Workers, pool
    from bench.runs.scorers.collecting import Scoring, tasks_of
    from bench.runs.scorers.on_ray import on_ray
    from bench.speed import scale  # so that workers find the stub by a name that is not __main__

    photo = Image.open(next(PHOTOS.glob("*.*"))).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    examples = [Example(f"stub/{k}", f"stub/{k}", Path("none"), "edit") for k in range(workers * slices_each * BATCH)]
    settings, stub = EditSettings(batch_size=BATCH), Stub(seconds, photo)
    run = Run("mini", "stub", "stub", "zero-shot", "none", DataSettings(), settings, {}, examples, "none")
    with tempfile.TemporaryDirectory() as folder, pool(stub, settings, Workers("ray", workers), "cpu") as made:
        while len(made.idle) < workers:
            made.wait()
        wall, cpu = time.perf_counter(), time.process_time()
        failures = edit_all(run, stub, RunFolder(Path(folder)), range(1), 0.0, lambda n, failed=0: None, made.outcomes)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert not failures
        scoring = Scoring(run, RunFolder(Path(folder)), looking(), range(1), lambda n: None)
        score_wall, score_cpu = time.perf_counter(), time.process_time()
        tasks = [t._replace(names=("l1", str(seconds))) for t in tasks_of([scoring], looking())[0]]
        for place, (answer,) in on_ray(made, scale.stub_scores)(tasks):
            scoring.take(place, answer)
        score_wall, score_cpu = time.perf_counter() - score_wall, time.process_time() - score_cpu
        assert len(scoring.result()[0]) == len(examples)
    return {
        "workers": workers, "edits": len(examples), "seconds": wall, "driver_ms": 1000 * cpu / len(examples),
        "score_seconds": score_wall, "score_driver_ms": 1000 * score_cpu / len(examples),
    }  # fmt: skip


def looking() -> "Looking":
    """L1 alone, which the stub takes the place of."""
    from bench.runs.scorers.collecting import Looking
    from bench.runs.scoring import load_metrics

    settings = MetricSettings(metric_batch_size=BATCH)
    return Looking(load_metrics(("l1",), settings, None).ready, settings, None)


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
    score_rate = rows[0]["edits"] / rows[0]["score_seconds"] / rows[0]["workers"]
    for row in rows:
        row["edits_per_s"] = round(row["edits"] / row["seconds"], 3)
        row["speedup"] = round(row["edits_per_s"] / rate, 2)
        row["scores_per_s"] = round(row["edits"] / row["score_seconds"], 3)
        row["score_speedup"] = round(row["scores_per_s"] / score_rate, 2)
        row |= {name: round(row[name], 2) for name in ("seconds", "driver_ms", "score_seconds", "score_driver_ms")}
        row |= {"stub_s": args.seconds,
                "image_px": SIDE, "batch": BATCH, "device": device_name("cpu"), "cores": os.cpu_count()}  # fmt: skip
        print(f"{row['workers']:>3} workers: {row['edits_per_s']} edits/s, {row['speedup']} times one worker, driver "
              f"{row['driver_ms']} ms an edit; {row['scores_per_s']} scores/s, {row['score_speedup']} times, driver "
              f"{row['score_driver_ms']} ms")  # fmt: skip
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
