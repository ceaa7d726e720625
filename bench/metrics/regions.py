"""Where and against what a metric looks: inside or outside the mask, against the goal image or the input image.

l1@outside, l1@inside: the mean over the pixels outside or inside the mask, never over the whole picture. l1@input: the
same metric of output and input image. Both may be joined: l1@input@outside.
The mask is brought to the size of the picture that the output is compared with (nearest), then grown by --mask-grow px
to all sides (a square); inside is the grown mask, outside is all the rest. Where nothing is left there is no value.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.metrics.pairs import Pair, Picture, Value, at_goal_size, given
from bench.registry import METRICS, load, metric_of, plain
from bench.settings import MetricSettings

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from bench.metrics.networks.features import FeatureCache

INSIDE, OUTSIDE, INPUT = "inside", "outside", "input"
REGIONS = (INSIDE, OUTSIDE)
EVERYWHERE = (*REGIONS, INPUT)


@dataclass(frozen=True)
class Look:
    """How one metric looks at its pairs."""

    region: str = ""  # inside, outside; empty: the whole picture
    against: str = "goal"  # or input
    grow: int = 0  # px

    @classmethod
    def of(cls, settings: MetricSettings) -> "Look":
        return cls(settings.region, settings.against, settings.mask_grow if settings.region else 0)

    def needs(self, usual: tuple[str, ...]) -> tuple[str, ...]:
        """What of an example the metric looks at, where it usually looks at these."""
        found = tuple("input_image" if n == "goal_image" and self.against == INPUT else n for n in usual)
        return (*found, "mask") if self.region else found

    def protocol(self, usual: str) -> str:
        """usual: of the whole picture against the goal image."""
        said = usual.replace("goal", INPUT) if self.against == INPUT else usual
        return f"{said}, {self.words}" if self.region else said

    @property
    def words(self) -> str:
        return f"only {self.region} the mask (resized to {self.against}, nearest; grown by {self.grow} px)"

    def pair(self, pair: Pair) -> Pair:
        """The pair with that as its goal image which the output is compared with."""
        return replace(pair, goal=pair.input) if self.against == INPUT else pair

    def kept(self, pair: Pair, picture: "Tensor") -> np.ndarray | Value:
        """Which pixels of the picture, (..., H, W), count, as (H, W) bool; or why none does."""
        height, width = picture.shape[-2:]
        mask = grown(given(pair.mask).at((width, height)), self.grow)
        kept = mask if self.region == INSIDE else ~mask
        return kept if kept.any() else Value(None, self.nothing)

    @property
    def nothing(self) -> str:
        by = f", grown by {self.grow} px," * bool(self.grow)
        return "the mask marks nothing" if self.region == INSIDE else f"the mask{by} leaves nothing outside"


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    """mask: (H, W) bool. Every pixel at most `by` px from a marked one, along both axes, is marked too."""
    if not by:
        return mask
    from scipy.ndimage import maximum_filter

    return maximum_filter(mask, size=2 * by + 1, mode="constant", cval=0)


def masked(output: "Tensor", goal: "Tensor", kept: np.ndarray) -> tuple["Tensor", "Tensor"]:
    """output, goal: (1, 3, H, W); kept: (H, W) bool. Returns both as (1, 3, n, 1): the pixels that count alone."""
    import torch

    where = torch.tensor(kept)
    return output[:, :, where][..., None], goal[:, :, where][..., None]


class OfPixels:
    """A metric that is a mean over pixels: of the whole picture, or of those that count alone."""

    networks: tuple[str, ...] = ()
    by_pair = True
    needs: tuple[str, ...] = ("goal_image",)
    says: str  # the protocol, of the whole picture against the goal image

    def __init__(self, settings: MetricSettings, features: "FeatureCache") -> None:
        self.look = Look.of(settings)
        self.needs = self.look.needs(OfPixels.needs)
        self.protocol = self.look.protocol(self.says)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        return [self.of(self.look.pair(pair)) for pair in pairs]

    def of(self, pair: Pair) -> Value:
        output, goal = at_goal_size(pair)
        if self.look.region:
            kept = self.look.kept(pair, goal)
            if isinstance(kept, Value):
                return kept
            output, goal = masked(output, goal, kept)
        return Value(self.distance(output, goal).item())

    def distance(self, output: "Tensor", goal: "Tensor") -> "Tensor":
        """output, goal: (1, 3, H, W) in [0, 1]. Returns (1,) float64."""
        raise NotImplementedError


def blackened(image: "Image", kept: np.ndarray) -> Picture:
    """The picture with all that does not count black, as PIE-Bench's CLIP of the edited part has it."""
    from PIL import Image

    return Picture.of(Image.fromarray(np.where(kept[..., None], np.asarray(image), 0).astype(np.uint8)))


def variant_of(name: str, allowed: tuple[str, ...] = EVERYWHERE) -> Callable[[MetricSettings, str], MetricSettings]:
    """The variants of a metric that has no others."""

    def variant(settings: MetricSettings, said: str) -> MetricSettings:
        found = placed(settings, said, allowed)
        if found is None:
            known = ", ".join(f"{name}@{where}" for where in allowed)
            raise ValueError(f"--metrics {name}@{said}: {name} has no variants called {said}; expected {known}")
        return found

    return variant


def placed(settings: MetricSettings, said: str, allowed: tuple[str, ...] = EVERYWHERE) -> MetricSettings | None:
    """The settings of a variant that says where or against what; None: it says something else."""
    if said not in allowed:
        return None
    return replace(settings, against=INPUT) if said == INPUT else replace(settings, region=said)


def needs_of(name: str) -> tuple[str, ...]:
    """What of an example a metric of this name looks at, known without its network."""
    look = Look.of(metric_of(name, MetricSettings()))
    return look.needs(load(METRICS, plain(name), "metric").needs)
