"""In what numbers the miniature trains: bfloat16 autocast where the processor computes in it, float32 elsewhere.

A processor without such instructions emulates them: a convolution of 64 channels took 60 times as long in bfloat16 as
in float32 on an AVX2 machine. The weights in the repository were trained in bfloat16; what float32 makes of the first
steps is compared with their train.csv by mgie.mini.training.stage.check. Not covered: the
trainer of real sizes (--precision).
"""

from functools import cache
from typing import Literal

import torch

CALCULATES = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # names of torch.cpu.get_capabilities(): x86, then ARM


@cache
def precision(device: str = "cpu") -> Literal["bf16", "float32"]:
    """As mgie.train.loop names it. device: "cpu" or one of torch's GPUs, all of which that train this know bfloat16."""
    if torch.device(device).type != "cpu":
        return "bf16"
    known = torch.cpu.get_capabilities()
    return "bf16" if any(known.get(name) for name in CALCULATES) else "float32"


def trained_on(device: str = "cpu") -> dict[str, str]:
    """Where the same seed gives the same losses: other processors round otherwise, also in the same numbers."""
    from mgie.io.devices import device_name

    name = device_name(device)
    return {"device": f"{name}, 1 thread" if device == "cpu" else name, "precision": precision(device)}


def autocast(device: str = "cpu") -> torch.autocast:
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision(device) == "bf16")
