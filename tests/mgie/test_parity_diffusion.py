"""Our sampling loop equals StableDiffusionInstructPix2PixPipeline: Euler-a, DDIM, PNDM, odd sizes, scales, no guidance.

Reference: golden data of apple/ml-mgie at 835af37, files d_* (tests/golden/README.md), with its recorded draws.
"""

import inspect

import diffusers
import numpy as np
import pytest
import torch
from golden_weights import Golden, close, fill, preset_of
from PIL import Image

from mgie.diffusion import decode_latents, denoise, encode_condition, start_noise
from mgie.guidance import copies, guide
from mgie.preprocess import edit_pixels, edit_size, to_images

SUBSET = 7


@pytest.fixture(scope="module")
def parts(golden):
    preset, salt = preset_of(golden.config), golden.config["salt"]
    return preset, fill(preset.unet(), "unet.{}".format, salt), fill(preset.vae(), "vae.{}".format, salt)


@pytest.fixture(scope="module")
def recorded(golden):
    facts, arrays = golden.json("d_pipeline"), golden.arrays("d_pipeline")
    return facts, arrays


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a recorded case, whatever a golden set calls its cases; none where it has none."""
    if "name" in metafunc.fixturenames:
        try:
            names = sorted(Golden.of(metafunc.config).json("d_pipeline")["cases"])
        except pytest.skip.Exception:
            names = []
        metafunc.parametrize("name", names)


class Recorded:
    """Stands in for randn_tensor: gives the recorded draws in turn."""

    def __init__(self, draws: list[np.ndarray]) -> None:
        self.left = [torch.from_numpy(draw) for draw in draws]

    def __call__(self, shape, generator=None, device=None, dtype=None):
        draw = self.left.pop(0)
        assert tuple(shape) == tuple(draw.shape)
        return draw


@torch.no_grad()
def test_an_edit_equals_the_official_pipelines(name, parts, recorded, monkeypatch):
    preset, unet, vae = parts
    facts, arrays = recorded
    case = facts["cases"][name]
    own = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
    picture = Image.fromarray(own["image_uint8"])
    assert list(picture.size) == case["size_wh"]
    pixels = edit_pixels(picture, edit_size(picture, preset.factor, preset.max_side))[None]
    condition = encode_condition(vae, pixels)
    close(condition, own["image_latents"])

    config = {key: value for key, value in case["scheduler_config"].items() if not key.startswith("_")}
    scheduler = getattr(diffusers, case["scheduler"]).from_config(config)
    draws = Recorded([own[f"step_noise_{i}"] for i in range(sum(key.startswith("step_noise_") for key in own))])
    if draws.left:
        monkeypatch.setattr(inspect.getmodule(type(scheduler)), "randn_tensor", draws)
    first, steps = [], []

    def remember(module, args, kwargs, output):
        if not first:
            first.extend([args[0], kwargs["encoder_hidden_states"], output[0]])

    hook = unet.register_forward_hook(remember, with_kwargs=True)
    latents = denoise(
        unet, scheduler, condition, torch.from_numpy(arrays["prompt_embeds"]),
        torch.from_numpy(arrays["negative_prompt_embeds"]), case["guidance_scale"], case["image_guidance_scale"],
        case["num_inference_steps"], noise=torch.from_numpy(own["init_noise"]),
        on_step=steps.append,
    )  # fmt: skip
    hook.remove()
    assert not draws.left

    asked = len(first[0])  # the official pipeline also asks for what image_guidance_scale 1 cancels
    assert asked == copies(case["guidance_scale"], case["image_guidance_scale"]) <= len(own["unet0_in"])
    for ours, key in zip(first, ("unet0_in", "unet0_cond", "unet0_out"), strict=True):
        close(ours, own[key][:asked])
    close(torch.stack(steps), own["latents_per_step"])
    decoded = decode_latents(vae, latents)
    every = 1 if "preprocessed" in own else SUBSET  # the subset in tests/golden keeps some rows and columns
    if every == 1:
        close(pixels, own["preprocessed"], 1e-6)
    close(decoded[..., ::every, ::every], own["decoded_raw"])
    image = np.asarray(to_images(decoded)[0], int)[None, ::every, ::every]
    assert np.abs(image - (own["image_np"] * 255).round().astype(int)).max() <= 1


def test_a_cpu_generator_draws_what_the_official_pipeline_drew(recorded):
    facts, arrays = recorded
    for name in facts["cases"]:
        noise = arrays[f"{name}/init_noise"]
        generators = [torch.Generator("cpu").manual_seed(facts["seed"])]
        close(start_noise(noise.shape, generators, torch.device("cpu")), noise, 1e-6)


def test_two_copies_are_exact_where_the_third_cancels(generator):
    full, image, neither = torch.randn(3, 2, 4, 8, 8, generator=generator)
    official = neither + 5.0 * (full - image) + 1.0 * (image - neither)
    close(guide(torch.cat([full, image]), 5.0, 1.0), official.numpy(), 1e-6)
    three = neither + 5.0 * (full - image) + 1.5 * (image - neither)
    close(guide(torch.cat([full, image, neither]), 5.0, 1.5), three.numpy(), 1e-6)
