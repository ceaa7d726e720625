"""One edit of the miniature world before it is put in words: both pictures, the mask, and the facts a sentence needs.

Families make it (families_*.py), phrasing.py words it, world.py turns it into a Drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgie.mini.world.assets import Photograph
from mgie.mini.world.dice import Dice
from mgie.mini.world.pixels import Image
from mgie.mini.world.scene import Scene, Sprite, a, behind, caption, named, render, silhouette


@dataclass(frozen=True, eq=False)
class Change:
    key: str  # which sentences fit: the family, with a variant behind a colon ("brightness:up")
    before: Scene
    after: Scene
    input_image: Image
    goal_image: Image
    mask: NDArray[np.bool_]
    words: dict[str, str] = field(default_factory=dict)  # for the sentences: object, new, place, colour, ...
    level: int = 1  # strength 0, 1, 2; worded by the style
    cause: str = ""  # ambiguous families: what one has to see
    answer: tuple[str, ...] = ()  # ambiguous families: the words a right expressive instruction holds
    goal_caption: str = ""
    local_caption: str = ""


class Course(NamedTuple):
    """What edits are like where they are used."""

    strengths: str  # "training" or "benchmark"
    anything: bool = False  # any object may be brought in, mirrored or not; else a few, always the same way round


@dataclass(frozen=True)
class Family:
    """stage makes a picture that the edit fits; change edits it.

    change(dice, scene, cause, course): cause is one of causes (or empty). fits: whether a given scene, as a session
    left it, can be edited so; None: only its own stage can.
    """

    name: str
    stage: Callable[[Dice, Photograph, int, str], Scene]
    change: Callable[[Dice, Scene, str, Course], Change]
    operators: tuple[str, ...]  # GIER's names for what is done
    is_global: bool
    causes: tuple[str, ...] = ()  # not empty: the instruction alone does not say what to do
    fits: Callable[[Scene], bool] | None = None
    suits: Callable[[Photograph], bool] = lambda photograph: True


def local(
    key: str,
    before: Scene,
    after: Scene,
    words: dict[str, str],
    local_caption: str,
    mask: NDArray[np.bool_] | None = None,
    cause: str = "",
    answer: tuple[str, ...] = (),
) -> Change:
    """Both scenes rendered. mask None: wherever an object (or its shadow) came, went or changed."""
    if mask is None:
        touched = set(before.sprites) ^ set(after.sprites)
        mask = np.zeros((before.size, before.size), bool)
        for sprite in touched:
            mask |= silhouette(sprite, before.size)
    return Change(
        key, before, after, render(before), render(after), mask, described(before, words),
        cause=cause, answer=answer, goal_caption=caption(after), local_caption=local_caption,
    )  # fmt: skip


def overall(
    key: str,
    scene: Scene,
    before: Image,
    after: Image,
    setting: str,
    words: dict[str, str] | None = None,
    level: int = 1,
    cause: str = "",
    answer: tuple[str, ...] = (),
) -> Change:
    """The whole picture changes, nothing in it moves. setting: what the goal looks like ("a bright photo")."""
    seen = caption(scene)
    text = f"{setting} of {seen.removeprefix('a photo of ')}"
    mask = np.ones(before.shape[:2], bool)
    return Change(
        key, scene, scene, before, after, mask, described(scene, words or {}), level, cause, answer, text, setting,
    )  # fmt: skip


def described(scene: Scene, words: dict[str, str]) -> dict[str, str]:
    """The words every sentence may use: what the photograph shows, and the first object if there is one."""
    noun = behind(scene)
    view = f"{a(named(scene.sprites[0]))} and {a(noun)}" if scene.sprites else a(noun)
    return {"noun": noun, "view": view, **words}


def the(sprite: Sprite) -> dict[str, str]:
    return {"object": named(sprite), "place": sprite.place}
