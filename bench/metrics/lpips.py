"""LPIPS: learned perceptual distance between output and goal image. Lower is better; 0 for equal images.

Convention: the `lpips` package, v0.1, alex by default; images go in as [-1, 1] ([0, 1] gives too low a distance). The
paper does not say which network: alex, vgg and squeeze are three scales, named in the protocol and never mixed.
Variants beside the networks: lpips@outside, lpips@inside: the other side of both pictures is the goal's, so that it
adds nothing, and the package's spatial map is averaged over the pixels that count; lpips@input: against the input.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.metrics.networks import perceptual as backbone
from bench.metrics.networks.features import FeatureCache
from bench.metrics.pairs import (
    RESIZE_RULE,
    Pair,
    Picture,
    Value,
    at_goal_size,
    given,
    in_unit_range,
    same_shape,
    too_small,
)
from bench.metrics.regions import EVERYWHERE, Look, placed
from bench.settings import MetricSettings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SMALLEST = 32  # px; below it the last layers of alex (31), squeeze (17) and vgg (16) have nothing left


def lpips(
    output: "Tensor", goal: "Tensor", network: backbone.Perceptual, made: "list[Tensor] | None" = None
) -> "Tensor":  # fmt: skip
    """output, goal: (B, 3, H, W) in [0, 1]; made: features_of the goal, where they are there. Returns (B,)."""
    same_shape("lpips", output, goal)
    in_unit_range("lpips", output, goal)
    return network.between(network.features(2 * output - 1), made or features_of(goal, network))


def features_of(image: "Tensor", network: backbone.Perceptual) -> "list[Tensor]":
    """image: (B, 3, H, W) in [0, 1]. What each layer makes of it."""
    return network.features(2 * image - 1)


def lpips_within(
    output: "Tensor", goal: "Tensor", kept: "np.ndarray", network: backbone.Perceptual
) -> "Tensor":  # fmt: skip
    """output, goal: (B, 3, H, W) in [0, 1]; kept: (H, W) bool, not all False. Returns (B,) float64."""
    import torch

    same_shape("lpips", output, goal)
    in_unit_range("lpips", output, goal)
    where = torch.tensor(kept)
    output = torch.where(where, output, goal)
    return network.distances(2 * output - 1, 2 * goal - 1)[:, where].double().mean(dim=1)


class LPIPS:
    name, networks, by_pair = "lpips", ("lpips",), True
    needs: tuple[str, ...] = ("goal_image",)

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.goal: tuple[Picture, list[Tensor]] | None = None  # the last one and its features: 10 MB at 512 px
        self.settings, self.weights = settings, backbone.find(settings)
        self.look = Look.of(settings)
        self.needs = self.look.needs(LPIPS.needs)
        usual = f"lpips: {backbone.describe(settings, self.weights)}, {RESIZE_RULE}, [-1, 1]"
        self.protocol = self.look.protocol(usual) + ", mean of the spatial map" * bool(self.look.region)

    @staticmethod
    def variant(settings: MetricSettings, name: str) -> MetricSettings:
        """lpips@alex, @vgg, @squeeze. The network of the settings keeps its weights; another one has the package's."""
        if found := placed(settings, name):
            return found
        if name not in backbone.OFFICIAL:
            known = ", lpips@".join([*backbone.OFFICIAL, *EVERYWHERE])
            raise ValueError(f"--metrics lpips@{name}: expected lpips@{known}")
        usual = MetricSettings()
        if name == settings.lpips:
            return settings
        return replace(settings, lpips=name, lpips_weights=None, lpips_heads=usual.lpips_heads)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        compared = [self.look.pair(pair) for pair in pairs]
        return [too_small(pair, SMALLEST, "LPIPS", self.look.against) or self.of(pair) for pair in compared]

    def of(self, pair: Pair) -> Value:
        s = self.settings
        network = backbone.perceptual(s.lpips, self.weights, s.lpips_heads, s.metric_device)
        output, goal = at_goal_size(pair)
        if self.look.region:
            kept = self.look.kept(pair, goal)
            if isinstance(kept, Value):
                return kept
            value = lpips_within(output, goal, kept, network).item()
        else:
            value = lpips(output, goal, network, self.goal_features(pair, goal, network)).item()
        return Value(value) if value == value else Value(None, "LPIPS is not a number: its network overflowed")

    def goal_features(self, pair: Pair, goal: "Tensor", network: backbone.Perceptual) -> "list[Tensor]":
        """Made once where outputs of several runs are compared with one goal image, one after the other."""
        picture = given(pair.goal)
        if self.goal is None or self.goal[0] is not picture:
            self.goal = None  # let go before the next are made
            self.goal = picture, features_of(goal, network)
        return self.goal[1]

    def let_go(self) -> None:
        """Nothing more comes of the last goal image."""
        self.goal = None
