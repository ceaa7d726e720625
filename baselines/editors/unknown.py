"""--unknown-editor: a class outside the list, called by the signature of its call. Nobody has tried it here.

It must take an image and a text, and no mask, control image or number of frames.
"""

import inspect
from typing import Any

from PIL import Image

from baselines.editors.family import INPUT, Arguments, Asked, Family, Pipeline, Source, rounded
from bench.settings import EditSettings

REFUSED = {  # argument of __call__: why a pipeline that has it is no instruction editor
    "mask_image": "it inpaints under a mask",
    "num_frames": "it makes videos",
    "do_patching": "its prompt is JSON that another model writes",
    "control_image": "it needs a control image",
}


class UnknownEditor(Family):
    size = INPUT

    def __init__(self, source: Source) -> None:
        """Raises ValueError for what cannot be called with one image and one text."""
        super().__init__(source)
        self.accepted = dict(inspect.signature(pipeline_class(source.class_name).__call__).parameters)
        lacking = [argument for argument in ("image", "prompt") if argument not in self.accepted]
        if lacking:
            raise ValueError(f"{self.name} takes no {' and no '.join(lacking)}: it does not edit by instruction")
        for argument, why in REFUSED.items():
            if argument in self.accepted:
                raise ValueError(f"{self.name} takes a {argument}: {why} and does not edit by instruction")

        guidance = self.accepted.get("guidance_scale")
        distilled = guidance is None or guidance.default is None
        self.guided_by = "true_cfg_scale" if "true_cfg_scale" in self.accepted and distilled else "guidance_scale"

    @property
    def defaults(self) -> dict[str, float | int | None]:
        names = {
            "guidance_scale": self.guided_by, "image_guidance_scale": "image_guidance_scale",
            "num_inference_steps": "num_inference_steps",
        }  # fmt: skip
        found = {name: getattr(self.accepted.get(argument), "default", None) for name, argument in names.items()}
        return {name: value if isinstance(value, int | float) else None for name, value in found.items()}

    def record(self) -> dict[str, str]:
        return super().record() | {"editor": "unknown"}

    def arguments(self, settings: EditSettings) -> Arguments:
        arguments = super().arguments(settings)
        if arguments.get("true_cfg_scale", 0) > 1:
            arguments["negative_prompt"] = " "  # without a negative text these pipelines do not guide at all
        return arguments

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        processor = getattr(pipeline, "image_processor", None)
        return rounded(image, processor.config.vae_scale_factor if processor else 8, name)

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        size = {name: value for name, value in asked.size.items() if name in self.accepted}
        try:
            answer = pipeline(**asked.of_one, **size)
        except TypeError as error:
            raise ValueError(f"{self.name} cannot be called with one image and one text: {error}") from error
        return getattr(answer, "images", None)


def pipeline_class(name: str) -> type[Any]:
    """Raises ValueError for a name that is no pipeline of the installed diffusers."""
    import diffusers

    found = getattr(diffusers, name, None)
    if not (inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline)):
        raise ValueError(f"diffusers {diffusers.__version__} has no pipeline {name}")
    return found
