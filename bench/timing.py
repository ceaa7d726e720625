"""Table 4: seconds a call at batch 1, 4 and 8, by stage, with peak memory, beside what the device could do at best.

    python -m bench.timing                                       all three models (make table4)
    python -m bench.timing --model mgie --weights weights        trained weights, as many tokens as the model writes
    python -m bench.timing --preset 7b --random-weights          the true sizes without a download

On a GPU the true sizes are timed, with random weights unless --weights names trained ones; on a CPU the built-in
miniature. What was timed before on the same device is read from runs/ (--again: timed anew). Writes
results/<suite>/table4.csv, .md and .tex; suite is mini for the miniature, else paper. Exit codes: 0 done, 2 wrong use.
"""

import argparse
import hashlib
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.grid.reference import made_here
from bench.registry import PAPER_MODELS
from bench.settings import add_plan_flags, planned
from bench.speed.table4 import STAGES, TOKENS, TimingRow
from mgie.io.command import command
from mgie.io.files import write_atomic

if TYPE_CHECKING:
    from bench.speed.bound import Rates
    from bench.speed.models import Called, Case, TimedInsPix2Pix, TimedMGIE

LEAST_RUNS = 5
BOUND = 2  # how the bound is made; what was timed beside another one is timed anew


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("bench.timing", description=__doc__, formatter_class=raw)
    p.add_argument(
        "--model", default=",".join(PAPER_MODELS), help=f"comma-separated, of {', '.join(PAPER_MODELS)}; default: all"
    )
    p.add_argument("--batch-sizes", default="1,4,8")
    p.add_argument("--preset", choices=("7b", "mini"), help="default: 7b where torch sees a GPU, else mini")
    p.add_argument("--weights", type=Path, help="holds inspix2pix/, lgie-e2e/, mgie-e2e/: trained weights")
    p.add_argument("--random-weights", action="store_true", help="no weights are read; the default for 7b")
    p.add_argument("--tokens", type=int, help=f"fix the expressive instruction's length; random weights: {TOKENS}")
    p.add_argument("--steps", type=int, help="denoising steps; default: the preset's")
    p.add_argument("--runs", type=int, default=LEAST_RUNS, help=f"timed calls, at least {LEAST_RUNS} (the default)")
    p.add_argument("--device", default="auto", help="cuda, cpu; default: cuda where there is one")
    p.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: float16, on a CPU float32")
    p.add_argument("--compile", action="store_true", help="torch.compile; minutes at the first call, not timed")
    p.add_argument("--again", action="store_true", help="time anew what was timed before")
    p.add_argument("--out", type=Path, default=Path("runs"), help="what was timed is kept below it (default: runs)")
    p.add_argument("--results", type=made_here, default=Path("results"), help="tables go below it (default: results)")
    add_plan_flags(p)
    return p


def rows_asked(args: argparse.Namespace, device: str) -> "list[Case]":
    """Raises ValueError for wrong use."""
    from bench.speed.models import Case
    from mgie.presets import PRESETS

    models = [name.strip() for name in args.model.split(",") if name.strip()]
    if unknown := [name for name in models if name not in PAPER_MODELS]:
        raise ValueError(f"unknown model '{unknown[0]}'; Table 4 times {', '.join(PAPER_MODELS)}")
    try:
        batches = [int(size) for size in args.batch_sizes.split(",")]
    except ValueError:
        batches = [0]
    if min(batches) < 1 or max(batches) > 64:
        raise ValueError(f"--batch-sizes {args.batch_sizes}: expected numbers from 1 to 64 with commas, as in 1,4,8")
    preset = args.preset or ("7b" if device.startswith("cuda") else "mini")
    steps = PRESETS[preset].num_inference_steps if args.steps is None else args.steps
    for flag, value, least in (("--runs", args.runs, LEAST_RUNS), ("--tokens", args.tokens, 1), ("--steps", steps, 1)):
        if value is not None and value < least:
            raise ValueError(f"{flag} {value}: it must be at least {least}")
    if args.compile and "inspix2pix" in models:
        raise ValueError("--compile is for lgie and mgie; inspix2pix is diffusers' own: give --model lgie,mgie")
    if args.weights and args.random_weights:
        raise ValueError("--weights and --random-weights: give one of them")
    random = args.random_weights or (preset == "7b" and not args.weights)
    tokens = TOKENS if random and args.tokens is None else args.tokens
    dtype = args.dtype or ("float16" if device.startswith("cuda") else "float32")
    room = PRESETS[preset].context - PRESETS[preset].patches - 80  # the template and an instruction
    if tokens is not None and tokens > room:
        raise ValueError(f"--tokens {tokens}: with the prompt that is over the {PRESETS[preset].context} tokens the "
                         f"model reads; at most {room}")  # fmt: skip
    fixed = (dtype, steps, tokens, random, str(args.weights or ""), args.compile, args.runs)
    return [Case(model, preset, batch, *fixed) for model in models for batch in batches]


def row_of(asked: "Case", device: str, out: Path, again: bool) -> TimingRow:
    """Timed, or read where it was timed before on this device with these weights."""
    name, threads, path = place_of(asked, device, out)
    if path.exists() and not again:
        return TimingRow(**json.loads(path.read_text()))
    row = time_one(asked, device, name, threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(asdict(row), indent=1) + "\n")
    return row


def place_of(asked: "Case", device: str, out: Path) -> tuple[str, int, Path]:
    """The device's name, its threads, and where the row is kept. Raises FileNotFoundError for absent weights."""
    from mgie.io.devices import device_name

    name, threads = device_name(device), int(os.environ.get("OMP_NUM_THREADS", "1"))
    key = {**asdict(asked), "device": name, "threads": threads, "weights_hash": hash_of(asked), "bound": BOUND}
    hash8 = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
    return name, threads, out / suite_of(asked.preset) / "timing" / f"{asked.model}--{asked.batch}--{hash8}.json"


def hash_of(asked: "Case") -> str:
    from bench.speed.models import folder_of
    from mgie.io.hashes import weights_hash

    return "random" if asked.random else weights_hash(folder_of(asked))


def suite_of(preset: str) -> str:
    return "mini" if preset == "mini" else "paper"


def time_one(asked: "Case", device: str, name: str, threads: int) -> TimingRow:
    """One call in which operations are counted, one to warm up, then the timed ones."""
    import torch

    from bench.speed.bound import count_work, rates_of
    from bench.speed.models import TIMED
    from bench.speed.stopwatch import Stages, clock_of, peak_bytes, reset_peak, timed

    if device == "cpu":
        torch.set_num_threads(threads)
    model = cast("TimedMGIE | TimedInsPix2Pix", TIMED[asked.model](asked, device))  # no others are timed
    work = count_work(model.call, model.modules)
    if asked.compile:
        model.pipe.compile()
    model.call()
    rates = rates_of(device, work)  # before and after the calls: the better of both
    reset_peak(device)
    calls, tokens = [], []
    with Stages(model.hooked, device) as stages:
        for _ in range(asked.runs):
            (total,), last = timed(model.call, device, 1, warm_up=0)
            called = cast("Called", last)  # what model.call returns
            calls.append(by_stage(stages.seconds(), called.seconds, total) | {"total": total})
            tokens += called.tokens
    clock, peak = clock_of(device), peak_bytes(device)
    rates = rates.at_least(rates_of(device, work))
    limits, seconds = rates.limit(work), statistics.median(c["total"] for c in calls)
    limit = sum(limits.values())
    medians = {stage: statistics.median(c.get(stage, 0.0) for c in calls) for stage in STAGES}
    return TimingRow(
        asked.model, asked.preset, "random" if asked.random else "trained", asked.batch, model.preset.image_size,
        asked.steps, asked.dtype, asked.compile, name, device != "cpu", clock, threads, asked.runs, seconds,
        min(c["total"] for c in calls), max(c["total"] for c in calls), round(peak / 2**20), **medians,
        tokens=float(statistics.median(tokens)) if tokens else None,
        under_32=sum(t < TOKENS for t in tokens) / len(tokens) if tokens else None,
        fixed=asked.tokens is not None, tflop=sum(work.flops.values()) / 1e12,
        gbytes=sum(work.bytes.values()) / 1e9, limit=limit,
        fraction=limit / seconds, unet_fraction=limits["unet"] / medians["unet"],
        **named(rates, work.dtypes["unet"]),
    )  # fmt: skip


def named(rates: "Rates", dtype: str) -> dict[str, float]:
    """In the UNet's dtype."""
    return {
        "matmul_tflops": rates.products[dtype] / 1e12, "conv_tflops": rates.convolutions.get(dtype, 0.0) / 1e12,
        "read_gbs": max(rates.reads.values()) / 1e9,
    }  # fmt: skip


def by_stage(hooked: dict[str, float], own: dict[str, float], total: float) -> dict[str, float]:
    """Stages that sum up to the call. The decode is all of the MLLM but its eyes: loop, scores and rules included."""
    found = {stage: seconds for stage, seconds in hooked.items() if stage in STAGES}
    if own:
        found |= {"decode": own["mllm"] - hooked.get("tower", 0.0), "unet": own["diffusion"]}
        found |= {stage: own[stage] for stage in ("edit_head", "vae_encode", "vae_decode")}
    return found | {"other": max(0.0, total - sum(found.values()))}


def make(args: argparse.Namespace) -> int:
    from bench.speed.table4 import said, show, write
    from mgie.io.devices import device_of

    if planned(args):
        return plan(args)
    device = device_of(args.device, "--device")
    todo = rows_asked(args, device)
    print(said(todo[0], device), flush=True)
    rows = []
    for asked in todo:
        print(f"{asked.model}, batch {asked.batch} ...", file=sys.stderr, flush=True)
        rows.append(row_of(asked, device, args.out, args.again))
    show(rows, write(args.results / suite_of(todo[0].preset) / "table4", rows))
    return 0


def plan(args: argparse.Namespace) -> int:
    from bench.planning.command import device_of
    from bench.planning.table4 import of_cases

    device = device_of(args)
    todo = rows_asked(args, device.kind)
    places = [lambda asked=asked: place_of(asked, device.kind, args.out)[2] for asked in todo]
    return of_cases(todo, [] if device.named else places, device, args.again, args.json)


def main(argv: Sequence[str] | None = None) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args = parser().parse_args(argv)
    return command(lambda: make(args))


if __name__ == "__main__":
    sys.exit(main())
