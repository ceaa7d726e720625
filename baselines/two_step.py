"""Forms FZ and FT: an expressive instruction is written first, then InsPix2Pix (frozen, or tuned on such texts) edits.

Convention: Table 3 of the MGIE paper; question, template and clean-up of apple/ml-mgie at 835af37. CLIP reads the first
77 tokens of the text. Below <root>/<model>-<form>[-<dataset>]/ lie writer/ and inspix2pix/; a part that is not there is
looked for in the root: see `places`. An empty answer is replaced by the instruction.
"""

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.places import how_to_get, own_folder, weights_root
from baselines.texts import Texts
from bench.records import Example, Output
from bench.registry import folder_name
from bench.settings import EditSettings, ModelSettings
from mgie.io.devices import placement
from mgie.io.hashes import weights_hash
from mgie.io.images import load

if TYPE_CHECKING:
    from mgie.expressive.writer import Writer


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
    """A writer and an editor. Loaded at the first edit."""

    def __init__(self, spec: ModelSettings, eyes: bool) -> None:
        from baselines.editor import find, open_editor
        from mgie.expressive.writer import kind_of

        self.eyes, self.form, self.texts = eyes, spec.form, Texts()
        self.writer_folder = find_part(spec, "writer", ("config.json", "model_index.json"))
        if eyes and kind_of(self.writer_folder) == "llm":
            raise ValueError(f"{self.writer_folder} is an LLM without eyes; mgie needs a LLaVA (or use --model lgie)")
        self.where = placement(spec)
        self.editor = open_editor(find(str(find_part(spec, "inspix2pix", ("model_index.json",)))), spec)

    @cached_property
    def defaults(self) -> EditSettings:
        return self.editor.defaults

    def fingerprint(self) -> dict[str, str]:
        editor = {name if name != "weights" else "inspix2pix": v for name, v in self.editor.fingerprint().items()}
        return editor | {"form": self.form, "writer": weights_hash(self.writer_folder), "eyes": str(self.eyes)}

    def parts(self) -> dict[Path, float]:
        """By a component's folder the bytes of a value once it is loaded."""
        from mgie.folder import WRITERS, parts_of

        own = parts_of(self.writer_folder, self.where.dtype)
        writing = {folder: width for folder, width in own.items() if folder.name in WRITERS}
        whole: dict[Path, float] = {self.writer_folder: self.where.dtype.itemsize}
        return (writing or whole) | self.editor.parts()

    @cached_property
    def writer(self) -> "Writer":
        from mgie.expressive.writer import open_writer

        writer = open_writer(self.writer_folder, self.where.device, self.where.dtype)
        if self.eyes and not writer.has_eyes:
            raise ValueError(f"{self.writer_folder} has no eyes (it is LGIE's); mgie needs a LLaVA or MGIE folder")
        return writer

    def load(self) -> None:
        self.writer  # noqa: B018
        self.editor.load()

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        from mgie.prompts import tidy

        self.load()  # loading is no part of an edit's time
        images = [load(example.input_image, settings) for example in examples]
        instructions = [example.instruction.strip() for example in examples]

        def write() -> tuple[tuple[list, float], int]:
            start = time.perf_counter()
            written = self.writer.write(instructions, images if self.eyes else None, self.writer.usual)
            share = (time.perf_counter() - start) / len(examples)  # the answers are on the CPU: the GPU is done
            return (written, share), sum(len(one.text) for one in written)

        written, share = self.texts.of(instructions, images if self.eyes else None, write)
        texts = [tidy(one.text) or text for one, text in zip(written, instructions, strict=True)]
        edited = self.editor.edit(images, texts, settings, seeds, [example.id for example in examples])
        return [
            Output(image, text, one.tokens, {"mllm": share, "diffusion": seconds})
            for (image, seconds), text, one in zip(edited, texts, written, strict=True)
        ]
