"""OmniGen v1: the images are a list, and each must be named by a tag in the prompt."""

from typing import TYPE_CHECKING

from PIL import Image

from baselines.editors.family import Arguments, Family, Kind, Pipeline, seeded

if TYPE_CHECKING:
    import torch

TAG = "<img><|image_1|></img>"


class OmniGen(Family):
    kinds = (Kind("OmniGenPipeline", "Shitao/OmniGen-v1-diffusers", 7.8, 50, 2.5, 1.6),)
    size = "the input, its longer side shrunk to 1024 px if larger, cropped to multiples of 16"
    tried = f"{TAG} before the instruction"
    image_guided_by = "img_guidance_scale"

    def record(self) -> dict[str, str]:
        return super().record() | {"prompt": f"{TAG} INSTRUCTION"}

    def run(
        self, pipeline: Pipeline, images: list[Image.Image], texts: list[str], generators: "list[torch.Generator]",
        arguments: Arguments,
    ) -> object:  # fmt: skip
        with seeded(pipeline, generators[0]):  # it samples the input's latents from the process's own generator
            return pipeline(
                prompt=f"{TAG} {texts[0]}", input_images=[images[0]], use_input_image_size_as_output=True,
                generator=generators[0], output_type="np", **arguments,
            ).images  # fmt: skip
