"""Where it runs, in which numbers, and what that place is called. Nothing here switches in silence."""

import os
import platform
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

DRIVER = Path("/proc/driver/nvidia/version")
# CUDA's major version -> the least driver: table 1 of https://docs.nvidia.com/deploy/cuda-compatibility
LEAST_DRIVER = {11: 450, 12: 525, 13: 580}
DTYPES = ("auto", "float32", "bfloat16", "float16")  # what --dtype takes


def device_of(name: str, flag: str = "--metric-device") -> str:
    """auto: cuda where there is one, else cpu. ValueError that names the flag for a device that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"{flag} {name}: torch {torch.__version__} sees no GPU ({why_no_gpu()}); use {flag} cpu or auto"
        )
    return name


def sees_gpu() -> bool:
    """Whether torch sees a GPU. Without any sign of an NVIDIA driver torch is not imported for it."""
    if "torch" not in sys.modules and not driver() and not Path("/dev/nvidia0").exists():
        return False
    import torch

    return torch.cuda.is_available()


def driver() -> str:
    """The version of the NVIDIA driver on this machine, 580.65.06; empty where there is none."""
    try:
        if found := re.search(r"NVRM version:.*?(?<![\w.])(\d+(?:\.\d+)+)", DRIVER.read_text(errors="replace")):
            return found[1]
    except OSError:  # no such file: no driver, or another system
        pass
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # no such program, or one that finds no driver
        return ""
    found = re.search(r"\d+(?:\.\d+)+", said)
    return found[0] if found else ""


def why_no_gpu() -> str:
    """Why torch sees no GPU here, in words: no driver, one too old for this torch, or something else."""
    import torch

    cuda = torch.version.cuda
    if cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    least = LEAST_DRIVER.get(int(cuda.partition(".")[0]))
    needs = f"torch {torch.__version__} is of CUDA {cuda}" + (f", which needs driver {least} or newer" if least else "")
    mend = "update the driver, or install a torch of an older CUDA"
    there = driver()
    if there and least and int(there.partition(".")[0]) < least:
        return f"the NVIDIA driver here is {there}, too old: {needs}; {mend}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.is_available()
    for warning in said:
        if old := re.search(r"driver on your system is too old(?: \(found version (\d+)\))?", str(warning.message)):
            number = int(old[1] or 0)  # 12040 is CUDA 12.4
            has = there or (f"of CUDA {number // 1000}.{number % 1000 // 10}" if number else "here")
            return f"the NVIDIA driver {has} is too old: {needs}; {mend}"
    if there:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        return f"NVIDIA driver {there} is there" + (
            f"; CUDA_VISIBLE_DEVICES is {hidden!r}" if hidden is not None else ""
        )
    return "no NVIDIA driver is found"


def said_of(device: str, dtype: str, elsewhere: bool = False) -> str:
    """The line in which a command says where it computes and in which numbers, before it begins.

    dtype: a name, or auto; elsewhere: on the GPUs of other machines.
    """
    if elsewhere:
        return f"device: the workers' ({device}), {dtype_said(device, dtype)}"
    auto, device = (
        device == "auto",
        "cuda" if device == "auto" and sees_gpu() else "cpu" if device == "auto" else device,
    )
    old = f"; {why}" if auto and device == "cpu" and driver() and (why := why_no_gpu()) else ""
    return f"device: {device_name(device)} ({device}), {dtype_said(device, dtype)}{old}"


def dtype_said(device: str, dtype: str) -> str:
    """What auto means on this device."""
    if dtype != "auto":
        return dtype
    if device == "auto":
        return "float16 on a GPU, float32 on a CPU"
    return "float32" if device == "cpu" else "float16 (bfloat16 where an editor needs it)"


def device_name(device: str) -> str:
    """The GPU's name where one will be used, else the processor's."""
    if device.startswith("cuda") or (device == "auto" and Path("/dev/nvidia0").exists()):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(None if device == "auto" else device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@contextmanager
def all_cores() -> Iterator[None]:
    """While weights are loaded torch may use every core, whatever OMP_NUM_THREADS says for the work itself."""
    import torch

    with threads(max(torch.get_num_threads(), cores())):
        yield


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch works with so many threads while the block lasts."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Wanted(NamedTuple):
    """Where a model is asked to run."""

    device: str = "auto"  # auto: cuda where there is one, else cpu
    dtype: str = "auto"  # auto: float16 on a GPU, float32 on a CPU; see dtype_name
    elsewhere: bool = False  # it runs on another machine's GPU: this one need not have one
    offload: bool = False  # its weights wait in main memory
    unsaid: bool = False  # the CPU is taken only where somebody asked for it


class NoGPU(ValueError):
    """There is no GPU, and nobody has asked for the CPU."""


class Asked(Protocol):
    """What placing a model asks for. A run's ModelSettings serve as well as a Wanted: they have these."""

    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def elsewhere(self) -> bool: ...
    @property
    def unsaid(self) -> bool: ...
    @property
    def offload(self) -> bool: ...


class Placement(NamedTuple):
    device: str
    dtype: "torch.dtype"
    offload: bool = False


def placement(spec: Asked, prefers: str = "float16") -> Placement:
    """Where the model runs: device cuda, mps, cpu ... and a torch dtype. ValueError for a device that is not there.

    prefers: the dtype that the model wants on a GPU, where the user leaves it to auto.
    """
    import torch

    device = ("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device
    if device.startswith("cuda") and not spec.elsewhere and not torch.cuda.is_available():
        raise ValueError(
            f"--device {device}: torch {torch.__version__} sees no GPU ({why_no_gpu()}); use --device cpu or auto"
        )
    if spec.unsaid and device == "cpu":
        raise NoGPU(
            f"no GPU: torch {torch.__version__} sees none ({why_no_gpu()})\n"
            "at the true sizes the CPU takes days for what a GPU does in an hour, so nothing goes there unasked\n"
            'Next: --device cpu if that is what you want (make: ARGS="--device cpu"); --plan says what it would take'
        )
    if spec.offload and device.startswith("cpu"):
        raise ValueError("--offload is for a GPU, and this model runs on the CPU; leave it out")
    return Placement(device, getattr(torch, dtype_name(spec, device, prefers)), spec.offload)


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


def in_half(denoiser: "nn.Module", dtype: "torch.dtype") -> None:
    """The denoiser takes its inputs in dtype and answers in float32, so that the latents stay in float32.

    Timesteps stay as they are: float16 has no 999.5, and the network embeds them in float32 itself.
    """
    import torch

    def cast(value: object, to: "torch.dtype") -> object:
        if isinstance(value, torch.Tensor):
            return value.to(to) if value.is_floating_point() and value.ndim > 1 else value
        if isinstance(value, tuple | list):
            return type(value)(cast(one, to) for one in value)
        if isinstance(value, dict):  # a library's output is an ordered dict too: its values are set in place
            for key in value:
                value[key] = cast(value[key], to)
        return value

    def before(_: object, args: tuple, named: dict) -> tuple[tuple, dict]:
        return tuple(cast(one, dtype) for one in args), {k: cast(dict(v) if type(v) is dict else v, dtype)
                                                         for k, v in named.items()}  # fmt: skip

    denoiser.register_forward_pre_hook(before, with_kwargs=True)
    denoiser.register_forward_hook(lambda _, args, output: cast(output, torch.float32))
