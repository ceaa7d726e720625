"""One instruction-editing pipeline of diffusers: found, loaded once, run on a batch.

Its family (baselines/editors/) says how it is called: size rule, arguments, precision, batch. Settings are named as in
diffusers. Not covered: pipelines with their own remote code, video pipelines.
"""

import json
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from baselines.editors.family import SETTINGS, Asked, Family, Source
from baselines.editors.known import CLASSES, family_of
from bench.records import Example, Output
from bench.settings import EditSettings, ModelSettings
from mgie.io.components import components
from mgie.io.devices import Placement, placement
from mgie.io.files import is_looking, read_json
from mgie.io.hashes import weights_hash
from mgie.io.images import load

if TYPE_CHECKING:
    import torch

ONLY = (  # of a pipeline's folder, what is loaded: no single-file copies, no other formats, no safety checker
    "--include model_index.json --include '*/*' --exclude 'safety_checker/*' --exclude '*/*.bin' --exclude '*.fp16.*' "
    "--exclude '*/*.msgpack' --exclude '*/*.onnx*'"
)
SINGLE_FILES = (".safetensors", ".ckpt", ".gguf", ".pt", ".pth", ".bin")


def find(target: str) -> Source:
    """target: a local folder, or a Hub id "owner/name" or "owner/name@revision" (in the cache, or downloaded)."""
    if Path(target).is_dir():
        return Source(target, None, read_index(Path(target)))
    refuse_single_file(Path(target))
    owner, _, rest = target.partition("/")
    if not owner.strip("./~") or not rest or "/" in rest:
        raise FileNotFoundError(f"no pipeline at {target}: neither a folder nor a Hub id such as owner/name")
    name, _, revision = target.partition("@")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        index = Path(
            hf_hub_download(name, "model_index.json", revision=revision or None, local_files_only=is_looking())
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"no pipeline at {target}: no such folder, and the Hub did not give its model_index.json\n"
            f"{type(error).__name__}: {str(error).splitlines()[0]}\n"
            f"download it where there is a network (hf download {name} --local-dir DIR {ONLY}) and name DIR instead; "
            "where it has no safetensors, leave out the *.bin"
        ) from error
    return Source(name, index.parent.name, read_index(index.parent))


def refuse_single_file(path: Path) -> None:
    """Raises ValueError for a checkpoint in one file: which class it is, and with what config, it does not say."""
    if path.suffix not in SINGLE_FILES:
        return
    if not path.is_file():
        raise FileNotFoundError(f"no pipeline at {path}: no such file or folder")
    call = f"StableDiffusionInstructPix2PixPipeline.from_single_file('{path}', num_in_channels=8)"
    convert = f"from diffusers import *; {call}.save_pretrained('{path.with_suffix('')}')"
    raise ValueError(
        f'{path} is a single-file checkpoint; convert it to a folder: python -c "{convert}" '
        f"(with the class that it is; known: {', '.join(CLASSES)})"
    )


def read_index(folder: Path) -> dict:
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} holds no model_index.json: it is not a diffusers pipeline") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ValueError(f"{path} names no pipeline: _class_name is missing; known: {', '.join(CLASSES)}")
    return as_instruct_pix2pix(index, folder)


def as_instruct_pix2pix(index: dict, folder: Path) -> dict:
    """Some InsPix2Pix checkpoints (MagicBrush's) name the text-to-image class: a UNet of 8 channels tells them.

    Convention: the first 4 are the noise's, the others the image's, as in timothybrooks/instruct-pix2pix.
    """
    try:
        config = json.loads((folder / "unet" / "config.json").read_text())
        channels = config["in_channels"], config["out_channels"]
    except (OSError, ValueError, KeyError, TypeError):
        return index
    if index["_class_name"] == "StableDiffusionPipeline" and channels == (8, 4):
        return index | {"_class_name": "StableDiffusionInstructPix2PixPipeline"}
    return index


def open_editor(source: Source, spec: ModelSettings) -> "Editor":
    """The editor that a run asks for. Raises ValueError for what cannot edit, or cannot be run so."""
    family = family_of(source, spec.unknown_editor)
    return Editor(family, placement(spec, family.dtype), spec.quantize)


class Editor:
    """A pipeline of a family, and where it runs. `load` or the first `edit` loads it."""

    def __init__(self, family: Family, where: Placement | None = None, quantize: str = "none") -> None:
        from baselines import quantize as of_parts

        self.family, self.source, self.where, self.quantize = family, family.source, where, quantize
        self.quantized = of_parts.record(quantize, where.device if where else "cpu")

    @cached_property
    def defaults(self) -> EditSettings:
        """What the folder's sampling.json says (small models are guided less), else the pipeline's own defaults."""
        path = Path(self.source.place) / "sampling.json"
        stored = read_json(path) if self.source.revision is None and path.is_file() else {}
        own: dict[str, Any] = {name: stored.get(name, self.family.defaults[name]) for name in SETTINGS}
        return EditSettings(**own)

    @property
    def placed(self) -> Placement:
        """Where it runs, of an editor that was opened for a run."""
        assert self.where is not None
        return self.where

    def fingerprint(self) -> dict[str, str]:
        place, revision, index = self.source
        scheduler = index.get("scheduler") or [None, "none"]
        own = {
            "pipeline": self.source.class_name,
            "weights": f"{place}@{revision}" if revision else weights_hash(Path(place)),
            "scheduler": str(scheduler[1]),
            "dtype": self.family.dtype_text(self.placed.dtype),
            "safety_checker": "off",
        }
        return own | self.family.record() | self.quantized

    def parts(self) -> dict[Path, float]:
        """By a component's folder the bytes of a value once it is loaded. Empty where the files are not here."""
        place, revision, _ = self.source
        folder: Path | None = Path(place)
        if revision is not None:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(place, "model_index.json", revision=revision)
            folder = Path(cached).parent if isinstance(cached, str) else None
        return {} if folder is None else self.parts_in(folder, self.placed.dtype)

    def parts_in(self, folder: Path, dtype: "torch.dtype") -> dict[Path, float]:
        from baselines.quantize import BYTES, QUANTIZED

        found: dict[Path, float] = {}
        for name in components(self.source.index):
            small = self.quantize != "none" and name in QUANTIZED
            found[folder / name] = BYTES[self.quantize] if small else self.family.dtype_of(name, dtype).itemsize
        return found

    @cached_property
    def pipeline(self) -> object:
        from baselines.loading import fetched, load_pipeline
        from mgie.io.memory import refuse_too_large

        folder = fetched(self.family)
        device, dtype, offload = self.placed
        refuse_too_large(lambda kind: self.parts_in(folder, kind), dtype, device, offload)
        return load_pipeline(self.family, folder, self.placed, self.quantize)

    def load(self) -> None:
        """Once, before the first edit. Raises what ends the run: a part that is missing, cut or another's."""
        self.pipeline  # noqa: B018

    def edit_examples(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        self.load()  # loading is no part of an edit's time
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
        arguments = self.family.arguments(settings)
        if on_step is not None:
            arguments |= told(self.pipeline, on_step)
        sized = [self.family.fit(self.pipeline, image, name) for image, name in zip(images, names, strict=True)]
        batches: dict[tuple, list[int]] = {}
        for i, image in enumerate(sized):
            batches.setdefault(image.size if self.family.batched else (i,), []).append(i)
        done: dict[int, tuple[Image.Image, float]] = {}
        for batch in batches.values():
            generators = [torch.Generator("cpu").manual_seed(seeds[i]) for i in batch]
            start = time.perf_counter()
            pixels = self.run([sized[i] for i in batch], [texts[i] for i in batch], generators, arguments)
            share = (time.perf_counter() - start) / len(batch)
            for i, values in zip(batch, pixels, strict=True):
                done[i] = (to_image(values, names[i]), share)
        return [done[i] for i in range(len(images))]

    def run(self, images: list[Image.Image], texts: list[str], generators: list, arguments: dict) -> np.ndarray:
        """images: of one size. Returns (B, H, W, 3) float, about [0, 1]; the GPU is done when this returns."""
        import torch

        drawn = self.family.run(self.pipeline, Asked(images, texts, generators, arguments))
        if self.placed.device.startswith("cuda"):
            torch.cuda.synchronize(self.placed.device)
        pixels = np.asarray(drawn, dtype=np.float32) if drawn is not None else np.empty(0)
        if pixels.ndim != 4 or len(pixels) != len(images) or pixels.shape[-1] != 3:
            got = pixels.shape if pixels.size > 1 else "no images"
            raise ValueError(f"{self.source.class_name} returned {got}; expected one RGB image an instruction")
        return pixels


def told(pipeline: object, on_step: Callable[[int], None]) -> dict[str, object]:
    """The argument by which a pipeline tells its steps; empty where it has none."""
    import inspect

    if "callback_on_step_end" not in inspect.signature(type(pipeline).__call__).parameters:
        return {}

    def on_step_end(pipe: object, step: int, t: object, values: dict) -> dict:
        on_step(step + 1)
        return values

    return {"callback_on_step_end": on_step_end}


def to_image(values: np.ndarray, name: str) -> Image.Image:
    """(H, W, 3) float in [0, 1] -> 8 bit, as diffusers rounds. ValueError for NaN: it would become a black image."""
    if not np.isfinite(values).all():
        share = 1 - np.isfinite(values).mean()
        raise ValueError(
            f"{name}: {share:.0%} of the output image is not a number: the model overflowed or its weights are "
            "damaged; try --dtype float32 or bfloat16"
        )
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
