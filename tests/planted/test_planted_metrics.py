"""Would the parity checks see the field's known errors? Each is planted into our code, and its check must turn red."""

import numpy as np
import pytest
import torch
from metric_checks import check_l1, check_l2, check_lpips, check_one_value_a_pair, check_ssim
from network_checks import (
    NORM,
    check_clip_s,
    check_cts,
    check_cvs,
    check_dino,
    check_direction,
    check_legacy_direction,
)
from PIL import Image
from tiny_networks import tiny_settings

from bench.metrics import clip_direction, clip_s, cts, pairs, regions
from bench.metrics import l1 as l1_module
from bench.metrics import l2 as l2_module
from bench.metrics import lpips as lpips_module
from bench.metrics import ssim as ssim_module
from bench.metrics.networks import clip as clip_backbone
from bench.metrics.networks import perceptual as lpips_backbone
from bench.metrics.networks import vit as dino_backbone
from bench.metrics.networks.features import FeatureCache
from bench.settings import MetricSettings
from mgie.io import images


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> MetricSettings:
    return tiny_settings(tmp_path_factory.mktemp("networks"))


def by(filter):
    return lambda image, size: image.resize(size, filter)


def without_antialias(image, size):
    x = images.to_tensor(image)[None]
    x = torch.nn.functional.interpolate(x, size=size[::-1], mode="bicubic", align_corners=False)
    return Image.fromarray((x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def wrong_output(change):
    original = pairs.at_goal_size

    def at_goal_size(p):
        output, goal = original(p)
        return change(output), goal

    return at_goal_size


def to_output_size(p):
    output = p.output.image
    return images.to_tensor(output)[None], images.to_tensor(images.resize(p.goal.image, output.size))[None]


def everywhere(patch, name, value):
    for module in (regions, ssim_module, lpips_module):
        patch.setattr(module, name, value)


def plant_transform(patch, backbone, side, resize=None, scale=None, filter="bicubic", norm="clip"):
    from torchvision import transforms as t

    transform = t.Compose(
        [
            t.Resize(resize or side, interpolation=t.InterpolationMode(filter)),
            t.CenterCrop(side),
            t.ToTensor(),
            t.Lambda(scale or (lambda x: x)),
            t.Normalize(*NORM[norm]),
        ]
    )
    patch.setattr(backbone, "transform", transform)


def plant_wrong_activation(patch):
    import open_clip

    patch.setattr(open_clip.model.QuickGELU, "forward", lambda self, x: torch.nn.functional.gelu(x))


def plant_lost_end_token(patch):
    from open_clip.tokenizer import SimpleTokenizer

    original = SimpleTokenizer.__call__

    def cut(self, texts, context_length=None):
        ids = original(self, texts, 400)
        return ids[:, :77]

    patch.setattr(SimpleTokenizer, "__call__", cut)


def plant_lost_end_token_past_the_guard(patch):
    def tokens(self, texts):
        ids = self.tokenizer(texts)
        return torch.where(ids[:, -1:] == 49407, torch.cat([ids[:, :-1], ids[:, -2:-1]], dim=1), ids), [3] * len(texts)

    patch.setattr(clip_backbone.CLIP, "tokens", tokens)


def plant_half(patch):
    original = clip_backbone.CLIP.encode_tensors
    patch.setattr(clip_backbone.CLIP, "encode_tensors", lambda self, rows: original(self, rows).astype(np.float16))


def plant_sample_covariance(patch):
    def ssim_map(x, y):
        mean_x, mean_y, n = ssim_module.blur(x), ssim_module.blur(y), 121 / 120
        covariance = n * (ssim_module.blur(x * y) - mean_x * mean_y)
        variances = n * (ssim_module.blur(x * x + y * y) - mean_x**2 - mean_y**2)
        luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
        return luminance * (2 * covariance + 9e-4) / (variances + 9e-4)

    patch.setattr(ssim_module, "ssim_map", ssim_map)


def plant_gray_ssim(patch):
    original = ssim_module.ssim
    gray = lambda x: (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True).expand_as(x)  # noqa: E731
    patch.setattr(ssim_module, "ssim", lambda a, b: original(gray(a), gray(b)))


def plant_whole_border(patch):
    from torch.nn import functional as f

    original = ssim_module.ssim
    pad = lambda x: f.pad(x, (5, 5, 5, 5), mode="reflect")  # noqa: E731
    patch.setattr(ssim_module, "ssim", lambda a, b: original(pad(a), pad(b)))


def plant_batch_mean(patch):
    original = l1_module.l1
    patch.setattr(l1_module, "l1", lambda a, b: original(a, b).mean().expand(len(a)))


def plant_root(patch):
    original = l2_module.l2
    patch.setattr(l2_module, "l2", lambda a, b: original(a, b).sqrt())


def plant_no_heads(patch):
    patch.setattr(lpips_backbone, "load_heads", lambda network, file: None)


def plant_dropout(patch):
    original = lpips_backbone.Perceptual.between

    def between(self, output, goal):
        self.network.train()
        return original(self, output, goal)

    patch.setattr(lpips_backbone.Perceptual, "between", between)


def plant_unit_lpips(patch):
    original = lpips_backbone.Perceptual.features
    patch.setattr(lpips_backbone.Perceptual, "features", lambda self, image: original(self, (image + 1) / 2))


def plant_swapped_direction(patch):
    original = clip_direction.direction_similarity
    patch.setattr(clip_direction, "direction_similarity", lambda a, b, c, d: original(b, a, c, d))


def plant_pairs_by_place(patch):
    """Features paired by another order than the examples'."""
    original = FeatureCache.features

    def features(self, protocol, pictures, encode, on_disk=True):
        found = original(self, protocol, pictures, encode, on_disk)
        return found if on_disk else found[::-1]

    patch.setattr(FeatureCache, "features", features)


def plant_key_by_name(patch):
    patch.setattr(pairs.Picture, "sha256", property(lambda self: str(self.path)))


def mean_of_patches(network, batch):
    return network.forward_features(batch)[:, 1:].mean(dim=1)


def before_the_norm(network, batch):
    return network.blocks(network._pos_embed(network.patch_embed(batch)))[:, 0]


def a_block_too_early(network, batch):
    return network.norm(network.blocks[:-1](network._pos_embed(network.patch_embed(batch))))[:, 0]


def plant_swapped_captions(patch):
    original = clip_direction.direction_similarity
    patch.setattr(clip_direction, "direction_similarity", lambda a, b, c, d: original(a, b, d, c))


def plant_input_caption(patch):
    patch.setattr(cts.CTS, "texts", lambda self, example: {"goal caption": example.input_caption})


def set_(module, name, value):
    return lambda patch: patch.setattr(module, name, value)


CLIP, DINO = clip_backbone.CLIP, dino_backbone.DINONetwork
PLANTED = {
    "[-1, 1] images": (check_l1, set_(pairs, "to_tensor", lambda x: images.to_tensor(x) * 2 - 1)),
    "0-255 images": (check_ssim, set_(pairs, "to_tensor", lambda x: images.to_tensor(x) * 255)),
    "[-1, 1] into CLIP": (check_cvs, lambda m: plant_transform(m, CLIP, 48, scale=lambda x: 2 * x - 1)),
    "uint8 overflow: the negative": (check_l1, lambda m: everywhere(m, "at_goal_size", wrong_output(lambda x: 1 - x))),
    "negative in SSIM": (check_ssim, lambda m: everywhere(m, "at_goal_size", wrong_output(lambda x: 1 - x))),
    "nearest": (check_l1, set_(pairs, "resize", by(Image.Resampling.NEAREST))),
    "L1 for L2": (check_l2, set_(l2_module, "l2", l1_module.l1)),
    "root of L2": (check_l2, plant_root),
    "goal resized to output, L2": (check_l2, lambda m: everywhere(m, "at_goal_size", to_output_size)),
    "bilinear, L2": (check_l2, set_(pairs, "resize", by(Image.Resampling.BILINEAR))),
    "bilinear": (check_l1, set_(pairs, "resize", by(Image.Resampling.BILINEAR))),
    "lanczos": (check_ssim, set_(pairs, "resize", by(Image.Resampling.LANCZOS))),
    "no antialias": (check_l1, set_(pairs, "resize", without_antialias)),
    "no antialias, SSIM": (check_ssim, set_(pairs, "resize", without_antialias)),
    "no antialias, LPIPS": (check_lpips, set_(pairs, "resize", without_antialias)),
    "goal resized to output": (check_l1, lambda m: everywhere(m, "at_goal_size", to_output_size)),
    "squash, CLIP": (check_cvs, lambda m: plant_transform(m, CLIP, 48, resize=(48, 48))),
    "squash, DINO": (check_dino, lambda m: plant_transform(m, DINO, 64, resize=(64, 64), norm="dino")),
    "0-255 into its norm": (check_dino, lambda m: plant_transform(m, DINO, 64, 73, lambda x: x * 255, norm="dino")),
    "timm's own crop": (check_dino, lambda m: plant_transform(m, DINO, 64, 71, norm="dino")),
    "bilinear CLIP transform": (check_cvs, lambda m: plant_transform(m, CLIP, 48, filter="bilinear")),
    "CLIP with ImageNet norm": (check_cts, lambda m: plant_transform(m, CLIP, 48, norm="dino")),
    "data_range 2": (check_ssim, lambda m: (m.setattr(ssim_module, "C1", 4e-4), m.setattr(ssim_module, "C2", 36e-4))),
    "gray SSIM": (check_ssim, plant_gray_ssim),
    "uniform window": (check_ssim, set_(ssim_module, "gaussian_window", lambda: [1 / 11] * 11)),
    "sample covariance": (check_ssim, plant_sample_covariance),
    "border kept": (check_ssim, plant_whole_border),
    "LPIPS on [0, 1]": (check_lpips, plant_unit_lpips),
    "LPIPS heads not loaded": (check_lpips, plant_no_heads),
    "LPIPS in training mode": (check_lpips, plant_dropout),
    "gelu for quick_gelu": (check_cvs, plant_wrong_activation),
    "end token lost": (check_cts, plant_lost_end_token),
    "end token lost unseen": (check_cts, plant_lost_end_token_past_the_guard),
    "clamped": (check_clip_s, set_(clip_s, "clip_s", lambda a, b: np.maximum(100 * clip_s.cosine(a, b), 0))),
    "2.5 x": (check_clip_s, set_(clip_s, "clip_s", lambda a, b: 2.5 * clip_s.cosine(a, b))),
    "fp16 features": (check_cvs, plant_half),
    "DINO mean of patches": (check_dino, set_(dino_backbone, "class_token", mean_of_patches)),
    "DINO before its last norm": (check_dino, set_(dino_backbone, "class_token", before_the_norm)),
    "DINO a block too early": (check_dino, set_(dino_backbone, "class_token", a_block_too_early)),
    "batch mean": (check_one_value_a_pair, plant_batch_mean),
    "paired by place": (check_cvs, plant_pairs_by_place),
    "cache keyed by name": (check_cvs, plant_key_by_name),
    "direction swapped": (check_direction, plant_swapped_direction),
    "range bug unasked for": (check_direction, lambda m: plant_transform(m, CLIP, 48, scale=lambda x: 2 * x - 1)),
    "features not normalised": (check_direction, set_(clip_direction, "normalised", lambda x: x.astype(np.float64))),
    "captions swapped, direction": (check_direction, plant_swapped_captions),
    "input caption for goal caption": (check_cts, plant_input_caption),
    "legacy without its bug": (
        check_legacy_direction,
        set_(clip_direction, "legacy_transform", lambda image, clip: clip.transform(image)),
    ),
}


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_turns_its_check_red(error, settings, monkeypatch):
    check, plant = PLANTED[error]
    forget_networks()
    try:
        plant(monkeypatch)
        with pytest.raises((AssertionError, ValueError)):
            check(settings)
    finally:
        forget_networks()


def forget_networks():
    for backbone in (clip_backbone, dino_backbone, lpips_backbone):
        backbone.shared.cache_clear()
