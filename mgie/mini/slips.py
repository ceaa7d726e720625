"""Instructions with slips: words lost, words nobody knows put in, neighbours changed places.

A Llama of four layers that has read a few thousand sentences takes a word it has never seen for anything at all, where
LLaMA-7B would read over it. Rows with slips teach it to go by the words it knows. No benchmark's phrase is added: the
words put in are syllables, drawn at random. Not covered: typos within words (mgie.mini.phrasing).
"""

from random import Random

SHARE = 0.6  # of the rows have slips
LOST, PUT_IN, SWAPPED = 0.08, 0.2, 0.08  # of a row's words, each
ONSETS = ("b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "pr", "tr", "cl")
VOWELS = ("a", "e", "i", "o", "u", "ea", "ai")
ENDS = ("n", "r", "t", "l", "m", "st", "ng", "ck")


def with_slips(text: str, dice: Random) -> str:
    """The same instruction, perhaps with slips; at least one of its words stays."""
    if dice.random() >= SHARE:
        return text
    words = text.split()
    kept = [word for word in words if dice.random() >= LOST] or words[:1]
    for i in range(len(kept) - 1):
        if dice.random() < SWAPPED:
            kept[i], kept[i + 1] = kept[i + 1], kept[i]
    said = []
    for word in kept:
        said += [unknown(dice), word] if dice.random() < PUT_IN else [word]
    return " ".join([*said, unknown(dice)] if dice.random() < PUT_IN else said)


def unknown(dice: Random) -> str:
    """A word of one or two syllables that no phrase holds but by chance."""
    return "".join(dice.choice(ONSETS) + dice.choice(VOWELS) + dice.choice(ENDS) for _ in range(dice.choice((1, 1, 2))))
