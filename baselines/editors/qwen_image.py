"""Qwen-Image-Edit, its Plus (2509, 2511) and Qwen-Image 2.1.

They are guided by true_cfg_scale, and only where there is a negative prompt: " " as in Qwen's own examples.
"""

import numpy as np

from baselines.editors.family import Arguments, Asked, Family, Kind, Pipeline
from bench.settings import EditSettings

NEGATIVE = " "


class QwenImageEdit(Family):
    kinds: tuple[Kind, ...] = (
        Kind("QwenImageEditPipeline", "Qwen/Qwen-Image-Edit", 58, 50, 4.0),
        Kind("QwenImageEditPlusPipeline", "Qwen/Qwen-Image-Edit-2511", 58, 50, 4.0),
    )
    size = "the input's shape at 1024 x 1024 px of area, sides multiples of 32"
    tried = 'negative prompt " " where guided'
    guided_by = "true_cfg_scale"

    def arguments(self, settings: EditSettings) -> Arguments:
        arguments = super().arguments(settings)
        if arguments.get(self.guided_by, 0) > 1:
            arguments["negative_prompt"] = NEGATIVE
        return arguments

    def record(self) -> dict[str, str]:
        return super().record() | {"negative_prompt": repr(NEGATIVE)}


class QwenImage21(QwenImageEdit):
    kinds: tuple[Kind, ...] = (Kind("QwenImage21Pipeline", "Qwen/Qwen-Image-2.1", 32, 40, 1.0),)
    tried = 'negative prompt " " where guided; alpha laid on white'

    def run(self, pipeline: Pipeline, asked: Asked) -> object:
        """(1, H, W, 3): it draws RGBA, which is laid on white as this project reads transparent pictures."""
        drawn = np.asarray(super().run(pipeline, asked), dtype=np.float32)
        if drawn.shape[-1] != 4:
            return drawn
        alpha = drawn[..., 3:].clip(0, 1)
        return drawn[..., :3] * alpha + (1 - alpha)
