"""MagicBrush's way of scoring: one image at a time, each metric opens and encodes its own images. No waste is added.

Convention: image_eval.py of MagicBrush at fcfc892 (l1, CLIP-I, DINO, CLIP-T), with SSIM by scikit-image and LPIPS by
its package in the same manner. Networks are loaded once and shared; no gradients; fp32; one thread as for ours.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

METRICS = ("l1", "ssim", "lpips", "dino", "cvs", "cts")


class Networks(NamedTuple):
    """As bench.backbones load them: the same modules on both sides."""

    clip: object  # bench.backbones.clip.CLIP
    dino: object  # bench.backbones.dino.DINONetwork
    perceptual: object  # bench.backbones.lpips.Perceptual


class Files(NamedTuple):
    output: Path
    goal: Path
    caption: str


def opened(files: Files) -> tuple[Image.Image, Image.Image]:
    """Output and goal image, the output at the goal's size."""
    output, goal = Image.open(files.output).convert("RGB"), Image.open(files.goal).convert("RGB")
    return (output if output.size == goal.size else output.resize(goal.size, Image.Resampling.BICUBIC)), goal


def unit(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None] / 255


def l1(files: Files, networks: Networks) -> float:
    output, goal = (np.asarray(image, np.float64) / 255 for image in opened(files))
    return float(np.abs(output - goal).mean())


def ssim(files: Files, networks: Networks) -> float:
    from skimage.metrics import structural_similarity

    output, goal = (np.asarray(image, np.float64) / 255 for image in opened(files))
    return float(structural_similarity(
        output, goal, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=2
    ))  # fmt: skip


@torch.inference_mode()
def lpips(files: Files, networks: Networks) -> float:
    output, goal = ((2 * unit(image) - 1).to(networks.perceptual.device) for image in opened(files))
    return float(networks.perceptual.network(output, goal))


@torch.inference_mode()
def dino(files: Files, networks: Networks) -> float:
    features = []
    for path in (files.output, files.goal):
        pixels = networks.dino.transform(Image.open(path).convert("RGB"))[None]
        features.append(networks.dino.network.forward_features(pixels.to(networks.dino.device))[:, 0])
    return float(torch.nn.functional.cosine_similarity(*features))


def clip_image(path: Path, networks: Networks) -> torch.Tensor:
    pixels = networks.clip.transform(Image.open(path).convert("RGB"))[None]
    return networks.clip.network.encode_image(pixels.to(networks.clip.device))


@torch.inference_mode()
def cvs(files: Files, networks: Networks) -> float:
    pair = (clip_image(path, networks) for path in (files.output, files.goal))
    return float(torch.nn.functional.cosine_similarity(*pair))


@torch.inference_mode()
def cts(files: Files, networks: Networks) -> float:
    text = networks.clip.network.encode_text(networks.clip.tokenizer([files.caption]).to(networks.clip.device))
    return float(torch.nn.functional.cosine_similarity(clip_image(files.output, networks), text))


BY_NAME = {"l1": l1, "ssim": ssim, "lpips": lpips, "dino": dino, "cvs": cvs, "cts": cts}


def score(pairs: list[Files], networks: Networks) -> dict[str, list[float]]:
    """Metric after metric over all pairs, as the script's own functions are called."""
    return {name: [BY_NAME[name](files, networks) for files in pairs] for name in METRICS}
