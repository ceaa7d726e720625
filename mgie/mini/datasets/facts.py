"""What is known of every drawn unit, and the plan of a split: which family, cause and photograph each unit gets.

Families, causes within a family and photographs come round equally often, in an order drawn from the seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from mgie.mini.world.assets import Photograph, of_split
from mgie.mini.world.dice import Dice
from mgie.mini.world.examples import FAMILIES, Drawn, Invisible, draw


@dataclass(frozen=True)
class Facts:
    """One line of facts.jsonl. unit: what an example's id holds behind its last slash, without #k and @multi."""

    unit: str
    split: str
    photograph: str
    family: str
    operators: tuple[str, ...]
    ambiguous: bool
    cause: str
    answer: tuple[str, ...]
    expressive_instruction: str
    input_caption: str
    goal_caption: str
    local_caption: str


def facts_of(unit: str, split: str, drawn: Drawn) -> Facts:
    return Facts(
        unit, split, drawn.photograph, drawn.family, drawn.operators, drawn.ambiguous, drawn.cause, drawn.answer,
        drawn.expressive_instruction, drawn.input_caption, drawn.goal_caption, drawn.local_caption,
    )  # fmt: skip


class Slot(NamedTuple):
    family: str
    cause: str | None
    photograph: Photograph


def round_and_round(dice: Dice, items: tuple) -> Iterator:
    """Every item once in a drawn order, then again in another."""
    while True:
        yield from dice.shuffled(items)


def plan(dice: Dice, split: str, families: tuple[str, ...], many: int) -> list[Slot]:
    kinds = round_and_round(dice, families)
    causes = {name: round_and_round(dice, FAMILIES[name].causes or (None,)) for name in families}
    photographs = round_and_round(dice, of_split(split))
    waiting: list[Photograph] = []  # passed over by a family they did not suit
    slots = []
    for _ in range(many):
        family = next(kinds)
        suits = FAMILIES[family].suits
        photo = next((p for p in waiting if suits(p)), None)
        if photo:
            waiting.remove(photo)
        while photo is None:
            candidate = next(photographs)
            photo = candidate if suits(candidate) else None
            if photo is None:
                waiting.append(candidate)
        slots.append(Slot(family, next(causes[family]), photo))
    return slots


def draw_slot(seed: str, split: str, size: int, style: str, slot: Slot) -> Drawn:
    """The slot's example; where its edit cannot be seen on the photograph, on the next one that shows it."""
    photos = of_split(split)
    start = photos.index(slot.photograph)
    for photo in photos[start:] + photos[:start]:
        if not FAMILIES[slot.family].suits(photo):
            continue
        try:
            return draw(seed, split, size, slot.family, slot.cause, photo, style)
        except Invisible:
            continue
    raise Invisible(f"family '{slot.family}' cannot be seen on any photograph of split '{split}' at {size} px")


def shares(total: int, pattern: tuple[int, ...]) -> list[int]:
    """Units of as many examples as the pattern says, in turn, until there are `total`; the last may have fewer."""
    counts: list[int] = []
    while (left := total - sum(counts)) > 0:
        counts.append(min(left, pattern[len(counts) % len(pattern)]))
    return counts


def post(*key: object) -> str:
    """Six letters and digits, as the ids of forum posts are."""
    number = int.from_bytes(sha256("/".join(map(str, key)).encode()).digest()[:8], "big")
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(letters[number // 36**i % 36] for i in range(6))
