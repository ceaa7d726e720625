"""Identity: returns the input image. The floor: aligned metrics reward doing nothing, so every table carries it.

Black, a black image, is the floor below it: a control of the metrics (bench.controls).
"""

from PIL import Image

from bench.records import Example, Output
from bench.settings import EditSettings, ModelSettings
from mgie.io.images import load


class Copy:
    """What computes nothing: no weights, no seed moves it, no instruction is read."""

    defaults = EditSettings()
    seeded = instructed = False

    def __init__(self, spec: ModelSettings) -> None:
        pass

    def fingerprint(self) -> dict[str, str]:
        return {}

    def load(self) -> None:
        """Nothing is."""


class Identity(Copy):
    name = "identity"

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        return [Output(load(e.input_image, settings)) for e in examples]


class Black(Copy):
    """A black image of the input's size. A control: a metric that ranks it above the input copy sees nothing."""

    name = "black"

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        return [Output(Image.new("RGB", load(e.input_image, settings).size)) for e in examples]
