"""One model of the rehearsal, loaded once and edited with at batch 1, 2, 4, ... until it does not fit or takes long.

    python -m bench.rehearse.edits --model mgie --weights WEIGHTS --preset 7b --device cpu --dtype bfloat16 --tokens 8

Prints a line of JSON as soon as it knows something: what loading took, then one a batch. On a GPU the batch that is too
large ends the search; on a CPU, where the system would kill the process, the memory of the next batch is foreseen from
the two before it.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.speed.models import TIMED, Case, TimedInsPix2Pix, TimedMGIE
from bench.speed.stopwatch import Stages, peak_bytes, synchronise
from mgie.io.memory import free_bytes
from mgie.presets import PRESETS

if TYPE_CHECKING:
    from torch import nn

MOST = 64  # images a batch
STEPS = 1  # denoising steps of an edit; one more takes as long as the first


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def loaded(options: argparse.Namespace) -> "TimedMGIE | TimedInsPix2Pix":
    """The model, and on stdout what that took."""
    start = time.perf_counter()
    case = Case(
        options.model, options.preset, 1, options.dtype, STEPS, options.tokens, False, str(options.weights), False, 1
    )
    timed = cast("TimedMGIE | TimedInsPix2Pix", TIMED[options.model](case, options.device))
    synchronise(options.device)
    seconds = time.perf_counter() - start
    weights = sum(tensor.nbytes for part in parts_of(timed).values() for tensor in part.state_dict().values())
    say(kind="load", model=options.model, dtype=options.dtype, seconds=seconds, peak=peak_bytes("cpu"),
        device_peak=device_peak(options.device), weights=weights)  # fmt: skip
    return timed


def parts_of(timed: "TimedMGIE | TimedInsPix2Pix") -> "dict[str, nn.Module]":
    pipe = timed.pipe
    if isinstance(timed, TimedInsPix2Pix):
        return {"text_encoder": pipe.text_encoder, "unet": pipe.unet, "vae": pipe.vae}
    return pipe.components


def device_peak(device: str) -> int | None:
    return peak_bytes(device) if device.startswith("cuda") else None


def search(timed: "TimedMGIE | TimedInsPix2Pix", options: argparse.Namespace) -> None:
    """Doubles the batch; what ended it is the last line."""
    import torch

    known: list[tuple[int, int]] = []  # batch, peak of this process
    batch, took = 1, 0.0
    while batch <= min(MOST, options.most):
        if 2 * took > options.patience:
            say(kind="end", model=options.model, batch=batch, why=f"not tried: it would take {2 * took:.0f} s")
            return
        if options.device == "cpu" and (why := foreseen(known, batch)):
            say(kind="end", model=options.model, batch=batch, why=why)
            return
        try:
            took = edit(timed, options, batch)
        except torch.OutOfMemoryError:
            say(kind="end", model=options.model, batch=batch, why=f"does not fit on {options.device}")
            return
        known.append((batch, peak_bytes("cpu")))
        batch *= 2
    say(kind="end", model=options.model, batch=batch, why=f"not tried: --most {options.most}")


def foreseen(known: list[tuple[int, int]], batch: int) -> str:
    """Why the next batch would not fit into main memory; empty where it would."""
    if len(known) < 2:
        return ""
    (a, before), (b, now) = known[-2:]
    more = (now - before) // (b - a) * (batch - b)
    free = free_bytes("cpu")
    return f"does not fit: {more / 1e9:.1f} GB more than are free" if free is not None and more > free else ""


def edit(timed: "TimedMGIE | TimedInsPix2Pix", options: argparse.Namespace, batch: int) -> float:
    """One call, and its seconds by what they were spent on, on stdout. Returns the seconds of all."""
    import torch

    timed.ask(replace(timed.asked, batch=batch))
    if options.device.startswith("cuda"):
        timed.call()  # the first call of a size makes kernels and picks algorithms
        torch.cuda.reset_peak_memory_stats()
    modules = {name: module for name, module in timed.modules.items() if name in ("decode", "unet", "text_encoder")}
    start = time.perf_counter()
    with torch.no_grad(), Stages(modules, options.device) as stages:
        timed.call()
        synchronise(options.device)
        total = time.perf_counter() - start
        calls = {name: lasted(marks, options.device) for name, marks in stages.marks.items()}
    decode = calls.get("decode", [])
    per_token = sum(decode[1:]) / len(decode[1:]) if decode[1:] else 0.0
    say(kind="edit", model=options.model, dtype=options.dtype, batch=batch, seconds=total, peak=peak_bytes("cpu"),
        device_peak=device_peak(options.device), prefill=decode[0] if decode else 0.0, token=per_token,
        tokens=len(decode), step=sum(calls["unet"]) / len(calls["unet"]),
        rest=total - sum(map(sum, calls.values())))  # fmt: skip
    return total


def lasted(marks: list, device: str) -> list[float]:
    """Seconds of each call between its two marks."""
    pairs = zip(marks[::2], marks[1::2], strict=True)
    return [a.elapsed_time(b) / 1000 if device.startswith("cuda") else b - a for a, b in pairs]


def main() -> None:
    p = argparse.ArgumentParser("bench.rehearse.edits", description=__doc__.splitlines()[0])
    p.add_argument("--model", choices=tuple(TIMED), required=True)
    p.add_argument("--weights", type=Path, required=True)
    p.add_argument("--preset", choices=tuple(PRESETS), required=True)
    p.add_argument("--device", required=True)
    p.add_argument("--dtype", required=True)
    p.add_argument("--tokens", type=int, required=True, help="of the expressive instruction")
    p.add_argument("--most", type=int, default=MOST, help="images a batch")
    p.add_argument("--patience", type=float, required=True, help="seconds; no batch that would take longer is tried")
    options = p.parse_args()
    timed = loaded(options)
    if options.device == "cpu" and options.dtype != "float32":
        timed.pipe.unet.float()  # most processors convolve 16 bit some hundred times slower than 32
    search(timed, options)


if __name__ == "__main__":
    main()
