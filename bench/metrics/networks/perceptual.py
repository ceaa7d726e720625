"""LPIPS v0.1 through the `lpips` package (Zhang et al. 2018): network, calibrated layers, and their weights.

The network's weights are torchvision's ImageNet classifiers (fetched once, checked by hash) or a file of one's own;
they and the calibrated layers are loaded key by key. Without those layers (lpips_heads none) it is the sum over layers.
"""

import urllib.error
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.metrics.networks.features import exactly
from bench.settings import MetricSettings
from mgie.io.devices import device_of
from mgie.io.files import is_looking
from mgie.io.hashes import digest
from mgie.io.hub import missing, reachable
from mgie.io.weights import load_exactly, read_state

if TYPE_CHECKING:
    from torch import Tensor, nn

URL = "https://download.pytorch.org/models/"
OFFICIAL = {  # torchvision's IMAGENET1K_V1 files; the name carries the first eight digits of the SHA-256
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


class Perceptual(NamedTuple):
    network: "nn.Module"
    device: str

    def distance(self, output: "Tensor", goal: "Tensor") -> "Tensor":
        """output, goal: (B, 3, H, W) in [-1, 1]. Returns (B,)."""
        return self.between(self.features(output), self.features(goal))

    def features(self, image: "Tensor") -> "list[Tensor]":
        """image: (B, 3, H, W) in [-1, 1]. Returns what each layer makes of it, normalised, on the network's device."""
        import lpips

        with exactly(self.device):
            outs = self.network.net.forward(self.network.scaling_layer(image.to(self.device)))
            return [lpips.normalize_tensor(out) for out in outs]

    def between(self, output: "list[Tensor]", goal: "list[Tensor]") -> "Tensor":
        """Two images' features. Returns (B,): the package's forward, step by step."""
        with exactly(self.device):
            squares = [(a - b) ** 2 for a, b in zip(output, goal, strict=True)]
            weighed = self.network.lins if self.network.lpips else [summed] * len(squares)
            means = [weigh(square).mean([2, 3]) for weigh, square in zip(weighed, squares, strict=True)]
            return sum(means[1:], means[0]).flatten().cpu()

    def distances(self, output: "Tensor", goal: "Tensor") -> "Tensor":
        """As distance, pixel by pixel: (B, H, W), the package's spatial map (each layer's, upsampled, summed)."""
        self.network.spatial = True
        try:
            with exactly(self.device):
                return self.network(output.to(self.device), goal.to(self.device))[:, 0].cpu()
        finally:
            self.network.spatial = False


def summed(square: "Tensor") -> "Tensor":
    """What stands in for a calibrated layer where there is none."""
    return square.sum(dim=1, keepdim=True)


def find(settings: MetricSettings) -> Path:
    """The network's weights: --lpips-weights, what bench.fetch left, torch.hub's folder, or fetched now.

    FileNotFoundError: nowhere at hand.
    """
    import torch

    if settings.lpips_weights is not None:
        if not settings.lpips_weights.is_file():
            raise FileNotFoundError(f"--lpips-weights {settings.lpips_weights}: no such file")
        return settings.lpips_weights
    name = OFFICIAL[settings.lpips]
    if (settings.fetched / name).is_file():
        return settings.fetched / name
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if file.is_file():
        return file
    why = f"it is not at {file}, and {URL} cannot be reached"
    if not is_looking() and reachable(URL):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL + name, str(file), hash_prefix=sha256_of(name))
            return file
        except (urllib.error.URLError, RuntimeError, OSError) as error:  # RuntimeError: the hash does not match
            why = f"fetching {URL + name} failed: {error}"
    raise missing(f"LPIPS {settings.lpips}", why, how_to_fetch(settings.fetched), "--lpips-weights")


def how_to_fetch(folder: Path) -> str:
    """The command that brings all metrics' usual networks to this folder."""
    usual = folder.absolute() == MetricSettings().fetched.absolute()
    return "python -m bench.fetch networks" + ("" if usual else f" --weights {folder.parent}")


def sha256_of(name: str) -> str:
    """The eight digits in one of torchvision's file names."""
    return name.rpartition("-")[2].removesuffix(".pth")


def describe(settings: MetricSettings, weights: Path) -> str:
    sha256 = digest(weights)[:8]
    whose = "torchvision" if sha256 == sha256_of(OFFICIAL[settings.lpips]) else "own network"
    heads = "calibrated layers v0.1" if settings.lpips_heads == "linear" else "no calibrated layers"
    return f"{settings.lpips} {whose} sha256:{sha256} fp32, {heads}"


def perceptual(net: str, weights: Path, heads: str, device: str) -> Perceptual:
    """The network, loaded. net: alex, vgg, squeeze; heads: linear, none."""
    return shared(net, weights, digest(weights), heads, device_of(device))


@lru_cache(maxsize=8)
def shared(net: str, weights: Path, sha256: str, heads: str, device: str) -> Perceptual:
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torchvision's notice that `pretrained` is called otherwise now
        network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, lpips=heads == "linear", verbose=False)
    state = read_state(weights)
    if not any(key.startswith("slice") for key in state):  # torchvision's names: features.0.weight, classifier.1.weight
        state = {sliced(key, network.net): value for key, value in state.items() if key.startswith("features.")}
    load_exactly(network.net, state, weights)
    if heads == "linear":
        load_heads(network, Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth")
    network = network.eval().requires_grad_(False).to(device)
    if device == "cpu":  # a fifth to a half quicker there; moves a value by some 1e-9
        import torch

        network = network.to(memory_format=torch.channels_last)
    return Perceptual(network, device)


def sliced(key: str, net: "nn.Module") -> str:
    """features.3.weight -> slice2.3.weight: lpips cuts the network into slices and keeps the numbers."""
    rest = key.removeprefix("features.")
    return next((own for own in net.state_dict() if own.partition(".")[2] == rest), key)


def load_heads(network: "nn.Module", file: Path) -> None:
    """The package loads them with strict=False, so that a missing file of layers would pass unseen."""
    state = read_state(file)
    load_exactly(network.lins, {key.removeprefix("lin"): value for key, value in state.items()}, file)
