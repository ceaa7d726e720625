"""The official checkpoint's names and shapes: recorded at real size, and derived for any other size.

Convention: mgie/official_manifest.json, recorded from apple/ml-mgie at 835af37 (mllm.pt, unet.pt), LLaVA-7B-v1 and
CLIP ViT-L/14; names of the libraries' modules are mapped to the official ones here and nowhere else.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.visual_tokens import NUM_VISUAL_TOKENS

if TYPE_CHECKING:
    from torch import nn

    from mgie.presets import Preset

RECORDED = Path(__file__).parent / "official_manifest.json"
Shapes = dict[str, tuple[int, ...]]
TRAINED = ("model.embed_tokens.weight", "lm_head.weight")  # of the LLM: in mllm.pt, with the visual tokens' rows
EMBEDDINGS = "emb"  # quirk: demo.ipynb reads it from mllm.pt, extract_ckpt.ipynb does not write it
BUFFER = re.compile(r".*\.(rotary_emb\.inv_freq|embeddings\.position_ids)")  # older libraries saved what they compute
TOWER = ("model.vision_tower.vision_model.", "model.vision_tower.", "vision_model.")


def recorded(part: str) -> Shapes:
    """part: mllm.pt, unet.pt, llava_7b_v1, clip_vit_large_patch14_vision, ..., at real size."""
    return {name: tuple(shape) for name, shape in json.loads(RECORDED.read_text())[part].items()}


def expected(preset: "Preset") -> dict[str, Shapes]:
    """What the official files of a model of these sizes hold; for the preset 7b this is the recorded manifest."""
    import torch
    from transformers import CLIPVisionModel

    with torch.device("meta"):
        llama = shapes(preset.mllm(None, None, eyes=False).llama)
        tower = shapes(CLIPVisionModel(preset.vision_config()))
        head, unet = shapes(preset.edit_head()), shapes(preset.unet())
    mllm = {name: llama[name] for name in TRAINED} | {f"edit_head.{name}": shape for name, shape in head.items()}
    llava = {name: (s[0] - NUM_VISUAL_TOKENS, *s[1:]) if name in TRAINED else s for name, s in llama.items()}
    llava |= {"model.mm_projector.weight": (preset.hidden, preset.vision_hidden)}
    llava |= {"model.mm_projector.bias": (preset.hidden,)}
    tower = {f"vision_model.{bare(name)}": shape for name, shape in tower.items()}
    return {"mllm.pt": mllm, "unet.pt": unet, "llava_7b_v1": llava, "clip_vit_large_patch14_vision": tower}


def shapes(module: "nn.Module") -> Shapes:
    return {name: tuple(t.shape) for name, t in module.state_dict().items() if not BUFFER.fullmatch(f".{name}")}


def bare(name: str) -> str:
    """A tower's tensor without the prefixes that LLaVA, older and newer transformers put before it."""
    for prefix in TOWER:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def check(where: str, found: Shapes, wanted: Shapes, also: tuple[str, ...] = ()) -> list[str]:
    """Every name is accounted for: as wanted, as one of `also`, or as a buffer. Returns the names left out.

    Raises ValueError with the first names that are missing, unknown or of another shape.
    """
    dropped = [name for name in found if name not in wanted and (BUFFER.fullmatch(name) or name in also)]
    missing = sorted(wanted.keys() - found.keys())
    unknown = sorted(found.keys() - wanted.keys() - set(dropped))
    if missing or unknown:
        raise ValueError(
            f"{where}: {len(missing)} tensors missing (first: {missing[:2]}), {len(unknown)} unknown "
            f"(first: {unknown[:2]}); is this the right file?"
        )
    wrong = [name for name in wanted if tuple(found[name]) != tuple(wanted[name])]
    if wrong:
        raise ValueError(
            f"{where}: {len(wrong)} tensors of another shape (first: {wrong[0]} is {tuple(found[wrong[0]])}, "
            f"expected {tuple(wanted[wrong[0]])})"
        )
    return dropped
