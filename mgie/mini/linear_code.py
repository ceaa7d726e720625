"""The linear code that the miniature's codec starts from: principal components of 4x4 patches, both ways.

Stage sd learns on it, so that it need not wait for the trained codec, whose latents stay close to their start.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from mgie.mini.codec import CodecSettings, principal_components, to_range

PATCH = 4


class LinearCode:
    def __init__(self, images: Tensor, channels: int) -> None:
        """images: (B, 3, H, W) in [-1, 1] that the components are taken from."""
        targets = principal_components(images, channels, CodecSettings().whiten)
        self.forth = best_map(columns(pixel_unshuffle(images, PATCH)), columns(targets))
        self.back = best_map(columns(targets), columns(pixel_unshuffle(images, PATCH)))

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, C, H/4, W/4)."""
        return mapped(pixel_unshuffle(images, PATCH), self.forth)

    def decode(self, latents: Tensor) -> Tensor:
        return pixel_shuffle(mapped(latents, self.back), PATCH)

    def encode_all(self, pixels: np.ndarray) -> np.ndarray:
        """(n, H, W, 3) uint8 -> (n, C, H/4, W/4) float16."""
        parts = [self.encode(to_range(pixels[i : i + 500])).half().numpy() for i in range(0, len(pixels), 500)]
        return np.concatenate(parts)


def columns(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B h w, C + 1), with a constant."""
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)


def best_map(source: Tensor, target: Tensor) -> Tensor:
    """Least squares from one set of columns to the other, (C + 1, C'), float32."""
    return torch.linalg.lstsq(source, target[:, :-1], driver="gelsd").solution.float()


def mapped(maps: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("bchw,cd->bdhw", maps, weight[:-1]) + weight[-1][:, None, None]
