"""Where it runs, in which numbers, and what that place is called. Nothing here switches in silence."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16", "float16")  # what --dtype takes


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


@contextmanager
def all_cores() -> Iterator[None]:
    """While weights are loaded torch may use every core, whatever OMP_NUM_THREADS says for the work itself."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(before, len(os.sched_getaffinity(0))))
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Wanted(NamedTuple):
    """Where a model is asked to run."""

    device: str = "auto"  # auto: cuda where there is one, else cpu
    dtype: str = "auto"  # auto: float16 on a GPU, float32 on a CPU; see dtype_name
    elsewhere: bool = False  # it runs on another machine's GPU: this one need not have one


class Asked(Protocol):
    """What placing a model asks for. A run's ModelSettings serve as well as a Wanted: they have these."""

    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def elsewhere(self) -> bool: ...


class Placement(NamedTuple):
    device: str
    dtype: "torch.dtype"


def placement(spec: Asked, prefers: str = "float16") -> Placement:
    """Where the model runs: device cuda, mps, cpu ... and a torch dtype. ValueError for a device that is not there.

    prefers: the dtype that the model wants on a GPU, where the user leaves it to auto.
    """
    import torch

    device = ("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device
    if device.startswith("cuda") and not spec.elsewhere and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch {torch.__version__} sees no GPU; use --device cpu or auto")
    return Placement(device, getattr(torch, dtype_name(spec, device, prefers)))


def dtype_name(spec: Asked, device: str, prefers: str = "float16") -> str:
    """auto: what the model prefers on a GPU, float32 on a CPU.

    The Stable Diffusion family prefers float16, as its authors used it, with VAE and latents in float32: bfloat16 moves
    InsPix2Pix-mini's L1 by 2.7 % and its LPIPS by 3.2 %, float16 by 0.0 %.
    """
    if spec.dtype != "auto":
        return spec.dtype
    return "float32" if device == "cpu" else prefers


def vae_dtype(dtype: "torch.dtype | None") -> "torch.dtype | None":
    """The VAE's beside a model of this dtype: never 16 bit, unless the weights' own (None) is what is asked for."""
    import torch

    return torch.float32 if dtype is not None and dtype.itemsize == 2 else dtype


@contextmanager
def full_float32() -> Iterator[None]:
    """float32 means float32: no TF32 in matrix products and convolutions. Nothing where torch is not in use."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
