"""Training recipes: what the paper says (arXiv 2309.17102), what the released script does (apple/ml-mgie mgie_train.sh
at 835af37), and the learning rate they give at each step.

Not covered: what neither states is filled from the script and listed in `Recipe.assumptions`, which a run prints.
"""

import math
from argparse import Namespace
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    name: str
    batch_size: int  # over all processes and accumulated micro-batches
    epochs: float
    lr_mllm: float  # token embeddings, LM head, edit head
    lr_diffusion: float  # UNet
    schedule: str
    warmup: float  # share of the steps
    weight_decay: float
    clip: float  # gradient norm
    reset_unet: bool  # quirks 1 and 2, see RELEASED_SCRIPT
    assumptions: tuple[str, ...] = ()
    joint_assumptions: tuple[str, ...] = ()  # those that only matter where an MLLM trains


PAPER = Recipe(
    "paper",
    batch_size=128,
    epochs=26,
    lr_mllm=5e-4,
    lr_diffusion=1e-4,
    schedule="cosine",
    warmup=0.03,
    weight_decay=0.0,
    clip=1.0,
    reset_unet=False,
    assumptions=("cosine schedule, warm-up 0.03, weight decay 0, gradient norm clipped at 1 (the released script's)",),
    joint_assumptions=("the edit head learns at the MLLM's rate (the paper names two rates and three parts)",),
)

# quirk: 1 and 2 of the official training. from_pretrained() of the MLLM re-draws every Linear of the UNet, the VAE and
# the edit head from N(0, 0.02), bias 0, and conv_in's bias is a Conv2d's random default. This recipe follows that for
# the UNet and the edit head when it starts from Stable Diffusion (--stable-diffusion), not for the VAE: inference uses
# a clean one. Not followed either: quirk 25 (each rank shuffles with unseeded random numbers) and the mean of
# micro-batch means; the CLIP tower is not in float16.
RELEASED_SCRIPT = replace(
    PAPER,
    name="released-script",
    batch_size=32,
    epochs=40,
    lr_diffusion=5e-4,
    reset_unet=True,
    assumptions=("the VAE is kept as it was trained: the official one's attention is re-drawn by accident",),
    joint_assumptions=(),
)
RECIPES = {recipe.name: recipe for recipe in (PAPER, RELEASED_SCRIPT)}
SCHEDULES = ("cosine", "constant", "hold-then-linear")


def factor_at(step: int, steps: int, schedule: str, warmup: float) -> float:
    """What a learning rate is multiplied with at step 0, 1, ... of steps.

    Linear warm-up from 0, then: cosine to 0 (as transformers' get_cosine_schedule_with_warmup), constant, or
    hold-then-linear: constant for the first half of the run and linear to 0 over the second.
    """
    rising = math.ceil(steps * warmup)
    if step < rising:
        return step / rising
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
    if schedule == "hold-then-linear":
        return min(1.0, 2.0 * (steps - step) / steps)
    raise ValueError(f"unknown schedule '{schedule}'; known: {', '.join(SCHEDULES)}")


def overridden(args: Namespace, recipe: Recipe) -> dict[str, Any]:
    """The recipe's numbers, with the flags that were given in their place."""
    names = ("batch_size", "lr_mllm", "lr_diffusion", "schedule", "warmup", "weight_decay")
    given = {name: getattr(args, name) for name in names}
    return {name: getattr(recipe, name) if value is None else value for name, value in given.items()}
