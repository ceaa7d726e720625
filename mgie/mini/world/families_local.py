"""Families that change an object or what is around it, and name it: add, remove, replace, recolour, background, blur.

Outside the mask nothing changes; the mask holds the object and its soft shadow.
"""

from dataclasses import replace

import numpy as np

from mgie.mini.world import pixels as draw
from mgie.mini.world.assets import Photograph, by_category, things
from mgie.mini.world.change import Change, Course, Family, local, the
from mgie.mini.world.dice import Dice
from mgie.mini.world.families_global import STRENGTHS
from mgie.mini.world.pixels import Image
from mgie.mini.world.scene import (
    COLOURS,
    PLACES,
    Scene,
    Sprite,
    a,
    background,
    behind,
    box_of,
    half,
    large,
    named,
    on_one_side,
    one,
    one_or_two,
    pick,
    put,
    silhouette,
    uncovered,
    with_sprites,
)

# What add, replace and make a pair bring in: unlike each other in colour and outline, so that an editor of two million
# weights can learn what each looks like. The other objects are there to be seen, removed, recoloured and kept.
NEW_OBJECTS = ("eggplant", "hamburger", "pig", "duck", "penguin", "whale", "basketball", "cactus", "sunflower",
               "umbrella", "gift", "heart")  # fmt: skip
BACKDROPS = {
    "blue": (70, 120, 235), "green": (60, 175, 90), "red": (215, 60, 60), "yellow": (245, 215, 80),
    "purple": (145, 90, 205), "pink": (245, 145, 195), "orange": (245, 150, 60), "white": (245, 245, 245),
}  # fmt: skip
# What each object is not recoloured to, as it has that colour already; objects of many colours are left out.
OWN_COLOUR = {
    "apple": "red", "pear": "green", "strawberry": "red", "lemon": "yellow", "tomato": "red",
    "eggplant": "purple", "mushroom": "red", "pig": "pink", "whale": "blue", "fish": "blue", "butterfly": "red",
    "car": "red", "bus": "orange", "bicycle": "red", "taxi": "yellow", "helicopter": "orange", "tree": "green",
    "cactus": "green", "tulip": "pink", "rose": "red", "maple leaf": "red", "umbrella": "purple", "balloon": "red",
    "gift": "yellow", "hat": "purple", "crown": "yellow", "guitar": "red", "clock": "red", "key": "yellow",
    "tent": "green", "heart": "red", "star": "yellow", "backpack": "red", "drum": "red", "elephant": "",
    "rabbit": "", "chair": "", "rocket": "red", "snowflake": "blue", "book": "blue", "duck": "", "penguin": "purple",
}  # fmt: skip
NEAR = {
    "red": ("pink", "orange"), "pink": ("red", "purple"), "orange": ("red", "yellow"), "yellow": ("orange",),
    "purple": ("pink", "blue"), "blue": ("purple",), "green": (), "": (),
}  # fmt: skip


def unlike_the_rest(scene: Scene) -> list[Sprite]:
    """The objects that "the <name>" means beyond doubt."""
    names = [s.name for s in scene.sprites]
    return [s for s in scene.sprites if names.count(s.name) == 1]


def has_one_to_name(scene: Scene) -> bool:
    return bool(unlike_the_rest(scene))


def has_room(scene: Scene) -> bool:
    """Nothing in it, or one object that leaves the other half free."""
    if not scene.sprites:
        return True
    first = scene.sprites[0]
    return len(scene.sprites) == 1 and first.place != PLACES[1] and max(first.width, first.height) <= half(scene.size)


def pick_new(dice: Dice, scene: Scene) -> str:
    return pick(dice, scene, but=tuple(name for name in things() if name not in NEW_OBJECTS))


def add_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    if dice.coin():
        return on_one_side(dice, photograph, size)
    return Scene(photograph, background(dice, photograph, size))


def add(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    if scene.sprites:
        place, longest = next(p for p in (PLACES[0], PLACES[2]) if p != scene.sprites[0].place), half(scene.size)
    else:
        place, longest = dice.choice(PLACES), large(dice, scene.size)
    if course.anything:
        new = put(dice, pick(dice, scene), place, scene.size, longest)
    else:
        new = replace(put(dice, pick_new(dice, scene), place, scene.size, longest), flip=False)
    after = with_sprites(scene, *scene.sprites, new)
    return local("add", scene, after, {"new": new.name, "a_new": a(new.name), **the(new)}, f"{a(new.name)} {place}")


def remove(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    single = unlike_the_rest(scene)
    gone = (single or scene.sprites)[0]
    after = with_sprites(scene, *(s for s in scene.sprites if s is not gone))
    words = the(gone) if single else {"object": f"{named(gone)} {gone.place}", "place": ""}
    return local("remove", scene, after, words, f"{a(behind(scene))} with nothing {gone.place}")


def swap(sprite: Sprite, name: str, size: int) -> Sprite:
    """Another object in the same place: same longer side, same middle, standing on the same line."""
    width, height = box_of(name, max(sprite.width, sprite.height))
    x = min(max(0, sprite.x + (sprite.width - width) // 2), size - width)
    y = min(max(0, sprite.y + sprite.height - height), size - height)
    return Sprite(name, x, y, width, height, sprite.place, sprite.flip)


def swap_for_new(dice: Dice, scene: Scene, sprite: Sprite) -> Sprite:
    """One of NEW_OBJECTS in its place, as it comes."""
    return replace(swap(sprite, pick_new(dice, scene), scene.size), flip=False)


def exchange(scene: Scene, old: Sprite, new: Sprite) -> Scene:
    return with_sprites(scene, *(new if s is old else s for s in scene.sprites))


def replace_object(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    old = unlike_the_rest(scene)[0]
    if course.anything:
        kin = by_category()[things()[old.name].category]
        name = pick(dice, scene, (things()[old.name].category,) if dice.coin() and len(kin) > 4 else ())
        new = swap(old, name, scene.size)
    else:
        new = swap_for_new(dice, scene, old)
    words = {"new": new.name, "a_new": a(new.name), **the(old)}
    return local("replace", scene, exchange(scene, old, new), words, f"{a(new.name)} {new.place}")


def recolour_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    scene = one(dice, photograph, size)
    sprite = scene.sprites[0]
    name = dice.choice([n for n in OWN_COLOUR if n != photograph.noun])
    return exchange(scene, sprite, swap(sprite, name, size))


def recolourable(scene: Scene) -> list[Sprite]:
    return [s for s in unlike_the_rest(scene) if s.name in OWN_COLOUR and not s.colour]


def recolour(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    old = recolourable(scene)[0]
    own = OWN_COLOUR[old.name]
    colour = dice.choice([c for c in COLOURS if c not in (own, *NEAR[own])])
    new = replace(old, colour=colour)
    mask = silhouette(old, scene.size, shadow=False)
    words = {"colour": colour, **the(old)}
    return local("recolour", scene, exchange(scene, old, new), words, f"{a(named(new))} {new.place}", mask)


def backdrop(size: int, colour: tuple[int, int, int]) -> Image:
    """A studio wall: one colour, a little darker towards the floor."""
    light: np.ndarray = 256 - 70 * np.arange(size, dtype=np.int32)[:, None, None] // size
    return draw.clip((np.array(colour, np.int32) * light + 128) >> 8).repeat(size, axis=1)


def night(image: Image) -> Image:
    return draw.scale(draw.saturate(image, 128), 62, 78, 140)


def show_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    return one(dice, photograph, size)


def has_its_background(scene: Scene) -> bool:
    return bool(scene.sprites) and not scene.setting


def shows_a_place(scene: Scene) -> bool:
    return bool(scene.sprites) and scene.setting in ("", "out of focus")


def change_background(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    skies = any(s.name in ("sun", "moon") for s in scene.sprites)  # no night with a sun, or with two moons
    colour = dice.choice((*BACKDROPS, *(() if skies else ("night", "night"))))
    words = {"colour": colour, **the(scene.sprites[0])}
    if colour != "night":
        setting = f"a {colour} background" if colour != "orange" else "an orange background"
        after = replace(scene, background=backdrop(scene.size, BACKDROPS[colour]), setting=setting)
        return local("background:colour", scene, after, words, setting, uncovered(scene))
    dark = replace(scene, background=night(scene.background), setting="at night")
    width, height = box_of("moon", 20 * scene.size // 64)
    left = any("left" not in s.place for s in scene.sprites)
    margin = scene.size // 32
    moon = Sprite("moon", margin if left else scene.size - width - margin, margin, width, height,
                  "in the upper left" if left else "in the upper right")  # fmt: skip
    after = with_sprites(dark, moon, *dark.sprites)
    words |= {"place": moon.place}
    return local("background:night", scene, after, words, "the scene at night", uncovered(scene))


def blur_background(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    radius = STRENGTHS[course.strengths]["blur"] * scene.size // 64
    after = replace(scene, background=draw.blur(scene.background, radius), setting="out of focus")
    sprite = scene.sprites[0]
    return local("blur-background", scene, after, the(sprite), f"{a(named(sprite))} before a blurred background",
                 uncovered(scene))  # fmt: skip


def objects_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    return one_or_two(dice, photograph, size)


LOCAL = [
    Family("blur-background", show_stage, blur_background, ("gaussain_blur",), False, fits=has_its_background),
    Family("add", add_stage, add, (), False, fits=has_room),
    Family("remove", objects_stage, remove, ("inpaint_obj",), False, fits=lambda s: bool(s.sprites)),
    Family("replace", objects_stage, replace_object, (), False, fits=has_one_to_name),
    Family("recolour", recolour_stage, recolour, ("hue",), False, fits=lambda s: bool(recolourable(s))),
    Family("background", show_stage, change_background, ("color_bg",), False, fits=shows_a_place),
]
