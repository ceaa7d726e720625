"""Edits in words: instructions in each style, expressive instructions, and the slots of both.

The sentences are data: assets/phrases.json, by style and by the change's key ("brightness:up") or its family. Style
plain is the training set's; crowd (MA5k), expert and amateur (GIER), terse (EVR) and request (MagicBrush) say the same
in other words and another order, so that zero-shot and fine-tuned are different questions; but a fifth of the pairs
that editors learn from are terse (mgie.mini.training.pairs). Style loose is for training too: no sentence of it is a
benchmark's, but its words are all of the benchmarks' and more, as a model that was trained on the web's captions has
met them. In it "[a|b]" stands for one of the two and "<pic>" for one of the parts of that name. An expressive
instruction says what a person who sees the picture would ask for; for an ambiguous family it names the right fault,
object or side.
"""

import json
import re
from functools import cache

from mgie.mini.world.assets import ASSETS
from mgie.mini.world.change import Change
from mgie.mini.world.dice import Dice

STYLES = ("plain", "loose", "crowd", "expert", "amateur", "terse", "request")


@cache
def phrases() -> dict[str, dict]:
    data = json.loads((ASSETS / "phrases.json").read_text(encoding="utf-8"))
    return data | {"amateur": data["terse"] | data["crowd"]}


def templates(style: str, key: str) -> list[str]:
    """By the key with its variant, else by the family alone; empty where the style has no words for it."""
    table = phrases()[style]
    return table.get(key) or table.get(key.partition(":")[0]) or []


def families(style: str) -> set[str]:
    """The families that the style has words for."""
    return {key.partition(":")[0] for key in phrases()[style]}


def instruction(dice: Dice, change: Change, style: str, but: tuple[str, ...] = ()) -> str:
    """One of the style's ways to ask for the change; `but`: templates that are used up."""
    if style not in STYLES:
        raise ValueError(f"unknown style '{style}'; known: {', '.join(STYLES)}")
    ways = templates(style, change.key)
    if not ways:
        raise ValueError(f"style '{style}' has no words for '{change.key}'")
    way = dice.choice([w for w in ways if w not in but] or ways)
    return fill(dice, way, change, style)


def instructions(dice: Dice, change: Change, style: str, many: int) -> list[str]:
    """That many ways to ask, all different as long as the style has different ones."""
    ways = dice.shuffled(templates(style, change.key))
    return [fill(dice, ways[i % len(ways)], change, style) for i in range(many)]


def expressive(dice: Dice, change: Change) -> str:
    way = dice.choice(templates("expressive", change.key))
    return fill(dice, way, change, "expressive")


def fill(dice: Dice, way: str, change: Change, style: str) -> str:
    way = spelled(dice, way)
    words = dict(change.words)
    words["amount"] = dice.choice(phrases()["amounts"][style][change.level])
    words["season_look"] = phrases()["season_looks"].get(words.get("season", ""), "")
    words["mark_look"] = phrases()["mark_looks"].get(words.get("mark", ""), "")
    colour = words.get("colour", "")
    words["a_colour"] = f"an {colour}" if colour == "orange" else f"a {colour}"
    text = re.sub(r"\s+", " ", way.format(**words)).strip()
    return text.replace(" ,", ",").replace("a orange", "an orange")


def spelled(dice: Dice, way: str) -> str:
    """The template with one of its alternatives each time; unchanged, and without a draw, where it has none."""
    way = re.sub(r"<(\w+)>", lambda part: dice.choice(phrases()["parts"][part[1]]), way)
    return re.sub(r"\[([^\]]*)\]", lambda choices: dice.choice(choices[1].split("|")), way)


def as_written(dice: Dice, text: str) -> str:
    """As people begin and end a sentence: in half of the cases with a capital, in a quarter with a full stop."""
    text = text[0].upper() + text[1:] if dice.coin() else text
    return text if dice.below(4) else f"{text}."


def with_typos(dice: Dice, text: str) -> str:
    """As typed in haste: now and then two letters swapped, one lost or doubled, a capital or a blank too many."""
    letters = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha()]
    kind = dice.below(8)
    if letters and kind < 3:
        i = dice.choice(letters)
        middle = (text[i + 1] + text[i], "", text[i] * 2)[kind]
        text = text[:i] + middle + text[i + (2 if kind == 0 else 1) :]
    elif kind == 3:
        text = text[0].upper() + text[1:]
    elif kind == 4:
        text = text + " "
    return text
