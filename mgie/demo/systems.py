"""MGIE, LGIE and InsPix2Pix for one photo at a time, as the demo's page calls them. Loaded at their first edit.

All three take the same photo, settings and seed; LGIE and MGIE write, or are given, an expressive instruction.
"""

import threading
import time
from argparse import Namespace
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mgie.folder import INDEX, MINI, find, read_preset
from mgie.io.files import read_json

if TYPE_CHECKING:
    from diffusers import StableDiffusionInstructPix2PixPipeline
    from PIL.Image import Image

    from mgie.presets import Preset

FOLDERS = {"mgie": "mgie-e2e", "inspix2pix": "inspix2pix", "lgie": "lgie-e2e"}
NAMES = {"mgie": "MGIE", "inspix2pix": "InsPix2Pix", "lgie": "LGIE"}
OWN, NOBODY = "own", "none"
# whose text all editors draw by; their own: MGIE's and LGIE's, and the instruction itself for InsPix2Pix
REWRITERS = {OWN: "each model its own", "mgie": "MGIE for all", "lgie": "LGIE for all",
             NOBODY: "nobody: all draw by the instruction"}  # fmt: skip
OnStep = Callable[[int, int], None]


class Settings(NamedTuple):
    guidance_scale: float
    image_guidance_scale: float
    num_inference_steps: int
    seed: int


class Drawn(NamedTuple):
    image: "Image"
    expressive_instruction: str | None  # InsPix2Pix has none
    seconds: float


class Systems:
    def __init__(self, weights: str, device: str = "auto", offload: bool = False, dtype: str = "auto") -> None:
        """weights: "mini", MGIE's own folder, or a root with mgie-e2e/ (and lgie-e2e/, inspix2pix/ beside it).

        Raises FileNotFoundError or ValueError where there is no MGIE.
        """
        root = MINI if weights == "mini" else Path(weights)
        if weights != "mini" and (root / INDEX).is_file():
            own, root = root, root.parent
        else:
            own = root / FOLDERS["mgie"]
        self.folders = {name: root / folder for name, folder in FOLDERS.items()} | {"mgie": find(own)}
        self.mini, self.device, self.offload, self.dtype = weights == "mini", device, offload, dtype
        self._lock = threading.Lock()
        self._loaded: dict[str, object] = {}

    @property
    def missing(self) -> dict[str, str]:
        """The systems that cannot be shown, and where their weights would have to be."""
        absent = {name: folder for name, folder in self.folders.items() if not (folder / INDEX).is_file()}
        return {name: f"no weights at {folder.name}/ beside {FOLDERS['mgie']}/" for name, folder in absent.items()}

    @property
    def rewriters(self) -> dict[str, str]:
        """Those whose weights are there, as they are printed."""
        return {name: printed for name, printed in REWRITERS.items() if name not in self.missing}

    @cached_property
    def preset(self) -> "Preset":
        return read_preset(self.folders["mgie"], None)

    def loaded(self, name: str) -> Any:
        """An MGIEPipeline, or diffusers' pipeline of InsPix2Pix."""
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._inspix2pix() if name == "inspix2pix" else self._pipeline(name)
            return self._loaded[name]

    def _pipeline(self, name: str) -> object:
        from mgie.edit import pipeline

        weights = str(self.folders[name])
        pipe = pipeline(Namespace(weights=weights, device=self.device, offload=self.offload, dtype=self.dtype))
        pipe.progress = False
        return pipe

    def _inspix2pix(self) -> "StableDiffusionInstructPix2PixPipeline":
        from diffusers import StableDiffusionInstructPix2PixPipeline as InsPix2Pix

        from mgie.io.components import load_parts, quiet
        from mgie.io.devices import Wanted, placement

        folder, where = self.folders["inspix2pix"], placement(Wanted(self.device, self.dtype, offload=self.offload))
        index = read_json(folder / INDEX)
        name = index.get("_class_name")
        if name != InsPix2Pix.__name__:
            raise ValueError(f"{folder} is a {name}, not a {InsPix2Pix.__name__}")
        # no safety checker: it paints images black that it dislikes
        off = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        parts = load_parts(folder, index, lambda component: where.dtype)
        with quiet():
            pipe = InsPix2Pix.from_pretrained(folder, **(parts | off))
        pipe.set_progress_bar_config(disable=True)
        if where.offload:
            pipe.enable_model_cpu_offload(device=where.device)
            return pipe
        return pipe.to(where.device)

    def express(self, photo: "Image", instruction: str, rewriter: str = "mgie") -> str:
        """What MGIE makes of the instruction, having seen the photo, or LGIE, without; of nobody the instruction."""
        if rewriter == NOBODY:
            return instruction
        # an empty answer is replaced by the instruction, as the benchmark's rewriters do
        return self.loaded(rewriter).express(photo, instruction)[0] or instruction

    def edit(
        self,
        name: str,
        photo: "Image",
        instruction: str,
        settings: Settings,
        on_step: OnStep,
        expressive_instruction: str | None = None,
    ) -> Drawn:
        """expressive_instruction: draw by this one; None: the model writes its own, InsPix2Pix draws by the
        instruction. Raises ValueError."""
        import torch

        system, start = self.loaded(name), time.perf_counter()
        try:
            if name == "inspix2pix":
                text = expressive_instruction
                image = self._by_inspix2pix(system, photo, text or instruction, settings, on_step)
            else:
                output = system(
                    photo, instruction, settings.guidance_scale, settings.image_guidance_scale,
                    settings.num_inference_steps, torch.Generator("cpu").manual_seed(settings.seed),
                    expressive_instruction=expressive_instruction, on_step=on_step,
                )  # fmt: skip
                image, text = output.images[0], output.expressive_instructions[0]
        except torch.OutOfMemoryError as error:
            size = f"{photo.width}x{photo.height}"
            raise ValueError(f"not enough GPU memory for {size} px; use --offload or a smaller photo") from error
        return Drawn(image, text, time.perf_counter() - start)

    def _by_inspix2pix(
        self,
        pipe: "StableDiffusionInstructPix2PixPipeline",
        photo: "Image",
        instruction: str,
        settings: Settings,
        on_step: OnStep,
    ) -> "Image":
        """At the photo's size, rounded down to what the VAE takes, as MGIE edits it."""
        import numpy as np
        import torch
        from PIL import Image

        from mgie.preprocess import LANCZOS, edit_size

        steps = settings.num_inference_steps

        def stepped(_: object, step: int, __: object, values: dict[str, Any]) -> dict[str, Any]:
            on_step(min(step + 1, steps), steps)
            return values

        sized = photo.resize(edit_size(photo, pipe.vae_scale_factor, self.preset.max_side), LANCZOS)
        pixels = pipe(
            prompt=[instruction],
            image=[sized],
            num_inference_steps=steps,
            guidance_scale=settings.guidance_scale,
            image_guidance_scale=settings.image_guidance_scale,
            output_type="np",
            generator=[torch.Generator("cpu").manual_seed(settings.seed)],
            callback_on_step_end=stepped,
        ).images[0]  # (H, W, 3) in [0, 1]
        if not np.isfinite(pixels).all():  # it would become a black image
            raise ValueError("the edit is not a number: the model overflowed or its weights are damaged")
        return Image.fromarray((pixels * 255).round().astype(np.uint8))
