"""Which words of an instruction the miniature has never met: it was trained on drawn scenes and some 450 words."""

import json
import re
from functools import cache

SHOWN = 5  # unknown words that a hint names


@cache
def known() -> frozenset[str]:
    """Every word of the miniature world: of its sentences and of its objects' names, in small letters."""
    from mgie.mini.world.assets import things
    from mgie.mini.world.phrasing import phrases

    return frozenset(re.findall(r"[a-z]+", f"{json.dumps(phrases())} {' '.join(things())}".lower()))


def unknown(instruction: str) -> list[str]:
    """Its words, in any script, that the miniature world does not have; in order, each once."""
    words = re.findall(r"[^\W\d_]+", instruction.lower())
    return [word for word in dict.fromkeys(words) if word not in known()]


def hint(instruction: str) -> str:
    """What to add to a message; empty where every word is known."""
    if not (words := unknown(instruction)):
        return ""
    named = ", ".join(words[:SHOWN]) + (", ..." if len(words) > SHOWN else "")
    return (f" This is the miniature, which knows some {len(known()) // 50 * 50} words and not these: {named}. "
            "Expect no sense there; the examples show what it knows.")  # fmt: skip
