"""MGIE as the benchmark runs it, in its three forms: e2e (MGIEPipeline), fz and ft (its text into InsPix2Pix).

Images are edited at their own size, rounded down to multiples of the VAE's factor (8), as in the official demo; one CPU
generator an example. Weights: <root>/mgie-<form>[-<dataset>]/, for fz and ft see baselines/two_step.py.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from baselines.places import weights_folder
from baselines.texts import Texts
from bench.records import Example, Output
from bench.settings import EditSettings, ModelSettings
from mgie.convert.released import summary
from mgie.io.devices import placement
from mgie.io.files import read_json
from mgie.io.hashes import weights_hash
from mgie.io.images import load

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from baselines.rewriters.written import Rewriter
    from baselines.two_step import TwoStep
    from mgie.pipeline import Answers, MGIEPipeline


class MGIE:
    name = "mgie"
    form: "EndToEnd | TwoStep"

    def __init__(self, spec: ModelSettings) -> None:
        if spec.form == "e2e":
            form = EndToEnd(spec, eyes=True)
            self.form, self.note = form, trained_on(form.folder)
        else:
            from baselines.two_step import TwoStep

            self.form = TwoStep(spec, eyes=True)
            self.note = ""

    @property
    def defaults(self) -> EditSettings:
        return self.form.defaults

    def fingerprint(self) -> dict[str, str]:
        return self.form.fingerprint()

    def parts(self) -> dict[Path, float]:
        return self.form.parts()

    @property
    def rewriter(self) -> "Rewriter | None":
        """Who writes the texts of forms FZ and FT, before the edits; e2e writes its own as it draws."""
        return getattr(self.form, "rewriter", None)

    def load(self) -> None:
        self.form.load()

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        return self.form.edit(examples, settings, seeds)


def trained_on(folder: Path) -> str:
    """What a table must say: the released checkpoint has seen MagicBrush, so it is not zero-shot there.

    And whether these are the released files, by the SHA-256 that mgie.convert has recorded.
    """
    from mgie.folder import RECORD

    path = folder / RECORD
    record = read_json(path) if path.is_file() else {}
    data = record.get("trained_on", "")
    files = {f"{name}.pt": record[name] for name in ("mllm", "unet") if isinstance(record.get(name), str)}
    said = (f"trained on {data}" if data else "", summary(files))
    return "; ".join(text for text in said if text)


def dtype_text(dtype: "torch.dtype") -> str:
    name = str(dtype).removeprefix("torch.")
    return f"{name}; VAE and latents float32" if dtype.itemsize == 2 else name


class EndToEnd:
    """An MGIEPipeline on examples: MGIE, or without eyes LGIE. Loaded at the first edit."""

    def __init__(self, spec: ModelSettings, eyes: bool) -> None:
        from mgie.folder import find, read_preset

        self.folder = find(weights_folder(spec))
        index = read_json(self.folder / "model_index.json")
        if index.get("_class_name") != "MGIEPipeline":
            raise ValueError(f"{self.folder} is a {index.get('_class_name')}, not an MGIEPipeline")
        if index.get("eyes", True) != eyes:
            has = "has eyes: it is MGIE" if not eyes else "has no eyes: it is LGIE"
            raise ValueError(f"{self.folder} was asked for {spec.name}, but its LLM {has}")
        self.preset, self.scheduler, self.form = read_preset(self.folder, None), index["scheduler"], spec.form
        self.where, self.compiled = placement(spec), spec.compile
        self.defaults = EditSettings(
            guidance_scale=self.preset.guidance_scale, image_guidance_scale=self.preset.image_guidance_scale,
            num_inference_steps=self.preset.num_inference_steps,
        )  # fmt: skip
        self._pipeline: MGIEPipeline | None = None
        self.texts, self.eyes = Texts(), eyes

    def fingerprint(self) -> dict[str, str]:
        compiled = {"compiled": "UNet and VAE decoder"} if self.compiled else {}
        return compiled | {
            "weights": weights_hash(self.folder), "form": self.form, "preset": self.preset.name,
            "scheduler": self.scheduler, "dtype": dtype_text(self.where.dtype),
            "size": f"the given image's size, at most {self.preset.max_side} px a side, rounded down to multiples of "
            f"{self.preset.factor}, Lanczos",
        }  # fmt: skip

    def parts(self) -> dict[Path, float]:
        """By a component's folder the bytes of a value once it is loaded."""
        return self.parts_in(self.where.dtype)

    def parts_in(self, dtype: "torch.dtype") -> dict[Path, float]:
        from mgie.folder import parts_of

        return parts_of(self.folder, dtype)

    @property
    def pipeline(self) -> "MGIEPipeline":
        if self._pipeline is None:
            from mgie.io.memory import refuse_too_large
            from mgie.pipeline import MGIEPipeline

            device, dtype, offload = self.where
            refuse_too_large(self.parts_in, dtype, device, offload)
            pipeline = MGIEPipeline.from_pretrained(self.folder, None, dtype, None if offload else device)
            if offload:
                pipeline.enable_model_cpu_offload(device)
            pipeline.progress = False
            self._pipeline = pipeline
            if self.compiled:
                self._pipeline.compile()
        return self._pipeline

    def load(self) -> None:
        self.pipeline  # noqa: B018

    def answers(self, images: "list[Image]", instructions: list[str]) -> "Answers":
        """Written once a batch, for all seeds and scales."""

        def write() -> "tuple[Answers, int]":
            written = self.pipeline.answer(images, instructions)
            return written, written.bytes

        return self.texts.of(instructions, images if self.eyes else None, write)

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        import torch

        pipeline = self.pipeline
        images = [load(example.input_image, settings) for example in examples]
        given = all(example.original is not None for example in examples)  # a rewriter's texts, in place of its own
        instructions = [example.original or example.instruction for example in examples]
        result = pipeline(
            images, instructions, answers=None if given else self.answers(images, instructions),
            expressive_instruction=[example.instruction for example in examples] if given else None,
            guidance_scale=settings.guidance_scale, image_guidance_scale=settings.image_guidance_scale,
            num_inference_steps=settings.num_inference_steps,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        )  # fmt: skip
        seconds = {stage: s / len(examples) for stage, s in result.seconds.items()}
        rows = zip(result.images, result.expressive_instructions, result.tokens, strict=True)
        return [Output(image, text, tokens, dict(seconds)) for image, text, tokens in rows]
