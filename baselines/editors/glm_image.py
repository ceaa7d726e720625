"""GLM-Image: an autoregressive model drafts tokens, a diffusion decoder draws them; both by the edit's seed."""

from typing import TYPE_CHECKING

from PIL import Image

from baselines.editors.family import INPUT, Asked, Family, Kind, Pipeline, rounded, seeded

if TYPE_CHECKING:
    import torch


class GlmImage(Family):
    kinds = (Kind("GlmImagePipeline", "zai-org/GLM-Image", 36, 50, 1.5),)
    size = f"{INPUT} (multiples of 32)"

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        return rounded(image, 32, name)

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        import torch

        encoder = pipeline.vision_language_encoder
        whole = encoder.get_image_tokens

        def one_image(states: "torch.Tensor | list[torch.Tensor]", grids: "torch.Tensor") -> "torch.Tensor":
            """diffusers 0.42 joins the images' (C, h, w), transformers 5.23 wants their list: with one, it is this."""
            return whole([states] if isinstance(states, torch.Tensor) and states.ndim == 3 else states, grids)

        encoder.get_image_tokens = one_image
        try:
            with seeded(pipeline, asked.generators[0]):  # it draws its draft from the process's own generator
                return pipeline(**asked.of_one | {"image": asked.images}, **asked.size).images
        finally:
            del encoder.get_image_tokens
