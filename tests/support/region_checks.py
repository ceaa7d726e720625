"""Metrics inside and outside a mask, and against the input image, beside numpy, scikit-image and the lpips package."""

from dataclasses import replace

import numpy as np
import torch
from metric_checks import close, package_lpips
from network_checks import cosine, image_feature, text_feature
from PIL import Image
from tiny_networks import awkward_pairs

from bench.metrics import pairs
from bench.metrics.networks.features import FeatureCache
from bench.registry import METRICS, load, metric_of, plain
from bench.settings import MetricSettings

LARGER = 3  # px by which a mask is larger than the picture it belongs to


class Drawn:
    """A mask of any size, brought to the size that is asked for as a dataset's is."""

    def __init__(self, edit: np.ndarray) -> None:
        self.edit = edit

    def at(self, size: tuple[int, int]) -> np.ndarray:
        return np.asarray(Image.fromarray(self.edit).resize(size, Image.Resampling.NEAREST))


def ellipse(width: int, height: int, share: float = 0.25) -> np.ndarray:
    """(height, width) bool: to the left and below the middle."""
    y, x = np.mgrid[0:height, 0:width]
    return ((x - 0.3 * width) / (share * width)) ** 2 + ((y - 0.6 * height) / (share * height)) ** 2 < 1


def masked_pairs(share: float = 0.25) -> list[pairs.Pair]:
    return [
        replace(p, mask=Drawn(ellipse(p.goal.image.width + LARGER, p.goal.image.height + LARGER, share)))
        for p in awkward_pairs()
    ]


def ours(name: str, of: list[pairs.Pair], settings: MetricSettings) -> list[pairs.Value]:
    found = load(METRICS, plain(name), "metric")(metric_of(name, settings), FeatureCache(None))(of)
    assert len(found) == len(of)
    return found


def numbers(name: str, of: list[pairs.Pair], settings: MetricSettings) -> np.ndarray:
    return np.array([v.value for v in ours(name, of, settings)], dtype=float)


def arrays(p: pairs.Pair, against: str = "goal") -> tuple[np.ndarray, np.ndarray]:
    """Output and goal (or input), (H, W, 3) in [0, 1], by PIL alone."""
    goal = (p.goal if against == "goal" else p.input).image
    return tuple(np.asarray(x, dtype=np.float64) / 255
                 for x in (p.output.image.resize(goal.size, Image.Resampling.BICUBIC), goal))  # fmt: skip


def inside_of(p: pairs.Pair, grow: int = 0) -> np.ndarray:
    """The mask, grown pixel by pixel: each one marks the square around it."""
    mask = np.asarray(Image.fromarray(p.mask.edit).resize(p.goal.image.size, Image.Resampling.NEAREST))
    found = mask.copy()
    for y, x in zip(*np.nonzero(mask), strict=True):
        found[max(0, y - grow) : y + grow + 1, max(0, x - grow) : x + grow + 1] = True
    return found


def check_pixels_in_regions(settings):
    """l1 and l2 inside and outside, the mask grown or not: the mean over those pixels in numpy."""
    of = masked_pairs()
    for grow in (0, 3):
        grown = replace(settings, mask_grow=grow)
        for name, power in (("l1", 1), ("l2", 2)):
            for where in ("inside", "outside"):
                expected = []
                for p in of:
                    output, goal = arrays(p)
                    kept = inside_of(p, grow) if where == "inside" else ~inside_of(p, grow)
                    expected.append((np.abs(output - goal)[kept] ** power).mean())
                close(numbers(f"{name}@{where}", of, grown), expected, 1e-7)


def check_against_input(settings):
    """l1, l2 and dino of output and input image; l1 of both outside the mask."""
    of = [replace(p, input=p.goal, goal=p.input) for p in masked_pairs()]  # sizes of input and output differ
    differences = [np.abs(np.subtract(*arrays(p, "input"))) for p in of]
    close(numbers("l1@input", of, settings), [d.mean() for d in differences], 1e-7)
    close(numbers("l2@input", of, settings), [(d**2).mean() for d in differences], 1e-7)
    outside = [~inside_of(p) for p in of]
    expected = [d[kept].mean() for d, kept in zip(differences, outside, strict=True)]
    close(numbers("l1@input@outside", of, settings), expected, 1e-7)
    swapped = [replace(p, goal=p.input) for p in of]
    close(numbers("dino@input", of, settings), numbers("dino", swapped, settings), 1e-7)
    assert np.abs(numbers("dino@input", of, settings) - numbers("dino", of, settings)).max() > 1e-3


def check_ssim_in_regions(settings):
    """scikit-image's map, over the places whose whole window is on one side of the mask."""
    from skimage.metrics import structural_similarity

    of = masked_pairs(0.4)
    for where in ("outside", "inside"):
        expected = []
        for p in of:
            output, goal = arrays(p)
            _, full = structural_similarity(
                output, goal, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1,
                data_range=1.0, K1=0.01, K2=0.03, full=True,
            )  # fmt: skip
            kept = inside_of(p) if where == "inside" else ~inside_of(p)
            height, width = kept.shape
            whole = [(y, x) for y in range(5, height - 5) for x in range(5, width - 5)
                     if kept[y - 5 : y + 6, x - 5 : x + 6].all()]  # fmt: skip
            expected.append(np.mean([full[y, x].mean() for y, x in whole]))
        close(numbers(f"ssim@{where}", of, settings), expected, 1e-6)


def check_lpips_in_regions(settings):
    """The package's spatial map over the pixels that count, the goal's pixels in place of all others."""
    network, of = package_lpips("squeeze", settings.lpips_weights), masked_pairs()
    network.spatial = True
    try:
        for where in ("outside", "inside"):
            expected = []
            for p in of:
                output, goal = arrays(p)
                kept = inside_of(p) if where == "inside" else ~inside_of(p)
                output = np.where(kept[..., None], output, goal)
                a, b = (torch.tensor(x).permute(2, 0, 1)[None].float() * 2 - 1 for x in (output, goal))
                with torch.no_grad():
                    expected.append(network(a, b)[0, 0].numpy()[kept].astype(float).mean())
            close(numbers(f"lpips@{where}", of, settings), expected, 1e-6)
    finally:
        network.spatial = False


def check_clip_s_in_regions(settings):
    """100 times the cosine of the instruction and the output image with the rest black."""
    of = masked_pairs(0.4)
    for where in ("inside", "outside"):
        expected = []
        for p in of:
            mask = np.asarray(Image.fromarray(p.mask.edit).resize(p.output.image.size, Image.Resampling.NEAREST))
            pixels = np.asarray(p.output.image).copy()
            pixels[~mask if where == "inside" else mask] = 0
            image = image_feature(settings, Image.fromarray(pixels))
            expected.append(100 * cosine(image, text_feature(settings, p.example.instruction)))
        close(numbers(f"clip_s@{where}", of, settings), expected, 1e-3)  # 1e-5 of its scale of 100


CHECKS = [
    check_pixels_in_regions,
    check_against_input,
    check_ssim_in_regions,
    check_lpips_in_regions,
    check_clip_s_in_regions,
]
