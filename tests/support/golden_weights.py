"""The golden data of the official code: reading it, and our classes with the weights of its recipe.

Convention: README of tests/golden. Sizes, salt and special ids come from a set's config.json, never from here.
"""

import gzip
import json
import zlib
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mgie.mllm import MLLM
from mgie.presets import PRESETS, Preset

TOLERANCE = 1e-4


class Golden:
    """A folder of golden data, or the subset in tests/golden, whose JSON is gzipped and whose arrays are fewer."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def of(cls, config: pytest.Config) -> "Golden":
        """The set that --golden names; else ../shared/golden beside the checkout if there, else the subset."""
        here = Path(__file__).parents[1]
        shared = here.parents[1] / "shared" / "golden"
        return cls(config.getoption("--golden") or (shared if shared.exists() else here / "golden"))

    def json(self, name: str) -> dict:
        path = self.folder / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text())
        packed = self.folder / f"{name}.json.gz"
        if packed.exists():
            return json.loads(gzip.decompress(packed.read_bytes()))
        pytest.skip(f"no {name}.json in {self.folder}")

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        path = self.folder / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"no {name}.npz in {self.folder}")
        with np.load(path) as file:
            return {key: file[key] for key in file.files}

    @cached_property
    def config(self) -> dict:
        return self.json("config")


def recipe(name: str, shape: tuple[int, ...], salt: str = "") -> Tensor:
    """A parameter from its official name alone."""
    state = np.random.RandomState(zlib.crc32((salt + name).encode()) & 0xFFFFFFFF)
    n = state.standard_normal(shape)
    if name.endswith(("embed_tokens.weight", "position_embedding.weight", "edit_head.query")):
        n = 0.5 * n
    elif len(shape) == 1 and name.split(".")[-1] == "weight":
        n = 1 + 0.1 * n
    elif len(shape) <= 1:
        n = 0.1 * n
    else:
        n = n / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(n, np.float32))


@torch.no_grad()
def fill(module: nn.Module, official: Callable[[str], str], salt: str = "") -> nn.Module:
    """official: our parameter name -> the official one."""
    for name, parameter in module.named_parameters():
        parameter.copy_(recipe(official(name), tuple(parameter.shape), salt))
    return module.eval()


def official_mllm_name(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "tower":
        return "model.vision_tower.vision_model." + rest.removeprefix("vision_model.")
    return f"model.mm_projector.{rest}" if part == "projector" else rest


def preset_of(config: dict, **changes: object) -> Preset:
    """A golden set's sizes as a preset; what the set does not say is the 7b preset's."""
    llama, clip, edit, unet, vae = (config[key] for key in ("llama", "clip", "edit", "unet_extra", "vae_extra"))
    changes = {
        "name": "golden", "vocab": config["vocab"]["total"], "hidden": config["hidden"],
        "intermediate": config["inter"], "layers": config["layers"], "heads": config["heads"],
        "kv_heads": llama["kv_heads"], "rms_norm_eps": llama["rms_norm_eps"], "rope_theta": llama["rope_theta"],
        "vision_hidden": clip["hidden_size"], "vision_intermediate": clip["intermediate_size"],
        "vision_layers": clip["num_hidden_layers"], "vision_heads": clip["num_attention_heads"],
        "vision_size": clip["image_size"], "vision_patch": clip["patch_size"],
        "head_dim": edit["hid"], "head_ff": edit["ff"], "queries": edit["nq"], "condition": edit["feat"],
        "head_heads": config["edit_extra"]["nhead"], "head_layers": config["edit_extra"]["enc_layers"],
        "unet_channels": tuple(unet["block_out_channels"]), "unet_blocks": unet["layers_per_block"],
        "unet_heads": unet["attention_head_dim"], "unet_groups": unet["norm_num_groups"],
        "unet_attention": tuple("CrossAttn" in block for block in unet["down_block_types"]),
        "vae_channels": tuple(vae["block_out_channels"]), "vae_blocks": vae["layers_per_block"],
        "vae_groups": vae["norm_num_groups"], "latent_channels": vae["latent_channels"],
        "latent_scale": vae["scaling_factor"], "image_size": config["img"],
    } | changes  # fmt: skip
    return Preset(**(PRESETS["7b"].to_json() | changes))


def mllm_of(config: dict, **changes: object) -> MLLM:
    """With the recipe's weights."""
    ids = {"image_start": config["vocab"]["im_start"], "image_patch": config["vocab"]["im_patch"]} | {
        key: changes.pop(key) for key in ("image_start", "image_patch") if key in changes
    }
    return fill(preset_of(config, **changes).mllm(**ids), official_mllm_name, config["salt"])


@cache
def _edit_head(preset: Preset, salt: str) -> nn.Module:
    return fill(preset.edit_head(), "edit_head.{}".format, salt)


def edit_head_of(config: dict, **changes: object) -> nn.Module:
    return _edit_head(preset_of(config, **changes), config["salt"])


def close(ours: Tensor, theirs: np.ndarray | list, tolerance: float = TOLERANCE) -> None:
    """max|a - b| / max|b| within the tolerance, shapes equal."""
    ours, theirs = ours.detach().double().numpy(), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"shape {ours.shape}, expected {theirs.shape}"
    error = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12)
    assert error <= tolerance, f"differs by {error:.2e} of the largest value; allowed {tolerance:.0e}"


def runs(encoded: list[list[int]]) -> list[int]:
    """Ids that are stored as [[id, count], ...]."""
    return [token for token, count in encoded for _ in range(count)]
