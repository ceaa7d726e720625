"""DreamLite, guided by both scales, and its distilled Mobile, guided by none."""

import warnings
from importlib.metadata import version

from PIL import Image

from baselines.editors.family import INPUT, Arguments, Family, Kind, Pipeline, rounded


class DreamLite(Family):
    kinds = (
        Kind("DreamLitePipeline", "carlofkl/DreamLite-base@diffusers", 5.1, 30, 3.5, 1.5),
        Kind("DreamLiteMobilePipeline", "carlofkl/DreamLite-mobile@diffusers", 5.1, 4),
    )
    size = f"{INPUT} (multiples of 16)"
    tried = "made for transformers 4.57: a warning with 5"

    def options(self) -> Arguments:
        """The pipeline reads Qwen3-VL's last hidden state, which is normalised from transformers 5 on."""
        found = version("transformers")
        if int(found.partition(".")[0]) >= 5:
            warnings.warn(
                f"{self.name} was made for transformers 4.57 and shows block patterns with 5 (its card); "
                f"this is {found}: look at its pictures before its scores",
                stacklevel=2,
            )
        return {}

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        return rounded(image, pipeline.image_processor.config.vae_scale_factor, name)
