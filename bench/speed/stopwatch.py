"""Seconds by stage and peak memory, of the device that is timed: cuda:1 times itself, whichever GPU is the current one.

A GPU is timed with events recorded where a stage begins and ends, so nothing waits in between; the whole call is
synchronised.
"""

import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class Stages:
    """Counts and times the forward passes of named modules, for as long as the block runs."""

    def __init__(self, modules: "dict[str, nn.Module]", device: str) -> None:
        self.modules, self.device, self.on_gpu = modules, device, device.startswith("cuda")
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

        with torch.cuda.device(self.device):  # an event belongs to the GPU that is the current one
            event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        self.marks[name].append(event)

    def seconds(self) -> dict[str, float]:
        """Since the last time this was asked; the device must be done."""
        found = {}
        for name, marks in self.marks.items():
            pairs = zip(marks[::2], marks[1::2], strict=True)
            found[name] = sum(a.elapsed_time(b) / 1000 if self.on_gpu else b - a for a, b in pairs)
            marks.clear()
        return found


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

        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    """From now on peak_bytes counts anew, on a GPU."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: str) -> int:
    """Of the GPU since the last reset; of this process, loading included, on a CPU."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def clock_of(device: str) -> str:
    """The clock the device runs at just now, as it says itself; empty where it does not."""
    if device.startswith("cuda"):
        import torch

        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)  # its index may be another one there
        which = ["-i", f"GPU-{uuid}"] if uuid else []
        ask = ["nvidia-smi", *which, "--query-gpu=clocks.sm,clocks.max.sm", "--format=csv,noheader"]
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
