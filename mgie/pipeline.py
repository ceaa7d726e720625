"""MGIEPipeline: input image and instruction -> expressive instruction -> output image, read top to bottom.

Convention: demo.ipynb of apple/ml-mgie at 835af37 with diffusers' manners (from_pretrained, save_pretrained, generator,
progress bar, offload). Without eyes in its MLLM it is LGIE. Not covered: training (mgie.train), FZ and FT (baselines).
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from mgie import diffusion, folder, generate
from mgie.graphs.static import Static
from mgie.guidance import scales
from mgie.inputs import Given, Inputs, Prompt, fit_answer, fit_prompt
from mgie.io.devices import full_float32, vae_dtype
from mgie.io.files import naming
from mgie.preprocess import ClipProcessor, edit_pixels, images_of
from mgie.prompts import tidy
from mgie.tokenizer import Tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
    from tqdm import tqdm

    from mgie.edit_head import EditHead
    from mgie.mllm import MLLM
    from mgie.presets import Preset

log = logging.getLogger("mgie")
OnStep = Callable[[int, int], None]  # (denoising step done, of); what it raises ends the call


@dataclass(frozen=True)
class MGIEOutput:
    images: list[Image.Image]  # RGB
    expressive_instructions: list[str]
    tokens: list[int]  # tokens of each expressive instruction, before [IMG0] or </s>; 0 where it was given
    visual_tokens_written: list[bool]  # False: the answer has no [IMG0], its last states were used (quirk)
    seconds: dict[str, float] = field(default_factory=dict)  # by stage, of the whole call


class Answers(NamedTuple):
    """What `answer` wrote, to be drawn from any number of times; in main memory."""

    answers: list[generate.Answer]
    seconds: float

    @property
    def bytes(self) -> int:
        return sum(answer.all_states.nbytes for answer in self.answers)


class MGIEPipeline:
    def __init__(
        self,
        mllm: "MLLM",
        tokenizer: Tokenizer,
        image_processor: ClipProcessor | None,
        edit_head: "EditHead",
        visual_embeddings: Tensor,
        unet: "UNet2DConditionModel",
        vae: "AutoencoderKL",
        scheduler: "SchedulerMixin",
        preset: "Preset",
    ) -> None:
        """visual_embeddings: (8, D), added to the states before the edit head: the input embeddings of [IMG0]..[IMG7].

        image_processor: None where the MLLM has no eyes.
        """
        self.mllm, self.edit_head, self.unet, self.vae = mllm.eval(), edit_head.eval(), unet.eval(), vae.eval()
        self.tokenizer, self.image_processor, self.scheduler = tokenizer, image_processor, scheduler
        self.visual_embeddings = visual_embeddings.detach().reshape(-1, visual_embeddings.shape[-1]).clone()
        if len(self.visual_embeddings) != len(tokenizer.visual):
            raise ValueError(
                f"{len(self.visual_embeddings)} visual embeddings, but the tokenizer has "
                f"{len(tokenizer.visual)} visual tokens; expected as many"
            )
        self.preset, self.device = preset, mllm.llama.lm_head.weight.device
        self.progress, self._offloaded = True, False
        self._said: set[str] = set()
        self._static: Static | None = None  # see compile

    # loading and placing

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        preset: str | None = None,
        dtype: torch.dtype | None = None,
        device: str | torch.device | None = None,
    ) -> "MGIEPipeline":
        """name: a folder that save_pretrained or `python -m mgie.convert` wrote, or "mini".

        preset: refuse a checkpoint of another one. dtype: None keeps that of the weights; beside 16 bit the VAE is in
        float32. device: the weights go there as they are read. Raises FileNotFoundError, or ValueError for weights that
        do not fit or are not numbers.
        """
        parts = folder.load(name, preset, dtype, None if device is None else str(device))
        with naming(folder.find(name)):  # parts that do not fit each other
            return cls(**parts)

    def save_pretrained(self, path: str | Path) -> None:
        """One folder: a subfolder of safetensors a component, and model_index.json, written last."""
        folder.save(self, Path(path))

    @property
    def components(self) -> dict[str, nn.Module]:
        parts = {"llama": self.mllm.llama, "tower": self.mllm.tower, "projector": self.mllm.projector}
        parts |= {"edit_head": self.edit_head, "unet": self.unet, "vae": self.vae}
        return {name: part for name, part in parts.items() if part is not None}

    def to(
        self, device: str | torch.device | torch.dtype | None = None, dtype: torch.dtype | None = None
    ) -> "MGIEPipeline":
        if self._offloaded:
            raise ValueError("this pipeline is offloaded and places its parts itself; load it again to move it")
        if isinstance(device, torch.dtype):  # pipe.to(torch.float16), as diffusers allows
            device, dtype = None, device
        for name, part in self.components.items():
            own = vae_dtype(dtype) if name == "vae" else dtype
            nn.Module.to(part, device=device, dtype=own)  # diffusers' own `to` warns of float32 parts, even of none
        self.visual_embeddings = self.visual_embeddings.to(device=device, dtype=dtype)
        self.device = self.visual_embeddings.device
        return self

    def enable_model_cpu_offload(self, device: str | torch.device = "cuda") -> None:
        """Weights wait in main memory. The LLM comes to the device whole, once a batch, where it fits, else layer by
        layer (which is said); the other parts come one by one. The pixels are the same."""
        from mgie.io.memory import ByLayer, Whole, bytes_of, take_turns, wait

        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError("offload is for a GPU, and torch sees none here; without it the pipeline runs on the CPU")
        self.to("cpu")
        self.device, self._offloaded = torch.device(device), True
        llama, size = self.mllm.llama, bytes_of(self.mllm.llama)
        llm = wait(llama, self.device, [llama.get_input_embeddings()])
        if isinstance(llm, ByLayer):
            self.notice(f"the LLM ({size / 1e9:.1f} GB) does not fit on {self.device}: it comes layer by layer, slowly")
        waiting = {name: Whole(part, self.device) for name, part in self.components.items() if name != "llama"}
        eyes = [waiting.pop(name) for name in ("tower", "projector") if name in waiting]
        take_turns([[llm, *eyes], *([one] for one in waiting.values())])

    def compile(self, backend: str = "inductor", static: bool | None = None) -> None:
        """torch.compile for what runs most: the UNet, and the VAE's decoder. Minutes at the first call of each size.

        static: steps of fixed shape as mgie/graphs has them; None: on a GPU. Outputs stay within the tolerance that
        tests/bench/speed/test_reference_inference.py states, not the same to the bit.
        """
        on_gpu = self.device.type == "cuda"
        for part in (self.unet, self.vae.decoder):
            part.to(memory_format=torch.channels_last)
            part.compile(backend=backend, mode="max-autotune-no-cudagraphs" if on_gpu else None)
        if (on_gpu if static is None else static) and not self._offloaded:  # whose parts come and go
            self._static = Static.on(self.device, self.notice)

    # editing

    @torch.no_grad()
    @full_float32()
    def __call__(
        self,
        image: Image.Image | list[Image.Image],
        instruction: str | list[str],
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        max_new_tokens: int | None = None,
        expressive_instruction: str | list[str] | None = None,
        on_step: OnStep | None = None,
        answers: Answers | None = None,
    ) -> MGIEOutput:
        """One edit for each pair of image and instruction; a single one of either serves all of the other.

        None takes the preset's default. generator: one an edit (CPU ones give the same noise on every device).
        expressive_instruction: edit with this text instead of writing one. on_step: told of every step. answers: what
        `answer` wrote for these images and instructions.
        Images are edited at their own size, down to multiples of the VAE's factor; above preset.max_side they are
        shrunk. Raises ValueError for bad input.
        """
        given = Inputs.check(self.preset, self.notice, image, instruction, expressive_instruction, generator)
        guidance = scales(self.preset, guidance_scale, image_guidance_scale, self.notice)
        steps = self._count("num_inference_steps", num_inference_steps)
        new_tokens = self._count("max_new_tokens", max_new_tokens)
        seconds: dict[str, float] = {}
        if answers is None:
            with self._stage("mllm", seconds):
                written, told = self._answer(given, new_tokens)
        else:
            (written, seconds["mllm"]), told = answers, None
        with self._stage("edit_head", seconds):
            embeds, null = self._condition(written)
        images = self._edit(given, embeds, null, guidance, steps, seconds, on_step)
        said = [self._text(answer) for answer in written] if told is None else [(text, 0) for text in told]
        texts, tokens = [text for text, _ in said], [count for _, count in said]
        return MGIEOutput(images, texts, tokens, [a.written for a in written], seconds)

    @torch.no_grad()
    @full_float32()
    def answer(
        self, image: Image.Image | list[Image.Image], instruction: str | list[str], max_new_tokens: int | None = None
    ) -> Answers:
        """What the MLLM writes for these, with its states: a call that is given it draws the very same pixels as one
        that writes them itself, with any seed and guidance. Raises ValueError."""
        given = Inputs.check(self.preset, self.notice, image, instruction, None, None)
        seconds: dict[str, float] = {}
        with self._stage("mllm", seconds):
            written, _ = self._answer(given, self._count("max_new_tokens", max_new_tokens))
        return Answers([one.kept() for one in written], seconds["mllm"])

    @torch.no_grad()
    @full_float32()
    def express(
        self, image: Image.Image | list[Image.Image], instruction: str | list[str], max_new_tokens: int | None = None
    ) -> list[str]:
        """The expressive instructions that a call would write for these; nothing is drawn. Raises ValueError."""
        given = Inputs.check(self.preset, self.notice, image, instruction, None, None)
        answers, _ = self._answer(given, self._count("max_new_tokens", max_new_tokens))
        return [self._text(answer)[0] for answer in answers]

    def _count(self, name: str, given: int | None) -> int:
        count = getattr(self.preset, name) if given is None else given
        if not isinstance(count, Integral) or count < 1:
            raise ValueError(f"{name} is {count}; it must be a whole number, at least 1")
        return int(count)

    def _answer(self, given: Inputs, max_new_tokens: int) -> tuple[list[generate.Answer], list[str] | None]:
        """What the MLLM writes, or is made to write, with its states; then the texts it was made to write."""
        rule, patches = self.preset.token_rule, self.preset.patches if self.mllm.tower is not None else 0
        room = self.preset.context - max_new_tokens
        fitted = [fit_prompt(self.tokenizer, text, patches, room, rule) for text in given.instructions]
        self._notice_cut(fitted, "an instruction")
        prompts = [prompt.ids for prompt in fitted]
        eyes = self.image_processor if patches else None
        pixels = eyes(given.images).to(self.device) if eyes else None
        if given.expressive is None:
            settings = (max_new_tokens, self.preset.no_repeat_ngram_size, self._static and self._static.decoding)
            return generate.decode(self.mllm, self.tokenizer, prompts, pixels, self.device, *settings), None
        pairs = zip(given.expressive, prompts, strict=True)
        told = [fit_answer(self.tokenizer, text, self.preset.context - len(prompt)) for text, prompt in pairs]
        self._notice_cut(told, "an expressive instruction")
        ids = [answer.ids for answer in told]
        read = generate.read(self.mllm, self.tokenizer, prompts, ids, pixels, self.device)
        return read, [answer.text for answer in told]

    def _notice_cut(self, fitted: list[Prompt] | list[Given], what: str) -> None:
        if any(one.shortened for one in fitted):
            self.notice(f"{what} is too long for the model's {self.preset.context} tokens; its end is cut")

    def _condition(self, answers: list[generate.Answer]) -> tuple[Tensor, Tensor]:
        """(B, Q, F) and the negative one, (1, Q, F)."""
        states = torch.stack([answer.states.to(self.device) for answer in answers])  # (B, 8, D)
        embeddings = self.visual_embeddings.to(self.device)  # (8, D)
        together = torch.cat([states, torch.zeros_like(states[:1])])  # one pass for both
        embeds = self.edit_head(together.to(embeddings.dtype), embeddings)
        return embeds[:-1], embeds[-1:]

    def _edit(
        self,
        given: Inputs,
        embeds: Tensor,
        null: Tensor,
        guidance: tuple[float, float],
        steps: int,
        seconds: dict,
        on_step: OnStep | None,
    ) -> list[Image.Image]:
        """Images of one size go through UNet and VAE together."""
        outputs: dict[int, Image.Image] = {}
        groups: dict[tuple[int, int], list[int]] = {}
        late: list[tuple[list[int], Tensor]] = []  # what the VAE is at: places, (B, 3, H, W)
        drawn = [0]  # steps done, of all groups
        for i, size in enumerate(given.sizes):
            groups.setdefault(size, []).append(i)
        with self._bar(steps * len(groups)) as bar:

            def stepped(_: Tensor) -> None:
                bar.update()
                drawn[0] += 1
                if on_step is not None:
                    on_step(drawn[0], steps * len(groups))

            for size, places in groups.items():
                with self._stage("vae_encode", seconds):
                    pixels = torch.stack([edit_pixels(given.images[i], size) for i in places]).to(self.device)
                    condition = diffusion.encode_condition(self.vae, pixels)  # (B, C, h, w)
                generators = [given.generators[i] for i in places] if given.generators else None
                with self._stage("diffusion", seconds):
                    latents = diffusion.denoise(
                        self.unet,
                        self.scheduler,
                        condition,
                        embeds[places],
                        null,
                        *guidance,
                        steps,
                        generators,
                        on_step=stepped,
                        static=self._static and self._static.unet,
                    )
                if self._static:  # while the next ones are denoised
                    decode = partial(diffusion.decode_latents, self.vae)
                    late.append((places, self._static.beside.begin(decode, latents)))
                    continue
                with self._stage("vae_decode", seconds):
                    outputs |= images_of(places, diffusion.decode_latents(self.vae, latents))
            if self._static:
                with self._stage("vae_decode", seconds):
                    self._static.beside.wait()
                    for places, decoded in late:
                        outputs |= images_of(places, decoded)
        return [outputs[i] for i in range(len(given.images))]

    def _text(self, answer: generate.Answer) -> tuple[str, int]:
        """The expressive instruction and its number of tokens."""
        stops = [i for i, token in enumerate(answer.ids) if token in (self.tokenizer.visual[0], self.tokenizer.eos)]
        ids = answer.ids[: stops[0]] if stops else answer.ids
        return tidy(f"ASSISTANT: {self.tokenizer.decode(ids)}"), len(ids)

    def _bar(self, total: int) -> "tqdm":
        from tqdm import tqdm

        return tqdm(total=total, desc="denoising", leave=False, disable=None if self.progress else True)

    def notice(self, text: str) -> None:
        """Once a pipeline: a benchmark of a thousand edits needs to hear it once."""
        if text not in self._said:
            self._said.add(text)
            log.warning(text)

    @contextmanager
    def _stage(self, name: str, seconds: dict[str, float]) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
