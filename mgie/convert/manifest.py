"""The official checkpoint's names and shapes: recorded at real size, and derived for any other size.

Convention: mgie/official_manifest.json, recorded from apple/ml-mgie at 835af37 (mllm.pt, unet.pt), LLaVA-7B-v1 and
CLIP ViT-L/14; names of the libraries' modules are mapped to the official ones here and nowhere else.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.presets import PRESETS, Preset
from mgie.visual_tokens import NUM_VISUAL_TOKENS

if TYPE_CHECKING:
    from torch import nn

    from mgie.presets import Preset

RECORDED = Path(__file__).with_suffix(".json")
Shapes = dict[str, tuple[int, ...]]
TRAINED = ("model.embed_tokens.weight", "lm_head.weight")  # of the LLM: in mllm.pt, with the visual tokens' rows
LAYERS = ("layers", "vision_layers", "head_layers", "unet_blocks", "vae_blocks")
MOST_LAYERS = 1000  # each is built, if without its weights, before the files are compared with it
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


SCHEDULER_FIELDS = ("prediction_type", "timestep_spacing")
NO_SIZES = ("scheduler", *SCHEDULER_FIELDS, "zero_snr", "context", "image_size")  # of the preset: no tensor's shape


def preset_of(llava: dict, vision: dict, mllm: "Shapes", unet: dict, vae: dict, scheduler: dict) -> Preset:
    """The preset `7b` where all sizes are its sizes, else one called `custom`."""
    base = PRESETS["7b"]
    sizes = head_sizes(mllm)
    for where, read in (
        ("LLaVA's config.json", lambda: llama_sizes(llava, mllm)), ("the vision tower's", lambda: vision_sizes(vision)),
        ("unet/config.json", lambda: unet_sizes(unet) | {"image_size": unet["sample_size"]}),
        ("vae/config.json", lambda: vae_sizes(vae)), ("scheduler_config.json", lambda: sampling(scheduler)),
    ):  # fmt: skip
        try:
            sizes |= read()
        except KeyError as error:
            raise ValueError(f"{where} has no entry {error}; is it the file of that name, whole?") from error
        except (TypeError, AttributeError) as error:  # null, a text or a list where a number belongs
            raise ValueError(f"{where} holds a value of another kind than expected ({error})") from error
    check_sizes(sizes)
    sizes["image_size"] *= 2 ** (len(sizes["vae_channels"]) - 1)  # the UNet's are latents
    preset = replace(base, **sizes)
    same = replace(preset, **{name: getattr(base, name) for name in NO_SIZES}) == base
    return preset if same else replace(preset, name="custom")


def check_sizes(sizes: dict) -> None:
    """Every size is a whole number of at least 1, of the kind that the presets have, and no layers without end."""
    for name, value in sizes.items():
        usual = getattr(PRESETS["7b"], name)
        parts = value if isinstance(usual, tuple) and isinstance(value, tuple) else (value,)
        kind = type(usual[0]) if isinstance(usual, tuple) else type(usual)
        wrong = [v for v in parts if type(v) is not kind and not (kind is float and type(v) is int)]
        endless = name in LAYERS and not wrong and max(parts) > MOST_LAYERS
        if wrong or endless or (kind is int and min(parts, default=1) < 1):
            raise ValueError(f"the config files give {name} as {value!r:.60}; the released model has {usual!r}")


def sampling(scheduler: dict) -> dict:
    values = {name: scheduler[name] for name in SCHEDULER_FIELDS if name in scheduler}
    return values | {"scheduler": scheduler["_class_name"], "zero_snr": scheduler.get("rescale_betas_zero_snr", False)}


def llama_sizes(config: dict, mllm: "Shapes") -> dict:
    if config.get("mm_vision_select_layer", -2) != -2:
        raise ValueError(f"LLaVA's mm_vision_select_layer is {config['mm_vision_select_layer']}; MGIE reads layer -2")
    if "lm_head.weight" not in mllm:
        raise ValueError("mllm.pt has no lm_head.weight; is it the file that extract_ckpt.ipynb writes?")
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    return {
        "vocab": mllm["lm_head.weight"][0], "hidden": config["hidden_size"],
        "intermediate": config["intermediate_size"], "layers": config["num_hidden_layers"], "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "context": config.get("max_position_embeddings") or config.get("max_sequence_length") or 2048,
        "rms_norm_eps": config.get("rms_norm_eps", 1e-6),
        "rope_theta": float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0),
    }  # fmt: skip


def vision_sizes(config: dict) -> dict:
    """config: of CLIP as a whole, or of its vision tower."""
    config = config.get("vision_config") or config
    if config.get("hidden_act", "quick_gelu") != "quick_gelu":
        raise ValueError(f"the vision tower's hidden_act is {config['hidden_act']}; CLIP ViT-L/14 has quick_gelu")
    return {
        "vision_hidden": config["hidden_size"], "vision_intermediate": config["intermediate_size"],
        "vision_layers": config["num_hidden_layers"], "vision_heads": config["num_attention_heads"],
        "vision_size": config["image_size"], "vision_patch": config["patch_size"],
    }  # fmt: skip


def head_sizes(mllm: "Shapes") -> dict:
    prefix = "edit_head.mapper.encoder.layers."
    try:
        return {
            "head_dim": mllm["edit_head.llm2hid.weight"][0], "head_ff": mllm[f"{prefix}0.linear1.weight"][0],
            "queries": mllm["edit_head.query"][1], "condition": mllm["edit_head.hid2feat.weight"][0],
            "head_layers": len({name[len(prefix) :].split(".")[0] for name in mllm if name.startswith(prefix)}),
        }  # fmt: skip
    except KeyError as error:
        raise ValueError(f"mllm.pt has no {error}; is it the file that extract_ckpt.ipynb writes?") from error


def unet_sizes(config: dict) -> dict:
    heads = config.get("num_attention_heads") or config["attention_head_dim"]
    if not isinstance(heads, int) or not isinstance(config["layers_per_block"], int):
        raise ValueError("the UNet's heads or layers differ by level; Stable Diffusion 1.5 has one number for all")
    return {
        "unet_channels": tuple(config["block_out_channels"]), "unet_blocks": config["layers_per_block"],
        "unet_heads": heads, "unet_groups": config["norm_num_groups"],
        "unet_attention": tuple("CrossAttn" in block for block in config["down_block_types"]),
        "unet_pooled": config.get("addition_embed_type") == "text",
    }  # fmt: skip


def vae_sizes(config: dict) -> dict:
    return {
        "vae_channels": tuple(config["block_out_channels"]), "vae_blocks": config["layers_per_block"],
        "vae_groups": config["norm_num_groups"], "latent_channels": config["latent_channels"],
        "latent_scale": config.get("scaling_factor", 0.18215),
    }  # fmt: skip
