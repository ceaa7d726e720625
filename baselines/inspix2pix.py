"""InsPix2Pix: InstructPix2Pix (Brooks et al. 2023) through diffusers, timbrooks/instruct-pix2pix.

Convention: the defaults of StableDiffusionInstructPix2PixPipeline (guidance_scale 7.5, image_guidance_scale 1.5, 100
steps), the Hub's scheduler, the safety checker off. Weights: <root>/inspix2pix[-<dataset>]/, else, where no --weights
is given outside the suite mini, the Hub.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.places import weights_folder
from bench.records import Example, Output
from bench.settings import EditSettings, ModelSettings
from mgie.convert.released import summary
from mgie.io.hashes import digests

if TYPE_CHECKING:
    from baselines.editors.family import Source

HUB_ID = "timbrooks/instruct-pix2pix"


class InsPix2Pix:
    name = "inspix2pix"

    def __init__(self, spec: ModelSettings) -> None:
        from baselines.editor import open_editor

        self.spec, self.editor = spec, open_editor(source(spec), spec)

    @cached_property
    def note(self) -> str:
        """What a table must say: whether these are the released weights. Of one's own training nothing is said."""
        if self.spec.suite == "mini" or self.spec.setting == "fine-tuned" or self.editor.source.revision:
            return ""
        files = digests(Path(self.editor.source.place))
        return summary({name: sha256 for name, sha256 in files.items() if "/" in name})

    @cached_property
    def defaults(self) -> EditSettings:
        return self.editor.defaults

    def fingerprint(self) -> dict[str, str]:
        return self.editor.fingerprint()

    def parts(self) -> dict[Path, float]:
        return self.editor.parts()

    def load(self) -> None:
        self.editor.load()

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        return self.editor.edit_examples(examples, settings, seeds)


def source(spec: ModelSettings) -> "Source":
    from baselines.editor import find

    try:
        found = find(str(weights_folder(spec)))
    except FileNotFoundError as error:
        if spec.weights is not None or spec.suite == "mini" or spec.setting == "fine-tuned":
            raise
        try:
            found = find(HUB_ID)
        except FileNotFoundError as hub:
            raise FileNotFoundError(f"{error}\nand from the Hub: {hub}") from error
    if found.class_name != "StableDiffusionInstructPix2PixPipeline":
        raise ValueError(
            f"{found.place} is a {found.class_name}, not a StableDiffusionInstructPix2PixPipeline; "
            f"to run it: --model diffusers:{found.place}"
        )
    return found
