"""LLaVA's delta: what has to be added to LLaMA's weights, and how to tell a delta from merged weights.

Convention: LLaVA's apply_delta.py at 7ace501: base + delta in float16; the projector and the rows of new tokens come
from the delta alone. A wrong base cannot be found out from its numbers, so the converter names it by SHA-256.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mgie.convert.shards import Shards

FINAL_NORM = "model.norm.weight"
MERGED_FROM = 0.2  # mean of the final norm's weights: merged about 1 or more, in a delta about 0
PROJECTOR = ("model.mm_projector.weight", "model.mm_projector.bias")
GROWN = ("model.embed_tokens.weight", "lm_head.weight")  # the only ones with more rows than the base


def is_delta(shards: "Shards") -> bool:
    """By the final norm's weights; those of the layers start near 0 in LLaMA itself and say nothing."""
    if FINAL_NORM not in shards:
        raise ValueError(f"{shards.where} has no {FINAL_NORM}; is this a LLaMA checkpoint?")
    return abs(float(shards.get(FINAL_NORM).float().mean())) < MERGED_FROM


def describe(shards: "Shards") -> str:
    """The statistics behind is_delta's answer."""
    norm = shards.get(FINAL_NORM).float()
    name = "model.layers.0.self_attn.q_proj.weight"
    std = f", {name} has std {float(shards.get(name).float().std()):.2g}" if name in shards else ""
    return f"{FINAL_NORM} has mean {float(norm.mean()):.3g}{std}"


def check(llava: "Shards", base: "Shards | None") -> None:
    """Refuses a delta without a base, merged weights with one, and a base that is itself a delta."""
    delta = is_delta(llava)
    if delta and base is None:
        raise ValueError(
            f"{llava.where} is a delta that was not merged ({describe(llava)}; merged weights: about 1 or more); "
            "name LLaMA's folder with --llama-base and it is merged here"
        )
    if base is None:
        return
    if not delta:
        raise ValueError(
            f"{llava.where} is merged already ({describe(llava)}; a delta: about 0); leave --llama-base out"
        )
    if is_delta(base):
        raise ValueError(f"{base.where} is no LLaMA but a delta itself ({describe(base)}); name the true base")
    for name, shape in llava.shapes.items():
        check_shape(name, shape, base)


def check_shape(name: str, shape: tuple[int, ...], base: "Shards") -> None:
    if name in PROJECTOR or name.endswith("rotary_emb.inv_freq"):
        return
    if name not in base:
        raise ValueError(f"{base.where} has no {name}; is it the LLaMA that the delta was made from?")
    wanted = base.shapes[name]
    grown = name in GROWN and shape[0] >= wanted[0] and shape[1:] == wanted[1:]
    if shape != wanted and not grown:
        raise ValueError(f"{name} is {wanted} in the base and {shape} in the delta; another LLaMA?")


def merged(name: str, llava: "Shards", base: "Shards | None") -> "Tensor":
    """The merged tensor, float16; without a base what the checkpoint holds."""
    import torch

    tensor = llava.get(name).to(torch.float16)
    if base is None or name not in base:
        return tensor
    start = base.get(name).to(torch.float16)
    rows = tensor[: len(start)]  # new tokens' rows are the delta's own
    rows += start
    return tensor
