"""Each metric beside its reference implementation: one check a metric, which raises where the two differ.

Here the metrics of pixels; those of networks (DINO, CLIP) are in network_checks.

The references are written out plainly (MagicBrush image_eval.py at fcfc892) or are the package itself
(scikit-image, lpips).
"""

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny_networks import awkward_pairs, drawn, pair

from bench.metrics import l1 as l1_module
from bench.metrics import lpips as lpips_module
from bench.metrics import pairs
from bench.metrics import ssim as ssim_module
from bench.metrics.networks import perceptual as lpips_backbone
from bench.metrics.networks.features import FeatureCache
from bench.registry import METRICS, load
from bench.settings import MetricSettings
from mgie.io import images

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "published"


def ours(name: str, of: list[pairs.Pair], settings: MetricSettings) -> np.ndarray:
    found = load(METRICS, name, "metric")(settings, FeatureCache(None))(of)
    assert len(found) == len(of)
    return np.array([v.value for v in found])


def real_pairs() -> list[pairs.Pair]:
    """One photograph where the published examples are at hand, shrunk to keep the test quick."""
    folder = PUBLISHED / "magicbrush"
    if not folder.is_dir():
        return []
    sizes = {"mgie": (200, 180), "goal": (160, 120), "input": (160, 120)}
    opened = [Image.open(folder / f"0_{what}.jpg").convert("RGB").resize(size) for what, size in sizes.items()]
    return [pair(*opened, 7)]


def all_pairs() -> list[pairs.Pair]:
    return awkward_pairs() + real_pairs()


def close(found: np.ndarray, expected: list[float], tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def check_l1(settings):
    """MagicBrush eval_distance, in numpy."""

    def reference(output, goal):
        output = np.asarray(output.resize(goal.size, Image.Resampling.BICUBIC)).astype(np.float64) / 255
        return np.abs(output - np.asarray(goal) / 255).mean()

    of = all_pairs()
    close(ours("l1", of, settings), [reference(p.output.image, p.goal.image) for p in of], 1e-7)


def check_l2(settings):
    """MagicBrush eval_distance with mse, in numpy."""

    def reference(output, goal):
        output = np.asarray(output.resize(goal.size, Image.Resampling.BICUBIC)).astype(np.float64) / 255
        return np.square(output - np.asarray(goal) / 255).mean()

    of = all_pairs()
    close(ours("l2", of, settings), [reference(p.output.image, p.goal.image) for p in of], 1e-7)


def check_ssim(settings):
    """scikit-image with Wang's arguments."""
    from skimage.metrics import structural_similarity

    def reference(output, goal):
        output = np.asarray(output.resize(goal.size, Image.Resampling.BICUBIC)) / 255
        return structural_similarity(
            output,
            np.asarray(goal) / 255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
            data_range=1.0,
            K1=0.01,
            K2=0.03,
        )

    of = all_pairs()
    close(ours("ssim", of, settings), [reference(p.output.image, p.goal.image) for p in of], 1e-6)


def check_lpips(settings):
    """The package, with the same random network and its own calibrated layers."""
    reference = reference_lpips("squeeze", settings.lpips_weights)
    of = all_pairs()
    close(ours("lpips", of, settings), [reference(p.output.image, p.goal.image) for p in of], 1e-6)


@cache
def package_lpips(net, weights):
    import lpips
    from safetensors.torch import load_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    for name, value in load_file(weights).items():
        number, kind = name.split(".", 2)[1:]
        for own, parameter in network.net.named_parameters():
            if own.split(".", 1)[1] == f"{number}.{kind}":
                parameter.data.copy_(value)
    return network


def reference_lpips(net, weights):
    network = package_lpips(net, weights)

    def distance(output, goal):
        output = output.resize(goal.size, Image.Resampling.BICUBIC)
        a, b = (torch.tensor(np.asarray(x)).permute(2, 0, 1)[None].float() / 127.5 - 1 for x in (output, goal))
        with torch.no_grad():
            return network(a, b).item()

    return distance


def check_one_value_a_pair(settings):
    """A batch through the pure functions gives each pair's own value, in order: never the batch's mean."""
    tensors = [images.to_tensor(drawn(seed, 48, 40)) for seed in range(6)]
    outputs, goals = torch.stack(tensors[:3]), torch.stack(tensors[3:])
    network = lpips_backbone.perceptual("squeeze", settings.lpips_weights, "linear", "cpu")
    for function, more in ((l1_module.l1, ()), (ssim_module.ssim, ()), (lpips_module.lpips, (network,))):
        together = function(outputs, goals, *more)
        assert together.shape == (3,)
        alone = [function(a[None], b[None], *more).item() for a, b in zip(outputs, goals, strict=True)]
        assert len(set(alone)) == 3
        close(together.numpy(), alone, 1e-6)


PIXEL_CHECKS = [check_l1, check_l2, check_ssim, check_lpips, check_one_value_a_pair]
