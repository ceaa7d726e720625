"""Kandinsky 5.0 image to image. Its answer is called image, not images."""

from typing import TYPE_CHECKING

from PIL import Image

from baselines.editors.family import Arguments, Family, Kind, Pipeline

if TYPE_CHECKING:
    import torch


class Kandinsky5(Family):
    kinds = (Kind("Kandinsky5I2IPipeline", "kandinskylab/Kandinsky-5.0-I2I-Lite-sft-Diffusers", 29, 50, 3.5),)
    size = "the one of its sizes of about 1024 x 1024 px that is nearest in shape"

    def run(
        self, pipeline: Pipeline, images: list[Image.Image], texts: list[str], generators: "list[torch.Generator]",
        arguments: Arguments,
    ) -> object:  # fmt: skip
        shape = images[0].width / images[0].height
        width, height = min(pipeline.resolutions, key=lambda size: abs(size[0] / size[1] - shape))  # its own rule
        return pipeline(
            image=images[0], prompt=texts[0], generator=generators[0], output_type="np", width=width, height=height,
            **arguments,
        ).image  # fmt: skip
