"""MGIE's start at real size, from its public parts: a merged LLaVA (or LLaMA, for LGIE) and Stable Diffusion 1.5.

Convention: apple/ml-mgie mgie_train.py at 835af37: eight [IMG] rows from N(0, 0.02) behind the vocabulary, a new edit
head, conv_in widened. LLaMA has no image tokens: three unused rows stand for them, so that both models have one size.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mgie import delta, folder, starts
from mgie.convert import Official, open_clip
from mgie.jsonfile import read_json
from mgie.manifest import TRAINED
from mgie.official import Shards
from mgie.official_parts import write_eyes, write_head, write_llama, write_tokenizer
from mgie.official_sizes import preset_of
from mgie.presets import Preset
from mgie.prompts import ADDED_TOKENS
from mgie.visual_tokens import NUM_VISUAL_TOKENS
from mgie.weights import load_library_model

if TYPE_CHECKING:
    from torch import Tensor

NEW_ROW_STD = 0.02


def assemble(llava: Path, stable_diffusion: Path, preset: Preset, eyes: bool, seed: int, reset_seed: int | None,
             target: Path) -> None:
    """An MGIEPipeline folder in target. reset_seed: None, or follow quirks 1 and 2 with this seed (mgie.recipes).

    Raises FileNotFoundError or ValueError for parts that are missing, unmerged or of other sizes than the preset's.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    shards, config = Shards(llava), read_json(llava / "config.json")
    delta.check(shards, None)
    unet = load_library_model(UNet2DConditionModel, stable_diffusion / "unet")
    vae = load_library_model(AutoencoderKL, stable_diffusion / "vae")
    starts.widen(unet, 2 * vae.config.latent_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = preset.edit_head()
        rows = {name: grown(shards.get(name).float(), eyes) for name in TRAINED}
    if reset_seed is not None:
        starts.reset_unet(unet, head, reset_seed)
    mllm = rows | {f"edit_head.{name}": tensor for name, tensor in head.state_dict().items()}
    clip, clip_config = open_clip(llava, config, shards, None) if eyes else (shards, {})
    check(llava, stable_diffusion, preset, sizes(config, clip_config, mllm, unet, vae, preset))
    files = Official(shards, None, clip, clip_config, mllm, {}, stable_diffusion, {"mllm": llava}, config)
    target.mkdir(parents=True)
    write_llama(files, preset, target / "llama")
    if eyes:
        write_eyes(files, preset, target)
    write_head(files, preset, target / "edit_head")
    write_tokenizer(files, preset, target / "tokenizer")
    for name, part in (("unet", unet), ("vae", vae), ("scheduler", preset.sampler())):
        part.save_pretrained(target / name)
    (target / folder.PRESET).write_text(json.dumps(preset.to_json(), indent=1) + "\n")
    index = {"_class_name": "MGIEPipeline", "preset": preset.name, "scheduler": preset.scheduler, "eyes": eyes}
    (target / folder.INDEX).write_text(json.dumps(index, indent=1) + "\n")


def grown(weight: "Tensor", eyes: bool) -> "Tensor":
    """(V, D) with the new tokens' rows behind it; LLaVA's has the image tokens already."""
    new = NUM_VISUAL_TOKENS if eyes else len(ADDED_TOKENS)
    return torch.cat([weight, NEW_ROW_STD * torch.randn(new, weight.shape[1])])


def sizes(config: dict, clip: dict, mllm: dict, unet: torch.nn.Module, vae: torch.nn.Module, preset: Preset) -> Preset:
    """The parts' sizes; what no part says (vision without eyes, sampling) is the preset's."""
    shapes = {name: tuple(tensor.shape) for name, tensor in mllm.items()}
    if not clip:
        clip = {**preset.vision_config().to_dict(), "hidden_act": "quick_gelu"}
    scheduler = {"_class_name": preset.scheduler}
    found = preset_of(config, clip, shapes, dict(unet.config), dict(vae.config), scheduler)
    kept = ("name", "context", "image_size", "prediction_type", "timestep_spacing", "zero_snr", *folder.SAMPLING)
    return replace(found, **{name: getattr(preset, name) for name in kept})


def check(llava: Path, stable_diffusion: Path, preset: Preset, found: Preset) -> None:
    ours, theirs = preset.to_json(), found.to_json()
    differs = [name for name in ours if ours[name] != theirs[name]]
    if differs:
        name = differs[0]
        raise ValueError(f"{llava} and {stable_diffusion} are not of preset {preset.name}: {name} is {theirs[name]}, "
                         f"expected {ours[name]}")
