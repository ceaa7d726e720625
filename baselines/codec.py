"""Codec copy: the input image through the VAE's posterior mode and back, without any diffusion.

What an edit by latent diffusion costs before it changes anything: compare "outside the mask" with this row, not the
input copy. The VAE is the one of the inspix2pix weights (<root>/inspix2pix/vae/), which the miniature's three editors
share; it is never fine-tuned, so both settings have the same row. Size rule: the editors' own (baselines/editor.py).
"""

import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bench.records import Example, Output
from bench.settings import EditSettings, ModelSettings
from mgie.io.devices import placement
from mgie.io.hashes import weights_hash
from mgie.io.images import load

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class Codec:
    name = "codec"
    defaults = EditSettings()

    def __init__(self, spec: ModelSettings) -> None:
        from baselines.inspix2pix import source

        self.source = source(replace(spec, name="inspix2pix", setting="zero-shot"))
        self.where = placement(spec)

    def fingerprint(self) -> dict[str, str]:
        from baselines.editor import SIZE_RULES

        place, revision, _ = self.source
        return {
            "weights": f"{place}@{revision}/vae" if revision else weights_hash(Path(place) / "vae"),
            "dtype": str(self.where.dtype).removeprefix("torch."), "size": SIZE_RULES["input"],
        }  # fmt: skip

    @cached_property
    def vae(self) -> "AutoencoderKL":
        from diffusers import AutoencoderKL

        place, revision, _ = self.source
        options = {"revision": revision} if revision else {}
        vae = AutoencoderKL.from_pretrained(place, subfolder="vae", dtype=self.where.dtype, **options)
        return vae.eval().requires_grad_(False).to(self.where.device)

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        """Nothing is drawn: the seeds do not matter."""
        self.vae  # noqa: B018  loading is no part of an edit's time
        return [self.copy(load(example.input_image, settings), example.id) for example in examples]

    def copy(self, image: Image.Image, name: str) -> Output:
        """One at a time: a VAE works at the images' own sizes, and a batch would change nothing but the last bits."""
        import torch

        from baselines.editor import to_image

        start, factor = time.perf_counter(), 2 ** (len(self.vae.config.block_out_channels) - 1)
        width, height = (side // factor * factor for side in image.size)
        if 0 in (width, height):
            raise ValueError(f"{name}: image is {image.width}x{image.height} px; {factor}x{factor} px is the smallest")
        shown = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(shown)).permute(2, 0, 1)[None].to(self.where.device, self.where.dtype)
        with torch.inference_mode():
            latents = self.vae.encode(pixels / 127.5 - 1).latent_dist.mode()  # (1, C, h, w)
            decoded = self.vae.decode(latents).sample[0]  # (3, H, W), about [-1, 1]
        values = decoded.permute(1, 2, 0).float().cpu().numpy() / 2 + 0.5
        return Output(to_image(values, name), seconds={"codec": time.perf_counter() - start})
