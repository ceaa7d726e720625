"""Stage tower: the tower of stage clip, taught to keep where each patch is.

Nothing in stage clip asks hidden layer -2 for that: its patches tell what they show, but the column of a patch could be
read from them hardly better than by chance, so that an MLLM cannot tell left from right. The position embedding gets a
code of row and column strong enough to be seen beside the patches, and a few hundred steps with both as one more linear
read-out of that layer settle it; all other losses go on, so what was learned stays.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mgie.mini.labels import both_sides
from mgie.mini.pictures import CHUNK, GRID
from mgie.mini.stages import Recipe, recipe_hash, seeded
from mgie.mini.tower import Tower
from mgie.weights import load_exactly

WEIGHT = 0.5  # of the places beside the other losses
CODE = 0.4  # standard deviation of the code; the patch embeddings' is 0.6, the learned positions' 0.03 by column


class PlacedNetwork(nn.Module):
    def __init__(self, first: nn.Module, width: int) -> None:
        super().__init__()
        self.first = first
        self.places = nn.Linear(width, 2 * GRID)  # row and column of each patch


class PlacedTower:
    """The stage. clip: stage clip, trained; checkpoint: where it keeps its weights."""

    def __init__(self, recipe: Recipe, clip: Tower, checkpoint: Path) -> None:
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
        start = {k.removeprefix("mean."): v for k, v in load_file(self.checkpoint).items() if k.startswith("mean.")}
        first = self.clip.network()
        load_exactly(first, start)
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
