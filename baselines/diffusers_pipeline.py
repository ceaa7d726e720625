"""--model diffusers:<Hub id or folder>: any instruction-editing pipeline of diffusers beside MGIE.

InsPix2Pix checkpoints (MagicBrush's, ...), FLUX.1 Kontext, Qwen-Image-Edit, ...: `python -m bench.editors` lists them.
Defaults are the pipeline's own; --form, --setting and --weights mean nothing to it.
"""

from functools import cached_property
from pathlib import Path

from bench.records import Example, Output
from bench.settings import EditSettings, ModelSettings

PREFIX = "diffusers:"


class DiffusersPipeline:
    def __init__(self, spec: ModelSettings) -> None:
        from baselines.editor import find, open_editor

        if not spec.name.startswith(PREFIX) or spec.name == PREFIX:
            raise ValueError(f"model is '{spec.name}'; expected {PREFIX}<Hub id or folder>")
        self.name = spec.name
        self.editor = open_editor(find(spec.name.removeprefix(PREFIX)), spec)

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
