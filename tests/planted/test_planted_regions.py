"""Would the checks of masked metrics, and of those against the input, see an error? Each is planted into our code."""

from dataclasses import replace

import pytest
import torch
from region_checks import (
    check_against_input,
    check_clip_s_in_regions,
    check_lpips_in_regions,
    check_pixels_in_regions,
    check_ssim_in_regions,
)
from tiny_networks import tiny_settings

from bench.metrics import lpips as lpips_module
from bench.metrics import pairs, regions
from bench.metrics import ssim as ssim_module
from bench.settings import MetricSettings


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> MetricSettings:
    return tiny_settings(tmp_path_factory.mktemp("networks"))


def plant_inverted_mask(patch):
    original = regions.Look.kept

    def kept(self, pair, picture):
        found = original(self, pair, picture)
        return found if isinstance(found, pairs.Value) else ~found

    patch.setattr(regions.Look, "kept", kept)


def plant_swapped_masks(patch):
    """Each pair with the mask of the one before."""
    original, seen = regions.Look.kept, []

    def kept(self, pair, picture):
        seen.append(pair.mask)
        return original(self, replace(pair, mask=seen[-2] if len(seen) > 1 else pair.mask), picture)

    patch.setattr(regions.Look, "kept", kept)


def plant_ungrown_mask(patch):
    patch.setattr(regions, "grown", lambda mask, by: mask)
    patch.setattr(ssim_module, "grown", lambda mask, by: mask)


def plant_share_of_the_whole(patch):
    """Zeroed pixels count too, as in PIE-Bench's released numbers."""

    def masked(output, goal, kept):
        where = torch.from_numpy(kept)
        return output * where, goal * where

    patch.setattr(regions, "masked", masked)


def plant_goal_for_input(patch):
    patch.setattr(regions.Look, "pair", lambda self, pair: pair)


def plant_anothers_input(patch):
    original, seen = regions.Look.pair, []

    def pair(self, p):
        seen.append(p)
        return original(self, replace(p, input=seen[-2].input) if len(seen) > 1 else p)

    patch.setattr(regions.Look, "pair", pair)


def plant_leaking_lpips(patch):
    """The other side is not made equal before the network looks."""

    def within(output, goal, kept, network):
        return network.distances(2 * output - 1, 2 * goal - 1)[:, torch.from_numpy(kept)].double().mean(dim=1)

    patch.setattr(lpips_module, "lpips_within", within)


PLANTED = {
    "input image of another pair": (check_against_input, plant_anothers_input),
    "mask inverted": (check_pixels_in_regions, plant_inverted_mask),
    "mask inverted, SSIM": (check_ssim_in_regions, plant_inverted_mask),
    "mask inverted, LPIPS": (check_lpips_in_regions, plant_inverted_mask),
    "mask inverted, CLIP-S": (check_clip_s_in_regions, plant_inverted_mask),
    "masks swapped between pairs": (check_pixels_in_regions, plant_swapped_masks),
    "mask not grown": (check_pixels_in_regions, plant_ungrown_mask),
    "windows across the mask's edge": (check_ssim_in_regions, plant_ungrown_mask),
    "masked mean over the whole picture": (check_pixels_in_regions, plant_share_of_the_whole),
    "LPIPS sees across the mask": (check_lpips_in_regions, plant_leaking_lpips),
    "goal for input": (check_against_input, plant_goal_for_input),
}


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_turns_its_check_red(error, settings, monkeypatch):
    check, plant = PLANTED[error]
    plant(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        check(settings)
