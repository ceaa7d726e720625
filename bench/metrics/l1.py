"""L1: mean absolute pixel difference between output and goal image. Lower is better; range [0, 1].

Convention: MagicBrush image_eval.py at fcfc892: output resized to the goal's size, mean over pixels and RGB, one value
a pair. The sum runs in float64. Rewards doing nothing on small edits: read it beside the identity row.
Variants: l1@inside, l1@outside the mask: the mean over its pixels alone; l1@input: against the input image.
"""

from typing import TYPE_CHECKING

from bench.metrics.pairs import RESIZE_RULE, in_unit_range, same_shape
from bench.metrics.regions import OfPixels, variant_of

if TYPE_CHECKING:
    from torch import Tensor


def l1(output: "Tensor", goal: "Tensor") -> "Tensor":
    """output, goal: (B, 3, H, W) in [0, 1]. Returns (B,) float64: one value a pair, never the batch mean."""
    import torch

    same_shape("l1", output, goal)
    in_unit_range("l1", output, goal)
    return (output - goal).abs_().flatten(1).mean(dim=1, dtype=torch.float64)


class L1(OfPixels):
    name = "l1"
    variant = staticmethod(variant_of("l1"))
    says = f"l1: {RESIZE_RULE}, [0, 1], mean over RGB in float64"

    def distance(self, output: "Tensor", goal: "Tensor") -> "Tensor":
        return l1(output, goal)
