"""JoyAI-Image-Edit, and its Plus, whose argument is a list: images."""

from baselines.editors.family import Asked, Family, Kind, Pipeline


class JoyImageEdit(Family):
    kinds: tuple[Kind, ...] = (Kind("JoyImageEditPipeline", "jdopensource/JoyAI-Image-Edit-Diffusers", 50, 40, 4.0),)
    size = "the bucket of about 1024 x 1024 px nearest in shape: scaled to cover it, centre crop"


class JoyImageEditPlus(JoyImageEdit):
    kinds: tuple[Kind, ...] = (
        Kind("JoyImageEditPlusPipeline", "jdopensource/JoyAI-Image-Edit-Plus-Diffusers", 50, 30, 4.0),
    )

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        call = asked.of_one
        return pipeline(images=[call.pop("image")], **call).images
