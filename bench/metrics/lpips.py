"""LPIPS: learned perceptual distance between output and goal image. Lower is better; 0 for equal images.

Convention: the `lpips` package, v0.1, alex by default; images go in as [-1, 1] ([0, 1] gives too low a distance). The
paper does not say which network: alex, vgg and squeeze are three scales, named in the protocol and never mixed.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.metrics.networks import perceptual as backbone
from bench.metrics.networks.features import FeatureCache
from bench.metrics.pairs import RESIZE_RULE, Pair, Value, at_goal_size, in_unit_range, same_shape, too_small
from bench.settings import MetricSettings

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 32  # px; below it the last layers of alex (31), squeeze (17) and vgg (16) have nothing left


def lpips(output: "Tensor", goal: "Tensor", network: backbone.Perceptual) -> "Tensor":
    """output, goal: (B, 3, H, W) in [0, 1]. Returns (B,)."""
    same_shape("lpips", output, goal)
    in_unit_range("lpips", output, goal)
    return network.distance(2 * output - 1, 2 * goal - 1)


class LPIPS:
    name, needs, networks = "lpips", ("goal_image",), ("lpips",)

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.settings, self.weights = settings, backbone.find(settings)
        self.protocol = f"lpips: {backbone.describe(settings, self.weights)}, {RESIZE_RULE}, [-1, 1]"

    @staticmethod
    def variant(settings: MetricSettings, name: str) -> MetricSettings:
        """lpips@alex, @vgg, @squeeze. The network of the settings keeps its weights; another one has the package's."""
        if name not in backbone.OFFICIAL:
            raise ValueError(f"--metrics lpips@{name}: expected lpips@{', lpips@'.join(backbone.OFFICIAL)}")
        usual = MetricSettings()
        if name == settings.lpips:
            return settings
        return replace(settings, lpips=name, lpips_weights=None, lpips_heads=usual.lpips_heads)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        return [too_small(pair, SMALLEST, "LPIPS") or self.of(pair) for pair in pairs]

    def of(self, pair: Pair) -> Value:
        s = self.settings
        network = backbone.perceptual(s.lpips, self.weights, s.lpips_heads, s.metric_device)
        value = lpips(*at_goal_size(pair), network).item()
        return Value(value) if value == value else Value(None, "LPIPS is not a number: its network overflowed")
