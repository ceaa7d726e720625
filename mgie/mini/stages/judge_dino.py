"""Stage dino: the judge's ViT for metric DINO of suite mini, and its eye for objects (eye.py).

Convention: DINO's self-distillation (facebookresearch/dino: student against the running mean of itself on two views),
with Sinkhorn-Knopp in place of centring (DINOv2), and, as a few minutes are too few for that alone, supervised by the
generator's labels: object on each patch, objects and noun by the class token. timm's local-dir folder.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mgie.io.files import write_json
from mgie.mini.stages.judge_clip import STYLES
from mgie.mini.stages.tower import label_sheet, to_device
from mgie.mini.training.labels import Batch, Heads, both_sides, label_losses, label_scores, normal, take
from mgie.mini.training.pictures import CHUNK, Chunk, Pictures, PictureSet, object_names
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import seeded

ARCHITECTURE = "vit_tiny_patch16_224"  # timm's name of the class; its sizes are given
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class MetricDinoSettings:
    size: int = 64
    patch: int = 8
    width: int = 96
    layers: int = 6
    heads: int = 3
    prototypes: int = 256
    student_temperature: float = 0.1
    teacher_temperature: float = 0.06
    crop: tuple[float, float] = (0.6, 1.0)  # side of the second view, share of the first's
    distil: float = 0.3  # weights of the losses
    objects: float = 2.0
    nouns: float = 0.3
    faults: float = 0.3
    present: float = 20.0  # which objects there are, by the class token; a mean over a hundred names

    def vit(self) -> dict:
        """timm's model_args."""
        return {"img_size": self.size, "patch_size": self.patch, "embed_dim": self.width, "depth": self.layers,
                "num_heads": self.heads}  # fmt: skip


class DinoNetwork(nn.Module):
    def __init__(self, settings: MetricDinoSettings) -> None:
        import timm

        super().__init__()
        self.vit = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=0, **settings.vit())
        self.heads = Heads(settings.width)
        self.present = nn.Linear(settings.width, len(object_names()))
        self.projection = nn.Sequential(
            nn.Linear(settings.width, 2 * settings.width), nn.GELU(), nn.Linear(2 * settings.width, 64))  # fmt: skip
        self.prototypes = nn.Linear(64, settings.prototypes, bias=False)

    def tokens(self, images: Tensor) -> Tensor:
        """images: (B, 3, s, s) in [0, 1]. Returns (B, 1 + P, width), the class token first."""
        return self.vit.forward_features(normal(images, IMAGENET_MEAN, IMAGENET_STD))

    def assign(self, token: Tensor) -> Tensor:
        """(B, width) to (B, prototypes): cosines."""
        return F.normalize(self.projection(token).float(), dim=-1) @ F.normalize(self.prototypes.weight, dim=-1).T


class MetricDino:
    """The stage."""

    def __init__(self, recipe: StageRecipe, cache: Path | None, edits: int,
                 dino: MetricDinoSettings = MetricDinoSettings()) -> None:  # fmt: skip
        self.recipe, self.dino, self.edits = recipe, dino, edits
        self.train = Pictures(PictureSet("train", recipe.seed, dino.size, STYLES), cache)
        self.test = Pictures(PictureSet("test", recipe.seed, dino.size, STYLES), cache)

    def settings(self) -> dict:
        return {"dino": asdict(self.dino), "edits": self.edits}

    def data_hash(self) -> str:
        return self.train.content_hash()

    def network(self) -> nn.Module:
        return seeded(lambda: DinoNetwork(self.dino), self.recipe.seed)

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        start = step * self.recipe.batch_size % (self.edits - self.recipe.batch_size + 1)
        batch = to_device(take(self.train.rows(start, self.recipe.batch_size), draw), network)
        twice = batch.images[: len(batch.images) // 2]  # a second view of half the batch: more labels a second
        other = self.second_view(twice, draw)
        tokens = network.tokens(batch.images)
        with torch.no_grad():
            target = sinkhorn(teacher.assign(teacher.tokens(twice)[:, 0]) / self.dino.teacher_temperature)
        guess = network.assign(network.tokens(other)[:, 0]) / self.dino.student_temperature
        seen = network.present(tokens[:, 0]).float()
        parts = {
            "distil": -(target * guess.log_softmax(dim=-1)).sum(dim=-1).mean(),
            "present": F.binary_cross_entropy_with_logits(seen, present(batch.objects)),
            **label_losses(network.heads(tokens[:, 1:]), batch),
        }
        return {"loss": sum(getattr(self.dino, name) * value for name, value in parts.items()), **parts}

    def second_view(self, images: Tensor, draw: torch.Generator) -> Tensor:
        """A square part of each picture, maybe flipped, its light and colours moved."""
        n, low, high = len(images), *self.dino.crop
        throws = torch.rand(7, n, generator=draw).to(images.device)
        side = low + (high - low) * throws[0]
        flip = 1 - 2 * (throws[3] < 0.5).float()
        turn = torch.zeros(n, 2, 3, device=images.device)
        turn[:, 0, 0], turn[:, 1, 1] = side * flip, side
        turn[:, :, 2] = ((2 * throws[1:3] - 1) * (1 - side)).T
        grid = F.affine_grid(turn, list(images.shape), align_corners=False)
        view = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        gain = 1 + 0.3 * (throws[4:7].T[:, :, None, None] - 0.5)
        return (view * gain).clamp(0, 1)

    @torch.no_grad()
    def scores(self, network: nn.Module) -> dict[str, float]:
        """On held-out photographs: nearest neighbours by the class token, and read-outs of the patch tokens."""
        network.eval().cpu()
        batch = both_sides(self.test.rows(0, CHUNK))
        logits = network.heads(self.tokens(network, batch.images)[:, 1:])
        gallery, queries = alone(self.train.rows(0, 4 * CHUNK)), alone(self.test.rows(0, 2 * CHUNK))
        keys, wanted = (F.normalize(self.tokens(network, b.images)[:, 0], dim=-1) for b in (gallery, queries))
        nearest = (wanted @ keys.T).argmax(dim=1)
        name, found = (b.objects.max(dim=1).values for b in (queries, gallery))
        chance = (name[:, None] == found[None]).float().mean().item()
        return {"gallery": float(len(keys)), "queries": float(len(wanted)),
                "nearest_neighbour_object_accuracy": (found[nearest] == name).float().mean().item(),
                "nearest_neighbour_chance": chance,
                "nearest_neighbour_noun_accuracy": (gallery.nouns[nearest] == queries.nouns).float().mean().item(),
                **label_scores(logits, batch)}  # fmt: skip

    @torch.no_grad()
    def tokens(self, network: nn.Module, images: Tensor) -> Tensor:
        network.eval().cpu()
        return torch.cat([network.tokens(part) for part in images.split(100)])

    @torch.no_grad()
    def sheet(self, network: nn.Module, path: Path) -> None:
        batch = both_sides(self.test.rows(40, 6))
        label_sheet(network.cpu().heads(self.tokens(network, batch.images)[:, 1:]), batch, path)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        out, eye = folder / "mini-dino", folder / "eye"
        for path in (out, eye):
            path.mkdir(parents=True, exist_ok=True)
        state = {k: v.half().contiguous() for k, v in network.vit.state_dict().items()}
        save_file(state, out / "model.safetensors", {"format": "pt", **made_by})
        described = {"input_size": (3, self.dino.size, self.dino.size), "mean": IMAGENET_MEAN, "std": IMAGENET_STD,
                     "num_classes": 0, "interpolation": "bicubic", "crop_pct": 0.875, "fixed_input_size": True,
                     "first_conv": "patch_embed.proj", "classifier": "head", "pool_size": None}  # fmt: skip
        config = {"architecture": ARCHITECTURE, "num_classes": 0, "num_features": self.dino.width,
                  "model_args": self.dino.vit(), "pretrained_cfg": described}  # fmt: skip
        write_json(out / "config.json", config)
        heads = {k: v.half().contiguous() for k, v in network.heads.objects.state_dict().items()}
        save_file(heads, eye / "objects.safetensors", {"format": "pt", "names": json.dumps(object_names()), **made_by})


def present(objects: Tensor) -> Tensor:
    """(B, P) labels to (B, K): 1 where the object is on some patch."""
    hot = F.one_hot(objects.clamp(min=0), len(object_names())).amax(dim=1).float()
    hot[:, 0] = 0
    return hot


def sinkhorn(logits: Tensor, rounds: int = 3) -> Tensor:
    """(B, K) to soft assignments in which every prototype gets the same share of the batch."""
    q = (logits - logits.max()).exp()
    for _ in range(rounds):
        q = q / q.sum(dim=0, keepdim=True)
        q = q / q.sum(dim=1, keepdim=True)
    return q


def alone(rows: Chunk) -> Batch:
    """The pictures (inputs and goals) that show one kind of object."""
    batch = both_sides(rows)
    one = torch.tensor([len(np.unique(o[o > 0])) == 1 for o in batch.objects.numpy()])
    return Batch(batch.images[one], batch.objects[one], batch.nouns[one], batch.faults[one],
                 [text for text, keep in zip(batch.captions, one.tolist(), strict=True) if keep])  # fmt: skip
