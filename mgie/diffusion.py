"""Diffusion: from the input image's latents and the edit head's conditioning to the output image's latents.

Convention: StableDiffusionInstructPix2PixPipeline of diffusers, batched, with one generator an image. UNet, VAE and
schedulers are diffusers' own.  B batch, C latent channels, h w latent size, Q F the conditioning.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mgie.guidance import copies, guide

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel

    from mgie.graphs.static import StaticUNet

Step = Callable[[Tensor], None]  # shown the latents after each step


def encode_condition(vae: "AutoencoderKL", pixels: Tensor) -> Tensor:
    """pixels: (B, 3, H, W) in [-1, 1]. Returns (B, C, h, w) float32.

    quirk: the mode of the posterior and NOT scaled, unlike the latent that is diffused; in training too.
    """
    return vae.encode(pixels.to(vae.dtype)).latent_dist.mode().float()


def decode_latents(vae: "AutoencoderKL", latents: Tensor) -> Tensor:
    """latents: (B, C, h, w). Returns (B, 3, H, W), about [-1, 1]."""
    return vae.decode((latents / vae.config.scaling_factor).to(vae.dtype)).sample


def start_noise(shape: tuple[int, ...], generators: list[torch.Generator] | None, device: torch.device) -> Tensor:
    """(B, C, h, w) float32, each image from its own generator, so that it does not depend on its batch."""
    from diffusers.utils.torch_utils import randn_tensor

    return randn_tensor(shape, generator=generators, device=device, dtype=torch.float32)


def denoise(
    unet: "UNet2DConditionModel",
    scheduler: "SchedulerMixin",
    condition: Tensor,
    embeds: Tensor,
    null: Tensor,
    guidance_scale: float,
    image_guidance_scale: float,
    num_inference_steps: int,
    generators: list[torch.Generator] | None = None,
    noise: Tensor | None = None,
    on_step: Step | None = None,
    static: "StaticUNet | None" = None,
) -> Tensor:
    """The output image's latents, (B, C, h, w) float32, scaled as they are diffused.

    condition: (B, C, h, w) of the input image. embeds: (B, Q, F). null: (1, Q, F). generators: one an image, for the
    first noise and for a scheduler that draws at every step. noise: the first noise, instead of drawing it. static:
    runs the UNet's steps with buffers of fixed shape.
    """
    scheduler = type(scheduler).from_config(scheduler.config)  # its own state: calls do not disturb each other
    scheduler.set_timesteps(num_inference_steps)  # on the CPU: looking a step up must not wait for a GPU
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # else the first step is searched for
    if noise is None:
        noise = start_noise(condition.shape, generators, condition.device)
    latents = noise * scheduler.init_noise_sigma  # (B, C, h, w)
    n, null = copies(guidance_scale, image_guidance_scale), null.expand_as(embeds)
    # quirk: the stack is [image and instruction | image and NULL | no image and NULL], in this order
    embeds = torch.cat([embeds, null, null][:n])  # (nB, Q, F)
    condition = torch.cat([condition, condition, torch.zeros_like(condition)][:n])
    dtype, draws = unet.dtype, _draws(scheduler, generators)  # diffusers walks all modules each time it is asked
    embeds = embeds.to(dtype)
    extra = len(scheduler.timesteps) - num_inference_steps * scheduler.order
    for i, t in enumerate(scheduler.timesteps):
        noisy = scheduler.scale_model_input(torch.cat([latents] * n), t)
        model_input = torch.cat([noisy, condition], dim=1).to(dtype)  # (nB, 2C, h, w)
        if static is None:
            predicted = unet(model_input, t, encoder_hidden_states=embeds, return_dict=False)[0].float()
        else:
            predicted = static(unet, model_input, t, embeds).float()
        predicted = guide(predicted, guidance_scale, image_guidance_scale)  # (B, C, h, w)
        latents = scheduler.step(predicted, t, latents, return_dict=False, **draws)[0]
        # extra calls of the UNet (PNDM, second order) are no steps of their own, as in diffusers' progress bar
        whole = i + 1 > extra and (i + 1) % scheduler.order == 0
        if on_step is not None and (whole or i + 1 == len(scheduler.timesteps)):
            on_step(latents)
    return latents


def _draws(scheduler: "SchedulerMixin", generators: list[torch.Generator] | None) -> dict:
    """Only schedulers that draw noise at every step take a generator."""
    takes = "generator" in inspect.signature(scheduler.step).parameters
    return {"generator": generators} if takes and generators else {}
