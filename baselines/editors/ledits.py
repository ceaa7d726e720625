"""LEDITS++ (Brack et al. 2024): the image is inverted first, then edited; on any Stable Diffusion 1.x, 2.x or XL.

The steps are those of the inversion, guidance_scale is edit_guidance_scale, and the seed draws the inversion's noise.
A checkpoint's model_index.json names a text-to-image class; in a copy its _class_name is changed to LEDITS++'s.
"""

from PIL import Image

from baselines.editors.family import INPUT, Arguments, Asked, Family, Kind, Pipeline, rounded

XL = "LEditsPPPipelineStableDiffusionXL"


class Ledits(Family):
    kinds = (
        Kind("LEditsPPPipelineStableDiffusion", "stable-diffusion-v1-5/stable-diffusion-v1-5", 2.1, 30, 5.0),
        Kind(XL, "stabilityai/stable-diffusion-xl-base-1.0", 7.0, 50, 5.0),
    )
    size = f"{INPUT} (multiples of 32)"
    tried = "set _class_name in a copy's model_index.json"
    dtype = "float16"
    mixed = True
    guided_by = "edit_guidance_scale"

    def record(self) -> dict[str, str]:
        return super().record() | ({"watermark": "off"} if self.name == XL else {})

    def options(self) -> Arguments:
        return {"add_watermarker": False} if self.name == XL else {}

    def fit(self, pipeline: Pipeline, image: Image.Image, name: str) -> Image.Image:
        return rounded(image, 32, name)

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        call = asked.of_one
        pipeline.invert(
            call.pop("image"), num_inversion_steps=call.pop("num_inference_steps"), generator=call["generator"]
        )
        return pipeline(editing_prompt=[call.pop("prompt")], **call).images
