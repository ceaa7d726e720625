"""Seconds by stage, counted operations and bytes, and what a device can do: the measuring behind Table 4.

A GPU is timed with events recorded where a stage begins and ends, so nothing waits in between; the whole call is
synchronised. Operations are those of matrix products, convolutions and attention as torch's FlopCounterMode counts
them; bytes are the weights, read once a pass (activations and the cache are left out, so the limit is a true limit).
"""

import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import nn


class Work(NamedTuple):
    """What one call asks of the device, by stage."""

    flops: dict[str, float]
    bytes: dict[str, float]


class Rates(NamedTuple):
    """Measured, not quoted."""

    flops: float  # a second, of a large matrix product in the dtype that is timed
    bytes: float  # a second, read and written by a large copy

    def limit(self, work: Work) -> dict[str, float]:
        """Seconds below which no stage can come: by its operations or by its bytes, whichever takes longer."""
        return {s: max(work.flops[s] / self.flops, work.bytes[s] / self.bytes) for s in work.flops}


class Stages:
    """Counts and times the forward passes of named modules, for as long as the block runs."""

    def __init__(self, modules: "dict[str, nn.Module]", device: str) -> None:
        self.modules, self.on_gpu = modules, device.startswith("cuda")
        self.marks: dict[str, list] = {name: [] for name in modules}

    def __enter__(self) -> "Stages":
        self.hooks = []
        for name, module in self.modules.items():
            self.hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self.mark(name)))
            self.hooks.append(module.register_forward_hook(lambda *_, name=name: self.mark(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def mark(self, name: str) -> None:
        if not self.on_gpu:
            self.marks[name].append(time.perf_counter())
            return
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.marks[name].append(event)

    def seconds(self) -> dict[str, float]:
        """Since the last time this was asked; the device must be done."""
        found = {}
        for name, marks in self.marks.items():
            pairs = zip(marks[::2], marks[1::2], strict=True)
            found[name] = sum(a.elapsed_time(b) / 1000 if self.on_gpu else b - a for a, b in pairs)
            marks.clear()
        return found


def count_work(call: Callable[[], object], modules: "dict[str, nn.Module]") -> Work:
    """Operations by module and its weights' bytes times its passes, of one call."""
    from torch.utils.flop_counter import FlopCounterMode

    flops, passes, hooks = dict.fromkeys(modules, 0.0), dict.fromkeys(modules, 0), []
    with FlopCounterMode(display=False) as counter:
        before: dict[str, float] = {}

        def begin(name: str) -> None:
            before[name] = counter.get_total_flops()

        def end(name: str) -> None:
            flops[name] += counter.get_total_flops() - before[name]
            passes[name] += 1

        for name, module in modules.items():
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: begin(name)))
            hooks.append(module.register_forward_hook(lambda *_, name=name: end(name)))
        try:
            call()
        finally:
            for hook in hooks:
                hook.remove()
    sizes = {name: sum(p.numel() * p.element_size() for p in m.parameters()) for name, m in modules.items()}
    return Work(flops, {name: float(passes[name] * sizes[name]) for name in modules})


@lru_cache
def rates_of(device: str, dtype: "torch.dtype") -> Rates:
    """Medians of 5, once a process: a square matrix product, and a copy far larger than the caches."""
    import torch

    side, values = (8192, 2**28) if device.startswith("cuda") else (1024, 2**25)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source, target = (torch.zeros(values, device=device) for _ in range(2))
    product, copied = (timed(call, device, 5).seconds for call in (lambda: a @ b, lambda: target.copy_(source)))
    return Rates(2 * side**3 / statistics.median(product), 2 * values * 4 / statistics.median(copied))


class Timings(NamedTuple):
    seconds: list[float]
    last: object  # what the last call returned


def timed(call: Callable[[], object], device: str, runs: int, warm_up: int = 1) -> Timings:
    """Each run's seconds, until the device is done."""
    found = []
    for _ in range(warm_up + runs):
        synchronise(device)
        start = time.perf_counter()
        last = call()
        synchronise(device)
        found.append(time.perf_counter() - start)
    return Timings(found[warm_up:], last)


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def peak_bytes(device: str) -> int:
    """Of the GPU since the last reset; of this process, loading included, on a CPU."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def clock_of(device: str) -> str:
    """The clock the device runs at just now, as it says itself; empty where it does not."""
    if device.startswith("cuda"):
        ask = ["nvidia-smi", "--query-gpu=clocks.sm,clocks.max.sm", "--format=csv,noheader"]
        try:
            said = subprocess.run(ask, capture_output=True, text=True, timeout=10).stdout.splitlines()
        except (OSError, subprocess.TimeoutExpired):
            said = []
        return said[0].replace(",", " of") if said else ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return f"{float(next(line for line in lines if 'MHz' in line).split(':')[1]):.0f} MHz"
    except (OSError, StopIteration, ValueError):
        return ""
