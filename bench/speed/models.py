"""The models that Table 4 times, each as one call on a batch, with trained weights or with random ones.

Random weights are made on the device, at the preset's true sizes; timing does not depend on their values. What would
depend on them is fixed: the answer has exactly --tokens tokens and the eight visual ones, no token ends it sooner.
"""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from mgie.folder import MINI
from mgie.mini.world.assets import PHOTOS
from mgie.presets import PRESETS

if TYPE_CHECKING:
    import torch
    from diffusers import StableDiffusionInstructPix2PixPipeline
    from torch import nn

    from mgie.pipeline import MGIEPipeline
    from mgie.tokenizer import Tokenizer

INSTRUCTIONS = ("make it look more professional", "fix the lighting", "what if it were winter", "remove the clutter")


@dataclass(frozen=True)
class Case:
    """What one row of the table times; all of it, and the device, is the row's key."""

    model: str
    preset: str
    batch: int
    dtype: str
    steps: int
    tokens: int | None  # of the expressive instruction; None: as many as the model writes
    random: bool
    weights: str  # where trained ones lie, empty: the preset's own place
    compile: bool
    runs: int


class Called(NamedTuple):
    tokens: list[int]  # of each expressive instruction
    seconds: dict[str, float]  # stages that the model times itself


class Timed:
    """modules: the parts of the model, by stage. call(): edits a batch; the device may still be at work after it."""

    def __init__(self, asked: Case, device: str) -> None:
        import torch

        self.device, self.preset = device, PRESETS[asked.preset]
        self.dtype = getattr(torch, asked.dtype)
        self.ask(asked)
        self.pipe = self.pipeline()
        for part in self.modules.values():
            part.requires_grad_(False)  # as in use; torch's counter of operations trips over weights that might learn

    def ask(self, asked: Case) -> None:
        """For another batch: its images and texts."""
        self.asked, side = asked, self.preset.image_size
        photos = sorted(PHOTOS.glob("*.*"))[: asked.batch]
        self.images = [Image.open(p).convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for p in photos]
        self.texts = [INSTRUCTIONS[i % len(INSTRUCTIONS)] for i in range(asked.batch)]

    def pipeline(self) -> Any:  # MGIE's or diffusers': they have no parent in common
        raise NotImplementedError

    @property
    def modules(self) -> "dict[str, nn.Module]":
        raise NotImplementedError

    def generators(self) -> "list[torch.Generator]":
        import torch

        return [torch.Generator("cpu").manual_seed(i) for i in range(self.asked.batch)]


class TimedMGIE(Timed):
    """MGIE, and LGIE, which is the same without eyes."""

    def pipeline(self) -> "MGIEPipeline":
        from mgie.pipeline import MGIEPipeline

        if self.asked.random:
            pipe = self.random()
        else:
            pipe = MGIEPipeline.from_pretrained(folder_of(self.asked), dtype=self.dtype).to(self.device)
        if self.asked.tokens is not None:
            pipe.tokenizer = endless(pipe.tokenizer)
        pipe.progress = False
        return pipe

    def random(self) -> "MGIEPipeline":
        from mgie.pipeline import MGIEPipeline
        from mgie.preprocess import ClipProcessor
        from mgie.prompts import build_prompt
        from mgie.train.from_scratch import mllm_tokenizer

        preset, eyes = self.preset, self.asked.model == "mgie"
        with tempfile.TemporaryDirectory() as scratch:
            texts = [build_prompt(text, 0) for text in INSTRUCTIONS]
            tokenizer = mllm_tokenizer(texts, preset.vocab, eyes, Path(scratch))
        with made_on(self.device, self.dtype):
            mllm = preset.mllm(tokenizer.image_start, tokenizer.image_patch, eyes)
            parts = preset.edit_head(), preset.unet(), preset.vae()
        embeddings = mllm.llama.get_input_embeddings().weight[tokenizer.visual]
        processor = ClipProcessor(preset.vision_size) if eyes else None
        head, unet, vae = parts
        return MGIEPipeline(mllm, tokenizer, processor, head, embeddings, unet, vae, preset.sampler(), preset)

    @property
    def hooked(self) -> "dict[str, nn.Module]":
        """The parts whose seconds the pipeline does not tell itself."""
        return {"tower": self.modules["tower"]} if "tower" in self.modules else {}

    @property
    def modules(self) -> "dict[str, nn.Module]":
        p = self.pipe
        eyes = {"tower": p.mllm.tower} if p.mllm.tower is not None else {}
        return eyes | {
            "decode": p.mllm.llama.model, "lm_head": p.mllm.llama.lm_head, "edit_head": p.edit_head,
            "vae_encode": p.vae.encoder, "unet": p.unet, "vae_decode": p.vae.decoder,
        }  # fmt: skip

    def call(self) -> Called:
        tokens = None if self.asked.tokens is None else self.asked.tokens + 8  # the visual tokens come behind
        result = self.pipe(
            self.images, self.texts, num_inference_steps=self.asked.steps, generator=self.generators(),
            max_new_tokens=tokens,
        )  # fmt: skip
        written = result.tokens if self.asked.tokens is None else [self.asked.tokens] * self.asked.batch
        return Called(written, result.seconds)


class TimedInsPix2Pix(Timed):
    """diffusers' own pipeline."""

    def pipeline(self) -> "StableDiffusionInstructPix2PixPipeline":
        from diffusers import StableDiffusionInstructPix2PixPipeline

        if self.asked.random:
            pipe = self.random()
        else:
            pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(
                folder_of(self.asked), dtype=self.dtype, safety_checker=None, requires_safety_checker=False
            ).to(self.device)
        if self.dtype.itemsize == 2:  # as runs edit: the denoiser alone is in 16 bit
            from mgie.io.devices import in_half

            pipe.text_encoder.float()
            pipe.vae.float()
            in_half(pipe.unet, self.dtype)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def random(self) -> "StableDiffusionInstructPix2PixPipeline":
        from diffusers import StableDiffusionInstructPix2PixPipeline
        from transformers import CLIPTextConfig, CLIPTextModel

        from mgie.train.from_scratch import CLIP_LENGTH, text_tokenizer

        preset, tokenizer = self.preset, text_tokenizer(list(INSTRUCTIONS), 1024)
        layers, heads = (12, 12) if preset.condition == 768 else (3, 4)  # CLIP ViT-L/14's text tower; the miniature's
        config = CLIPTextConfig(
            vocab_size=49408, hidden_size=preset.condition, intermediate_size=4 * preset.condition,
            num_hidden_layers=layers, num_attention_heads=heads, max_position_embeddings=CLIP_LENGTH,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        with made_on(self.device, self.dtype):
            parts = preset.vae(), CLIPTextModel(config).eval(), preset.unet()
        vae, encoder, unet = parts
        return StableDiffusionInstructPix2PixPipeline(
            vae, encoder, tokenizer, unet, preset.sampler(), safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip

    @property
    def hooked(self) -> "dict[str, nn.Module]":
        return self.modules

    @property
    def modules(self) -> "dict[str, nn.Module]":
        p = self.pipe
        parts = {"text_encoder": p.text_encoder, "vae_encode": p.vae.encoder, "unet": p.unet}
        return parts | {"vae_decode": p.vae.decoder}

    def call(self) -> Called:
        self.pipe(
            self.texts, self.images, num_inference_steps=self.asked.steps, generator=self.generators(),
            guidance_scale=self.preset.guidance_scale, image_guidance_scale=self.preset.image_guidance_scale,
            output_type="np",
        )  # fmt: skip
        return Called([], {})


TIMED = {"inspix2pix": TimedInsPix2Pix, "lgie": TimedMGIE, "mgie": TimedMGIE}


def folder_of(asked: Case) -> Path:
    """Where a row's trained weights lie. Raises FileNotFoundError."""
    name = asked.model if asked.model == "inspix2pix" else f"{asked.model}-e2e"
    folder = (Path(asked.weights) if asked.weights else MINI) / name
    if not folder.is_dir():
        raise FileNotFoundError(f"no weights in {folder}; name their parent with --weights, or give --random-weights")
    return folder


def endless(tokenizer: "Tokenizer") -> "Tokenizer":
    """The same, but no token it knows ends an answer or begins its visual tokens: an answer has its full length."""
    other = copy.copy(tokenizer)
    other.special, other.eos = {**tokenizer.special, "</s>": -1, "[IMG0]": -2}, -1
    return other


@contextmanager
def made_on(device: str, dtype: "torch.dtype") -> Iterator[None]:
    """Modules made within lie on the device in the dtype from the first: 7B in float32 would not fit beside it."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(before)
