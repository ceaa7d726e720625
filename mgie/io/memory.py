"""Whether weights plainly do not fit where they are asked to go: told before minutes of loading, and not by a kill."""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "BOOL": 1}  # of safetensors
FLOATS = ("F64", "F32", "F16", "BF16")
CGROUP = Path("/sys/fs/cgroup")


def weights_bytes(files: Iterable[Path], dtype: "torch.dtype | None" = None) -> int:
    """Memory that the tensors of safetensors files take, as dtype; None: as they are. Only the headers are read."""
    total = 0
    for path in files:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, path.stat().st_size)))
        for name, tensor in header.items():
            if name != "__metadata__":
                start, end = tensor["data_offsets"]
                width = BYTES.get(tensor["dtype"], 4)
                cast = dtype.itemsize if dtype is not None and tensor["dtype"] in FLOATS else width
                total += (end - start) // width * cast
    return total


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


def refuse_too_large(folder: Path, dtype: "torch.dtype | None", device: str, offload: bool = False) -> None:
    """Raises ValueError where a pipeline's weights plainly do not fit, with what would. Damaged files: the loader says
    so. offload: they wait in main memory."""
    import torch

    files = sorted(Path(folder).glob("*/*.safetensors"))
    place = "cpu" if offload else device
    free = free_bytes(place)
    try:
        needed = weights_bytes(files, dtype)
        half = weights_bytes(files, torch.bfloat16)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return
    if free is None or needed <= free:
        return
    where = "main memory" if place == "cpu" else place
    ways = [f"--dtype bfloat16 needs {half / 1e9:.1f} GB"] if half < needed and half <= free else []
    if device.startswith("cuda") and not offload and needed <= (free_bytes("cpu") or 0):
        ways.append("--offload keeps them in main memory")
    takes = f"the weights in {folder} take {needed / 1e9:.1f} GB as {shown(dtype)}"
    raise ValueError(
        f"{takes}, and {where} has {free / 1e9:.1f} GB free; "
        + ("what fits: " + "; ".join(ways) if ways else "a machine with more is needed")
    )


def shown(dtype: "torch.dtype | None") -> str:
    return "they are" if dtype is None else str(dtype).removeprefix("torch.")
