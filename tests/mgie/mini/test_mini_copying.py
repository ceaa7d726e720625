"""The miniature's UNet starts as one that hands its input image on."""

from dataclasses import replace

import pytest
import torch

from mgie.mini.stages.sd import start_as_copy
from mgie.presets import PRESETS

PRESET = PRESETS["mini"]


def answer(unet: torch.nn.Module, noisy: torch.Tensor, image: torch.Tensor, time: int) -> torch.Tensor:
    with torch.no_grad():
        text = torch.randn(len(noisy), 5, PRESET.condition, generator=torch.Generator().manual_seed(1))
        return unet(torch.cat([noisy, image], dim=1), time, text).sample


def smooth(seed: int) -> torch.Tensor:
    """(2, C, 16, 16) of unit variance, like a codec's latents: neighbours are alike."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.randn(2, PRESET.latent_channels, 8, 8, generator=generator)
    found = torch.nn.functional.interpolate(rough, size=16, mode="bicubic")
    return found / found.std()


def likeness(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def test_before_training_the_answer_is_the_negative_of_the_input_image_at_full_noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet, other = PRESET.unet(), PRESET.unet()
    start_as_copy(unet, PRESET.latent_scale)
    image, noisy = smooth(2), torch.randn(2, PRESET.latent_channels, 16, 16, generator=torch.Generator().manual_seed(3))
    wanted = 0.5 * noisy - image
    found = likeness(answer(unet, noisy, image / PRESET.latent_scale, 999), wanted)
    assert found > 0.8 and abs(likeness(answer(other, noisy, image / PRESET.latent_scale, 999), wanted)) < 0.3


def test_a_first_level_too_narrow_for_the_latents_is_refused_with_both_numbers():
    unet = replace(PRESET, unet_channels=(16, 64, 64)).unet()
    with pytest.raises(ValueError, match="16 channels cannot carry 16 latent channels as pairs; at least 32"):
        start_as_copy(unet, 1.0)
