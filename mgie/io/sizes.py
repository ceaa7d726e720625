"""At which size a picture is edited and scored: one rule, applied to input, goal and mask alike, for every model.

authors      centre square, 512 x 512, PIL bicubic: demo.ipynb's crop_resize at 835af37. That the paper's numbers are
             of it is an inference: every image that its authors show is such a square
native       its own size, at most 2048 px a side, where MGIE's own limit is
long:N       the longer side N px, aspect kept, the shorter one a multiple of 8, PIL bicubic
square:N     centre square, N x N, PIL bicubic
magicbrush   input: MagicBrush's generation script (edit_cli_single_multi_turn.py at fcfc892); goal and mask at
             their own size
"""

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

AUTHORS = 512  # px
NATIVE_LIMIT = 2048  # px; MGIE's own
KINDS = "authors, native, long:N, square:N, magicbrush"
STEP = 8  # px: the VAE's
MAX_PIXELS = 90_000_000  # a larger image is refused before it is decoded, or made; as RGBA one of this size takes 2 GB


class ImageError(ValueError):
    """An image that cannot be used; the message holds the path and the reason."""


class Rule(NamedTuple):
    kind: str
    side: int = 0  # of long and square


class Cut(NamedTuple):
    """What is taken of a picture, and what it is brought to."""

    box: tuple[float, float, float, float]  # left, upper, right, lower
    size: tuple[int, int]  # (width, height)
    lanczos: bool = False


def parse(text: str) -> Rule:
    """The rule of --size. Raises ValueError for anything else."""
    kind, colon, side = text.partition(":")
    if kind in ("authors", "native", "magicbrush") and not colon:
        return Rule(kind, AUTHORS if kind == "authors" else 0)
    if kind in ("long", "square") and side.isascii() and side.isdigit():
        if int(side) % STEP or not STEP <= int(side) <= 16384:
            raise ValueError(f"--size {text}: N is in px, a multiple of {STEP} from {STEP} to 16384")
        return Rule(kind, int(side))
    raise ValueError(f"--size {text}: expected {KINDS}; for example square:512")


def cut_of(size: tuple[int, int], rule: str | None, max_side: int | None = None) -> Cut:
    """What the rule makes of a picture of this size, (width, height). None: nothing, but for max_side."""
    (width, height), whole = size, (0.0, 0.0, float(size[0]), float(size[1]))
    kind, side = parse(rule) if rule else Rule("")
    if kind in ("authors", "square"):
        edge = min(size)
        left, upper = (width - edge) // 2, (height - edge) // 2
        return Cut((left, upper, left + edge, upper + edge), (side, side))
    if kind == "long":
        scale = side / max(size)
        shorter = max(STEP, round(min(size) * scale / STEP) * STEP)
        return Cut(whole, (side, shorter) if width >= height else (shorter, side))
    if kind == "magicbrush":
        return generation_cut(width, height)
    limit = max_side or (NATIVE_LIMIT if kind == "native" else None)
    if limit and max(size) > limit:
        width, height = (max(1, round(s * limit / max(size))) for s in size)
        return Cut(whole, (width, height))
    return Cut(whole, size)


def generation_cut(width: int, height: int) -> Cut:
    """The longer side 512 px, the shorter one scaled up to a multiple of 64, both down to multiples of 64; the rest is
    cut off evenly, as ImageOps.fit does.
    """
    factor = 512 / max(width, height)
    factor = math.ceil(min(width, height) * factor / 64) * 64 / min(width, height)
    across, down = (max(64, int((side * factor) // 64) * 64) for side in (width, height))
    to = across, down
    if width / height == to[0] / to[1]:
        return Cut((0.0, 0.0, float(width), float(height)), to, True)
    wide = width / height >= to[0] / to[1]
    kept = (to[0] / to[1] * height, float(height)) if wide else (float(width), width / (to[0] / to[1]))
    left, upper = (width - kept[0]) * 0.5, (height - kept[1]) * 0.5
    return Cut((left, upper, left + kept[0], upper + kept[1]), to, True)


def sized(image: "Image", rule: str | None, max_side: int | None = None, nearest: bool = False) -> "Image":
    """The picture by the rule. nearest: for a mask, whose values must not be mixed. Raises ImageError where the rule
    makes an enormous picture, as it does of a thin one.
    """
    from PIL.Image import Resampling

    box, size, lanczos = cut_of(image.size, rule, max_side)
    if size != image.size and size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"--size {rule} makes {size[0]}x{size[1]} px of its {image.width}x{image.height}, over the limit of "
            f"{MAX_PIXELS:,} pixels; give another --size, or cut the picture to less of a strip"
        )
    if box == (0, 0, *image.size) and size == image.size:
        return image
    if not lanczos:  # the script of that rule lets the filter look beyond what it cuts off; crop_resize cuts first
        left, upper, right, lower = map(int, box)
        image = image.crop((left, upper, right, lower))
        box = (0, 0, *image.size)
        if size == image.size:
            return image
    filter = Resampling.NEAREST if nearest else Resampling.LANCZOS if lanczos else Resampling.BICUBIC
    return image.resize(size, filter, box)


def for_goal(rule: str | None) -> str | None:
    """The rule of the goal image, and of the mask, beside an input of this rule."""
    return None if rule == "magicbrush" else rule


def for_given_output(rule: str | None) -> str | None:
    """The rule of an output image that somebody brings: cut like its goal, else as it is. Scoring brings it to size."""
    return rule if rule and parse(rule).kind in ("authors", "square") else None


def one_shape(rule: str | None) -> bool:
    """Whether every picture comes out at one size."""
    return bool(rule and parse(rule).kind in ("authors", "square"))


def described(rule: str | None) -> str:
    """In words, for protocols and heads."""
    kind, side = parse(rule) if rule else Rule("")
    return {
        "": "own size",
        "authors": f"authors (assumed; the paper names none): centre square, {AUTHORS} x {AUTHORS} px, PIL bicubic",
        "native": f"native: own size, at most {NATIVE_LIMIT} px a side",
        "long": f"long:{side}: longer side {side} px, aspect kept, PIL bicubic",
        "square": f"square:{side}: centre square, {side} x {side} px, PIL bicubic",
        "magicbrush": "magicbrush: input by MagicBrush's generation script, goal at its own size",
    }[kind]
