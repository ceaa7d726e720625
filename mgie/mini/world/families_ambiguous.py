"""Families whose instruction does not say what to do: the picture does. Light, colours, text, time of day, season.

Causes are drawn uniformly, so that a model without eyes is at chance. The object families are in families_which.py.
"""

from dataclasses import replace
from hashlib import shake_256

import numpy as np

from mgie.mini.world import pixels as draw
from mgie.mini.world.assets import Photograph
from mgie.mini.world.change import Change, Course, Family, local, overall, the
from mgie.mini.world.dice import Dice
from mgie.mini.world.families_local import night
from mgie.mini.world.pixels import Image, letters
from mgie.mini.world.scene import Scene, background, empty_or_one, large, one, put, render, uncovered, with_sprites

LIGHTS = ("too dark", "too bright", "flat", "one side dark")
CASTS = ("blue", "orange", "green", "faded")
MARKS = ("bar at the top", "bar at the bottom", "watermark", "date stamp")
SEASONS = {"winter": "snowman", "autumn": "maple leaf", "spring": "tulip"}
SPECKS = {
    "winter": ((255, 255, 255),), "autumn": ((220, 90, 20), (235, 160, 30), (170, 40, 20)),
    "spring": ((255, 120, 190), (255, 240, 90), (255, 255, 255)),
}  # fmt: skip
HEADLINES = ("FOR SALE", "BREAKING", "SUMMER", "HOLIDAY", "HELLO", "LIVE NEWS", "WELCOME", "TRAVEL")
MARKED = ("PHOTO", "STOCK", "PROOF", "DEMO", "DRAFT")
# Strengths of the damage, in the order of the families' causes; the benchmark's lie between the training set's.
DARK = {"training": ((2, 1), (5, 2), (3, 1)), "benchmark": ((9, 4), (11, 4))}
FLAT = {"training": (72, 88, 104), "benchmark": (80, 96)}
SIDE = {"training": (36, 52, 68), "benchmark": (44, 60)}
CAST = {"training": (200, 228, 256), "benchmark": (214, 242)}  # how much of the full cast
FULL_CAST = {"blue": (120, 190, 290), "orange": (290, 195, 95), "green": (140, 276, 140)}


def well_lit(image: Image) -> Image:
    """Exposure brought to the middle: what is right must not look like one of the faults."""
    mean = int(draw.luma(image).mean(dtype=np.int64))
    if mean < 85:
        image = draw.gamma(1, 2)[image]
    elif mean > 165:
        image = draw.line(180, 0)[image]
    spread = int(np.abs(draw.luma(image) - 128).mean(dtype=np.int64))
    return draw.line(360)[image] if spread < 26 else image


def lit_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    scene = one(dice, photograph, size)
    return replace(scene, background=well_lit(scene.background))


def damage_light(dice: Dice, image: Image, cause: str, course: Course) -> tuple[Image, str]:
    """The damaged picture, and the words for where or what is wrong with it."""
    if cause == "too dark":
        return draw.gamma(*dice.choice(DARK[course.strengths]))[image], cause
    if cause == "too bright":
        return 255 - draw.gamma(*dice.choice(DARK[course.strengths]))[255 - image], cause
    if cause == "flat":
        return draw.line(dice.choice(FLAT[course.strengths]), 140)[image], cause
    left = dice.coin()
    dark = draw.clip((image * draw.ramp(image.shape[1], left, dice.choice(SIDE[course.strengths]), 75) + 128) >> 8)
    return dark, "left" if left else "right"


def fix_light(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    goal = render(scene)
    damaged, fault = damage_light(dice, goal, cause, course)
    key = {"too dark": "dark", "too bright": "bright", "flat": "flat"}.get(cause, "side")
    return overall(f"fix-light:{key}", scene, damaged, goal, "a well lit photo", {"side": fault}, cause=cause,
                   answer=(fault,))  # fmt: skip


def fix_colours(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    goal = render(scene)
    k = dice.choice(CAST[course.strengths])
    if cause == "faded":
        damaged = draw.mix(goal, draw.line(176, 128, 44)[draw.saturate(goal, 40)], k)
    else:
        damaged = draw.mix(goal, draw.scale(goal, *FULL_CAST[cause]), k)
    key = "faded" if cause == "faded" else "cast"
    return overall(f"fix-colours:{key}", scene, damaged, goal, "a photo with natural colors", {"colour": cause},
                   cause=cause, answer=(cause,))  # fmt: skip


def ink(words: str, stretch: int, bottom: int, size: int, right: bool = False) -> Image:
    """(size, size) alpha of a line of text, its lower edge `bottom` of 64 from the top."""
    text = letters(words, stretch)
    page: np.ndarray = np.zeros((64, 64), np.uint8)
    h, w = min(text.shape[0], 64), min(text.shape[1], 62)
    x = 64 - w - 2 if right else (64 - w) // 2
    page[bottom - h : bottom, x : x + w] = text[:h, :w]
    return draw.enlarge(page, size)


def write_on(dice: Dice, image: Image, cause: str) -> tuple[Image, np.ndarray]:
    """The picture with text on it, and where."""
    size, canvas = image.shape[0], image.copy()
    touched: np.ndarray = np.zeros((64, 64), bool)
    if cause.startswith("bar"):
        top = 0 if cause.endswith("top") else 50
        touched[top : top + 14] = True
        band = draw.enlarge(touched, size) * np.uint8(200)
        draw.over(canvas, dice.choice(((0, 0, 0), (150, 0, 0), (0, 0, 120))), band, 0, 0)
        draw.over(canvas, (255, 255, 255), ink(dice.choice(HEADLINES), 1, top + 11, size), 0, 0)
        return canvas, draw.enlarge(touched, size)
    if cause == "watermark":
        text = ink(dice.choice(MARKED), 2, 39, size)
        colour = (255, 255, 255)
    else:
        year = f"{dice.between(0, 99):02d}"
        text = ink(f"{dice.between(1, 12):02d} {dice.between(10, 28)} {year}", 1, 61, size, right=True)
        colour = (255, 150, 0)
    edge = draw.clip(draw.blur(text, max(1, size // 64)).astype(np.int32) * 3 // 2)
    draw.over(canvas, (0, 0, 0), (edge.astype(np.int32) * 110 // 255).astype(np.uint8), 0, 0)
    strength = 170 if cause == "watermark" else 255
    draw.over(canvas, colour, (text.astype(np.int32) * strength // 255).astype(np.uint8), 0, 0)
    return canvas, (edge > 0) | (text > 0)


def clean_up_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    return empty_or_one(dice, photograph, size)


def clean_up(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    goal = render(scene)
    written, mask = write_on(dice, goal, cause)
    change = overall("clean-up", scene, written, goal, "a clean photo", {"mark": cause}, cause=cause,
                     answer=tuple(cause.replace(" at the ", " ").split()))  # fmt: skip
    return replace(change, mask=mask, local_caption="a photo without text")


def sky_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    scene = Scene(photograph, well_lit(background(dice, photograph, size)))
    body = put(dice, "sun", dice.choice(("on the left", "on the right")), size, size // 2)
    return with_sprites(scene, body)


def twelve_hours(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    """The sun and the moon rise in the same place."""
    by_day, sun = replace(scene, setting="by day"), scene.sprites[0]
    moon = replace(sun, name="moon")
    by_night = with_sprites(replace(scene, background=night(scene.background), setting="at night"), moon)
    before, after = (by_day, by_night) if cause == "day" else (by_night, by_day)
    other = "night" if cause == "day" else "day"
    return local(f"day-and-night:{other}", before, after, the(before.sprites[0]), f"the scene {after.setting}",
                 np.ones((scene.size,) * 2, bool), cause, (f"{cause} into {other}",))  # fmt: skip


def specks(image: Image, season: str, rows: tuple[int, int], many: int) -> Image:
    """Flakes, leaves or flowers at places that belong to the season, not to the picture. rows: per cent."""
    colours = SPECKS[season]
    size, canvas = image.shape[0], image.copy()
    places = shake_256(season.encode()).digest(2 * many)
    unit = max(1, size // 32)
    dot = np.full((unit, unit), 235, np.uint8)
    for i in range(many):
        x = places[2 * i] * (size - unit) // 255
        y = (rows[0] + (rows[1] - rows[0]) * places[2 * i + 1] // 255) * size // 100
        draw.over(canvas, colours[i % len(colours)], dot, x, min(y, size - unit))
    return canvas


def ground(image: Image, colour: tuple[int, int, int], per_cent: int) -> Image:
    """The lowest part of the picture covered in a colour, with a soft and wavy edge."""
    size = image.shape[0]
    wave = np.frombuffer(shake_256(b"hills").digest(8), np.uint8).astype(np.int32)
    x = np.arange(size) * 7 * 256 // max(1, size - 1)
    hills = (wave[x // 256] * (256 - x % 256) + wave[np.minimum(x // 256 + 1, 7)] * (x % 256)) // 256
    edge = size * (100 - per_cent) // 100 - hills * size // 2560
    depth = (np.arange(size)[:, None] - edge[None, :]) * 64 // size
    cover = np.clip(depth * 60, 0, 230)
    canvas = image.copy()
    shaded = (np.array(colour, np.int32) * (256 + 2 * np.minimum(depth, 20)[..., None]) + 128) >> 8
    draw.over(canvas, draw.clip(shaded), cover.astype(np.uint8), 0, 0)
    return canvas


def in_season(image: Image, season: str) -> Image:
    if season == "winter":
        cold = draw.scale(draw.gamma(3, 4)[draw.saturate(image, 70)], 226, 246, 282)
        return specks(ground(cold, (235, 243, 255), 30), season, (0, 75), 46)
    if season == "autumn":
        brown = draw.tint(draw.scale(image, 280, 230, 150), (176, 112, 48), 120)
        return specks(ground(brown, (150, 88, 30), 26), season, (66, 97), 60)
    fresh = draw.scale(draw.saturate(draw.gamma(4, 5)[image], 300), 230, 284, 220)
    return specks(ground(fresh, (70, 165, 50), 28), season, (70, 96), 44)


def season_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    scene = Scene(photograph, background(dice, photograph, size))
    place = dice.choice(("on the left", "in the middle", "on the right"))
    return with_sprites(scene, put(dice, SEASONS[cause], place, size, large(dice, size)))


def match_season(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    after = replace(scene, background=in_season(scene.background, cause), setting=f"in {cause}")
    words = {"season": cause, **the(scene.sprites[0])}
    return local("season", scene, after, words, f"the scene in {cause}", uncovered(scene), cause, (cause,))


SEEN = [
    Family("fix-light", lit_stage, fix_light, ("lightness",), True, LIGHTS),
    Family("fix-colours", lit_stage, fix_colours, ("hue", "tint"), True, CASTS),
    Family("day-and-night", sky_stage, twelve_hours, ("color_bg",), False, ("day", "night")),
    Family("season", season_stage, match_season, ("color_bg",), False, tuple(SEASONS)),
    Family("clean-up", clean_up_stage, clean_up, ("inpaint_obj",), False, MARKS),
]
