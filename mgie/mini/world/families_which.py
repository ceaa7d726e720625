"""Families whose instruction does not say which object, or where: one has to see.

Healthy, odd one out, make a pair, subject, keep the animal. Causes are drawn uniformly, so that a model without eyes
is at chance.
"""

from dataclasses import replace

from mgie.mini.world import pixels as draw
from mgie.mini.world.assets import Photograph, things
from mgie.mini.world.change import Change, Course, Family, local, the
from mgie.mini.world.dice import Dice
from mgie.mini.world.families_local import NEW_OBJECTS, exchange, swap, swap_for_new
from mgie.mini.world.scene import (
    CORNERS,
    PLACES,
    PLURAL,
    UNCOUNTED,
    Scene,
    Sprite,
    a,
    background,
    half,
    large,
    many,
    named,
    on_one_side,
    pick,
    put,
    side_by_side,
    uncovered,
    with_sprites,
)

HEALTHY = {
    "hamburger": "apple", "pizza": "tomato", "fries": "carrot", "donut": "orange", "hot dog": "banana",
    "ice cream": "strawberry", "cake": "watermelon", "cookie": "kiwi", "chocolate": "eggplant", "candy": "grapes",
}  # fmt: skip
FOOD = ("fruit", "vegetable", "junk food", "drink")
SIDES = (PLACES[0], PLACES[2])


def healthy_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    """The food alone, or beside something that is not food."""
    scene = Scene(photograph, background(dice, photograph, size))
    if dice.coin():
        return with_sprites(scene, put(dice, cause, dice.choice(PLACES), size, large(dice, size)))
    other = pick(dice, scene, tuple(c for c in categories() if c not in FOOD))
    return side_by_side(dice, scene, (cause, other))


def categories() -> tuple[str, ...]:
    return tuple(dict.fromkeys(thing.category for thing in things().values()))


def junk(scene: Scene) -> list[Sprite]:
    return [s for s in scene.sprites if s.name in HEALTHY and not s.colour]


def make_healthy(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    old = junk(scene)[0]
    name = HEALTHY[old.name]
    words = {"new": name, "a_new": a(name), **the(old)}
    new = swap(old, name, scene.size)
    after = exchange(scene, old, new if course.anything else replace(new, flip=False))
    return local("healthy", scene, after, words, f"{a(name)} {old.place}", None, old.name, (old.name, name))


def odd_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    """Two of a kind and one other in three of the four corners; the first is the odd one, at the cause."""
    scene = Scene(photograph, background(dice, photograph, size))
    odd = pick(dice, scene)
    same = pick(dice, scene, tuple(c for c in categories() if c != things()[odd].category), but=(*PLURAL, *UNCOUNTED))
    places = dice.shuffled([c for c in CORNERS if c != cause])[:2]
    twin = put(dice, same, places[0], size, half(size))
    second = replace(put(dice, same, places[1], size, half(size)), flip=twin.flip)
    return with_sprites(scene, put(dice, odd, cause, size, half(size)), twin, second)


def remove_odd(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    odd, twin = scene.sprites[:2]
    words = {**the(odd), "others": f"the two {many(twin.name)}"}
    after = with_sprites(scene, *scene.sprites[1:])
    return local("odd-one-out", scene, after, words, f"two {many(twin.name)}", None, cause, (odd.name, odd.place))


def pair_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    """Cause is the side that is still free."""
    scene = on_one_side(dice, photograph, size)
    sprite = scene.sprites[0]
    taken = next(side for side in SIDES if side != cause)
    return scene if sprite.place == taken else with_sprites(scene, across(sprite, size))


def across(sprite: Sprite, size: int) -> Sprite:
    """The same object as far from the other edge."""
    other = next(side for side in SIDES if side != sprite.place)
    return replace(sprite, x=size - sprite.width - sprite.x, place=other)


def is_single(scene: Scene) -> bool:
    if len(scene.sprites) != 1:
        return False
    sprite = scene.sprites[0]
    fits = max(sprite.width, sprite.height) <= half(scene.size)
    return sprite.place in SIDES and fits and sprite.name in NEW_OBJECTS


def make_pair(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    sprite = scene.sprites[0]
    if not (course.anything or sprite.name in NEW_OBJECTS):  # of its own stage, then: a session's picture is_single
        scene = exchange(scene, sprite, swap_for_new(dice, scene, sprite))
        sprite = scene.sprites[0]
    friend = across(sprite, scene.size)
    words = {"object": named(sprite), "place": friend.place, "there": sprite.place}
    after = with_sprites(scene, sprite, friend)
    return local("make-a-pair", scene, after, words, f"{a(named(sprite))} {friend.place}", None, friend.place,
                 (sprite.name, friend.place))  # fmt: skip


def subject_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    scene = Scene(photograph, background(dice, photograph, size))
    return with_sprites(scene, put(dice, pick(dice, scene), cause, size, large(dice, size)))


def stand_out(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    sprite = scene.sprites[0]
    dark = draw.line({"training": 84, "benchmark": 100}[course.strengths], 0)[draw.saturate(scene.background, 150)]
    after = replace(scene, background=dark, setting="in the dark")
    return local("subject", scene, after, the(sprite), f"{a(named(sprite))} before a dark background", uncovered(scene),
                 cause, (sprite.name,))  # fmt: skip


def animal_stage(dice: Dice, photograph: Photograph, size: int, cause: str) -> Scene:
    """An animal at the cause, and one or two other things; the photograph shows no animal."""
    scene = Scene(photograph, background(dice, photograph, size))
    animal = put(dice, pick(dice, scene, ("animal",)), cause, size, half(size))
    scene = with_sprites(scene, animal)
    for place in dice.shuffled([c for c in CORNERS if c != cause])[: dice.between(1, 2)]:
        name = pick(dice, scene, tuple(c for c in categories() if c != "animal"))
        scene = with_sprites(scene, *scene.sprites, put(dice, name, place, size, half(size)))
    return scene


def keep_animal(dice: Dice, scene: Scene, cause: str, course: Course) -> Change:
    animal, *others = scene.sprites
    gone = " and ".join(f"the {s.name} {s.place}" for s in others)
    words = {**the(animal), "others": gone}
    return local("keep-the-animal", scene, with_sprites(scene, animal), words, f"only {a(animal.name)} {animal.place}",
                 None, cause, (animal.name, *(s.name for s in others)))  # fmt: skip


def no_animal(photograph: Photograph) -> bool:
    return not photograph.is_animal


WHICH = [
    Family("healthy", healthy_stage, make_healthy, (), False, tuple(HEALTHY), lambda s: len(junk(s)) == 1),
    Family("odd-one-out", odd_stage, remove_odd, ("inpaint_obj",), False, CORNERS),
    Family("make-a-pair", pair_stage, make_pair, (), False, SIDES, is_single),
    Family("subject", subject_stage, stand_out, ("brightness",), False, PLACES),
    Family("keep-the-animal", animal_stage, keep_animal, ("inpaint_obj",), False, CORNERS, suits=no_animal),
]
