"""Where it runs, in which numbers, and what that place is called. Nothing here switches in silence."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


def device_of(name: str, flag: str = "--metric-device") -> str:
    """auto: cuda where there is one, else cpu. ValueError that names the flag for a device that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"{flag} {name}: torch {torch.__version__} sees no GPU; use {flag} cpu or auto")
    return name


def device_name(device: str) -> str:
    """The GPU's name where one will be used, else the processor's."""
    if device.startswith("cuda") or (device == "auto" and Path("/dev/nvidia0").exists()):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


class Wanted(NamedTuple):
    """Where a model is asked to run. A run's ModelSettings serve too: they have these three."""

    device: str = "auto"  # auto: cuda where there is one, else cpu
    dtype: str = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    elsewhere: bool = False  # it runs on another machine's GPU: this one need not have one


class Placement(NamedTuple):
    device: str
    dtype: "torch.dtype"


def placement(spec: Wanted) -> Placement:
    """Where the model runs: device cuda, mps, cpu ... and a torch dtype. ValueError for a device that is not there."""
    import torch

    device = ("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device
    if device.startswith("cuda") and not spec.elsewhere and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch {torch.__version__} sees no GPU; use --device cpu or auto")
    return Placement(device, getattr(torch, dtype_name(spec, device)))


def dtype_name(spec: Wanted, device: str) -> str:
    """auto: bfloat16 on a GPU, float32 on a CPU."""
    if spec.dtype != "auto":
        return spec.dtype
    return "float32" if device == "cpu" else "bfloat16"
