"""Seconds an edit by stage, and peak memory, of a folder of MGIE weights.

    python benchmarks/inference.py                                              the miniature, batches of 1 and 8
    python benchmarks/inference.py --weights weights/mgie-e2e --device cuda --dtype bfloat16 --side 512

One warm-up, then the median of --runs calls; writes benchmarks/inference-<device>.csv. One thread on a CPU.
"""

import argparse
import csv
import os
import resource
import statistics
from pathlib import Path

import numpy as np
from PIL import Image

from bench.sessions import device_name

STAGES = ("mllm", "edit_head", "vae", "diffusion")


def measure(pipe, batch: int, steps: int | None, side: int, runs: int) -> dict:
    """One row: medians over the runs, in seconds an edit."""
    import torch

    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(batch)]
    calls = []
    for run in range(runs + 1):
        generators = [torch.Generator().manual_seed(i) for i in range(batch)]
        result = pipe(images, "fix the lighting", num_inference_steps=steps, generator=generators)
        calls += [result.seconds] if run else []  # the first warms up
    seconds = {stage: statistics.median(c[stage] for c in calls) / batch for stage in STAGES}
    on_gpu = pipe.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "batch": batch, "steps": steps or pipe.preset.num_inference_steps, "side_px": side, "runs": runs,
        **{stage: round(s, 4) for stage, s in seconds.items()}, "seconds_an_edit": round(sum(seconds.values()), 4),
        "peak_mb": round(peak / 2**20), "device": device_name(pipe.device.type),
    }  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weights", default="mini")
    p.add_argument("--batch-sizes", default="1,8")
    p.add_argument("--steps", type=int, help="default: the preset's own, and 20")
    p.add_argument("--side", type=int, default=64, help="px, square")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--device", default="cpu")
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from mgie import MGIEPipeline

    torch.set_num_threads(1)
    pipe = MGIEPipeline.from_pretrained(args.weights, dtype=getattr(torch, args.dtype)).to(args.device)
    pipe.progress = False
    all_steps = (args.steps,) if args.steps else (None, 20)
    rows = [
        {"weights": args.weights, "dtype": args.dtype} | measure(pipe, int(batch), steps, args.side, args.runs)
        for batch in args.batch_sizes.split(",")
        for steps in all_steps
    ]
    with open(Path(__file__).with_name(f"inference-{pipe.device.type}.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        seconds, peak = row["seconds_an_edit"], row["peak_mb"]
        print(f"batch {row['batch']}, {row['steps']} steps: {seconds} s an edit, peak {peak} MB")


if __name__ == "__main__":
    main()
