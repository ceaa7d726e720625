"""Our pipeline against the official demo's way (reference_inference.py): the same weights, steps, seeds and outputs.

    python benchmarks/inference.py                                              the miniature, one CPU thread
    python benchmarks/inference.py --random-weights --preset 7b --device cuda --dtype bfloat16 [--compile]

Ours edits a batch together, the reference one image after the other. Both sides take turns; seconds are medians of
--runs after a warm-up, and the claim is their ratio. On a CPU `cpu_ratio` is the ratio of processor times, which other
processes on the machine disturb less. Checks that both sides give the same images within --tolerance (of 255), then
writes benchmarks/inference-<device>.csv. Seconds by stage are Table 4's: python -m bench.timing.
"""

import argparse
import csv
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.sessions import device_name
from bench.stopwatch import synchronise


def both(ours: Callable[[], list], theirs: Callable[[], list], device: str, runs: int) -> dict:
    """Medians of either side, taking turns; and what each returned."""
    wall, cpu, images = ([], []), ([], []), [None, None]
    for run in range(runs + 1):
        for side, call in enumerate((ours, theirs)):
            synchronise(device)
            start, used = time.perf_counter(), time.process_time()
            images[side] = call()
            synchronise(device)
            if run:
                wall[side].append(time.perf_counter() - start)
                cpu[side].append(time.process_time() - used)
    seconds, processor = (list(map(statistics.median, times)) for times in (wall, cpu))
    return {
        "ours_s": round(seconds[0], 4), "reference_s": round(seconds[1], 4), "ratio": round(seconds[1] / seconds[0], 2),
        "cpu_ratio": round(processor[1] / processor[0], 2), "differ_by": apart(*images),
    }  # fmt: skip


def apart(ours: list, theirs: list) -> int:
    """The largest difference of a pixel, of 255."""
    pairs = zip(ours, theirs, strict=True)
    return max(int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max()) for a, b in pairs)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--preset", default="mini", choices=("mini", "7b"))
    p.add_argument("--weights", default="", help="holds mgie-e2e/; default: the miniature's own")
    p.add_argument("--random-weights", action="store_true")
    p.add_argument("--batch-sizes", default="1,8")
    p.add_argument("--steps", type=int, help="default: the preset's")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--device", default="cpu")
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    p.add_argument("--compile", action="store_true")
    p.add_argument("--tolerance", type=int, default=2, help="of 255, between the two sides; bfloat16 needs more")
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    from reference_inference import Reference

    from bench.timed_models import Asked, TimedMGIE
    from mgie.presets import PRESETS

    torch.set_num_threads(1)
    steps, rows = args.steps or PRESETS[args.preset].num_inference_steps, []
    for batch in map(int, args.batch_sizes.split(",")):
        asked = Asked("mgie", args.preset, batch, args.dtype, steps, None, args.random_weights, args.weights, False, 5)
        timed = TimedMGIE(asked, args.device)
        reference = Reference(timed.pipe)
        theirs = lambda t=timed, r=reference: r.edit(t.images, t.texts, steps, t.generators())  # noqa: E731
        ours = lambda t=timed: t.pipe(  # noqa: E731
            t.images, t.texts, num_inference_steps=steps, generator=t.generators()
        ).images
        if args.compile:
            timed.pipe.compile()
        row = both(ours, theirs, args.device, args.runs)
        if row["differ_by"] > args.tolerance:
            raise SystemExit(f"batch {batch}: the images differ by {row['differ_by']} of 255, over {args.tolerance}")
        rows.append({"preset": args.preset, "batch": batch, "steps": steps, "dtype": args.dtype} | row | {
            "compiled": args.compile, "weights": "random" if args.random_weights else "trained", "runs": args.runs,
            "threads": 1, "device": device_name(args.device)})  # fmt: skip
        print(f"batch {batch}: {row['ours_s']} s, the demo's way {row['reference_s']} s: {row['ratio']} times, by "
              f"processor time {row['cpu_ratio']} times; images within {row['differ_by']} of 255")  # fmt: skip
    with open(Path(__file__).with_name(f"inference-{args.device.partition(':')[0]}.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
