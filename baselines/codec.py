"""Codec copy: the input image through the VAE's posterior mode and back, without any diffusion.

What an edit by latent diffusion costs before it changes anything: compare "outside the mask" with this row, not the
input copy. The VAE is the one of the inspix2pix weights (<root>/inspix2pix/vae/), which the miniature's three editors
share; it is never fine-tuned, so both settings have the same row. Size rule: InsPix2Pix's own. In float32 whatever
--dtype says, as the editors run their VAE.
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
    seeded = instructed = False

    def __init__(self, spec: ModelSettings) -> None:
        from baselines.inspix2pix import source

        self.source = source(replace(spec, name="inspix2pix", setting="zero-shot"))
        self.where = placement(spec)

    def fingerprint(self) -> dict[str, str]:
        from baselines.editors.instruct_pix2pix import InstructPix2Pix

        place, revision, _ = self.source
        return {
            "weights": f"{place}@{revision}/vae" if revision else weights_hash(Path(place) / "vae"),
            "dtype": "float32", "size": InstructPix2Pix.size,
        }  # fmt: skip

    @cached_property
    def vae(self) -> "AutoencoderKL":
        import torch
        from diffusers import AutoencoderKL

        from mgie.io.components import load_component

        place, revision, _ = self.source
        folder = Path(place)
        if revision is not None:
            from huggingface_hub import snapshot_download

            wanted = ["vae/config.json", "vae/*.safetensors"]
            folder = Path(snapshot_download(place, revision=revision, allow_patterns=wanted))
        vae = load_component(AutoencoderKL, folder / "vae", torch.float32)
        return vae.requires_grad_(False).to(self.where.device)

    def parts(self) -> dict[Path, float]:
        place, revision, _ = self.source
        return {} if revision else {Path(place) / "vae": 4}

    def load(self) -> None:
        self.vae  # noqa: B018

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        """Nothing is drawn: the seeds do not matter."""
        self.load()  # loading is no part of an edit's time
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
        pixels = torch.from_numpy(np.array(shown)).permute(2, 0, 1)[None].to(self.where.device).float()
        with torch.inference_mode():
            latents = self.vae.encode(pixels / 127.5 - 1).latent_dist.mode()  # (1, C, h, w)
            decoded = self.vae.decode(latents).sample[0]  # (3, H, W), about [-1, 1]
        values = decoded.permute(1, 2, 0).float().cpu().numpy() / 2 + 0.5
        return Output(to_image(values, name), seconds={"codec": time.perf_counter() - start})
