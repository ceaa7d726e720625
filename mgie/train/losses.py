"""The two losses of MGIE and the draws behind them, as pure functions on tensors.  loss = L_ins + 0.5 L_edit.

Convention: apple/ml-mgie mgie_llava.py at 835af37 (its quirks are named `quirk:` and kept). Sums are returned beside
their counts, so that accumulation and many processes give the loss of the whole batch, not a mean of means.
Shapes: B batch, L padded length, V vocabulary, D hidden size, n visual tokens (8), C latent channels, h w latent size.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mgie.prompts import IGNORED

if TYPE_CHECKING:
    from diffusers import DDPMScheduler

EDIT_WEIGHT = 0.5  # of L_edit in the joint loss
DROP = 0.05  # text and image are each dropped with probability 2 * DROP, both with DROP


class Draws(NamedTuple):
    """Every random number of one training step, in the order in which the official code draws them."""

    posterior_noise: Tensor  # (B, C, h, w), for the sample of the goal image's posterior
    noise: Tensor  # (B, C, h, w)
    timesteps: Tensor  # (B,) int64
    probability: Tensor  # (B,) float32 in [0, 1): which conditions are dropped

    def rows(self, start: int, stop: int) -> "Draws":
        return Draws(*(drawn[start:stop] for drawn in self))


def draw(seed: int, step: int, latents: tuple[int, int, int, int], num_timesteps: int) -> Draws:
    """The draws of a step for its whole batch. latents: (B, C, h, w).

    They follow from (seed, step) alone, on the CPU: a resumed run, another device and any number of processes see the
    same numbers.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
    return Draws(
        torch.randn(latents, generator=generator),
        torch.randn(latents, generator=generator),
        torch.randint(0, num_timesteps, (latents[0],), generator=generator),
        torch.rand(latents[0], generator=generator),
    )


def scored_places(labels: Tensor) -> tuple[Tensor, Tensor]:
    """labels: (B, L). Returns (B, L - 1) bool, which states predict a scored token, and those N tokens."""
    targets = labels[:, 1:]  # the state at place i predicts the token at i + 1
    scored = targets != IGNORED
    return scored, targets[scored]


def instruction_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """L_ins before the division by N: the sum of the cross-entropies of the N scored tokens in the batch.

    logits: (N, V), of the scored places only: at a vocabulary of 32,011 the prompt's would be most of the work.
    Without a scored token the sum is 0, where the official mean is NaN.
    """
    return F.cross_entropy(logits.float(), targets, reduction="sum")


def visual_token_starts(labels: Tensor, img0: int, count: int) -> Tensor:
    """(B,): where the visual tokens' states begin. labels: (B, L), padded; img0: id of [IMG0]; count: n."""
    latest = labels.shape[1] - count - 1
    found = labels == img0
    first = found.int().argmax(dim=1)
    # quirk: the states that PREDICT [IMG0]..[IMG7] are taken, one before the tokens themselves
    # quirk: a row without [IMG0] (cut at the length limit) takes the last states but one of the padded row
    return torch.where(found.any(dim=1), (first - 1).clamp(max=latest), latest)


def visual_token_states(states: Tensor, starts: Tensor, count: int) -> Tensor:
    """states: (B, L, D), starts: (B,). Returns (B, n, D)."""
    places = starts[:, None] + torch.arange(count, device=states.device)  # (B, n)
    return states.gather(1, places[:, :, None].expand(-1, -1, states.shape[2]))


def dropped_conditions(probability: Tensor) -> tuple[Tensor, Tensor]:
    """probability: (B,) float32. Returns (B,) bool twice: text replaced by NULL, image latent zeroed.

    [0, .05) text, [.05, .10) both, [.10, .15) image, compared in float32 as the official code does.
    """
    text = probability < DROP * 2
    image = (probability >= DROP) & (probability < DROP * 3)
    return text, image


def drop_conditions(text: Tensor, null: Tensor, image: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    """text: (B, q, d); null: (1 or B, q, d); image: (B, C, h, w), the unscaled posterior mode. Both after dropping."""
    text_dropped, image_dropped = dropped_conditions(probability.to(text.device))
    return torch.where(text_dropped[:, None, None], null, text), image * ~image_dropped[:, None, None, None]


def edit_target(scheduler: "DDPMScheduler", latent: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the UNet is asked for, by the scheduler's own prediction type. latent: scaled, (B, C, h, w)."""
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(latent, noise, timesteps)
    raise ValueError(f"prediction_type '{kind}': training knows epsilon and v_prediction; see scheduler_config.json")


def edit_loss(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """L_edit before the division by B: the sum over the batch of each example's mean squared error.

    prediction, target: (B, C, h, w); weight: (B,) or None.
    """
    error = (prediction.float() - target.float()).square().flatten(1).mean(dim=1)  # (B,)
    return (error if weight is None else error * weight).sum()


def min_snr_weight(scheduler: "DDPMScheduler", timesteps: Tensor, gamma: float) -> Tensor:
    """(B,): min(SNR, gamma) over SNR (epsilon) or SNR + 1 (v-prediction); Hang et al. 2023, arXiv 2303.09556."""
    alpha = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    snr = alpha / (1 - alpha)
    if scheduler.config.prediction_type == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    return (gamma / snr).clamp(max=1.0)  # min(SNR, gamma) / SNR, also where a zero-SNR schedule ends in SNR 0
