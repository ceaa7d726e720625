"""OmniGen v1: the images are a list, and each must be named by a tag in the prompt."""

from baselines.editors.family import Asked, Family, Kind, Pipeline, seeded

TAG = "<img><|image_1|></img>"


class OmniGen(Family):
    kinds = (Kind("OmniGenPipeline", "Shitao/OmniGen-v1-diffusers", 7.8, 50, 2.5, 1.6),)
    size = "the input, its longer side shrunk to 1024 px if larger, cropped to multiples of 16"
    tried = f"{TAG} before the instruction"
    image_guided_by = "img_guidance_scale"

    def record(self) -> dict[str, str]:
        return super().record() | {"prompt": f"{TAG} INSTRUCTION"}

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        call = asked.of_one | {"prompt": f"{TAG} {asked.texts[0]}", "use_input_image_size_as_output": True}
        with seeded(pipeline, call["generator"]):  # it samples the input's latents from the process's own generator
            return pipeline(input_images=[call.pop("image")], **call).images
