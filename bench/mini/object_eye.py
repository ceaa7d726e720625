"""The judge's eye for objects: which object is at a place of a picture, by mini-DINO's patch tokens.

    eye = Eye(); eye.at(image, mask).name

Not the tower of MGIE. It knows the world's 109 objects and answers with one of them whenever it is asked what is at a
place; `seen` says whether it would have noticed an object there at all.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mgie.folder import MINI
from mgie.mini.training.pictures import GRID

WEIGHTS = MINI


class Glance(NamedTuple):
    name: str
    probability: float  # of that name among all objects
    seen: float  # share of the place where "no object" is not the likeliest


class Eye:
    def __init__(self, weights: Path = WEIGHTS) -> None:
        """FileNotFoundError: the folder has no mini-dino or no eye."""
        from safetensors import safe_open

        from bench.metrics.networks.vit import dino_of
        from bench.settings import MetricSettings

        heads = weights / "eye" / "objects.safetensors"
        if not heads.is_file():
            raise FileNotFoundError(f"no eye for objects at {heads}; "
                                    "train it: python -m mgie.mini.make --stage dino --again")  # fmt: skip
        dino = dino_of(MetricSettings(dino=str(weights / "mini-dino"), metric_device="cpu"))
        self.network, self.size = dino.network, dino.source.size
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in dino.source.norm)
        with safe_open(heads, "pt") as file:
            self.names = json.loads(file.metadata()["names"])
            self.weight, self.bias = file.get_tensor("weight").float(), file.get_tensor("bias").float()

    @torch.inference_mode()
    def logits(self, image: Image.Image) -> Tensor:
        """(P, K): the whole picture, squeezed to the network's size without a crop."""
        square = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
        tokens = self.network.forward_features(((pixels - self.mean) / self.std)[None])[0, 1:]
        return tokens @ self.weight.T + self.bias

    def at(self, image: Image.Image, mask: NDArray[np.bool_]) -> Glance:
        """mask: (H, W), True where the object is or should be."""
        share = patch_shares(mask)
        where = share >= min(0.5, float(share.max()))
        if not where.any() or share.max() == 0:
            raise ValueError("the mask marks no pixel; nothing to look at")
        logits = self.logits(image)[where]
        chances = logits[:, 1:].log_softmax(dim=-1).sum(dim=0).softmax(dim=0)
        best = int(chances.argmax())
        seen = (logits.argmax(dim=-1) > 0).float().mean().item()
        return Glance(self.names[best + 1], chances[best].item(), seen)


def patch_shares(mask: NDArray[np.bool_]) -> Tensor:
    """(P,): the marked share of each patch."""
    square = Image.fromarray(mask.astype(np.uint8) * 255).resize((GRID * 8, GRID * 8), Image.Resampling.BOX)
    blocks = torch.from_numpy(np.array(square, dtype=np.float32) / 255).reshape(GRID, 8, GRID, 8)
    return blocks.mean(dim=(1, 3)).flatten()


@lru_cache(maxsize=1)
def shipped() -> Eye:
    """The eye of the package's weights, loaded once."""
    return Eye()
