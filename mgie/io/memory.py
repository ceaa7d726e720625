"""Whether weights plainly do not fit where they are asked to go: told before minutes of loading, and not by a kill.

And what is done on a GPU smaller than the model: weights wait in main memory and come to it when they are used, one
group of parts at a time. The LLM is called once a token: it comes whole where it fits, once a batch; layer by layer,
where each token moves all of it, only where it does not. The same numbers come out either way.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mgie.io.components import weights_of

if TYPE_CHECKING:
    import torch
    from torch import nn

BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "BOOL": 1}  # of safetensors
FLOATS = ("F64", "F32", "F16", "BF16")
CGROUP = Path("/sys/fs/cgroup")
ROOM = 2 * 2**30  # bytes beside the LLM: its cache of keys and values, activations, the vision tower


def weights_bytes(files: Iterable[Path], width: float | None = None) -> int:
    """Memory that the tensors of safetensors files take, each value in `width` bytes; None: as they are. Only the
    headers are read."""
    total = 0.0
    for path in files:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, path.stat().st_size)))
        for name, tensor in header.items():
            if name != "__metadata__":
                start, end = tensor["data_offsets"]
                own = BYTES.get(tensor["dtype"], 4)
                total += (end - start) // own * (width if width and tensor["dtype"] in FLOATS else own)
    return int(total)


def folder_bytes(folder: Path, width: float, of_bin: float = 1) -> int:
    """The weights in a component's folder once each value takes `width` bytes. of_bin: what counts of a .bin file,
    whose header is a pickle; all of it lies there."""
    try:
        files = weights_of(folder).files
    except FileNotFoundError:  # other names than the libraries': edit_head
        files = sorted(folder.glob("*.safetensors"))
    safe = [path for path in files if path.suffix == ".safetensors"]
    others = sum(path.stat().st_size for path in files if path.suffix == ".bin")
    return weights_bytes(safe, width) + int(of_bin * others)


def free_bytes(device: str) -> int | None:
    """What is free on a CUDA device, or of main memory; None: not known."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(torch.device(device))[0]
    if device != "cpu":
        return None
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit != "max":
            cached = [int(line.split()[1]) for line in (CGROUP / "memory.stat").read_text().splitlines()
                      if line.startswith("inactive_file ")]  # fmt: skip
            free.append(int(limit) - int(used) + sum(cached))
    except (OSError, ValueError, IndexError):  # no Linux, or no limit: whatever is known is used
        pass
    return min(free, default=None)


def refuse_too_large(
    parts_in: "Callable[[torch.dtype], Mapping[Path, float]]", dtype: "torch.dtype", device: str, offload: bool = False
) -> None:
    """Raises ValueError where weights plainly do not fit, with what would. Damaged files: the loader says so.

    parts_in: for a dtype, by component's folder the bytes of a value once it is loaded. offload: they wait in main
    memory.
    """
    import torch

    place = "cpu" if offload else device
    free = free_bytes(place)
    try:
        needed, half = (at_least(parts_in(kind)) for kind in (dtype, torch.bfloat16))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return
    if free is None or needed <= max(free, 0):
        return
    where = "main memory" if place == "cpu" else place
    ways = [f"--dtype bfloat16 needs {half / 1e9:.1f} GB"] if half < needed and half <= free else []
    if device.startswith("cuda") and not offload and needed <= (free_bytes("cpu") or 0):
        ways.append("--offload keeps them in main memory")
    folders = list(parts_in(dtype))
    folder = folders[0] if len(folders) == 1 else folders[0].parent
    takes = f"the weights in {folder} take {needed / 1e9:.1f} GB as {str(dtype).removeprefix('torch.')}"
    raise ValueError(
        f"{takes}, and {where} has {free / 1e9:.1f} GB free; "
        + ("what fits: " + "; ".join(ways) if ways else "a machine with more is needed")
    )


def at_least(parts: "Mapping[Path, float]") -> int:
    """Bytes of parts. A .bin file holds at most 4 bytes a value."""
    return sum(folder_bytes(folder, width, min(1, width / 4)) for folder, width in parts.items())


class Away(Protocol):
    """Something that can make room on the device."""

    def offload(self) -> None: ...


class Whole:
    """A module that comes to the device whole when it, or one of its parts, is called.

    Its weights in main memory stay where they are: leaving copies nothing. (accelerate's hooks copy them back, and
    know only the forward of the whole.)
    """

    def __init__(self, module: "nn.Module", device: "torch.device", parts: "Sequence[nn.Module]" = ()) -> None:
        """parts: what is called of the module, beside itself and its children; a hook before each brings the whole."""
        self.device, self.there = device, False
        self.leave_first: list[Away] = []  # what makes room when it comes
        self.home = [(tensor, tensor.data) for tensor in (*module.parameters(), *module.buffers())]
        for part in (module, *module.children(), *parts):
            part.register_forward_pre_hook(lambda *_: self.arrive())

    def arrive(self) -> None:
        if self.there:
            return
        for other in self.leave_first:
            other.offload()
        for tensor, home in self.home:
            tensor.data = home.to(self.device)
        self.there = True

    def offload(self) -> None:
        for tensor, home in self.home:
            tensor.data = home
        self.there = False


class ByLayer:
    """A module of which a layer at a time is on the device, for its own forward only."""

    def __init__(self, module: "nn.Module", device: "torch.device") -> None:
        from accelerate import cpu_offload

        cpu_offload(module, device)

    def offload(self) -> None:
        """Nothing of it is there between two calls."""


def take_turns(groups: Sequence[Sequence[Whole | ByLayer]]) -> None:
    """When one of a group comes, all of the other groups leave."""
    for group in groups:
        others = [one for other in groups if other is not group for one in other]
        for one in group:
            if isinstance(one, Whole):
                one.leave_first = list(others)


def fits(module: "nn.Module", device: "torch.device") -> bool:
    """Whether the whole of it and ROOM are free there."""
    free = free_bytes(str(device))
    return free is None or bytes_of(module) + ROOM <= free


def bytes_of(module: "nn.Module") -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def wait(module: "nn.Module", device: "torch.device", parts: "Sequence[nn.Module]" = ()) -> Whole | ByLayer:
    """A large module that is in main memory now, and comes whole where it fits. parts: as of Whole."""
    return Whole(module, device, parts) if fits(module, device) else ByLayer(module, device)
