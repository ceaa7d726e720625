"""Stage lpips: the judge's trunk for LPIPS of suite mini, `lpips.LPIPS(net="squeeze", pnet_rand=True, lpips=False)`.

SqueezeNet 1.1's features under the package's own names, trained as a classifier on the generator's labels, read at the
layers that LPIPS compares. There are no calibrated layers: the distance is the plain sum over channels and layers.
"""

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mgie.mini.stages.judge_clip import STYLES
from mgie.mini.stages.judge_dino import present
from mgie.mini.stages.tower import to_device
from mgie.mini.training.contact_sheet import save_sheet
from mgie.mini.training.labels import Heads, both_sides, label_losses, label_scores, patch_grid, take
from mgie.mini.training.pictures import CHUNK, Pictures, PictureSet, object_names
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import seeded

NOISE = (0.02, 0.05, 0.1, 0.2)  # standard deviations, of a range of 1
BLUR = (0.5, 1.0, 2.0, 4.0)  # standard deviations in px


@dataclass(frozen=True)
class MetricLpipsSettings:
    size: int = 64
    objects: float = 1.0  # weights of the losses
    nouns: float = 0.3
    faults: float = 0.3
    present: float = 20.0


class TrunkNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lpips = random_lpips()
        self.lpips.net.requires_grad_(True)
        for module in self.lpips.net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.heads = Heads(256)  # the third of seven layers: stride 8, before the last pooling
        self.present = nn.Linear(512, len(object_names()))

    def forward(self, images: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """images: (B, 3, s, s) in [0, 1]."""
        layers = self.lpips.net(self.lpips.scaling_layer(2 * images - 1))
        return self.heads(patch_grid(layers[2])), self.present(layers[6].float().mean(dim=(2, 3)))


def random_lpips() -> nn.Module:
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torchvision's notice that `pretrained` is called otherwise now
        return lpips.LPIPS(net="squeeze", pretrained=False, pnet_rand=True, lpips=False, verbose=False)


class MetricLpips:
    """The stage."""

    def __init__(self, recipe: StageRecipe, cache: Path | None, edits: int,
                 lpips: MetricLpipsSettings = MetricLpipsSettings()) -> None:  # fmt: skip
        self.recipe, self.lpips, self.edits = recipe, lpips, edits
        self.train = Pictures(PictureSet("train", recipe.seed, lpips.size, STYLES), cache)
        self.test = Pictures(PictureSet("test", recipe.seed, lpips.size, STYLES), cache)

    def settings(self) -> dict:
        return {"lpips": asdict(self.lpips), "edits": self.edits}

    def data_hash(self) -> str:
        return self.train.content_hash()

    def network(self) -> nn.Module:
        return seeded(TrunkNetwork, self.recipe.seed)

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        start = step * self.recipe.batch_size % (self.edits - self.recipe.batch_size + 1)
        batch = to_device(take(self.train.rows(start, self.recipe.batch_size), draw), network)
        logits, seen = network(batch.images)
        parts = {"present": F.binary_cross_entropy_with_logits(seen.float(), present(batch.objects)),
                 **label_losses(logits, batch)}  # fmt: skip
        return {"loss": sum(getattr(self.lpips, name) * value for name, value in parts.items()), **parts}

    @torch.no_grad()
    def scores(self, network: nn.Module) -> dict[str, float]:
        """On held-out photographs: read-outs, and whether distances grow with noise, blur and wrongness."""
        network.eval().cpu()
        rows = self.test.rows(0, CHUNK)
        batch = both_sides(rows)
        parts = [network(images)[0] for images in batch.images.split(100)]
        logits = tuple(torch.cat(column) for column in zip(*parts, strict=True))
        images = take(rows, None).images[:100]
        noise, blur = (self.distances(network, images, copies) for copies in (noisy(images), blurred(images)))
        found = label_scores(logits, batch) | {"monotonic_in_noise": grows(noise), "monotonic_in_blur": grows(blur)}
        for name, levels, values in (("noise", NOISE, noise), ("blur", BLUR, blur)):
            found |= {f"{name}_{level}": float(v) for level, v in zip(levels, values.mean(dim=1), strict=True)}
        other = network.lpips(2 * images - 1, 2 * images.roll(1, dims=0) - 1).mean()
        return found | {"another_picture": float(other)}

    @torch.no_grad()
    def distances(self, network: nn.Module, images: Tensor, copies: list[Tensor]) -> Tensor:
        """(levels, B): between the images and their copies, all (B, 3, s, s) in [0, 1]."""
        return torch.stack([network.lpips(2 * images - 1, 2 * copy - 1).flatten() for copy in copies])

    def sheet(self, network: nn.Module, path: Path) -> None:
        """Held-out pictures under growing noise and blur, with their distances."""
        network.eval().cpu()
        images = take(self.test.rows(20, 4), None).images
        rows, texts = [], []
        for kind, levels, copies in (("noise", NOISE, noisy(images)), ("blur", BLUR, blurred(images))):
            far = self.distances(network, images, copies)
            for i, image in enumerate(images):
                row = [image, *(copy[i] for copy in copies)]
                rows.append([(p.permute(1, 2, 0).numpy() * 255).round().astype("uint8") for p in row])
                told = (f"{level}: {value:.3f}" for level, value in zip(levels, far[:, i].tolist(), strict=True))
                texts.append(f"distance by {kind} of " + ", ".join(told))
        save_sheet(rows, path, ("picture",), texts)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        out = folder / "mini-lpips"
        out.mkdir(parents=True, exist_ok=True)
        state = {k: v.half().contiguous() for k, v in network.lpips.net.state_dict().items()}
        save_file(state, out / "squeeze.safetensors", {"format": "pt", **made_by})


def noisy(images: Tensor) -> list[Tensor]:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return [(images + level * noise).clamp(0, 1) for level in NOISE]


def blurred(images: Tensor) -> list[Tensor]:
    from torchvision.transforms.functional import gaussian_blur

    return [gaussian_blur(images, [2 * int(3 * level) + 3] * 2, [level] * 2) for level in BLUR]


def grows(distances: Tensor) -> float:
    """Share of pictures whose distance grows at every step. distances: (levels, B)."""
    return (distances.diff(dim=0) > 0).all(dim=0).float().mean().item()
