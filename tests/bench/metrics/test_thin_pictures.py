"""Thin pictures: the pixels that a network is shown are those of the full transform, within bounded memory."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_networks import tiny_settings
from torchvision import transforms

from bench.metrics.networks.features import FeatureCache
from bench.metrics.pairs import Pair, Picture
from bench.metrics.ssim import ssim
from bench.records import Example
from bench.registry import METRICS, load
from mgie import preprocess


@pytest.mark.parametrize("size", [(7, 900), (900, 7), (64, 3000), (300, 31000), (1, 500), (33, 34), (301, 1000)])
@pytest.mark.parametrize("short, crop", [(256, 224), (224, 224), (73, 64)])
def test_the_middle_alone_gives_the_pixels_of_the_full_transform(size, short, crop, monkeypatch):
    monkeypatch.setattr(preprocess, "LARGEST", 0)  # each of them is taken for thin
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    transform = transforms.Compose(
        [transforms.Resize(short, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(crop)]
    )
    image = Image.fromarray(noise)
    full = np.asarray(transform(image)).astype(int)
    part = np.asarray(transform(preprocess.middle(image, short, crop))).astype(int)
    assert np.abs(full - part).max() <= 1 and (full != part).mean() < 0.03


def test_an_ordinary_picture_is_left_to_the_transform():
    image = Image.new("RGB", (4000, 300))
    assert preprocess.middle(image, 256, 224) is image


@pytest.mark.parametrize("size", [(7, 900), (900, 7), (64, 3001), (300, 31000), (1, 501), (33, 34), (301, 1000)])
def test_the_tower_is_shown_the_pixels_of_clips_full_preprocessing(size, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    image, eyes = Image.fromarray(noise), preprocess.ClipProcessor(63, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    full = eyes([image]) * 255
    monkeypatch.setattr(preprocess, "LARGEST", 0)  # each of them is taken for thin
    part = eyes([image]) * 255
    assert (full - part).abs().max() < 1.5 and ((full - part).abs() > 0.5).float().mean() < 0.03


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_the_tower_is_shown_a_thin_picture_without_resizing_it_whole(size, monkeypatch):
    seen, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, to, *more, **k: seen.append(to) or resize(self, to, *more, **k)
    )
    assert preprocess.ClipProcessor()([Image.new("RGB", size, "teal")]).shape == (1, 3, 224, 224)
    assert seen and max(width * height for width, height in seen) <= 2**20


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_the_networks_score_a_thin_picture_without_resizing_it_whole(size, tmp_path, monkeypatch):
    settings, seen = tiny_settings(tmp_path), []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, to, *more, **k: seen.append(to) or resize(self, to, *more, **k)
    )
    pictures = [Picture.of(Image.new("RGB", size, colour)) for colour in ("teal", "gray")]
    pair = Pair(Example("a/b/1", "g", "unused", "x"), *pictures)
    for name in ("cvs", "dino"):
        (value,) = load(METRICS, name, "metric")(settings, FeatureCache(None))([pair])
        assert -1 <= value.value <= 1
    assert seen and max(width * height for width, height in seen) <= 2**20


def test_ssim_of_a_wide_strip_is_that_of_its_parts(monkeypatch):
    images = torch.rand(2, 1, 3, 16, 300, generator=torch.Generator().manual_seed(0))
    whole = ssim(*images)
    monkeypatch.setattr("bench.metrics.ssim.STRIP", 50)
    torch.testing.assert_close(ssim(*images), whole, rtol=0, atol=1e-12)
