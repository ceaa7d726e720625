"""Scoring by one and by two processes, three models together and apart, all against MagicBrush's way.

    python -m bench.speed.scoring --pairs 16 --runs 3      minutes, on two idle cores

The pairs and networks of bench.speed.metric_engine: 512 px, CLIP ViT-B/32, DINO ViT-S/16, AlexNet of the true sizes.
The processes are up and hold their networks before anything is timed; every call begins with an empty cache. The
reference is MagicBrush's way on one core. All sides take turns; seconds are medians of the wall clock, every claim is a
ratio. The scores of all sides are compared to the bit with those of one process and within 1e-4 with the reference's.
Writes results/mini/speed/scoring.csv.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bench.records import Edit, Example
from bench.settings import EditSettings, MetricSettings
from bench.speed.metric_engine import METRICS, SPEED, Files, Networks, draw, random_networks, score
from mgie.io.devices import device_name

if TYPE_CHECKING:
    from bench.metrics.networks.perceptual import Perceptual
    from bench.runs.pool import Pool
    from bench.runs.scorers.tasks import Task
    from bench.runs.scoring import Chunk

MODELS, CHUNK = 3, 4


def of_model(files: list[Files], folder: Path, model: int) -> list[Files]:
    """The same pairs as another model would have edited them: a little darker."""
    folder.mkdir()
    found = []
    for number, one in enumerate(files):
        pixels = np.asarray(Image.open(one.output)) * (1 - 0.03 * model)
        output = folder / f"{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(output, compress_level=1)
        found.append(one._replace(output=output))
    return found


def chunks_of(files: list[Files]) -> "list[Chunk]":
    """One model's chunks, as bench.runs.scoring makes them."""
    from bench.runs.scoring import Chunk
    from mgie.io.images import load, pixel_hash

    examples = [Example(str(n), "", one.goal, "", one.goal, one.caption) for n, one in enumerate(files)]
    hashes = [pixel_hash(load(one.output)) for one in files]
    edits = {e.id: Edit(e.id, 0, one.output.name, h) for e, one, h in zip(examples, files, hashes, strict=True)}
    folder, found = files[0].output.parent, []
    for start in range(0, len(examples), CHUNK):
        part = examples[start : start + CHUNK]
        own = {e.id: edits[e.id] for e in part}
        found.append(Chunk(0, part, list(METRICS), own, {}, EditSettings(), folder))
    return found


def scores_of(pool: "Pool", tasks: "list[Task]") -> dict:
    """(model's folder, metric, example) -> value"""
    from bench.runs.scorers.processes import in_pool

    found: dict[tuple, float | None] = {}
    for place, answers in in_pool(pool)(tasks):
        for chunk, answer in zip(tasks[place].chunks, answers, strict=True):
            found |= {(chunk.folder, s.metric, s.example_id): s.value for s in answer.scores}
    return found


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pairs", type=int, default=16)
    p.add_argument("--runs", type=int, default=3)
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from bench.metrics.networks.clip import clip_of
    from bench.metrics.networks.perceptual import perceptual
    from bench.metrics.networks.vit import dino_of
    from bench.runs.pool import Pool
    from bench.runs.scorers.tasks import Task

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch, Pool(1) as one, Pool(2) as two:
        folder, fresh = Path(scratch), iter(range(10**6))
        settings = random_networks(folder, "cpu")
        (folder / "0").mkdir()
        first = draw(folder / "0", args.pairs)
        models = [first, *(of_model(first, folder / str(k), k) for k in range(1, MODELS))]
        of = [chunks_of(files) for files in models]

        def tasks(groups: "list[list[Chunk]]", cache: Path) -> "list[Task]":
            """One model's chunks each, or those of all models side by side."""
            return [Task(list(group), METRICS, settings, cache) for group in zip(*groups, strict=True)]

        def cold(pool: "Pool", *parts: "list[list[Chunk]]") -> dict:
            cache, found = folder / f"cache{next(fresh)}", dict[tuple, float | None]()
            for groups in parts:
                found |= scores_of(pool, tasks(groups, cache))
            return found

        apart = [[chunks] for chunks in of]
        networks = Networks(clip_of(settings), dino_of(settings), reference_lpips(settings, perceptual))
        sides: dict[str, Callable[[], object]] = {
            "reference": lambda: score(first, networks),  # of one model; it shares nothing between models
            "one": lambda: cold(one, apart[0]), "two": lambda: cold(two, apart[0]),
            "apart": lambda: cold(one, *apart), "together": lambda: cold(one, of),
            "together_two": lambda: cold(two, of),
        }  # fmt: skip
        check(sides, first, folder)
        wall: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(args.runs):
            for name, call in sides.items():
                start = time.perf_counter()
                call()
                wall[name].append(time.perf_counter() - start)
    s = {name: statistics.median(values) for name, values in wall.items()}
    row = {"pairs": args.pairs, "models": MODELS, "runs": args.runs}
    row |= {f"{name}_s": round(value / args.pairs, 4) for name, value in s.items()}
    row |= {
        "two_over_one": round(s["one"] / s["two"], 2), "together_over_apart": round(s["apart"] / s["together"], 2),
        "three_models_one_core": round(MODELS * s["reference"] / s["together"], 2),
        "three_models_two_cores": round(MODELS * s["reference"] / s["together_two"], 2),
        "threads": 1, "cores": os.cpu_count(), "device": device_name("cpu"),
    }  # fmt: skip
    SPEED.mkdir(parents=True, exist_ok=True)
    with open(SPEED / "scoring.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    print(
        f"two processes {row['two_over_one']} times as fast as one; three models together {row['together_over_apart']} "
        f"times as fast as apart; against MagicBrush's way {row['three_models_one_core']} times on one core, "
        f"{row['three_models_two_cores']} on two"
    )


def reference_lpips(settings: MetricSettings, perceptual: Callable) -> "Perceptual":
    """The package's own forward, channels first, as its users have it; this process scores nothing of ours."""
    import torch

    made = perceptual("alex", settings.lpips_weights, "linear", "cpu")
    return made._replace(network=made.network.to(memory_format=torch.contiguous_format))


def check(sides: dict[str, Callable], first: list[Files], folder: Path) -> None:
    """Also the warm-up: every process has loaded its networks. Raises SystemExit where the numbers differ."""
    found = {name: call() for name, call in sides.items()}
    for name in ("two", "apart", "together", "together_two"):
        shared = found["one"].keys() & found[name].keys()
        if len(shared) != len(found["one"]) or any(found["one"][k] != found[name][k] for k in shared):
            raise SystemExit(f"{name} and one process do not have the same scores")
    for metric, values in found["reference"].items():
        for number, value in enumerate(values):
            ours = found["one"][folder / "0", metric, str(number)]
            if abs(ours - value) > 1e-4:
                raise SystemExit(f"{metric} of pair {number}: {ours}, MagicBrush's way {value}")


if __name__ == "__main__":
    main()
