"""What a plan is made for: this machine's device, or a GPU that is named and need not be here."""

import re
from typing import NamedTuple

from mgie.io.devices import device_name, driver, sees_gpu, why_no_gpu
from mgie.io.memory import free_bytes

# GB of memory by the makers' data sheets; the names are those of --for, before the dash
GPUS = {
    "t4": (16,), "v100": (16, 32), "p100": (16,), "l4": (24,), "a10": (24,), "a10g": (24,), "a30": (24,), "l40": (48,),
    "l40s": (48,), "a40": (48,), "a100": (40, 80), "h100": (80,), "h200": (141,), "b200": (192,), "a4000": (16,),
    "a5000": (24,), "a6000": (48,), "rtx2080ti": (11,), "rtx3060": (12,), "rtx3080": (10,), "rtx3090": (24,),
    "rtx4080": (16,), "rtx4090": (24,), "rtx5080": (16,), "rtx5090": (32,),
}  # fmt: skip


class Device(NamedTuple):
    name: str
    kind: str  # cuda, cpu, mps ...
    memory: int | None  # bytes that are free on it; of a named GPU all it has. None: not known
    named: bool = False  # it is not this machine's
    note: str = ""  # what its owner should know


def here(asked: str) -> Device:
    """asked: of --device. Raises nothing: what is not there is noted."""
    gpu = sees_gpu() if asked == "auto" or asked.startswith("cuda") else False
    kind = ("cuda" if gpu else "cpu") if asked == "auto" else asked
    if kind.startswith("cuda") and not gpu:
        return Device("none", kind, None, note=f"no GPU here: {why_no_gpu()}")
    note = ""
    if asked == "auto" and kind == "cpu":
        note = f"no GPU here: {why_no_gpu() if driver() else 'no NVIDIA driver is found'}"
    return Device(device_name(kind), kind, free_bytes(kind), note=note)


def named(text: str) -> Device:
    """The GPU of --for: a100-40gb, h100, any name with its memory behind a dash. Raises ValueError."""
    match = re.fullmatch(r"([a-z0-9][a-z0-9 _.-]*?)(?:[-_ ](\d+)\s?gi?b?)?", text.strip().lower())
    name = re.sub(r"^(nvidia|tesla|geforce)[-_ ]", "", match[1]) if match else ""
    known = GPUS.get(re.sub(r"[-_ ]", "", name), ())
    if match and match[2]:
        size = int(match[2])
    elif len(known) == 1:
        size = known[0]
    elif known:
        raise ValueError(f"--for {text}: which one? {' or '.join(f'{name}-{size}gb' for size in known)}")
    else:
        raise ValueError(f"--for {text}: unknown; known: {', '.join(GPUS)}, or any name with its memory: mycard-24gb")
    if size < 1:
        raise ValueError(f"--for {text}: a GPU has at least 1 GB")
    return Device(f"{name}-{size}gb", "cuda", size * 10**9, named=True)
