"""Presets: the official names and sizes at real size, the same classes small, and what both cost."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from mgie.presets import PRESETS, Preset, main, memory, parameters

MANIFEST = Path(__file__).parents[2] / "mgie" / "convert" / "manifest.json"


@pytest.fixture(scope="module")
def meta():
    with torch.device("meta"):
        preset = PRESETS["7b"]
        return {"mllm": preset.mllm(0, 1), "edit_head": preset.edit_head(), "unet": preset.unet(), "vae": preset.vae()}


def shapes(module: torch.nn.Module, prefix: str = "") -> dict[str, list[int]]:
    return {prefix + name: list(parameter.shape) for name, parameter in module.named_parameters()}


def test_7b_has_the_official_names_and_shapes(meta):
    official, mllm = json.loads(MANIFEST.read_text()), meta["mllm"]
    llama = shapes(mllm.llama)
    assert (
        shapes(meta["edit_head"], "edit_head.")
        | {name: llama[name] for name in ("model.embed_tokens.weight", "lm_head.weight")}
        == official["mllm.pt"]
    )
    assert shapes(meta["unet"]) == official["unet.pt"]
    assert shapes(meta["vae"], "vae.") == official["vae (inside training checkpoints as vae.*)"]
    assert shapes(mllm.projector, "model.mm_projector.") | llama == official["llava_7b_v1"] | {
        name: official["mllm.pt"][name] for name in ("model.embed_tokens.weight", "lm_head.weight")
    }  # the visual tokens are new rows
    tower = {name.removeprefix("vision_model."): shape for name, shape in shapes(mllm.tower).items()}
    assert {f"vision_model.{name}": shape for name, shape in tower.items()} == official["clip_vit_large_patch14_vision"]


def test_parameters_are_those_of_the_paper():
    counts = parameters(PRESETS["7b"])
    assert counts["edit_head"] == 31_958_784
    assert counts["unet"] == 859_532_484 and counts["vae"] == 83_653_863 and counts["tower"] == 303_179_776
    assert PRESETS["7b"].patches == 256 and PRESETS["7b"].factor == 8


def test_the_memory_of_7b_in_bfloat16_is_under_its_limits():
    one, eight = (sum(memory(PRESETS["7b"], 2, batch).values()) / 2**30 for batch in (1, 8))
    assert one < 24 and eight < 40
    assert memory(PRESETS["7b"], 4, 1)["llama"] == 2 * memory(PRESETS["7b"], 2, 1)["llama"]


def test_the_miniature_ships_within_its_budget():
    counts = parameters(PRESETS["mini"])
    assert 3 * counts["unet"] * 2 < 21e6  # float16; one each for InsPix2Pix, LGIE, MGIE
    assert (counts["vae"] + counts["tower"] + 2 * counts["llama"] + 2 * counts["edit_head"]) * 2 < 20e6


def test_the_samplers_are_those_of_the_presets():
    big, small = PRESETS["7b"].sampler(), PRESETS["mini"].sampler()
    assert type(big).__name__ == "EulerAncestralDiscreteScheduler" and big.config.prediction_type == "epsilon"
    assert type(small).__name__ == "DDIMScheduler" and small.config.prediction_type == "v_prediction"
    small.set_timesteps(20)
    assert small.timesteps[0] == 999 and small.alphas_cumprod[-1] < 1e-6  # trailing, from pure noise
    assert PRESETS["7b"].sampler("DDPMScheduler").config.beta_end == big.config.beta_end == 0.012


def test_a_preset_survives_its_json():
    for preset in PRESETS.values():
        assert Preset.from_json(json.loads(json.dumps(preset.to_json()))) == preset
    with pytest.raises(ValueError, match="hiden"):
        Preset.from_json(PRESETS["mini"].to_json() | {"hiden": 3})


def test_the_command_prints_parameters_and_memory(capsys):
    assert main() == 0
    printed = capsys.readouterr().out
    assert "31,958,784" in printed and "preset mini" in printed and "bfloat16 x8" in printed


def test_the_miniature_edits_in_well_under_a_second_each():
    torch.set_num_threads(1)
    pipe = tiny.build(preset=replace(PRESETS["mini"], name="mini-random"))
    images = [tiny.picture(i, (64, 64)) for i in range(8)]
    pipe(images, "warm up", generator=tiny.generators(*range(8)), num_inference_steps=1, max_new_tokens=4)
    start = time.process_time()  # of this process: the machine may be busy with others
    output = pipe(images, "make it night", generator=tiny.generators(*range(8)))
    assert len(output.images) == 8 and (time.process_time() - start) / 8 < 1
