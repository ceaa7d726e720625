"""A family of editors: pipelines of diffusers that are called alike, with what must be known of them beforehand.

A family says its size rule, its dtype on a GPU, which of the settings guide it, and how one instruction and one image
become a call. Nothing here imports diffusers: a table is planned, and `python -m bench.editors` prints, without it.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from PIL import Image

from bench.settings import EditSettings
from mgie.io.files import is_looking

if TYPE_CHECKING:
    import torch

Pipeline = Any  # of diffusers, which is untyped: each has attributes of its own
Arguments = dict[str, Any]  # of a pipeline's call or constructor
DENOISERS = ("unet", "transformer")
SETTINGS = ("guidance_scale", "image_guidance_scale", "num_inference_steps")
INPUT = "the input image's size, rounded down to what the model takes, Lanczos"  # as in the official MGIE demo


class Kind(NamedTuple):
    """One class of pipelines. The defaults are its own (tests hold them against diffusers). None: it has no such."""

    name: str
    hub: str  # a typical checkpoint
    gigabytes: float  # of its weights in 16 bit, about
    steps: int
    guidance: float | None = None
    image_guidance: float | None = None
    note: str = ""  # what tells it from another of its class


class Source(NamedTuple):
    """Where a pipeline lies, and its model_index.json."""

    place: str  # a local folder, or a Hub id
    revision: str | None  # the Hub's commit; None: a local folder
    index: dict  # type: ignore[assignment]  # model_index.json, not tuple.index

    @property
    def class_name(self) -> str:
        return self.index["_class_name"]


class Asked(NamedTuple):
    """What one call of a pipeline is asked for."""

    images: list[Image.Image]  # of one size; one alone unless the family is `batched`
    texts: list[str]
    generators: "list[torch.Generator]"
    arguments: Arguments

    @property
    def of_one(self) -> Arguments:
        """The call for one image and one text; a family whose pipeline wants lists, or other names, changes it."""
        edit = {"image": self.images[0], "prompt": self.texts[0], "generator": self.generators[0]}
        return edit | {"output_type": "np"} | self.arguments

    @property
    def of_all(self) -> Arguments:
        edit = {"image": self.images, "prompt": self.texts, "generator": self.generators}
        return edit | {"output_type": "np"} | self.arguments

    @property
    def size(self) -> Arguments:
        return {"width": self.images[0].width, "height": self.images[0].height}


class Family:
    """How a family is called: by default one instruction and one image a call, at the pipeline's own size.

    Families override what differs; an instance is made for each source.
    """

    kinds: tuple[Kind, ...] = ()
    size: str = "the pipeline's own rule"  # recorded with every run
    tried: str = ""  # what a reader of the list must know; empty: nothing beyond the columns
    dtype: Literal["float16", "bfloat16"] = "bfloat16"  # on a GPU, where --dtype is auto
    mixed = False  # in 16 bit the denoiser alone is: text encoders, VAE and latents stay in float32
    batched = False  # a list of images is a batch; for the others it would be several references of one edit
    guided_by = "guidance_scale"  # the pipeline's argument for the weight of the instruction
    image_guided_by = "image_guidance_scale"  # and of the input image

    def __init__(self, source: Source) -> None:
        """Raises ValueError for a source that must first be asked about."""
        self.source = source

    @property
    def name(self) -> str:
        return self.source.class_name

    @property
    def kind(self) -> Kind:
        return next(kind for kind in self.kinds if kind.name == self.name)

    @property
    def defaults(self) -> dict[str, float | int | None]:
        kind = self.kind
        return dict(zip(SETTINGS, (kind.guidance, kind.image_guidance, kind.steps), strict=True))

    def record(self) -> dict[str, str]:
        """What of this family changes a pixel and stands nowhere else; part of the run's fingerprint."""
        return {"size": self.size}

    def dtype_of(self, component: str, dtype: "torch.dtype") -> "torch.dtype":
        """A component's dtype, where the editor runs in dtype."""
        import torch

        half = self.mixed and dtype.itemsize == 2
        return torch.float32 if half and component not in DENOISERS else dtype

    def dtype_text(self, dtype: "torch.dtype") -> str:
        """For the fingerprint."""
        text = str(dtype).removeprefix("torch.")
        return f"{text}; text encoders, VAE and latents float32" if self.mixed and dtype.itemsize == 2 else text

    def options(self) -> Arguments:
        """Arguments of the pipeline's constructor beside its components."""
        return {}

    def arguments(self, settings: EditSettings) -> Arguments:
        """The settings as this pipeline's arguments. ValueError for one that it does not have, or cannot take."""
        names = dict(zip(SETTINGS, (self.guided_by, self.image_guided_by, "num_inference_steps"), strict=True))
        arguments: Arguments = {}
        for setting, argument in names.items():
            value = getattr(settings, setting)
            if value is None:
                continue
            if self.defaults[setting] is None:
                raise ValueError(f"{self.name} has no {setting}; leave --{setting.replace('_', '-')} out")
            arguments[argument] = value
        if settings.num_inference_steps is not None and settings.num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {settings.num_inference_steps}; expected 1 or more")
        return arguments

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        """image at the size it is given to the pipeline at. name: who is meant in an error. Raises ValueError."""
        return image

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        """The pipeline's answer, output_type np."""
        return pipeline(**asked.of_one).images


def rounded(image: Image.Image, multiple: int, name: str) -> Image.Image:
    """Each side rounded down to a multiple. Raises ValueError for an image that is smaller than one."""
    size = image.width // multiple * multiple, image.height // multiple * multiple
    if 0 in size:
        smallest = f"{multiple}x{multiple} px is the smallest"
        raise ValueError(f"{name}: image is {image.width}x{image.height} px; {smallest}")
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def least(image: Image.Image, side: int, name: str) -> Image.Image:
    """image as it is. Raises ValueError where a side is too short for a pipeline that crops to its own multiple."""
    if min(image.size) < side:
        raise ValueError(f"{name}: image is {image.width}x{image.height} px; {side}x{side} px is the smallest")
    return image


@contextmanager
def seeded(pipeline: Pipeline, generator: "torch.Generator") -> Iterator[None]:
    """For pipelines that draw from the process's own generator: by the edit's seed, and left as it was afterwards.

    They take a generator too, for their noise, but nothing hands it on (diffusers 0.42): OmniGen samples the input's
    latents without one, GLM-Image the tokens of its draft. On a GPU these draws are the GPU's own, not the CPU's.
    """
    import torch

    with torch.random.fork_rng([pipeline.device] if pipeline.device.type == "cuda" else []):
        torch.manual_seed(generator.initial_seed())
        yield


def check_two_scales(arguments: Arguments) -> None:
    """Raises ValueError below 1: pipelines with both scales then leave guidance off in silence."""
    for name in ("guidance_scale", "image_guidance_scale"):
        if name in arguments and not arguments[name] >= 1:
            raise ValueError(f"{name} is {arguments[name]}; expected 1 or more (below 1 the pipeline does not guide)")
    if arguments.get("guidance_scale") == 1:
        warnings.warn("guidance_scale is exactly 1: by the pipeline's rule neither scale guides the edit", stacklevel=4)


def read_beside(source: Source, name: str) -> dict:
    """A JSON file of a source, of the Hub's from its cache or fetched; empty where it is absent or unreadable."""
    import json

    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    place, revision, _ = source
    try:
        path = hf_hub_download(place, name, revision=revision, local_files_only=is_looking()) if revision else None
        data = json.loads(Path(path or Path(place) / name).read_text())
    except (OSError, ValueError, HfHubHTTPError):
        return {}
    return data if isinstance(data, dict) else {}
