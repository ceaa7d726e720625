"""JoyAI-Image-Edit, and its Plus, whose argument is a list: images."""

from typing import TYPE_CHECKING

from PIL import Image

from baselines.editors.family import Arguments, Family, Kind, Pipeline

if TYPE_CHECKING:
    import torch


class JoyImageEdit(Family):
    kinds: tuple[Kind, ...] = (Kind("JoyImageEditPipeline", "jdopensource/JoyAI-Image-Edit-Diffusers", 50, 40, 4.0),)
    size = "the bucket of about 1024 x 1024 px nearest in shape: scaled to cover it, centre crop"


class JoyImageEditPlus(JoyImageEdit):
    kinds: tuple[Kind, ...] = (
        Kind("JoyImageEditPlusPipeline", "jdopensource/JoyAI-Image-Edit-Plus-Diffusers", 50, 30, 4.0),
    )

    def run(
        self, pipeline: Pipeline, images: list[Image.Image], texts: list[str], generators: "list[torch.Generator]",
        arguments: Arguments,
    ) -> object:  # fmt: skip
        return pipeline(
            images=[images[0]], prompt=texts[0], generator=generators[0], output_type="np", **arguments
        ).images  # fmt: skip
