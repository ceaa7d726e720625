"""Two-way classifier-free guidance, InstructPix2Pix eq. 3.  B batch, C latent channels, h w latent size.

Convention: StableDiffusionInstructPix2PixPipeline of diffusers, with its rule for when guidance is on.
"""

from torch import Tensor


def guided(guidance_scale: float, image_guidance_scale: float) -> bool:
    """Whether guidance is on. Raises ValueError for a scale below 1.

    quirk: guidance_scale exactly 1 turns guidance off altogether, image_guidance_scale included (diffusers).
    """
    for name, scale in (("guidance_scale", guidance_scale), ("image_guidance_scale", image_guidance_scale)):
        if not 1 <= scale < float("inf"):
            raise ValueError(f"{name} is {scale}; it must be at least 1 (1: no extra weight)")
    return guidance_scale > 1


def guide(noise: Tensor, guidance_scale: float, image_guidance_scale: float) -> Tensor:
    """noise: (3B, C, h, w), stacked as [image and instruction | image only | neither]. Returns (B, C, h, w)."""
    full, image, neither = noise.chunk(3)                        # (B, C, h, w) each
    return neither + guidance_scale * (full - image) + image_guidance_scale * (image - neither)
