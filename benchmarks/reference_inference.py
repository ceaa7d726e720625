"""MGIE as the official demo runs it, on the weights of one of our pipelines: the plain reference for benchmarks/.

Convention: demo.ipynb of apple/ml-mgie at 835af37: one image at a time, transformers' own `generate` to the last token
with all hidden states kept, then diffusers' StableDiffusionInstructPix2PixPipeline on the edit head's answer. No waste
is added: the same dtype, device, steps and guidance, no gradients, one process.
"""

from typing import TYPE_CHECKING

import torch
from PIL import Image

from mgie.inputs import fit_prompt
from mgie.visual_tokens import visual_slice

if TYPE_CHECKING:
    from mgie.pipeline import MGIEPipeline


class Reference:
    def __init__(self, pipe: "MGIEPipeline") -> None:
        """pipe: whose modules are used; it is left as it is."""
        from diffusers import StableDiffusionInstructPix2PixPipeline

        self.pipe = pipe
        scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        self.editor = StableDiffusionInstructPix2PixPipeline(
            pipe.vae, None, None, pipe.unet, scheduler, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip
        self.editor.set_progress_bar_config(disable=True)

    def edit(
        self, images: list[Image.Image], texts: list[str], steps: int, generators: list[torch.Generator]
    ) -> list[Image.Image]:
        """One after the other, as the demo does."""
        return [self.edit_one(*each, steps) for each in zip(images, texts, generators, strict=True)]

    @torch.no_grad()
    def edit_one(self, image: Image.Image, text: str, generator: torch.Generator, steps: int) -> Image.Image:
        preset = self.pipe.preset
        states = self.visual_states(image, text)[None]                            # (1, 8, D)
        embeddings = self.pipe.visual_embeddings
        embeds = self.pipe.edit_head(states.to(embeddings.dtype), embeddings)
        null = self.pipe.edit_head(torch.zeros_like(states).to(embeddings.dtype), embeddings)
        size = {"width": image.width // preset.factor * preset.factor}
        size["height"] = image.height // preset.factor * preset.factor
        return self.editor(
            image=image if image.size == tuple(size.values()) else image.resize(tuple(size.values()), 1),
            prompt_embeds=embeds.to(self.pipe.unet.dtype), negative_prompt_embeds=null.to(self.pipe.unet.dtype),
            num_inference_steps=steps, guidance_scale=preset.guidance_scale,
            image_guidance_scale=preset.image_guidance_scale, generator=generator,
        ).images[0]  # fmt: skip

    def visual_states(self, image: Image.Image, text: str) -> torch.Tensor:
        """(8, D), out of the last hidden states of every token."""
        pipe, preset = self.pipe, self.pipe.preset
        patches = preset.patches if pipe.mllm.tower is not None else 0
        prompt = fit_prompt(pipe.tokenizer, text, patches, preset.context - preset.max_new_tokens, preset.token_rule)
        ids = torch.tensor([prompt.ids], device=pipe.device)
        pixels = pipe.image_processor([image]).to(pipe.device) if patches else None
        written = pipe.mllm.llama.generate(
            input_ids=ids, inputs_embeds=pipe.mllm.embed(ids, pixels), attention_mask=torch.ones_like(ids),
            max_new_tokens=preset.max_new_tokens, do_sample=False, num_beams=1,
            no_repeat_ngram_size=preset.no_repeat_ngram_size, eos_token_id=pipe.tokenizer.eos,
            pad_token_id=pipe.tokenizer.pad, return_dict_in_generate=True, output_hidden_states=True,
        )  # fmt: skip
        states = torch.cat([step[-1] for step in written.hidden_states], dim=1)[0]  # (L + new - 1, D)
        found = visual_slice(written.sequences[0].tolist(), pipe.tokenizer.visual[0])
        return states[found.start : found.start + 8]
