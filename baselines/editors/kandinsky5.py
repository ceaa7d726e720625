"""Kandinsky 5.0 image to image. Its answer is called image, not images."""

from baselines.editors.family import Asked, Family, Kind, Pipeline


class Kandinsky5(Family):
    kinds = (Kind("Kandinsky5I2IPipeline", "kandinskylab/Kandinsky-5.0-I2I-Lite-sft-Diffusers", 29, 50, 3.5),)
    size = "the one of its sizes of about 1024 x 1024 px that is nearest in shape"

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        shape = asked.images[0].width / asked.images[0].height
        width, height = min(pipeline.resolutions, key=lambda size: abs(size[0] / size[1] - shape))  # its own rule
        return pipeline(**asked.of_one, width=width, height=height).image
