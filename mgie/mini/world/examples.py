"""The miniature world: every example drawn from a seed, the same pixels and words on every machine.

    drawn = world.draw("a seed", split="train", family="healthy")

What is drawn: change.py and the families; how it is said: phrasing.py. The five datasets made of it: layouts.py.
Not covered: photographs in any other shape than square, sizes under 48 px.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from mgie.mini.world import phrasing
from mgie.mini.world.assets import Photograph, of_split
from mgie.mini.world.change import Change, Course, Family
from mgie.mini.world.dice import Dice
from mgie.mini.world.families_ambiguous import SEEN
from mgie.mini.world.families_global import GLOBAL
from mgie.mini.world.families_local import LOCAL
from mgie.mini.world.families_which import WHICH
from mgie.mini.world.scene import Sprite, caption

VERSION = 3  # raise it whenever a pixel or a word of any example changes; tests/mgie/mini/test_world.py notices
DICE = 2  # part of every seed: while it stays, so does every example whose family has not changed
FAMILIES: dict[str, Family] = {family.name: family for family in (*GLOBAL, *LOCAL, *SEEN, *WHICH)}
SMALLEST, LARGEST = 48, 256
VISIBLE_WIDE, VISIBLE_SMALL = 7, 12  # least mean change inside a mask of most, or less, of the picture, of 255
TRIES = 24


@dataclass(frozen=True, eq=False)
class Drawn:
    input_image: PILImage.Image
    goal_image: PILImage.Image
    instruction: str
    expressive_instruction: str  # names what one has to see; never only what the instruction says by itself
    goal_caption: str  # the whole goal image
    local_caption: str  # what changed, as it is in the goal image
    input_caption: str
    mask: NDArray[np.bool_]  # (H, W), True where something may change
    family: str
    operators: tuple[str, ...]  # GIER's names
    ambiguous: bool  # cannot be carried out rightly without seeing the input image
    cause: str  # ambiguous: what is to be seen, one of the family's causes
    answer: tuple[str, ...]  # ambiguous: words that a right expressive instruction holds
    photograph: str
    input_objects: tuple[Sprite, ...]  # what stands where in the input image
    goal_objects: tuple[Sprite, ...]
    change: Change  # for more ways to word it (phrasing.instructions) and for edits that follow on it


def draw(
    seed: object,
    split: str = "train",
    size: int = 64,
    family: str | None = None,
    cause: str | None = None,
    photograph: Photograph | None = None,
    style: str = "plain",
    anything: bool = False,
) -> Drawn:
    """One example. What is left out (family, cause, photograph) is drawn from the seed, uniformly.

    style: "plain" is the training set's; the others word it, and set its strengths, as a benchmark does. anything: as
    in Course, for pictures to learn to see from.
    """
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size {size} px is outside {SMALLEST} to {LARGEST}: objects would lose their shape; try 64")
    if style not in phrasing.STYLES:
        raise ValueError(f"unknown style '{style}'; known: {', '.join(phrasing.STYLES)}")
    kind = choose_family(Dice("family", DICE, split, seed), family, style)
    dice = Dice("world", DICE, split, kind.name, seed)
    cause = choose_cause(dice, kind, cause)
    photos = [p for p in of_split(split) if kind.suits(p)]
    if photograph and not kind.suits(photograph):
        raise ValueError(f"family '{kind.name}' cannot be drawn on photograph '{photograph.id}'")
    course = Course("training" if style in ("plain", "loose") else "benchmark", anything)
    for _ in range(TRIES):
        scene = kind.stage(dice, photograph or dice.choice(photos), size, cause)
        change = kind.change(dice, scene, cause, course)
        if is_visible(change):
            return worded(dice, kind, change, style)
    raise Invisible(f"family '{kind.name}' stays invisible on photograph '{scene.photograph.id}' after {TRIES} tries; "
                    "take another photograph or seed")  # fmt: skip


def follow(drawn: Drawn, seed: object, style: str) -> Drawn:
    """A further edit of a drawn goal image: MagicBrush's next turn. Its input image is that goal image."""
    dice = Dice("follow", DICE, seed)
    scene = drawn.change.after
    known = phrasing.families(style)
    kinds = [k for k in FAMILIES.values() if k.fits and k.name in known and k.name != drawn.family and k.fits(scene)]
    for _ in range(TRIES if kinds else 0):
        kind = dice.choice(kinds)
        change = kind.change(dice, scene, "", Course("training" if style == "plain" else "benchmark"))
        if is_visible(change):
            return worded(dice, kind, change, style)
    raise Invisible(f"no visible edit follows on '{drawn.goal_caption}' in {TRIES} tries; take another seed")


class Invisible(ValueError):
    """No edit of this kind can be seen on this photograph."""


def choose_family(dice: Dice, name: str | None, style: str) -> Family:
    if name is None:
        known = phrasing.families(style)
        return FAMILIES[dice.choice([f for f in FAMILIES if f in known])]
    if name not in FAMILIES:
        raise ValueError(f"unknown family '{name}'; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def choose_cause(dice: Dice, family: Family, cause: str | None) -> str:
    if cause is None:
        return dice.choice(family.causes) if family.causes else ""
    if cause not in family.causes:
        raise ValueError(f"family '{family.name}' has no cause '{cause}'; known: {', '.join(family.causes) or 'none'}")
    return cause


def is_visible(change: Change) -> bool:
    """Whether a person would see the edit; a fainter one is drawn again."""
    difference = np.abs(change.goal_image.astype(np.int32) - change.input_image)[change.mask]
    least = VISIBLE_WIDE if 2 * int(change.mask.sum()) > change.mask.size else VISIBLE_SMALL
    return len(difference) > 0 and int(difference.sum()) >= least * difference.size


def worded(dice: Dice, family: Family, change: Change, style: str) -> Drawn:
    """The change as a record, asked for in a style."""
    ambiguous = bool(family.causes)
    return Drawn(
        input_image=PILImage.fromarray(change.input_image),
        goal_image=PILImage.fromarray(change.goal_image),
        instruction=phrasing.instruction(dice, change, style),
        expressive_instruction=phrasing.expressive(dice, change),
        goal_caption=change.goal_caption,
        local_caption=change.local_caption,
        input_caption=caption(change.before),
        mask=change.mask,
        family=family.name,
        operators=family.operators,
        ambiguous=ambiguous,
        cause=change.cause if ambiguous else "",
        answer=change.answer if ambiguous else (),
        photograph=change.before.photograph.id,
        input_objects=change.before.sprites,
        goal_objects=change.after.sprites,
        change=change,
    )
