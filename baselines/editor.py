"""One instruction-editing pipeline of diffusers: found, recognised, loaded at the first edit, run on a batch.

Recognised by _class_name in model_index.json and by the signature of its call: it needs an image and a text, no mask.
Settings are named as in diffusers; guidance_scale becomes true_cfg_scale where that is what guides the edit.
Sizes: see SIZE_RULES. Not covered: pipelines with their own remote code, video pipelines.
"""

import inspect
import json
import time
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from bench.records import Example, Output
from bench.settings import EditSettings
from mgie.io.devices import Placement
from mgie.io.hashes import weights_hash
from mgie.io.images import load

if TYPE_CHECKING:
    import torch

SIZE_RULES = {
    "input": "the input image's size, rounded down to what the model takes, Lanczos",  # as in the official MGIE demo
    "area": "the input image's shape at the area the model was trained at, Lanczos",
    "own": "the pipeline's own rule",
}
KNOWN = {  # class: size rule. A pipeline outside this list runs with the rule "input" and a notice.
    "StableDiffusionInstructPix2PixPipeline": "input",
    "StableDiffusionXLInstructPix2PixPipeline": "input",
    "FluxKontextPipeline": "area",
    "Flux2Pipeline": "own",
    "Flux2KleinPipeline": "own",
    "Flux2KleinKVPipeline": "own",
    "QwenImageEditPipeline": "own",
    "QwenImageEditPlusPipeline": "own",
    "QwenImage21Pipeline": "own",
    "LongCatImageEditPipeline": "own",
    "JoyImageEditPipeline": "own",
    "Kandinsky5I2IPipeline": "own",
    "DreamLitePipeline": "own",
    "DreamLiteMobilePipeline": "own",
}
# A list of images is a batch for these; for others it is several reference images of one edit, so they get one each.
BATCHED = {
    "StableDiffusionInstructPix2PixPipeline", "StableDiffusionXLInstructPix2PixPipeline", "FluxKontextPipeline",
}  # fmt: skip
REFUSED = {  # argument of __call__: why a pipeline that has it is no instruction editor
    "mask_image": "it inpaints under a mask",
    "num_frames": "it makes videos",
    "do_patching": "its prompt is JSON that another model writes",
    "control_image": "it needs a control image",
}


class Source(NamedTuple):
    """Where a pipeline lies, and its model_index.json."""

    place: str  # a local folder, or a Hub id
    revision: str | None  # the Hub's commit; None: a local folder
    index: dict

    @property
    def class_name(self) -> str:
        return self.index["_class_name"]


def find(target: str) -> Source:
    """target: a local folder, or a Hub id "owner/name" or "owner/name@revision" (in the cache, or downloaded)."""
    if Path(target).is_dir():
        return Source(target, None, read_index(Path(target)))
    owner, _, rest = target.partition("/")
    if not owner.strip("./~") or not rest or "/" in rest:
        raise FileNotFoundError(f"no pipeline at {target}: neither a folder nor a Hub id such as owner/name")
    name, _, revision = target.partition("@")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        index = Path(hf_hub_download(name, "model_index.json", revision=revision or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"no pipeline at {target}: no such folder, and the Hub did not give its model_index.json\n"
            f"{type(error).__name__}: {str(error).splitlines()[0]}\n"
            f"download it where there is a network (hf download {name} --local-dir DIR) and name DIR instead"
        ) from error
    return Source(name, index.parent.name, read_index(index.parent))


def read_index(folder: Path) -> dict:
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} holds no model_index.json: it is not a diffusers pipeline") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ValueError(f"{path} names no pipeline: _class_name is missing; known: {', '.join(KNOWN)}")
    return index


def pipeline_class(name: str) -> type:
    """The diffusers class, if it can edit by instruction. ValueError says why not and lists the known ones."""
    import diffusers

    cls = getattr(diffusers, name, None)
    known = f"known: {', '.join(KNOWN)}"
    if not (inspect.isclass(cls) and issubclass(cls, diffusers.DiffusionPipeline)):
        raise ValueError(f"diffusers {diffusers.__version__} has no pipeline {name}; {known}")
    accepted = inspect.signature(cls.__call__).parameters
    lacking = [argument for argument in ("image", "prompt") if argument not in accepted]
    if lacking:
        raise ValueError(f"{name} takes no {' and no '.join(lacking)}: it does not edit by instruction; {known}")
    for argument, why in REFUSED.items():
        if argument in accepted:
            raise ValueError(f"{name} takes a {argument}: {why} and does not edit by instruction; {known}")
    return cls


class Editor:
    """A pipeline and its settings. `edit` loads it the first time."""

    def __init__(self, source: Source, where: Placement | None = None) -> None:
        if source.class_name not in KNOWN:
            pipeline_class(source.class_name)
            warnings.warn(
                f"{source.class_name} takes an image and a text but is not among the instruction editors known here; "
                "it is run at the input image's size, and nobody has checked that it follows instructions",
                stacklevel=3,
            )
        self.source, self.where = source, where

    @cached_property
    def accepted(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(pipeline_class(self.source.class_name).__call__).parameters)

    @cached_property
    def guidance_argument(self) -> str | None:
        """Kontext: guidance_scale (distilled); Qwen: true_cfg_scale, its guidance_scale is None by default."""
        guidance = self.accepted.get("guidance_scale")
        if "true_cfg_scale" in self.accepted and (guidance is None or guidance.default is None):
            return "true_cfg_scale"
        return "guidance_scale" if guidance else None

    @cached_property
    def defaults(self) -> EditSettings:
        """What the folder's sampling.json says (small models are guided less), else the pipeline's own defaults.

        The pipeline is asked for what is missing alone: a folder that says all of it is known without diffusers.
        """
        path = Path(self.source.place) / "sampling.json"
        stored = json.loads(path.read_text()) if self.source.revision is None and path.is_file() else {}
        names = ("guidance_scale", "image_guidance_scale", "num_inference_steps")
        return EditSettings(**{name: stored[name] if name in stored else self.default_of(name) for name in names})

    def default_of(self, name: str) -> float | int | None:
        argument = self.guidance_argument if name == "guidance_scale" else name
        default = self.accepted[argument].default if argument in self.accepted else None
        return default if isinstance(default, int | float) else None

    def fingerprint(self) -> dict[str, str]:
        place, revision, index = self.source
        scheduler = index.get("scheduler") or [None, "none"]
        return {
            "pipeline": self.source.class_name,
            "weights": f"{place}@{revision}" if revision else weights_hash(Path(place)),
            "scheduler": str(scheduler[1]),
            "dtype": str(self.where.dtype).removeprefix("torch."),
            "size": SIZE_RULES[self.size_rule],
            "safety_checker": "off",
        }

    @property
    def size_rule(self) -> str:
        return KNOWN.get(self.source.class_name, "input")

    @cached_property
    def pipeline(self) -> object:
        cls = pipeline_class(self.source.class_name)
        options = {"revision": self.source.revision} if self.source.revision else {}
        if "safety_checker" in inspect.signature(cls.__init__).parameters:
            # It paints images black that it dislikes, and so would change a score without a word.
            options |= {"safety_checker": None, "requires_safety_checker": False}
        pipeline = cls.from_pretrained(self.source.place, dtype=self.where.dtype, **options)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self.where.device)

    def edit_examples(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        self.pipeline  # noqa: B018  loading is no part of an edit's time
        images = [load(example.input_image, settings) for example in examples]
        texts = [example.instruction.strip() for example in examples]
        edited = self.edit(images, texts, settings, seeds, [example.id for example in examples])
        return [Output(image, seconds={"diffusion": seconds}) for image, seconds in edited]

    def edit(
        self,
        images: list[Image.Image],
        texts: list[str],
        settings: EditSettings,
        seeds: list[int],
        names: list[str],
        on_step: Callable[[int], None] | None = None,
    ) -> list[tuple[Image.Image, float]]:
        """The edited images and each one's seconds (its share of its batch). names: who is meant in an error.

        on_step: told the denoising steps done in a batch, where the pipeline tells; what it raises ends the call.
        """
        import torch

        for text, name in zip(texts, names, strict=True):
            if not text:
                raise ValueError(f"{name}: the instruction is empty; an edit needs one")
        arguments = self.call_arguments(settings)
        if on_step is not None and "callback_on_step_end" in self.accepted:
            arguments["callback_on_step_end"] = lambda pipe, step, t, values: on_step(step + 1) or values
        sized = [self.fit(image, name) for image, name in zip(images, names, strict=True)]
        batches: dict[tuple, list[int]] = {}
        for i, image in enumerate(sized):
            batches.setdefault(image.size if self.source.class_name in BATCHED else (i,), []).append(i)
        done: dict[int, tuple[Image.Image, float]] = {}
        for batch in batches.values():
            generators = [torch.Generator("cpu").manual_seed(seeds[i]) for i in batch]
            start = time.perf_counter()
            pixels = self.run([sized[i] for i in batch], [texts[i] for i in batch], generators, arguments)
            share = (time.perf_counter() - start) / len(batch)
            for i, values in zip(batch, pixels, strict=True):
                done[i] = (to_image(values, names[i]), share)
        return [done[i] for i in range(len(images))]

    def call_arguments(self, settings: EditSettings) -> dict:
        """settings as this pipeline's arguments. ValueError for a setting that it does not have, or cannot take."""
        wanted = {
            self.guidance_argument or "guidance_scale": settings.guidance_scale,
            "image_guidance_scale": settings.image_guidance_scale,
            "num_inference_steps": settings.num_inference_steps,
        }
        arguments = {name: value for name, value in wanted.items() if value is not None}
        for name in arguments:
            if name not in self.accepted:
                raise ValueError(f"{self.source.class_name} has no {name}; leave --{name.replace('_', '-')} out")
        if "image_guidance_scale" in self.accepted:
            check_guidance(arguments)
        if arguments.get("num_inference_steps", 1) < 1:
            raise ValueError(f"num_inference_steps is {settings.num_inference_steps}; expected 1 or more")
        if self.guidance_argument == "true_cfg_scale" and arguments.get("true_cfg_scale", 0) > 1:
            arguments["negative_prompt"] = " "  # without a negative text these pipelines do not guide at all
        return arguments

    def fit(self, image: Image.Image, name: str) -> Image.Image:
        """image at the size it is edited at, by this class's size rule."""
        if self.size_rule == "own":
            return image
        processor = getattr(self.pipeline, "image_processor", None)
        factor = processor.config.vae_scale_factor if processor else 8
        width, height = image.size
        if self.size_rule == "area":
            side = self.pipeline.default_sample_size * self.pipeline.vae_scale_factor
            scale = side / (width * height) ** 0.5
            width, height = round(width * scale), round(height * scale)
        size = (width // factor * factor, height // factor * factor)
        if 0 in size:
            raise ValueError(f"{name}: image is {image.width}x{image.height} px; {factor}x{factor} px is the smallest")
        return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)

    def run(
        self, images: list[Image.Image], texts: list[str], generators: list["torch.Generator"], arguments: dict
    ) -> np.ndarray:
        """images: of one size. Returns (B, H, W, 3) float, about [0, 1]; the GPU is done when this returns."""
        import torch

        single = self.source.class_name not in BATCHED
        arguments = dict(arguments)
        if self.size_rule != "own":
            size = {"width": images[0].width, "height": images[0].height}
            arguments |= {name: value for name, value in size.items() if name in self.accepted}
        if self.size_rule == "area":
            arguments |= {"max_area": images[0].width * images[0].height, "_auto_resize": False}
        if "negative_prompt" in arguments and not single:
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(texts)
        try:
            result = self.pipeline(
                image=images[0] if single else images, prompt=texts[0] if single else texts,
                generator=generators[0] if single else generators, output_type="np", **arguments,
            )  # fmt: skip
        except TypeError as error:  # a class outside KNOWN may want its arguments in another form
            name = self.source.class_name
            raise ValueError(f"{name} cannot be called with one image and one text: {error}") from error
        if self.where.device.startswith("cuda"):
            torch.cuda.synchronize()
        pixels = np.asarray(getattr(result, "images", None), dtype=np.float32)
        if pixels.ndim != 4 or len(pixels) != len(images) or pixels.shape[-1] != 3:
            got = pixels.shape if pixels.size > 1 else "no images"
            raise ValueError(f"{self.source.class_name} returned {got}; expected one RGB image an instruction")
        return pixels


def check_guidance(arguments: dict) -> None:
    for name in ("guidance_scale", "image_guidance_scale"):
        if name in arguments and not arguments[name] >= 1:
            raise ValueError(f"{name} is {arguments[name]}; expected 1 or more (below 1 the pipeline does not guide)")
    if arguments.get("guidance_scale") == 1:
        warnings.warn("guidance_scale is exactly 1: by the pipeline's rule neither scale guides the edit", stacklevel=4)


def to_image(values: np.ndarray, name: str) -> Image.Image:
    """(H, W, 3) float in [0, 1] -> 8 bit, as diffusers rounds. ValueError for NaN: it would become a black image."""
    if not np.isfinite(values).all():
        share = 1 - np.isfinite(values).mean()
        raise ValueError(
            f"{name}: {share:.0%} of the output image is not a number: the model overflowed or its weights are "
            "damaged; try --dtype float32 or bfloat16"
        )
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
