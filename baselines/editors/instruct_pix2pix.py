"""InstructPix2Pix and what was trained like it: Stable Diffusion 1.5, Stable Diffusion XL, CosXL.

Convention: diffusers' pipelines. CosXL is SDXL's class with is_cosxl_edit, which scales the image's latents and stands
in no model_index.json: it is known by its EDM scheduler, and asked for where that does not tell.
"""

from PIL import Image

from baselines.editors.family import (
    INPUT,
    Arguments,
    Asked,
    Family,
    Kind,
    Pipeline,
    Source,
    check_two_scales,
    read_beside,
    rounded,
)
from bench.settings import EditSettings

SCHEDULER = "scheduler/scheduler_config.json"
SD, SDXL = "StableDiffusionInstructPix2PixPipeline", "StableDiffusionXLInstructPix2PixPipeline"


class InstructPix2Pix(Family):
    kinds: tuple[Kind, ...] = (Kind(SD, "timbrooks/instruct-pix2pix", 2.1, 100, 7.5, 1.5),)
    size = INPUT
    dtype = "float16"
    mixed = True
    batched = True

    def arguments(self, settings: EditSettings) -> Arguments:
        arguments = super().arguments(settings)
        check_two_scales(arguments)
        return arguments

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        return rounded(image, pipeline.image_processor.config.vae_scale_factor, name)

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        return pipeline(**asked.of_all).images


class InstructPix2PixXL(InstructPix2Pix):
    kinds: tuple[Kind, ...] = (
        Kind(SDXL, "diffusers/sdxl-instructpix2pix-768", 7.0, 100, 5.0, 1.5),
        Kind(SDXL, "stabilityai/cosxl, as a folder", 7.0, 100, 5.0, 1.5, "CosXL"),
    )
    tried = "CosXL is known by its EDM scheduler; no watermark"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.is_cosxl = is_cosxl(source)

    def record(self) -> dict[str, str]:
        return super().record() | {"is_cosxl_edit": str(self.is_cosxl), "watermark": "off"}

    def options(self) -> Arguments:
        # add_watermarker None would mark the pixels on machines that have a package, and on no others
        return {"is_cosxl_edit": self.is_cosxl, "add_watermarker": False}

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        return super().run(pipeline, asked._replace(arguments=asked.arguments | asked.size))


def is_cosxl(source: Source) -> bool:
    """Whether SDXL's class must scale the image's latents. ValueError where neither index nor scheduler tells."""
    said = source.index.get("is_cosxl_edit")
    if isinstance(said, bool):
        return said
    scheduler = str((source.index.get("scheduler") or ["", ""])[1])
    if scheduler.startswith("EDM"):
        return True
    config = read_beside(source, SCHEDULER)
    unread = source.revision is not None and not config  # a folder without it is refused when it is loaded
    if unread or config.get("prediction_type") == "v_prediction":
        with_what = "v_prediction" if config else f"a {SCHEDULER} that cannot be read"
        raise ValueError(
            f"{source.place}: SDXL with {scheduler} and {with_what} may be CosXL, whose image latents are scaled: "
            'write "is_cosxl_edit": true or false into the model_index.json of a local copy'
        )
    return False
