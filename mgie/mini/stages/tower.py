"""Stage clip: MGIE-mini's CLIP vision tower, contrastive on captions and supervised on the generator's free labels.

The labels are read out linearly from hidden layer -2 without the class token, which is what the MLLM will see. The text
encoder and the read-outs serve training only; the tower is frozen afterwards. The judge's CLIP is metric_clip.py.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mgie.io.weights import load_exactly
from mgie.mini.training import captions
from mgie.mini.training.contact_sheet import save_sheet
from mgie.mini.training.labels import (
    Batch,
    Heads,
    both_sides,
    contrast,
    label_losses,
    label_scores,
    normal,
    retrieval,
    take,
)
from mgie.mini.training.parts import running_mean
from mgie.mini.training.pictures import CHUNK, FAULTS, GRID, UNSURE, Pictures, PictureSet, nouns, object_names
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import recipe_hash, seeded
from mgie.presets import PRESETS, Preset


@dataclass(frozen=True)
class TowerSettings:
    text_width: int = 96
    text_layers: int = 2
    text_heads: int = 4
    text_length: int = 48
    vocabulary: int = 512
    embed: int = 96
    objects: float = 2.0  # weights of the losses beside the contrastive one
    nouns: float = 0.5
    faults: float = 0.5
    local: float = 0.1  # share of goals shown with their local caption


class TextEncoder(nn.Module):
    """A few causal-free transformer layers; the state at <s>."""

    def __init__(self, s: TowerSettings) -> None:
        super().__init__()
        self.tokens = nn.Embedding(s.vocabulary, s.text_width)
        self.places = nn.Parameter(0.02 * torch.randn(s.text_length, s.text_width))
        width, last = s.text_width, nn.LayerNorm(s.text_width)
        layer = nn.TransformerEncoderLayer(width, s.text_heads, 4 * width, 0.0, "gelu",
                                           batch_first=True, norm_first=True)  # fmt: skip
        self.layers = nn.TransformerEncoder(layer, s.text_layers, last, enable_nested_tensor=False)
        self.out = nn.Linear(s.text_width, s.embed, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places[: ids.shape[1]]
        return self.out(self.layers(x, src_key_padding_mask=ids == captions.PAD)[:, 0])


class TowerNetwork(nn.Module):
    def __init__(self, preset: Preset, settings: TowerSettings) -> None:
        from transformers import CLIPVisionModel

        super().__init__()
        self.tower = CLIPVisionModel(preset.vision_config())
        self.heads = Heads(preset.vision_hidden)
        self.text = TextEncoder(settings)
        self.out = nn.Linear(preset.vision_hidden, settings.embed, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.66))  # log(1 / 0.07), as CLIP starts

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], Tensor]:
        """images: (B, 3, s, s) in [0, 1]. Returns image features (B, embed), layer -2's read-outs and its patches."""
        seen = self.tower(normal(images), output_hidden_states=True)
        patches = seen.hidden_states[-2][:, 1:]
        return self.out(seen.pooler_output), self.heads(patches), patches


class Captioned:
    """What the stages of MGIE's tower and of the judge's CLIP share: labelled pictures with captions, and the losses.

    settings: with vocabulary, text_length, local (share of goals shown with their local caption), and a weight for each
    loss beside the contrastive one.
    """

    def __init__(self, recipe: StageRecipe, cache: Path | None, edits: int, size: int, settings: Any,
                 styles: tuple[str, ...] = ("plain",)) -> None:  # fmt: skip
        self.recipe, self.edits, self.chosen = recipe, edits, settings
        self.train = Pictures(PictureSet("train", recipe.seed, size, styles), cache)
        self.test = Pictures(PictureSet("test", recipe.seed, size, styles), cache)
        texts = [text for row in self.train.rows(0, min(CHUNK, edits)).captions for text in row]
        self.tokenizer = captions.train_tokenizer(texts, settings.vocabulary)

    def data_hash(self) -> str:
        return self.train.content_hash()

    def batch(self, network: nn.Module, step: int, draw: torch.Generator) -> tuple[Batch, Tensor]:
        """The batch of a step where the network is, and its captions' ids."""
        start = step * self.recipe.batch_size % (self.edits - self.recipe.batch_size + 1)
        batch = to_device(take(self.train.rows(start, self.recipe.batch_size), draw, self.chosen.local), network)
        return batch, self.ids(batch).to(batch.images.device)

    def ids(self, batch: Batch) -> Tensor:
        return captions.encode(self.tokenizer, batch.captions, self.chosen.text_length)

    def weighted(self, contrast: Tensor, logits: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        parts = {"contrast": contrast, **label_losses(logits, batch)}
        weight = {"contrast": 1.0, **{name: getattr(self.chosen, name) for name in ("objects", "nouns", "faults")}}
        return {"loss": sum(weight[name] * value for name, value in parts.items()), **parts}


class Tower(Captioned):
    """The stage."""

    def __init__(self, recipe: StageRecipe, cache: Path | None, edits: int, preset: Preset = PRESETS["mini"],
                 tower: TowerSettings = TowerSettings()) -> None:  # fmt: skip
        self.preset, self.tower = preset, tower
        if preset.vision_size // preset.vision_patch != GRID:
            raise ValueError(f"patch labels are {GRID} x {GRID}; the tower has {preset.patches} patches")
        super().__init__(recipe, cache, edits, preset.vision_size, tower)

    def settings(self) -> dict:
        return {"tower": asdict(self.tower), "vision": self.preset.vision_config().to_diff_dict(), "edits": self.edits}

    def network(self) -> nn.Module:
        return seeded(lambda: TowerNetwork(self.preset, self.tower), self.recipe.seed)

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        return self.losses(network, step, draw)[0]

    def losses(self, network: nn.Module, step: int, draw: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of one batch, and its patches at layer -2."""
        batch, ids = self.batch(network, step, draw)
        images, logits, patches = network(batch.images)
        ids = ids[:, : int((ids != captions.PAD).sum(dim=1).max())]
        near = contrast(images, network.text(ids), network.scale, batch.captions)
        return self.weighted(near, logits, batch), patches

    def scores(self, network: nn.Module) -> dict[str, float]:
        """On held-out photographs: linear read-outs of layer -2, and captions found among 500 goals."""
        rows = self.test.rows(0, CHUNK)
        _, logits, _, batch = self.see(network, both_sides(rows))
        goals = take(rows, None)
        images = self.see(network, goals)[0]
        with torch.no_grad():
            texts = network.text(self.ids(goals))
        return label_scores(logits, batch) | retrieval(images, texts, goals.captions)

    @torch.no_grad()
    def see(self, network: nn.Module, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...], Tensor, Batch]:
        network.eval().cpu()
        parts = [network(images) for images in batch.images.split(100)]
        logits = tuple(torch.cat(column) for column in zip(*(p[1] for p in parts), strict=True))
        return torch.cat([p[0] for p in parts]), logits, torch.cat([p[2] for p in parts]), batch

    def sheet(self, network: nn.Module, path: Path) -> None:
        """Held-out pictures with what layer -2 tells: named objects, noun and fault."""
        _, logits, _, batch = self.see(network, both_sides(self.test.rows(40, 6)))
        label_sheet(logits, batch, path)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        out = folder / "tower"
        out.mkdir(parents=True, exist_ok=True)
        state = {k: v.half().contiguous() for k, v in network.tower.state_dict().items() if v.is_floating_point()}
        save_file(state, out / "model.safetensors", {"format": "pt", **made_by})
        network.tower.config.save_pretrained(out)


def to_device(batch: Batch, network: nn.Module) -> Batch:
    device = next(network.parameters()).device
    return Batch(*(part.to(device) if isinstance(part, Tensor) else part for part in batch))


def label_sheet(logits: tuple[Tensor, ...], batch: Batch, path: Path) -> None:
    """Each picture beside the object map that was read from it, in arbitrary colours; its words below."""
    objects, noun, fault = (part.argmax(-1) for part in logits)
    palette = np.random.default_rng(0).integers(60, 256, (len(object_names()), 3), dtype=np.uint8)
    palette[0] = 0
    rows, texts = [], []
    for i, image in enumerate(batch.images):
        picture = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        scale = picture.shape[0] // GRID
        maps = [palette[np.maximum(o[i].numpy(), 0)].reshape(GRID, GRID, 3) for o in (objects, batch.objects)]
        rows.append([picture, *(m.repeat(scale, 0).repeat(scale, 1) for m in maps)])
        names = ", ".join(object_names()[k] for k in objects[i].unique() if k) or "no object"
        wrong = "" if batch.faults[i] == UNSURE else f"; {FAULTS[fault[i]]} ({FAULTS[batch.faults[i]]})"
        texts.append(f"{names}; {nouns()[noun[i]]} ({nouns()[batch.nouns[i]]}){wrong}"[:70])
    save_sheet(rows, path, ("picture", "objects read", "objects drawn"), texts, columns=2)


WEIGHT = 0.5  # of the places beside the other losses
CODE = 0.4  # standard deviation of the code; the patch embeddings' is 0.6, the learned positions' 0.03 by column


class PlacedNetwork(nn.Module):
    def __init__(self, first: nn.Module, width: int) -> None:
        super().__init__()
        self.first = first
        self.places = nn.Linear(width, 2 * GRID)  # row and column of each patch


class PlacedTower:
    """The stage. clip: stage clip, trained; checkpoint: where it keeps its weights."""

    def __init__(self, recipe: StageRecipe, clip: Tower, checkpoint: Path) -> None:
        self.recipe, self.clip, self.checkpoint = recipe, clip, checkpoint

    def settings(self) -> dict:
        return {"clip": recipe_hash(self.clip), "places": WEIGHT, "code": CODE}

    def data_hash(self) -> str:
        return self.clip.data_hash()

    def network(self) -> nn.Module:
        """FileNotFoundError: stage clip has not been trained here."""
        if not self.checkpoint.exists():
            raise FileNotFoundError(f"stage tower goes on from stage clip, which has no {self.checkpoint}; "
                                    "first: python -m mgie.mini.make --stage clip --again")  # fmt: skip
        first = self.clip.network()
        load_exactly(first, running_mean(self.checkpoint))
        add_code(first.tower, self.recipe.seed)
        return seeded(lambda: PlacedNetwork(first, self.clip.preset.vision_hidden), self.recipe.seed)

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        parts, patches = self.clip.losses(network.first, step, draw)
        places = place_loss(network.places(patches))
        return {**parts, "loss": parts["loss"] + WEIGHT * places, "places": places}

    def scores(self, network: nn.Module) -> dict[str, float]:
        """Those of stage clip, and rows and columns read from the patches that show an object."""
        found = self.clip.scores(network.first)
        _, _, patches, batch = self.clip.see(network.first, both_sides(self.clip.test.rows(0, CHUNK)))
        with torch.no_grad():
            return found | place_scores(network.places.cpu()(patches), batch.objects > 0)

    def sheet(self, network: nn.Module, path: Path) -> None:
        self.clip.sheet(network.first, path)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        self.clip.ship(network.first, folder, made_by)


@torch.no_grad()
def add_code(tower: nn.Module, seed: int) -> None:
    """A random vector for each row and one for each column, added to the positions of the patches (not the class)."""
    positions = next(p for name, p in tower.named_parameters() if name.endswith("position_embedding.weight"))
    draw = torch.Generator().manual_seed(seed)
    rows, columns = CODE * torch.randn(2, GRID, positions.shape[1], generator=draw)
    positions[1:] += (rows[:, None] + columns[None]).flatten(0, 1)


def place_loss(logits: Tensor) -> Tensor:
    """logits: (B, P, 2 GRID), row and column of each patch."""
    guesses, truths = logits.float().split(GRID, dim=-1), rows_and_columns(logits)
    losses = [nn.functional.cross_entropy(g.flatten(0, 1), t.flatten()) for g, t in zip(guesses, truths, strict=True)]
    return sum(losses) / 2


def place_scores(logits: Tensor, shown: Tensor) -> dict[str, float]:
    """Accuracy of row and column over the marked patches. shown: (B, P)."""
    guesses, truths = logits.split(GRID, dim=-1), rows_and_columns(logits)
    right = [(g.argmax(-1) == t)[shown].float().mean().item() for g, t in zip(guesses, truths, strict=True)]
    return dict(zip(("row_accuracy", "column_accuracy"), right, strict=True))


def rows_and_columns(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, P) each."""
    place = torch.arange(GRID * GRID, device=logits.device).expand(len(logits), -1)
    return place // GRID, place % GRID
