"""What the generator knows, as losses and measures: object on each patch, noun, fault, which caption belongs.

B pictures, P patches (GRID x GRID, row by row), K object names, the first being "no object".
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgie.mini.training.pictures import FAULTS, GOAL, GRID, UNSURE, Chunk, nouns, object_names

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
NO_OBJECT_WEIGHT = 0.3  # most patches show none


class Batch(NamedTuple):
    images: Tensor  # (B, 3, H, W) in [0, 1]
    objects: Tensor  # (B, P)
    nouns: Tensor  # (B,)
    faults: Tensor  # (B,)
    captions: list[str]


def take(chunk: Chunk, draw: torch.Generator | None, local: float = 0.0) -> Batch:
    """One side of each edit: drawn, or the goal where draw is None. local: share of goals with their local caption."""
    n = len(chunk.nouns)
    if draw is None:
        side: np.ndarray = np.full(n, GOAL)
        short: np.ndarray = np.zeros(n, bool)
    else:
        throws = torch.rand(2, n, generator=draw).numpy()
        side, short = (throws[0] < 0.5).astype(int), throws[1] < local
    rows = np.arange(n)
    captions = [text[2 if s == GOAL and cut else s] for text, s, cut in zip(chunk.captions, side, short, strict=True)]
    objects = torch.from_numpy(chunk.objects[rows, side].reshape(n, -1).astype(np.int64))
    return Batch(in_unit_range(chunk.pixels[rows, side]), objects, torch.from_numpy(chunk.nouns.astype(np.int64)),
                 torch.from_numpy(chunk.faults[rows, side].astype(np.int64)), captions)  # fmt: skip


def both_sides(chunk: Chunk) -> Batch:
    """Inputs and goals of n edits, 2n pictures."""
    n = len(chunk.nouns)
    return Batch(in_unit_range(chunk.pixels.reshape(2 * n, *chunk.pixels.shape[2:])),
                 torch.from_numpy(chunk.objects.reshape(2 * n, -1).astype(np.int64)),
                 torch.from_numpy(chunk.nouns.repeat(2).astype(np.int64)),
                 torch.from_numpy(chunk.faults.reshape(-1).astype(np.int64)),
                 [text for row in chunk.captions for text in row[:2]])  # fmt: skip


def in_unit_range(pixels: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


def normal(images: Tensor, mean: tuple[float, ...] = CLIP_MEAN, std: tuple[float, ...] = CLIP_STD) -> Tensor:
    like = {"device": images.device, "dtype": images.dtype}
    return (images - torch.tensor(mean, **like)[:, None, None]) / torch.tensor(std, **like)[:, None, None]


class Heads(nn.Module):
    """Linear read-outs that exist in training only: object by patch, noun and fault by the mean of all patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.objects = nn.Linear(width, len(object_names()))
        self.nouns = nn.Linear(width, len(nouns()))
        self.faults = nn.Linear(width, len(FAULTS))

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """patches: (B, P, width)."""
        mean = patches.mean(dim=1)
        return self.objects(patches), self.nouns(mean), self.faults(mean)


def label_losses(logits: tuple[Tensor, Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
    objects, noun, fault = (part.float() for part in logits)
    weight = torch.ones(objects.shape[-1], device=objects.device)
    weight[0] = NO_OBJECT_WEIGHT
    return {
        "objects": F.cross_entropy(objects.flatten(0, 1), batch.objects.flatten(), weight, ignore_index=UNSURE),
        "nouns": F.cross_entropy(noun, batch.nouns),
        "faults": F.cross_entropy(fault, batch.faults, ignore_index=UNSURE),
    }


@torch.no_grad()
def label_scores(logits: tuple[Tensor, Tensor, Tensor], batch: Batch) -> dict[str, float]:
    """Accuracies; of objects over the patches that show one, and of whole objects by the votes of their patches."""
    objects, noun, fault = logits
    shown, known = batch.objects > 0, batch.faults != UNSURE
    faulty = batch.faults > 0
    return {
        "patch_object_accuracy": (objects.argmax(-1) == batch.objects)[shown].float().mean().item(),
        "object_accuracy": object_accuracy(objects, batch.objects),
        "noun_accuracy": (noun.argmax(-1) == batch.nouns).float().mean().item(),
        "fault_accuracy": (fault.argmax(-1) == batch.faults)[known].float().mean().item(),
        "fault_accuracy_on_faulty": (fault[:, 1:].argmax(-1) + 1 == batch.faults)[faulty].float().mean().item(),
    }


def object_accuracy(logits: Tensor, objects: Tensor) -> float:
    """Share of objects named rightly when the logits of their patches are added ("no object" is no answer)."""
    right = total = 0
    for row, labels in zip(logits, objects, strict=True):
        for name in labels[labels > 0].unique():
            right += int(name_at(row, labels == name) == name)
            total += 1
    return right / max(1, total)


def name_at(logits: Tensor, where: Tensor) -> int:
    """logits (P, K), where (P,) bool: the object that the marked patches show."""
    return int(logits[where, 1:].log_softmax(dim=-1).sum(dim=0).argmax()) + 1


def contrast(images: Tensor, texts: Tensor, scale: Tensor, captions: list[str]) -> Tensor:
    """CLIP's symmetric loss. Equal captions are all right answers."""
    codes = {text: i for i, text in enumerate(dict.fromkeys(captions))}
    which = torch.tensor([codes[text] for text in captions], device=images.device)
    same = (which[:, None] == which[None]).float()
    target = same / same.sum(dim=1, keepdim=True)
    images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    logits = scale.float().exp().clamp(max=100) * images @ texts.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def retrieval(images: Tensor, texts: Tensor, captions: list[str]) -> dict[str, float]:
    """R@1 both ways among the pictures; any picture with an equal caption is right."""
    images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    similar = images @ texts.T
    n = len(captions)
    text_of = [captions[i] for i in similar.argmax(dim=1)]
    image_of = [captions[i] for i in similar.argmax(dim=0)]
    return {
        "candidates": float(n),
        "r1_image_to_text": sum(a == b for a, b in zip(text_of, captions, strict=True)) / n,
        "r1_text_to_image": sum(a == b for a, b in zip(image_of, captions, strict=True)) / n,
    }


def patch_grid(features: Tensor) -> Tensor:
    """(B, C, h, w) to (B, P, C), brought to the labels' grid."""
    if features.shape[-1] != GRID:
        features = F.interpolate(features.float(), size=(GRID, GRID), mode="bilinear", align_corners=False)
    return features.flatten(2).transpose(1, 2)
