"""Two-way classifier-free guidance, InstructPix2Pix eq. 3.  B batch, C latent channels, h w latent size.

Convention: StableDiffusionInstructPix2PixPipeline of diffusers, with its rule for when guidance is on.
"""

from collections.abc import Callable
from numbers import Real
from typing import Protocol

from torch import Tensor


def copies(guidance_scale: float, image_guidance_scale: float) -> int:
    """How many times each image goes through the UNet at a step: 1 without guidance, else 3, or 2 where that is exact.

    quirk: guidance_scale exactly 1 turns guidance off altogether, image_guidance_scale included (diffusers).
    With image_guidance_scale exactly 1 the answer to neither condition cancels out and is not asked for.
    Raises ValueError for a scale below 1.
    """
    for name, scale in (("guidance_scale", guidance_scale), ("image_guidance_scale", image_guidance_scale)):
        if not isinstance(scale, Real) or not 1 <= scale < float("inf"):
            raise ValueError(f"{name} is {scale!r}; it must be at least 1 (1: no extra weight)")
    if guidance_scale == 1:
        return 1
    return 2 if image_guidance_scale == 1 else 3


class Usual(Protocol):
    """A preset's own scales."""

    @property
    def guidance_scale(self) -> float: ...
    @property
    def image_guidance_scale(self) -> float: ...


def scales(
    usual: Usual, guidance_scale: float | None, image_guidance_scale: float | None, notice: Callable[[str], None]
) -> tuple[float, float]:
    """Those that are meant, the preset's where None is given; says so where one has no effect. Raises ValueError."""
    text = usual.guidance_scale if guidance_scale is None else guidance_scale
    image = usual.image_guidance_scale if image_guidance_scale is None else image_guidance_scale
    if copies(text, image) == 1:
        notice("guidance_scale is 1: guidance is off, and image_guidance_scale has no effect")
    elif image_guidance_scale == 1:
        notice("image_guidance_scale is 1: the input image gets no extra weight")
    return text, image


def guide(noise: Tensor, guidance_scale: float, image_guidance_scale: float) -> Tensor:
    """noise: (nB, C, h, w), copies stacked as [image and instruction | image only | neither]. Returns (B, C, h, w)."""
    n = copies(guidance_scale, image_guidance_scale)
    if n == 1:
        return noise
    full, image, *neither = noise.chunk(n)  # (B, C, h, w) each
    if n == 2:
        return image + guidance_scale * (full - image)
    return neither[0] + guidance_scale * (full - image) + image_guidance_scale * (image - neither[0])
