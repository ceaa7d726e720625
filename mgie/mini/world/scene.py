"""A picture before it is pixels: a background, objects on it, and what a person would say of them.

Edits of the miniature world are changes of a Scene; both sides are rendered alike, so removing an object reveals the
very background. Objects are 30 px or more of 64 on their longer side, in proportion at other sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mgie.mini.world import pixels as draw
from mgie.mini.world.assets import Photograph, by_category, photo_pixels, thing_pixels, things
from mgie.mini.world.dice import Dice
from mgie.mini.world.pixels import Image

COLOURS = {
    "red": (255, 20, 20), "orange": (255, 130, 0), "yellow": (255, 225, 0), "green": (20, 200, 30),
    "blue": (20, 80, 255), "purple": (150, 30, 255), "pink": (255, 90, 190),
}  # fmt: skip
SKY = (
    "sun", "moon", "cloud", "rainbow", "airplane", "helicopter", "balloon", "butterfly", "star", "snowflake", "rocket",
)  # fmt: skip
NO_SHADOW = ("sun", "moon", "cloud", "rainbow", "star", "snowflake")
PLURAL = ("grapes", "cherries", "sunglasses", "fries")
UNCOUNTED = ("milk", "coffee", "beer", "wine", "corn", "broccoli", "salad", "chocolate", "candy")
SHADOW = 100  # of 255: how dark a shadow is under the middle of an object


@dataclass(frozen=True)
class Sprite:
    """One object in the picture. x, y: upper left corner of its box in px."""

    name: str
    x: int
    y: int
    width: int
    height: int
    place: str = ""  # in words: "on the left"
    flip: bool = False
    colour: str = ""  # recoloured to; empty: as it comes


@dataclass(frozen=True, eq=False)
class Scene:
    photograph: Photograph
    background: Image
    sprites: tuple[Sprite, ...] = ()
    setting: str = ""  # what replaced or covers the photograph: "a blue background", "at night"; empty: nothing

    @property
    def size(self) -> int:
        return self.background.shape[0]


@lru_cache(maxsize=2048)
def cut_out(name: str, width: int, height: int, flip: bool, colour: str) -> tuple[Image, Image, Image]:
    """Colour, alpha and shadow of an object at a size. The shadow is larger by its margin on every side."""
    ink, alpha = thing_pixels(name)
    both = draw.resample(np.concatenate([ink, alpha], axis=2), width, height)
    both = both[:, ::-1] if flip else both
    a = both[..., 3].astype(np.int32)
    plain = draw.clip((both[..., :3].astype(np.int32) * 255 + a[..., None] // 2) // np.maximum(a, 1)[..., None])
    plain = draw.recolour(plain, COLOURS[colour]) if colour else plain
    alpha = np.ascontiguousarray(both[..., 3])
    margin = shadow_margin(width, height)
    dark = np.pad(alpha, margin)
    dark = draw.blur((dark.astype(np.int32) * SHADOW // 255).astype(np.uint8), margin // 2)
    for array in (plain, alpha, dark):
        array.setflags(write=False)  # shared by every picture that shows it
    return plain, alpha, dark


def shadow_margin(width: int, height: int) -> int:
    return max(2, max(width, height) // 8)


def lay(canvas: Image, sprite: Sprite) -> None:
    colour, alpha, dark = cut_out(sprite.name, sprite.width, sprite.height, sprite.flip, sprite.colour)
    if sprite.name not in NO_SHADOW:
        m = shadow_margin(sprite.width, sprite.height)
        draw.over(canvas, (0, 0, 0), dark, sprite.x - m, sprite.y - m + m // 2)
    draw.over(canvas, colour, alpha, sprite.x, sprite.y)


def render(scene: Scene) -> Image:
    canvas = scene.background.copy()
    for sprite in scene.sprites:
        lay(canvas, sprite)
    return canvas


def silhouette(sprite: Sprite, size: int, shadow: bool = True) -> NDArray[np.bool_]:
    """(size, size): every pixel the object, or its shadow, touches."""
    _, alpha, dark = cut_out(sprite.name, sprite.width, sprite.height, sprite.flip, sprite.colour)
    touched: np.ndarray = np.zeros((size, size, 1), np.uint8)
    draw.over(touched, np.full((*alpha.shape, 1), 255, np.uint8), (alpha > 0) * np.uint8(255), sprite.x, sprite.y)
    if shadow and sprite.name not in NO_SHADOW:
        m = shadow_margin(sprite.width, sprite.height)
        ones = np.full((*dark.shape, 1), 255, np.uint8)
        draw.over(touched, ones, (dark > 0) * np.uint8(255), sprite.x - m, sprite.y - m + m // 2)
    return touched[..., 0] > 0


def uncovered(scene: Scene) -> NDArray[np.bool_]:
    """(size, size): every pixel where the background shows, if only through an object's edge."""
    shows: np.ndarray = np.full((scene.size, scene.size, 1), 255, np.uint8)
    for s in scene.sprites:
        _, alpha, _ = cut_out(s.name, s.width, s.height, s.flip, s.colour)
        draw.over(shows, np.zeros((*alpha.shape, 1), np.uint8), (alpha == 255) * np.uint8(255), s.x, s.y)
    return shows[..., 0] > 0


def background(dice: Dice, photograph: Photograph, size: int) -> Image:
    """A square of 80 to 100 % of the photograph's shorter side, maybe flipped, its tone moved a little."""
    pixels = photo_pixels(photograph.id)
    h, w = pixels.shape[:2]
    side = min(h, w) * dice.between(80, 100) // 100
    x, y = dice.between(0, w - side), dice.between(0, h - side)
    crop = draw.resample(pixels[y : y + side, x : x + side], size, size)
    crop = crop[:, ::-1] if dice.coin() else crop
    crop = draw.line(dice.between(236, 276), 128, dice.between(-8, 8))[crop]
    return draw.scale(crop, dice.between(248, 264), 256, dice.between(248, 264))


def box_of(name: str, longest: int) -> tuple[int, int]:
    """(width, height) of an object whose longer side is `longest`."""
    thing = things()[name]
    long_side = max(thing.width, thing.height)
    return max(4, thing.width * longest // long_side), max(4, thing.height * longest // long_side)


def large(dice: Dice, size: int) -> int:
    """The longer side of an object that has the picture for itself: 32 to 38 px of 64."""
    return dice.between(-(-32 * size // 64), 38 * size // 64)


def half(size: int) -> int:
    """The longer side of an object that shares the picture: just under half of it."""
    return max(-(-30 * size // 64), size // 2 - 1)


PLACES = ("on the left", "in the middle", "on the right")
CORNERS = ("in the upper left", "in the upper right", "in the lower left", "in the lower right")


def put(dice: Dice, name: str, place: str, size: int, longest: int) -> Sprite:
    """An object at a place: flying things high, the others standing low, with a little play."""
    width, height = box_of(name, longest)
    play = dice.between(0, max(1, size // 20))
    if place in CORNERS:
        cell = size // 2
        x = (cell - width) // 2 + (cell if "right" in place else 0)
        y = (cell - height) // 2 + (cell if "lower" in place else 0)
    else:
        x = {"on the left": play, "in the middle": (size - width) // 2, "on the right": size - width - play}[place]
        low = size - height - 1 - dice.between(0, max(1, size // 10))
        y = dice.between(1, max(1, size // 10)) if name in SKY else low
    return Sprite(name, x, max(0, y), width, height, place, dice.coin())


def pick(dice: Dice, scene: Scene, categories: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> str:
    """The name of an object that is not yet to be seen, in the photograph or before it."""
    taken = (*but, *(s.name for s in scene.sprites), scene.photograph.noun)
    groups = by_category()
    names = [n for c in (categories or groups) for n in groups[c] if n not in taken]
    return dice.choice(names)


def with_sprites(scene: Scene, *sprites: Sprite) -> Scene:
    return replace(scene, sprites=sprites)


def empty_or_one(dice: Dice, photograph: Photograph, size: int) -> Scene:
    return one(dice, photograph, size) if dice.coin() else Scene(photograph, background(dice, photograph, size))


def one(dice: Dice, photograph: Photograph, size: int, categories: tuple[str, ...] = ()) -> Scene:
    """One object at one of three places."""
    scene = Scene(photograph, background(dice, photograph, size))
    name = pick(dice, scene, categories)
    return with_sprites(scene, put(dice, name, dice.choice(PLACES), size, large(dice, size)))


def side_by_side(dice: Dice, scene: Scene, names: Sequence[str]) -> Scene:
    """One or two objects, each with its half of the picture; the first is the one an edit is about."""
    sides = dice.shuffled(("on the left", "on the right"))
    size = scene.size
    sprites = [put(dice, name, side, size, half(size)) for name, side in zip(names, sides, strict=False)]
    return with_sprites(scene, *sprites)


def one_or_two(dice: Dice, photograph: Photograph, size: int, categories: tuple[str, ...] = ()) -> Scene:
    if dice.coin():
        return one(dice, photograph, size, categories)
    scene = Scene(photograph, background(dice, photograph, size))
    name = pick(dice, scene, categories)
    return side_by_side(dice, scene, (name, pick(dice, scene, but=(name,))))


def on_one_side(dice: Dice, photograph: Photograph, size: int) -> Scene:
    """One object on the left or on the right, so that another fits beside it."""
    scene = Scene(photograph, background(dice, photograph, size))
    return side_by_side(dice, scene, (pick(dice, scene, but=(*PLURAL, *UNCOUNTED)),))


def a(name: str) -> str:
    """With its article: a duck, an apple, some grapes."""
    if name in PLURAL or name in UNCOUNTED:
        return f"some {name}"
    return f"an {name}" if name[0] in "aeiou" and not name.startswith("uni") else f"a {name}"


def many(name: str) -> str:
    """More than one of it."""
    odd = {"sheep": "sheep", "fish": "fish", "maple leaf": "maple leaves", "tomato": "tomatoes", "snowman": "snowmen"}
    if name in odd:
        return odd[name]
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "ch", "x")) else f"{name}s"


def named(sprite: Sprite) -> str:
    return f"{sprite.colour} {sprite.name}" if sprite.colour else sprite.name


def is_plain(scene: Scene) -> bool:
    """Whether a plain colour took the photograph's place."""
    return scene.setting.endswith(" background")


def behind(scene: Scene) -> str:
    """What there is to see behind the objects: "church", "red background"."""
    return scene.setting.split(" ", 1)[1] if is_plain(scene) else scene.photograph.noun


def caption(scene: Scene) -> str:
    """One sentence for the whole picture, as a caption writer would put it."""
    seen = [f"{a(named(s))} {s.place}" for s in scene.sprites]
    where = a(behind(scene)) if is_plain(scene) else f"{a(behind(scene))} {scene.setting}".strip()
    return f"{' and '.join(seen)} in front of {where}" if seen else f"a photo of {where}"
