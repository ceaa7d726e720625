"""Forms FZ and FT: an expressive instruction is written first, then InsPix2Pix (frozen, or tuned on such texts) edits.

Convention: Table 3 of the MGIE paper; question, template and clean-up of apple/ml-mgie at 835af37. CLIP reads the first
77 tokens of the text. Below <root>/<model>-<form>[-<dataset>]/ lie writer/ and inspix2pix/; a part that is not there is
looked for in the root: see `places`. An empty answer is replaced by the instruction.
"""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from baselines.places import how_to_get, own_folder, weights_root
from baselines.rewriters.written import Rewriter
from bench.records import REWRITING, Example, Output
from bench.registry import folder_name
from bench.settings import EditSettings, ModelSettings
from mgie.io.hashes import weights_hash


def places(spec: ModelSettings) -> dict[str, list[Path]]:
    """Where each part is looked for, in order. FT's editor is its own; FZ's is the plain InsPix2Pix."""
    root, own = weights_root(spec), own_folder(spec)
    shared = ["llava"] if spec.name == "mgie" else ["llama", "llava"]
    writers = [own / "writer", *(root / name for name in shared), root / f"{spec.name}-e2e"]
    editors = [own / "inspix2pix"]
    if spec.form == "fz" and spec.setting == "zero-shot":
        editors.append(root / "inspix2pix")
    return {"writer": writers, "inspix2pix": editors}


def find_part(spec: ModelSettings, part: str, marks: tuple[str, ...]) -> Path:
    """The first folder with one of the files `marks`. FileNotFoundError: first the reason, then the way out."""
    looked = places(spec)[part]
    found = next((place for place in looked if any((place / mark).is_file() for mark in marks)), None)
    if found is None:
        own = weights_root(spec) / folder_name(spec)
        mini = spec.suite == "mini" and spec.weights is None
        reason = "no trained mini weights in this version" if mini else "no weights"
        raise FileNotFoundError(
            f"{reason} for {own.name}: no {part} in {' or '.join(map(str, looked))}\n{how_to_get(spec, own)}"
        )
    return found


class TwoStep:
    """A rewriter and an editor. A run asks the rewriter first, for all its examples, and hands its texts on."""

    def __init__(self, spec: ModelSettings, eyes: bool) -> None:
        from baselines.editor import find, open_editor

        self.eyes, self.form = eyes, spec.form
        self.writer_folder = find_part(spec, "writer", ("config.json", "model_index.json"))
        self.rewriter = Rewriter(spec.name, self.writer_folder, spec, eyes)
        self.texts = self.rewriter.texts
        self.editor = open_editor(find(str(find_part(spec, "inspix2pix", ("model_index.json",)))), spec)

    @cached_property
    def defaults(self) -> EditSettings:
        return self.editor.defaults

    def fingerprint(self) -> dict[str, str]:
        editor = {name if name != "weights" else "inspix2pix": v for name, v in self.editor.fingerprint().items()}
        return editor | {"form": self.form, "writer": weights_hash(self.writer_folder), "eyes": str(self.eyes)}

    def parts(self) -> dict[Path, float]:
        """By a component's folder the bytes of a value once it is loaded."""
        return self.rewriter.parts() | self.editor.parts()

    def load(self) -> None:
        if self.rewriter.while_editing:  # else its texts are there
            self.rewriter.load()
        self.editor.load()

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        """By the texts that the examples bring; where they bring none, by what the rewriter writes now."""
        if all(example.original is not None for example in examples):
            return self.editor.edit_examples(examples, settings, seeds)
        self.load()  # loading is no part of an edit's time
        written = self.rewriter.edit(examples, settings, seeds)
        told = [replace(e, instruction=one.expressive_instruction or "", original=e.instruction)
                for e, one in zip(examples, written, strict=True)]  # fmt: skip
        edited = self.editor.edit_examples(told, settings, seeds)
        return [
            Output(output.image, one.expressive_instruction, one.expressive_tokens,
                   {"mllm": (one.seconds or {})[REWRITING], **(output.seconds or {})})
            for output, one in zip(edited, written, strict=True)
        ]  # fmt: skip
