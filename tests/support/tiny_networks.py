"""Metric networks of the true classes at small sizes with random weights, and images of awkward shapes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from bench.metrics.pairs import Pair, Picture
from bench.records import Example
from bench.settings import MetricSettings

CLIP_CONFIG = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 48, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
DINO_CONFIG = {
    "architecture": "vit_small_patch16_224",
    "model_args": {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2},
    "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
}


def spread(network, seed: int) -> dict:
    """Weights far enough from zero that features differ from image to image."""
    import torch

    random = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        if value.ndim > 1:
            width = value[0].numel() if "embedding" not in name else 4
            state[name] = torch.randn(value.shape, generator=random) * (2 / width) ** 0.5
        elif name.endswith("weight"):
            state[name] = 1 + 0.2 * torch.randn(value.shape, generator=random)
        else:
            state[name] = 0.2 * torch.randn(value.shape, generator=random)
    return state


def tiny_clip(folder: Path, seed: int = 0, **changes: object) -> Path:
    """A folder in open_clip's local-dir scheme."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(json.dumps(CLIP_CONFIG))
    config["text_cfg"].update(changes.pop("text_cfg", {}))
    config.update(changes)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(spread(network, seed), folder / "open_clip_model.safetensors")
    return folder


def tiny_dino(folder: Path, seed: int = 0) -> Path:
    """A folder in timm's local-dir scheme."""
    import timm
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(DINO_CONFIG))
    network = timm.create_model(f"local-dir:{folder}", pretrained=False, num_classes=0)
    save_file(spread(network, seed), folder / "model.safetensors")
    return folder


def tiny_trunk(file: Path, net: str = "squeeze", seed: int = 0) -> Path:
    """Random weights in torchvision's names, classifier left out."""
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    file.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if net == "vgg":  # without its 120 M classifier
            features = models.vgg.make_layers(models.vgg.cfgs["D"])
        else:
            features = {"alex": models.alexnet, "squeeze": models.squeezenet1_1}[net](weights=None).features
    save_file({f"features.{name}": value for name, value in features.state_dict().items()}, file)
    return file


def tiny_settings(folder: Path) -> MetricSettings:
    return MetricSettings(
        clip=str(tiny_clip(folder / "clip")),
        dino=str(tiny_dino(folder / "dino")),
        lpips="squeeze",  # the smallest of the package's networks
        lpips_weights=tiny_trunk(folder / "squeeze.safetensors"),
        metric_device="cpu",
    )


def drawn(seed: int, width: int, height: int) -> Image.Image:
    """A soft scene with sharp edges and noise, RGB."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(a * x * 9 + b * y * 9 + c) for a, b, c in random.uniform(-3, 3, (3, 3))]
    scene = np.stack(waves, axis=-1) * 70 + 128 + random.normal(0, 12, (height, width, 3))
    scene[height // 4 : height // 2, width // 3 : width // 2] = random.uniform(0, 255, 3)
    return Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))


# (output, goal): the same size, unequal sizes, wide against tall, odd sizes
SHAPES = [((64, 64), (64, 64)), ((96, 64), (150, 70)), ((64, 120), (130, 61)), ((201, 97), (67, 45))]


def awkward_pairs() -> list[Pair]:
    """Unequal sizes, non-square, greyscale; with captions, instructions and input images."""
    pairs = []
    for i, (output_size, goal_size) in enumerate(SHAPES):
        output, goal = drawn(i, *output_size), drawn(50 + i, *goal_size)
        if i == 0:
            goal = goal.convert("L")
        pairs.append(pair(output, goal, drawn(100 + i, *goal_size), i))
    return pairs


def pair(output: Image.Image, goal: Image.Image, source: Image.Image | None = None, number: int = 0) -> Pair:
    example = Example(
        f"drawn/test/{number}",
        f"drawn/{number}",
        Path("none"),
        f"make the {COLOURS[number % 4]} square larger",
        goal_caption=f"a photo of {number + 2} dogs on {COLOURS[number % 4]} grass",
        input_caption=f"a {COLOURS[(number + 1) % 4]} hill",
    )
    of = [None if image is None else Picture.of(image) for image in (output, goal, source)]
    return Pair(example, *of)


COLOURS = ("red", "green", "blue", "grey")
