"""What of a pipeline's call has fixed shapes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mgie.graphs.captured import Beside, Captured, Notice
from mgie.graphs.decoding import StaticDecoding


class StaticUNet:
    """A UNet's step, captured once for all steps of the same shape."""

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        self.step: Captured | None = None  # of the last shape

    def __call__(self, unet: Callable, model_input: Tensor, timestep: Tensor, embeds: Tensor) -> Tensor:
        """model_input: (nB, 2C, h, w); timestep: a number; embeds: (nB, Q, F). Returns (nB, C, h, w)."""
        inputs = model_input, torch.as_tensor(timestep).to(model_input.device), embeds
        if self.step is None or not self.step.fits(*inputs):
            self.step = None  # let go before the next is captured

            def call(x: Tensor, t: Tensor, e: Tensor) -> tuple[Tensor, ...]:
                return (unet(x, t, encoder_hidden_states=e, return_dict=False)[0],)

            self.step = Captured(call, model_input.device, self.notice)
        return self.step(*inputs)[0].clone()


class Static(NamedTuple):
    """What of a call has fixed shapes: a step of the decode and of the UNet; and the VAE decodes the images of one size
    while those of the next are denoised."""

    decoding: StaticDecoding
    unet: StaticUNet
    beside: Beside

    @classmethod
    def on(cls, device: torch.device, notice: Notice) -> "Static":
        return cls(StaticDecoding(notice), StaticUNet(notice), Beside(device))
