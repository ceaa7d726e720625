"""Families that change the whole picture and say so: exposure, colour, black and white, sharpness.

Strengths come in two sets, training and benchmark, so that a benchmark asks for amounts no training example had.
"""

from functools import partial
from typing import Any

from mgie.mini.world import pixels as draw
from mgie.mini.world.assets import Photograph
from mgie.mini.world.change import Change, Course, Family, overall
from mgie.mini.world.dice import Dice
from mgie.mini.world.pixels import Image
from mgie.mini.world.scene import Scene, empty_or_one, render

# (little, plain, much) of training and benchmarks; gamma exponents as fractions, the rest in 256ths.
STRENGTHS: dict[str, dict[str, Any]] = {
    "training": {
        "brightness:up": ((3, 4), (3, 5), (2, 5)), "brightness:down": ((4, 3), (5, 3), (5, 2)),
        "contrast:up": (336, 400, 528), "contrast:down": (184, 144, 88),
        "saturation:up": (368, 464, 640), "saturation:down": (160, 104, 48),
        "warm": ((276, 258, 222), (292, 260, 190), (310, 262, 150)),
        "cool": ((222, 254, 280), (190, 252, 300), (156, 248, 320)),
        "sharpen": (384, 512, 704), "blur": 2,
    },
    "benchmark": {
        "brightness:up": ((4, 5), (2, 3), (1, 2)), "brightness:down": ((5, 4), (3, 2), (2, 1)),
        "contrast:up": (320, 368, 464), "contrast:down": (196, 160, 112),
        "saturation:up": (352, 416, 544), "saturation:down": (176, 128, 72),
        "warm": ((272, 257, 228), (284, 259, 206), (300, 261, 170)),
        "cool": ((228, 254, 274), (206, 252, 290), (172, 250, 310)),
        "sharpen": (352, 448, 608), "blur": 3,
    },
}  # fmt: skip
LOOKS = {
    "brightness:up": "a bright photo", "brightness:down": "a dark photo", "contrast:up": "a photo with strong contrast",
    "contrast:down": "a photo with soft contrast", "saturation:up": "a colorful photo",
    "saturation:down": "a photo with pale colors", "warm": "a warm photo", "cool": "a cool photo",
    "black-white": "a black and white photo", "sepia": "a sepia photo", "invert": "a negative",
    "sharpen": "a sharp photo",
}  # fmt: skip


def treat(image: Image, key: str, strengths: str, level: int) -> Image:
    """The goal of a global edit, as a function of its input."""
    strength = STRENGTHS[strengths].get(key, (0, 0, 0))[level]
    if key.startswith("brightness"):
        return draw.gamma(*strength)[image]
    if key.startswith("contrast"):
        return draw.line(strength)[image]
    if key.startswith("saturation"):
        return draw.saturate(image, strength)
    if key in ("warm", "cool"):
        return draw.scale(image, *strength)
    if key == "sharpen":
        return draw.sharpen(image, max(1, image.shape[0] // 64), strength)
    return {"black-white": lambda i: draw.saturate(i, 0), "sepia": draw.sepia, "invert": lambda i: 255 - i}[key](image)


def change(dice: Dice, scene: Scene, cause: str, course: Course, variants: tuple[str, ...]) -> Change:
    key, level = dice.choice(variants), dice.below(3)
    before = render(scene)
    if key == "sharpen":  # what is to be sharpened is soft
        before = draw.blur(before, max(1, scene.size // 64))
    return retouched(scene, before, key, course.strengths, level)


def retouched(scene: Scene, before: Image, key: str, strengths: str, level: int) -> Change:
    """A picture of the scene, whatever was done to it, with one global edit."""
    return overall(key, scene, before, treat(before, key, strengths, level), LOOKS[key], level=level)


def stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    return empty_or_one(dice, photograph, size)


def family(name: str, operator: str, *variants: str) -> Family:
    keys = tuple(f"{name}:{v}" for v in variants) or (name,)
    return Family(name, stage, partial(change, variants=keys), (operator,), is_global=True)


GLOBAL = [
    family("brightness", "brightness", "up", "down"),
    family("contrast", "contrast", "up", "down"),
    family("saturation", "saturation", "up", "down"),
    family("black-white", "black&white"),
    family("sepia", "tint"),
    family("warm", "tint"),
    family("cool", "tint"),
    family("invert", "hue"),
    family("sharpen", "sharpness"),
]
