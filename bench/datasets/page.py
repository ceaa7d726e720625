"""The examples of the MGIE project page looked up in the official files: by which size rule their pixels agree.

All images of the page are 512 x 512, and the paper names no size. Whoever has the official files can see here what was
done to them: `python -m bench.audit --published --data-root data`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bench.datasets.published import IN_SAMPLE, Published
from bench.records import Example
from bench.registry import DATASETS, load
from bench.settings import DataSettings
from mgie.io import images
from mgie.io.images import ImageError, Reading
from mgie.io.sizes import sized

SIDE = 512  # px, of the page's images
RULES = ("authors", f"long:{SIDE}", "magicbrush", "native")
STRETCHED = "stretched"  # to the square, without a cut: no rule of --size, but what else could have been done
SPLITS = {
    "evr": ("test", "valid", "train"), "gier": ("test", "val", "train"), "ma5k": ("test", "val", "train"),
    "magicbrush": ("test", "dev", "train"), "ipr2pr": ("test", "val", "train"),
}  # fmt: skip
# A mean difference up to this, in [0, 1], is what JPEG makes of a picture; another rule's is some ten times as large.
AGREES = 0.03
NAMED = 5  # examples of another rule, in the verdict


class Found(NamedTuple):
    """One example of the page, and the official example whose input image comes nearest to its own."""

    id: str
    official: str  # its id; empty: no official example has the instruction
    differences: dict[str, float | None]  # rule -> mean absolute difference in [0, 1]; None: another size
    agrees: str  # the nearest rule, where it is near enough; empty: none
    note: str = ""


def look_up(data_root: Path, dataset: str) -> list[Found]:
    """Each example that the page has of a dataset. Raises FileNotFoundError and ValueError as the datasets do."""
    page = Published(dataset, data_root / "published", DataSettings())
    by_instruction: dict[str, list[Example]] = {}
    for example in official(data_root / dataset, dataset):
        by_instruction.setdefault(plain(example.instruction), []).append(example)
    return [nearest(e, by_instruction.get(plain(e.instruction), [])) for e in page.examples()]


def official(root: Path, dataset: str) -> Iterator[Example]:
    """Of every split that is there; raises FileNotFoundError where none is."""
    there, missing = 0, None
    for split in SPLITS[dataset]:
        try:
            examples = load(DATASETS, dataset, "dataset")(root, DataSettings(split=split)).examples()
        except FileNotFoundError as error:
            missing = missing or error
            continue
        there += 1
        yield from examples
    if not there and missing:
        raise missing


def plain(instruction: str) -> str:
    """Without what differs between a page and an annotation: capitals, blanks, the full stop."""
    return " ".join(instruction.casefold().split()).rstrip(" .!")


def nearest(example: Example, candidates: list[Example]) -> Found:
    """Of several official examples with the instruction, the one whose input image comes nearest to the page's."""
    if not candidates:
        return Found(example.id, "", {}, "", "no official example has this instruction")
    shown, best, unread = pixels(images.load(example.input_image)), None, ""
    seen: set[Path] = set()
    for candidate in candidates:
        if candidate.input_image in seen:
            continue
        seen.add(candidate.input_image)
        try:
            found = differences(shown, images.load(candidate.input_image, Reading()))
        except ImageError as error:
            unread = str(error)
            continue
        low = min(value for value in found.values() if value is not None)
        if best is None or low < best[0]:
            best = low, candidate.id, found
    if best is None:
        return Found(example.id, candidates[0].id, {}, "", f"its input image cannot be read: {unread}")
    low, name, found = best
    rule = min((value, place, rule) for place, (rule, value) in enumerate(found.items()) if value is not None)[2]
    if low > AGREES:
        return Found(example.id, name, found, "", f"the nearest, {rule}, is {low:.3f} away: another picture or rule")
    equal = [other for other, value in found.items() if value is not None and value <= low + 1e-9]
    note = "a square already: " + ", ".join(equal) + " are the same" if len(equal) > 1 else ""
    return Found(example.id, name, found, rule, note)


def differences(shown: np.ndarray, image: Image.Image) -> dict[str, float | None]:
    made = {rule: sized(image, rule) for rule in RULES}
    made[STRETCHED] = images.resize(image, (SIDE, SIDE))
    return {
        rule: float(np.abs(pixels(one) - shown).mean()) if pixels(one).shape == shown.shape else None
        for rule, one in made.items()
    }


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32) / 255


def as_text(found: list[Found]) -> str:
    """A line an example, and what follows from them all."""
    lines = []
    for f in found:
        told = ", ".join(f"{rule} {'another size' if v is None else f'{v:.4f}'}" for rule, v in f.differences.items())
        verdict = f"agrees with {f.agrees}" if f.agrees else "no rule agrees"
        lines.append(
            "; ".join(part for part in (f"{f.id}: {f.official or 'not found'}", told, verdict, f.note) if part)
        )
    return "\n".join([*lines, "", verdict_of(found)])


def verdict_of(found: list[Found]) -> str:
    """Whether the assumption of --size authors holds; squares tell nothing, since several rules leave them alike."""
    telling = [f for f in found if f.agrees and not f.note]
    by_rule = {rule: sum(f.agrees == rule for f in telling) for rule in dict.fromkeys(f.agrees for f in telling)}
    counts = ", ".join(f"{rule} {count}" for rule, count in by_rule.items()) or "none"
    lost = sum(not f.official for f in found)
    said = f"{len(found)} examples of the page, {lost} not found in the official files here; of {len(telling)} that " \
        f"tell one rule from the others, it is: {counts}"  # fmt: skip
    if not telling:
        return f"{said}. --size authors stays an assumption"
    others = [f"{f.id} ({f.agrees})" for f in telling if f.agrees != "authors"]
    if not others:
        return f"{said}. --size authors is what the authors did to these inputs: no assumption any more"
    if len(others) == len(telling):
        return f"{said}. --size authors does not hold"
    more = f" and {len(others) - NAMED} more" * (len(others) > NAMED)
    return f"{said}. --size authors holds for {len(telling) - len(others)} of {len(telling)}; not for " \
        f"{', '.join(others[:NAMED])}{more}"  # fmt: skip


def datasets_there(data_root: Path) -> list[str]:
    """Of the page's datasets, those whose official files are below the root. Raises FileNotFoundError for none."""
    found = [name for name in (*IN_SAMPLE, "ipr2pr") if (data_root / name).is_dir()]
    if not found:
        raise FileNotFoundError(
            f"{data_root}: none of {', '.join((*IN_SAMPLE, 'ipr2pr'))} is there; the page's examples are looked up in "
            "the official files: python -m bench.fetch gets them"
        )
    return found
