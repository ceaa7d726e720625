"""DINO ViT-S/16 through timm, in fp32: the class token's features after the last norm.

Convention: MagicBrush image_eval.py at fcfc892: PIL Resize 256 bicubic, CenterCrop 224, ImageNet norm (not timm's own
crop), the output of the class token. A network of another input size S keeps the ratio: Resize S * 256 / 224.
Not covered: DINOv2 and ViT-B, which are different metrics.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.metrics.networks.features import FeatureCache, Seen, in_batches, prepare, row_of, who
from bench.settings import MetricSettings
from mgie.io.devices import device_of
from mgie.io.hashes import digest
from mgie.io.hub import from_hub
from mgie.io.weights import load_exactly, read_state
from mgie.preprocess import middle

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn


ARCHITECTURE = "vit_small_patch16_224"  # of a bare weights file
HEADS = ("head.", "fc.")  # a classifier in the file is of no use here
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class ViTWeights(NamedTuple):
    name: str  # what timm.create_model takes
    shown: str
    weights: Path
    described_by: tuple[Path, ...]
    size: int
    norm: tuple

    def sha256(self) -> str:
        return digest(self.weights, *self.described_by)


def dino_of(settings: MetricSettings) -> "DINONetwork":
    source = find(settings.dino, settings.fetched)
    return shared(source, source.sha256(), device_of(settings.metric_device), settings.metric_batch_size)


@lru_cache(maxsize=8)
def shared(source: "ViTWeights", sha256: str, device: str, batch_size: int) -> "DINONetwork":
    return DINONetwork(source, device, batch_size)


class DINONetwork:
    """Cheap to make: the network is loaded at the first image."""

    def __init__(self, source: ViTWeights, device: str, batch_size: int) -> None:
        self.source, self.device, self.batch_size, self.sha256 = source, device, batch_size, source.sha256()
        self.resize_to = round(self.source.size * 256 / 224)
        norm = "ImageNet norm" if self.source.norm == IMAGENET else f"norm {self.source.norm}"
        self.protocol = (
            f"timm {self.source.shown} sha256:{self.sha256[:8]} fp32, Resize {self.resize_to} bicubic (PIL), "
            f"CenterCrop {self.source.size}, {norm}, class token"
        )

    @cached_property
    def network(self) -> "nn.Module":
        import timm

        network = timm.create_model(self.source.name, pretrained=False, num_classes=0)
        if getattr(network, "cls_token", None) is None or not hasattr(network, "forward_features"):
            raise ValueError(f"--dino {self.source.shown}: {self.source.name} has no class token; DINO is a ViT")
        load_exactly(network, read_state(self.source.weights), self.source.weights, HEADS)
        return network.float().eval().requires_grad_(False).to(self.device)

    @cached_property
    def transform(self) -> "Callable[[Image], Tensor]":
        from torchvision import transforms

        return transforms.Compose(
            [
                transforms.Resize(self.resize_to, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(self.source.size),
                transforms.ToTensor(),
                transforms.Normalize(*self.source.norm),
            ]
        )

    def images(self, pictures: Sequence[Seen], cache: FeatureCache, on_disk: bool = True) -> np.ndarray:
        """(n, D), not normalised."""
        key = who(self.protocol, self.sha256, self.device, self.batch_size)
        return cache.features(key, pictures, self.encode_images, on_disk)

    def encode_images(self, pictures: Sequence[Seen]) -> np.ndarray:
        rows = [row_of(self, picture) for picture in pictures]
        return in_batches(rows, self.batch_size, self.device, lambda batch: class_token(self.network, batch))

    def prepare(self, picture: Seen) -> None:
        prepare(self, picture)

    def transformed(self, image: "Image") -> "Tensor":
        """(3, S, S), normalised."""
        return self.transform(middle(image, self.resize_to, self.source.size))


def class_token(network: "nn.Module", batch: "Tensor") -> "Tensor":
    """batch: (B, 3, S, S). Returns (B, D): the class token after the last norm, before any head."""
    return network.forward_features(batch)[:, 0]


def find(spec: str, fetched: Path) -> ViTWeights:
    """The network behind --dino. fetched: what bench.fetch left.

    FileNotFoundError: nowhere at hand; ValueError: not a name timm knows.
    """
    import timm

    path = Path(spec.removeprefix("local-dir:"))
    if path.is_dir():
        return in_folder(path)
    if path.is_file():
        return ViTWeights(ARCHITECTURE, path.name, path, (), 224, IMAGENET)
    if spec.startswith(("/", ".", "~")) or path.suffix in (".safetensors", ".pth", ".pt", ".bin"):
        raise FileNotFoundError(f"--dino {spec}: no such file or folder")
    name = spec.rpartition("/")[2]
    if not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"--dino {spec}: neither a file, nor a folder, nor a timm model like {ARCHITECTURE}.dino")
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise ValueError(f"--dino {spec}: timm has no weights called so; MagicBrush's are timm/{ARCHITECTURE}.dino")
    repo = config.hf_hub_id if "/" in config.hf_hub_id and not config.hf_hub_id.endswith("/") else f"timm/{name}"
    weights = from_hub(repo, ("model.safetensors", "pytorch_model.bin"), f"DINO {spec}", "--dino FILE", fetched)
    return ViTWeights(name.partition(".")[0], spec, weights, (), config.input_size[-1], (config.mean, config.std))


def in_folder(folder: Path) -> ViTWeights:
    """timm's own local-dir scheme: config.json (architecture, model_args, pretrained_cfg) and model.safetensors."""
    described, weights = folder / "config.json", folder / "model.safetensors"
    for file in (described, weights):
        if not file.is_file():
            raise FileNotFoundError(f"--dino {folder}: no {file.name} in it; timm's save_for_hf writes such a folder")
    config = json.loads(described.read_text()).get("pretrained_cfg", {})
    norm = (tuple(config.get("mean", IMAGENET[0])), tuple(config.get("std", IMAGENET[1])))
    size = config.get("input_size", (3, 224, 224))[-1]
    return ViTWeights(f"local-dir:{folder}", folder.name, weights, (described,), size, norm)
