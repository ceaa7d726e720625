"""Who writes expressive instructions before any editor (--rewrite): MGIE or LGIE, or a LLaVA or Llama of one's own.

A rewriter is a model whose outputs are texts, so that it is loaded, halved and spread over Ray's workers as every other
model. Convention: question, template and clean-up of apple/ml-mgie at 835af37, greedy, whoever is asked. An empty
answer is replaced by the instruction.
"""

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.places import weights_folder
from baselines.texts import Texts
from bench.records import REWRITING, Example, Output
from bench.settings import EditSettings, ModelSettings
from mgie.io.devices import placement
from mgie.io.hashes import weights_hash
from mgie.io.hub import config_from_hub, model_from_hub
from mgie.io.images import load

if TYPE_CHECKING:
    import torch

    from mgie.expressive.writer import Writer
    from mgie.io.memory import Away

OWN = ("mgie", "lgie")  # by name: their own expressive instruction


def open_rewriter(name: str, spec: ModelSettings) -> "Rewriter":
    """name: mgie, lgie, a folder, or a Hub id. Nothing is loaded. Raises FileNotFoundError, ValueError."""
    if name in OWN:
        own = ModelSettings(name, spec.suite, spec.dataset, weights=spec.weights, device=spec.device, dtype=spec.dtype,
                            elsewhere=spec.elsewhere)  # fmt: skip
        return Rewriter(name, weights_folder(own), spec, eyes=name == "mgie")
    if Path(name).exists():
        return Rewriter(name, Path(name), spec)
    place, _, revision = name.partition("@")
    config = config_from_hub(place, revision or None, "--rewrite")
    return Rewriter(name, config.parent, spec, hub=(place, config.parent.name))


class Rewriter:
    """A folder that writes. Loaded by `load`, or at the first edit."""

    def __init__(
        self, name: str, folder: Path, spec: ModelSettings, eyes: bool | None = None, hub: tuple[str, str] | None = None
    ) -> None:
        """eyes: whether it looks at the image; None: where it can. hub: id and revision, of a folder in its cache."""
        from mgie.expressive.writer import asking, template_of

        can = asking(folder)
        if eyes and not can.eyes:
            what = "is an LLM without eyes; mgie needs a LLaVA (or use --model lgie)"
            raise ValueError(f"{folder} {what}")
        self.name, self.folder, self.hub, self.texts = name, folder, hub, Texts()
        self.eyes, self.request = can.eyes if eyes is None else eyes, can.request
        self.template = template_of(folder, self.eyes)
        self.defaults, self.where = EditSettings(), placement(spec)
        self.away: Away | None = None  # with --offload: the writer's weights
        self.while_editing = False  # no texts are written before the edits: its editor loads it too

    def fingerprint(self) -> dict[str, str]:
        weights = "@".join(self.hub) if self.hub else weights_hash(self.folder)
        tokens, repeat = self.request.max_new_tokens, self.request.no_repeat_ngram_size
        return {
            "rewriter": self.name if self.name in OWN else Path(self.name).name, "weights": weights,
            "template": self.template, "dtype": str(self.where.dtype).removeprefix("torch."),
            "eyes": str(self.eyes), "decoding": f"greedy, at most {tokens} tokens, none of {repeat} in a row twice",
        }  # fmt: skip

    def parts(self) -> dict[Path, float]:
        """By a component's folder the bytes of a value once it is loaded."""
        return self.parts_in(self.folder, self.where.dtype)

    def parts_in(self, folder: Path, dtype: "torch.dtype") -> dict[Path, float]:
        from mgie.folder import WRITERS, parts_of

        writing = {part: width for part, width in parts_of(folder, dtype).items() if part.name in WRITERS}
        whole: dict[Path, float] = {folder: dtype.itemsize}
        return writing or whole

    @cached_property
    def writer(self) -> "Writer":
        from mgie.expressive.writer import offloaded, open_writer
        from mgie.io.memory import refuse_too_large

        folder = model_from_hub(*self.hub) if self.hub else self.folder
        device, dtype, offload = self.where
        refuse_too_large(lambda kind: self.parts_in(folder, kind), dtype, device, offload)
        writer = open_writer(folder, "cpu" if offload else device, dtype)
        if offload:
            self.away = offloaded(writer, device)
        return writer

    def load(self) -> None:
        self.writer  # noqa: B018

    def release(self) -> None:
        """Without its weights, until it is asked again: the editor needs the room."""
        self.__dict__.pop("writer", None)
        self.away = None

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        """Texts, each with its tokens and its share of the seconds; the image is one pixel: a text has none."""
        from PIL import Image

        from mgie.prompts import tidy

        self.load()  # loading is no part of a text's time
        # without eyes too: an example whose image cannot be read has no edit, so it needs no text
        images = [load(example.input_image, settings) for example in examples]
        instructions = [example.instruction.strip() for example in examples]
        seen = images if self.eyes else None

        def write() -> tuple[tuple[list, float], int]:
            start = time.perf_counter()
            written = self.writer.write(instructions, seen, self.request)
            if self.away is not None:
                self.away.offload()  # the editor needs the room
            share = (time.perf_counter() - start) / len(examples)  # the answers are on the CPU: the GPU is done
            return (written, share), sum(len(one.text) for one in written)

        written, share = self.texts.of(instructions, seen, write)
        pixel = Image.new("RGB", (1, 1))
        return [
            Output(pixel, tidy(one.text) or text, one.tokens, {REWRITING: share})
            for one, text in zip(written, instructions, strict=True)
        ]
