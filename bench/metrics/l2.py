"""L2: mean squared pixel difference between output and goal image. Lower is better; range [0, 1].

Convention: MagicBrush image_eval.py at fcfc892: output resized to the goal's size, mean over pixels and RGB, one value
a pair, no root. Squares and sum run in float64. As L1 it rewards doing nothing, and it weighs few large errors more.
Variants as L1's: l2@inside, l2@outside, l2@input.
"""

from typing import TYPE_CHECKING

from bench.metrics.pairs import RESIZE_RULE, in_unit_range, same_shape
from bench.metrics.regions import OfPixels, variant_of

if TYPE_CHECKING:
    from torch import Tensor


def l2(output: "Tensor", goal: "Tensor") -> "Tensor":
    """output, goal: (B, 3, H, W) in [0, 1]. Returns (B,) float64: one value a pair, never the batch mean."""
    same_shape("l2", output, goal)
    in_unit_range("l2", output, goal)
    return (output - goal).double().square_().flatten(1).mean(dim=1)


class L2(OfPixels):
    name = "l2"
    variant = staticmethod(variant_of("l2"))
    says = f"l2: {RESIZE_RULE}, [0, 1], mean of squares over RGB in float64"

    def distance(self, output: "Tensor", goal: "Tensor") -> "Tensor":
        return l2(output, goal)
