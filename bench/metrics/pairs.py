"""What a metric is given and what it answers: one Pair in, one Value out, in order.

Only the images a metric asks for are opened (`needs` names them), each once. Where output and goal image are compared
pixel by pixel, the output image is brought to the goal image's size (MagicBrush image_eval.py at fcfc892), PIL bicubic.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np

from bench.records import Example
from bench.settings import EditSettings
from mgie.io.images import load, pixel_hash, resize, to_tensor

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

RESIZE_RULE = "output resized to goal (PIL bicubic uint8)"


class Picture:
    """An image that is read when it is first looked at. Raises mgie.io.images.ImageError then."""

    def __init__(self, path: Path, settings: EditSettings | None = None) -> None:
        self.path, self.settings = path, settings or EditSettings()
        self.ready: dict[str, np.ndarray] = {}  # what a network is given of it, by the network's protocol

    @classmethod
    def of(cls, image: "Image") -> "Picture":
        """An image that is in memory already."""
        picture = cls(Path("in memory"))
        picture.image = image.convert("RGB")  # takes the place of the cached property
        return picture

    @cached_property
    def image(self) -> "Image":
        return load(self.path, self.settings)

    @cached_property
    def sha256(self) -> str:
        return pixel_hash(self.image)


class Marked(Protocol):
    """The mask of an example (bench.datasets.masks.Marked)."""

    def at(self, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool at size (width, height), True = to be edited."""
        ...


@dataclass(frozen=True)
class Pair:
    """One edit and what it is compared with."""

    example: Example
    output: Picture
    goal: Picture | None = None
    input: Picture | None = None
    mask: Marked | None = None


Given = TypeVar("Given")


def given(what: Given | None) -> Given:
    """What a metric asked for by `needs` or `texts`: pairs without it never come to the metric."""
    assert what is not None
    return what


class Value(NamedTuple):
    value: float | None
    reason: str = ""  # why None; else empty


@dataclass
class Latest:
    """The tensors that were made last: metrics that look pixel by pixel ask for the same pair one after the other."""

    output: Picture | None = None
    goal: Picture | None = None
    tensors: "tuple[Tensor, Tensor] | None" = None

    def clear(self) -> None:
        self.output = self.goal = self.tensors = None


LATEST = Latest()


def at_goal_size(pair: Pair) -> tuple["Tensor", "Tensor"]:
    """Output and goal image, (1, 3, H, W) float32 in [0, 1], both at the goal image's size; not to be changed."""
    output, goal = pair.output, given(pair.goal)
    if LATEST.tensors is None or LATEST.output is not output or LATEST.goal is not goal:
        second = LATEST.tensors[1] if LATEST.tensors and LATEST.goal is goal else to_tensor(goal.image)[None]
        LATEST.tensors = to_tensor(resize(output.image, goal.image.size))[None], second
        LATEST.output, LATEST.goal = output, goal
    return LATEST.tensors


def same_shape(name: str, output: "Tensor", goal: "Tensor") -> None:
    if output.shape != goal.shape or output.ndim != 4:
        raise ValueError(
            f"{name}: output is {tuple(output.shape)}, goal is {tuple(goal.shape)}, expected (B, 3, H, W) twice; "
            "resize the output with mgie.io.images.resize first"
        )


def in_unit_range(name: str, *images: "Tensor") -> None:
    """[-1, 1] or 0..255 fed to a metric that wants [0, 1] gives a plausible wrong number: refused at the door."""
    for image in images:
        if not image.is_floating_point() or image.min() < 0 or image.max() > 1:
            raise ValueError(
                f"{name}: {image.dtype} with values {image.min().item():.3g} to {image.max().item():.3g}, expected "
                "floating point in [0, 1]; mgie.io.images.to_tensor makes it"
            )


def too_small(pair: Pair, limit: int, name: str, what: str = "goal") -> Value | None:
    """The answer for a goal image, or what takes its place, with a side under `limit` px."""
    width, height = given(pair.goal).image.size
    if min(width, height) >= limit:
        return None
    return Value(None, f"{name} needs {limit} px on each side, the {what} image has {width}x{height}")


def values(numbers: np.ndarray) -> list[Value]:
    """NaN and infinity are no score."""
    undefined = Value(None, "the network's features are zero or not finite")
    return [Value(float(x)) if np.isfinite(x) else undefined for x in numbers]
