"""FLUX.1 Kontext: the input at the area the model was trained at, its shape kept.

diffusers' own call would draw a square, or snap to one of 17 preferred sizes: neither is the input's shape.
"""

from PIL import Image

from baselines.editors.family import Asked, Family, Kind, Pipeline


class FluxKontext(Family):
    kinds = (Kind("FluxKontextPipeline", "black-forest-labs/FLUX.1-Kontext-dev", 34, 28, 3.5),)
    size = "the input's shape at 1024 x 1024 px of area, sides rounded down to multiples of 16, Lanczos"
    batched = True

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        multiple = pipeline.image_processor.config.vae_scale_factor
        side = pipeline.default_sample_size * pipeline.vae_scale_factor
        scale = side / (image.width * image.height) ** 0.5
        size = tuple(round(length * scale) // multiple * multiple for length in image.size)
        if 0 in size:
            raise ValueError(f"{name}: image is {image.width}x{image.height} px, too thin for an area of {side}x{side}")
        return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        width, height = asked.images[0].size
        return pipeline(**asked.of_all, **asked.size, max_area=width * height, _auto_resize=False).images
