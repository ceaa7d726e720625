"""Z-Image Omni: one reference image."""

from typing import TYPE_CHECKING

from PIL import Image

from baselines.editors.family import Asked, Family, Kind, Pipeline, least

if TYPE_CHECKING:
    import torch


class ZImageOmni(Family):
    kinds = (Kind("ZImageOmniPipeline", "none released when this was written", 21, 50, 5.0),)
    size = "the input, shrunk to 1024 x 1024 px of area if larger, cropped to multiples of 16"

    def dtype_of(self, component: str, dtype: "torch.dtype") -> "torch.dtype":
        """The pipeline hands its VAE bfloat16 images, whatever the VAE is in."""
        import torch

        return torch.bfloat16 if component == "vae" else super().dtype_of(component, dtype)

    def dtype_text(self, dtype: "torch.dtype") -> str:
        return f"{super().dtype_text(dtype)}; VAE bfloat16"

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        return least(image, pipeline.vae_scale_factor * 2, name)

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        return pipeline(**asked.of_one | {"image": asked.images}).images
