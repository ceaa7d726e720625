"""Pictures of edits side by side: input, every model's output, goal, with the instruction and what MGIE made of it.

comparison-<dataset>.png: families in turn, each on another photograph; of a family the example at the 25th percentile
of MGIE's L1 to identity's (a good one, not the best). claims-examples.png: where each model gains and loses most
against the mean of the other two, on ambiguous instructions. Enlarged x3 without smoothing (nearest). Seed 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bench.mini.evidence import EDITORS, Runs
from bench.records import Example
from bench.registry import DATASETS, short_name
from mgie.io.files import replacing
from mgie.io.images import load

SCALE, GAP, HEAD = 3, 8, 22
ROWS = 8
MOST = 2  # gains and losses shown of each model


@dataclass(frozen=True)
class Strip:
    """One example's pictures and lines of text."""

    images: list[Image.Image | None]  # None: not run
    lines: list[tuple[str, str]]  # label, text


def compare(runs: Runs, dataset: str, path: Path) -> list[str]:
    """Writes the picture; returns the ids shown, none where MGIE was not run."""
    shown = chosen(runs, dataset)
    if shown:
        strips = [strip(runs, dataset, e) for e in shown]
        rule = "per family the example at the 25th percentile of MGIE's L1 relative to the input copy's"
        save(strips, heads(), f"mini-{DATASETS[dataset].printed}: {rule}; x3, nearest", path)
    return [e.id for e in shown]


def heads() -> list[str]:
    return ["input", *(short_name(m) for m in EDITORS), "goal"]


def chosen(runs: Runs, dataset: str) -> list[Example]:
    """One a family: ambiguous families first, then the others, as long as there is room; photographs differ."""
    found: list[Example] = []
    used: set[str] = set()
    families: dict[str, list[tuple[float, Example]]] = {}
    for e, gain in gains(runs, dataset):
        families.setdefault(runs.worlds[dataset].facts(e.id).family, []).append((gain, e))
    order = sorted(families, key=lambda f: (not runs.ambiguous(dataset, families[f][0][1].id), f))
    half = [f for f in order if runs.ambiguous(dataset, families[f][0][1].id)][: ROWS // 2]
    for family in half + [f for f in order if f not in half]:
        ranked = sorted(families[family], key=lambda pair: (pair[0], pair[1].id))
        ranked = ranked[len(ranked) // 4 :] + ranked[: len(ranked) // 4]
        free = next((e for _, e in ranked if e.group not in used), None)
        if free and len(found) < ROWS:
            found.append(free)
            used.add(free.group)
    return found


def gains(runs: Runs, dataset: str) -> list[tuple[Example, float]]:
    """MGIE's L1 relative to identity's, by example."""
    mgie, same = (by_id(runs, dataset, model) for model in ("mgie", "identity"))
    return [(e, mgie[e.id] / max(same[e.id], 1e-6)) for e in runs.examples[dataset] if e.id in mgie and e.id in same]


def by_id(runs: Runs, dataset: str, model: str) -> dict[str, float]:
    """L1 of seed 0."""
    return {s.example_id: s.value for s in runs.scores("l1", model, datasets=[dataset])
            if s.seed == 0 and s.value is not None}  # fmt: skip


def strip(runs: Runs, dataset: str, example: Example, note: str = "") -> Strip:
    outputs = [runs.image(dataset, model, example) for model in EDITORS]
    lines = [("instruction", example.instruction.strip())]
    for model in ("mgie", "lgie"):
        edit = runs.edits(dataset, model).get(example.id)
        if edit:
            lines.append((f"{short_name(model)} writes", edit.expressive_instruction or "(nothing)"))
    lines += [("", note)] if note else []
    assert example.goal_image is not None  # each example of the miniature has one
    return Strip([load(example.input_image), *outputs, load(example.goal_image)], lines)


def extremes(runs: Runs, path: Path) -> list[tuple[str, str, str, float]]:
    """Writes the picture; returns (model, gains or loses, example id, its L1 minus the mean of the others')."""
    margins: dict[str, list[tuple[float, str, Example]]] = {m: [] for m in EDITORS}
    for dataset in runs.datasets:
        l1 = {m: by_id(runs, dataset, m) for m in EDITORS}
        for e in runs.examples[dataset]:
            if runs.ambiguous(dataset, e.id) and all(e.id in l1[m] for m in EDITORS):
                for m in EDITORS:
                    others = [l1[o][e.id] for o in EDITORS if o != m]
                    margins[m].append((l1[m][e.id] - sum(others) / len(others), dataset, e))
    strips, shown = [], []
    used: set[str] = set()
    for model, rows in margins.items():
        rows.sort(key=lambda row: (row[0], row[2].id))
        for kind, ranked in (("gains", rows), ("loses", rows[::-1])):
            for margin, dataset, e in distinct(ranked, used):
                note = f"{short_name(model)} {kind}: L1 {margin:+.3f} against the mean of the other two ({e.id})"
                strips.append(strip(runs, dataset, e, note))
                shown.append((model, kind, e.id, margin))
    if strips:
        save(strips, heads(), "ambiguous instructions on which each model gains and loses most (L1); x3, nearest", path)
    return shown


def distinct(rows: Sequence[tuple[float, str, Example]], used: set[str]) -> list[tuple[float, str, Example]]:
    """The first MOST on photographs not used yet, which are then added to used."""
    found: list[tuple[float, str, Example]] = []
    for row in rows:
        if len(found) < MOST and row[2].group not in used:
            found.append(row)
            used.add(row[2].group)
    return found


def save(strips: Sequence[Strip], names: Sequence[str], title: str, path: Path, columns: int = 2) -> None:
    """Strips in columns on a white page; atomic."""
    side = max(image.width for s in strips for image in s.images if image) * SCALE
    line, most = 17, max(len(s.lines) for s in strips)
    wide, high = len(names) * (side + GAP) + 2 * GAP, side + most * line + 14
    rows = -(-len(strips) // columns)
    page = Image.new("RGB", (columns * wide, 2 * HEAD + GAP + rows * high), "white")
    pen, font, bold = ImageDraw.Draw(page), ImageFont.load_default(size=13), ImageFont.load_default(size=15)
    pen.text((GAP, 4), title, "black", font=bold)
    for n, one in enumerate(strips):
        left, top = n % columns * wide + GAP, 2 * HEAD + GAP + n // columns * high
        for k, image in enumerate(one.images):
            x = left + k * (side + GAP)
            if n < columns:
                pen.text((x, HEAD + 6), names[k], "#444444", font=font)
            if image is None:
                pen.rectangle((x, top, x + side - 1, top + side - 1), outline="#999999")
                pen.text((x + 8, top + 8), "not run", "#777777", font=font)
            else:
                size = (side, side * image.height // image.width)
                page.paste(image.resize(size, Image.Resampling.NEAREST), (x, top))
        for k, (label, text) in enumerate(one.lines):
            written = f"{label}: {text}" if label else text
            pen.text((left, top + side + 3 + k * line), fitted(written, font, wide - 2 * GAP),
                     "black" if label == "instruction" else "#555555", font=font)  # fmt: skip
    with replacing(path, ".png") as temporary:
        page.save(temporary, optimize=True)


def fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
