"""What an expressive instruction says of an ambiguous edit, parsed by a grammar of its own, not the writer's phrases.

Each family has a question (which fault, which side, which object, where); `said` finds a text's answer to it, `names`
compares it with the cause that the picture was drawn with. Causes are drawn uniformly: without eyes one is right in one
case of `chance`. Not covered: whether the rest of the sentence is true.
"""

import re
from collections.abc import Callable, Iterable

from mgie.mini.world.examples import FAMILIES

SIDE = r"(left|right)"
CORNER = r"(?:in |at )?the (upper|lower|top|bottom) (left|right)"
ACROSS = r"(?:on|to|in|at) the (left|right|middle|center|centre)"


def said(family: str, text: str) -> str:
    """The cause that the text names, one of the family's causes in this grammar's words; empty: it names none."""
    if family not in QUESTIONS:
        raise ValueError(f"'{family}' asks for no eyes; families that do: {', '.join(QUESTIONS)}")
    return QUESTIONS[family](re.sub(r"\s+", " ", text.lower()).strip(" .!"))


def names(family: str, cause: str, text: str) -> bool:
    """Whether the text names the cause and no other."""
    return said(family, text) == cause


def chance(family: str) -> int:
    return len(FAMILIES[family].causes)


def light(text: str) -> str:
    if re.search(rf"\b{SIDE} (?:side|half|part)\b", text):
        return "one side dark"
    faults = {"too dark": r"\b(?:too|so|very) dark|underexposed", "flat": r"\bflat\b|lacks? contrast",
              "too bright": r"\b(?:too|so|very) bright|overexposed"}  # fmt: skip
    return only(fault for fault, way in faults.items() if re.search(way, text))


def colours(text: str) -> str:
    if re.search(r"\b(?:faded|washed out|pale)\b", text):
        return "faded"
    return only(re.findall(r"\b(blue|orange|green)\b(?= (?:cast|tone|tint|hue))", text))


def mark(text: str) -> str:
    bar = re.search(r"\b(?:bar|banner|band|strip)\b.*?\b(top|bottom)\b", text)
    found = [f"bar at the {bar[1]}"] if bar else []
    found += [name for name in ("watermark", "date stamp") if name in text]
    return only(found)


def day(text: str) -> str:
    """What it is now; the text asks for the other."""
    turned = re.search(r"\bday (?:in)?to night|night (?:in)?to day", text)
    if turned:
        return turned[0].split()[0]
    asked = only(re.findall(r"\bwith (?:a|the) (sun|moon)\b", text))
    return {"sun": "night", "moon": "day"}.get(asked, "")


def season(text: str) -> str:
    known = {"winter": r"winter|snow (?:fall|on)", "autumn": r"autumn|\bfall leaves", "spring": r"spring"}
    return only(name for name, way in known.items() if re.search(way, text))


def corner(text: str) -> str:
    """The first corner named."""
    found = re.search(CORNER, text)
    if not found:
        return ""
    height = {"top": "upper", "bottom": "lower"}.get(found[1], found[1])
    return f"in the {height} {found[2]}"


def side(text: str) -> str:
    found = re.search(ACROSS, text)
    return "" if not found else "in the middle" if found[1] in ("middle", "center", "centre") else f"on the {found[1]}"


def junk_food(text: str) -> str:
    """What is to be replaced."""
    old = re.split(r"\b(?:with|by|into|to)\b", text)[0]
    return only(name for name in FAMILIES["healthy"].causes if re.search(rf"\b{name}s?\b", old))


def only(found: Iterable[str]) -> str:
    """The one that was found; empty where none was, or several."""
    different = list(dict.fromkeys(found))
    return different[0] if len(different) == 1 else ""


QUESTIONS: dict[str, Callable[[str], str]] = {
    "fix-light": light, "fix-colours": colours, "clean-up": mark, "day-and-night": day, "season": season,
    "healthy": junk_food, "odd-one-out": corner, "make-a-pair": side, "subject": side, "keep-the-animal": corner,
}  # fmt: skip
