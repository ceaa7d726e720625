"""Every setting of a run, as frozen dataclasses; the flags of the commands are made from their fields.

What changes a pixel is part of the run's hash: all of DataSettings (through the list of examples) and EditSettings,
and what the model says of itself. None means: the model's own default (a preset carries its sampling defaults).
"""

from argparse import ArgumentParser
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, get_args


def flag(default: object, help: str, choices: tuple[str, ...] | None = None) -> object:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class DataSettings:
    split: str = flag("", "which split; default: the one the dataset scores (test, or all for the published suite)")
    expand: str = flag(
        "instruction",
        "what one example is: each instruction, the first of a pair, or of a record (EVR)",
        ("instruction", "pair", "record"),
    )
    turns: str = flag(
        "single", "MagicBrush: each turn on the true input, or sessions on the model's own", ("single", "multi")
    )
    caption: str = flag("global", "MagicBrush: which goal caption CTS reads", ("global", "local"))
    image_root: Path | None = flag(None, "EVR: folder of the images, whose annotations hold bare names")
    limit: int | None = flag(None, "only the first N examples")


@dataclass(frozen=True)
class EditSettings:
    guidance_scale: float | None = flag(None, "weight of the instruction (alpha_X)")
    image_guidance_scale: float | None = flag(None, "weight of the input image (alpha_V)")
    num_inference_steps: int | None = flag(None, "denoising steps")
    batch_size: int = flag(8, "examples a slice; slices are fixed, so it is part of the run")
    max_side: int | None = flag(None, "px; larger images (input, goal, mask) are shrunk to it, PIL bicubic")
    exif: str = flag("apply", "EXIF orientation of input and goal images", ("apply", "ignore"))
    alpha: str = flag("white", "transparent pixels: laid on white, or the alpha channel dropped", ("white", "drop"))
    icc: str = flag(
        "convert", "colour profile of the images: converted to sRGB, or the pixels as they are", ("convert", "ignore")
    )


@dataclass(frozen=True)
class ModelSettings:
    """Which model, with which weights. Heavy loading waits for the first edit."""

    name: str
    suite: str
    dataset: str
    setting: Literal["zero-shot", "fine-tuned"] = "zero-shot"
    form: Literal["fz", "ft", "e2e"] = "e2e"
    weights: Path | None = None  # the root that holds <model>[-<form>][-<dataset>]/
    images: Path | None = None  # precomputed: a folder or an index file of output images
    device: str = "auto"  # auto: cuda where there is one, else cpu
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    compile: bool = False  # torch.compile; moves pixels within the stated tolerance, so it is part of the run
    elsewhere: bool = False  # it runs on another machine's GPU: this one need not have one


@dataclass(frozen=True)
class MetricSettings:
    """Which networks the metrics look with. All but the last two change a value, and stand in its protocol."""

    clip: str = flag(
        "ViT-B-32-quickgelu/openai",
        "CLIP of cvs, cts, clip_s: open_clip's MODEL/PRETRAINED (ViT-L-14-quickgelu/openai), MODEL/FILE, or a folder "
        "with open_clip_config.json",
    )
    dino: str = flag(
        "timm/vit_small_patch16_224.dino",
        "DINO: a timm model on the Hub, a weights file of ViT-S/16, or a folder with timm's config.json",
    )
    lpips: str = flag("alex", "network of LPIPS", ("alex", "vgg", "squeeze"))
    lpips_weights: Path | None = flag(None, "LPIPS: weights file of its network; default: torchvision's, fetched once")
    lpips_heads: str = flag(
        "linear", "LPIPS: the package's calibrated layers, or none (for a network of your own)", ("linear", "none")
    )
    direction: str = flag(
        "own",
        "clip_direction: CLIP's own transform, or instruct-pix2pix's code with its range bug",
        ("own", "ip2p_legacy"),
    )
    metric_device: str = flag("auto", "where the metrics' networks run: auto, cpu, cuda, ...")
    metric_batch_size: int = flag(16, "examples scored together; moves a value by less than 1e-5")


def add_flags(parser: ArgumentParser, settings: type) -> None:
    """One flag a field: --num-inference-steps for num_inference_steps."""
    for f in fields(settings):
        types = [t for t in get_args(f.type) or (f.type,) if t is not type(None)]
        parser.add_argument(
            "--" + f.name.replace("_", "-"),
            type=types[0],
            default=f.default,
            help=f.metadata["help"],
            choices=f.metadata["choices"],
        )


def from_flags(settings: type, namespace: object) -> object:
    return settings(**{f.name: getattr(namespace, f.name) for f in fields(settings)})


def fill(settings: EditSettings, defaults: EditSettings) -> EditSettings:
    """The settings with each None replaced by the model's own default."""
    missing = {f.name: getattr(defaults, f.name) for f in fields(settings) if getattr(settings, f.name) is None}
    return replace(settings, **missing)
