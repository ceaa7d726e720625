"""FLUX.2: dev, klein (guided or distilled) and klein KV."""

from PIL import Image

from baselines.editors.family import Arguments, Family, Kind, Pipeline, least
from bench.settings import EditSettings


class Flux2(Family):
    kinds = (
        Kind("Flux2Pipeline", "black-forest-labs/FLUX.2-dev", 112, 50, 4.0),
        Kind("Flux2KleinPipeline", "black-forest-labs/FLUX.2-klein-base-9B", 35, 50, 4.0),
        Kind("Flux2KleinKVPipeline", "black-forest-labs/FLUX.2-klein-9b-kv", 35, 4),
    )
    size = "the input, shrunk to 1024 x 1024 px of area if larger, cropped to multiples of 16"
    tried = "klein distilled: 4 steps, not guided"

    @property
    def defaults(self) -> dict[str, float | int | None]:
        """A distilled klein is not guided, whatever it is given, and made for 4 steps (its model card)."""
        distilled = {"guidance_scale": None, "num_inference_steps": 4}
        return super().defaults | (distilled if self.source.index.get("is_distilled") else {})

    def arguments(self, settings: EditSettings) -> Arguments:
        arguments = super().arguments(settings)
        if self.source.index.get("is_distilled"):
            arguments["guidance_scale"] = 1.0  # else the pipeline warns at each edit that it ignores its own default
        return arguments

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        return least(image, pipeline.vae_scale_factor * 2, name)
