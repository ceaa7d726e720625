"""`python -m mgie.mini.sheets`: one contact sheet a family, an overview of all and a README: what the world holds.

A row is input image, goal image, mask (difference where the whole picture changes), instruction and expressive
instruction. Examples are of the training split and the size asked for, enlarged without smoothing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mgie.mini.world.assets import things
from mgie.mini.world.examples import FAMILIES, Drawn, draw
from mgie.mini.world.families_local import NEW_OBJECTS

SIDE = 160  # px of one picture on a sheet
TEXT = 430
ROWS = 6
INK, PALE, PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)


def enlarged(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.NEAREST)


def third(drawn: Drawn) -> Image.Image:
    """The mask in white; for a whole picture how much each pixel changes, twice as strong."""
    if not drawn.mask.all():
        return Image.fromarray(drawn.mask.astype(np.uint8) * 255).convert("RGB")
    change = np.abs(np.asarray(drawn.goal_image).astype(np.int32) - np.asarray(drawn.input_image)).max(axis=-1)
    return Image.fromarray(np.minimum(255, change * 2 // 32 * 32).astype(np.uint8)).convert("RGB")


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def row(drawn: Drawn, title: str) -> Image.Image:
    paper = Image.new("RGB", (3 * (SIDE + 4) + TEXT, SIDE + 6), PAPER)
    for i, picture in enumerate((drawn.input_image, drawn.goal_image, third(drawn))):
        paper.paste(enlarged(picture, SIDE), (i * (SIDE + 4), 3))
    pen, y = ImageDraw.Draw(paper), 2
    for text, size, colour in ((title, 13, PALE), (drawn.instruction, 17, INK), (drawn.expressive_instruction, 15, INK),
                               (drawn.goal_caption, 13, PALE)):  # fmt: skip
        font = ImageFont.load_default(size=size)
        assert isinstance(font, ImageFont.FreeTypeFont)  # with a size it is
        for line in wrap(text, font, TEXT - 20):
            pen.text((3 * (SIDE + 4) + 8, y), line, fill=colour, font=font)
            y += size + 4
        y += 5
    return paper


def examples(family: str, size: int) -> list[Drawn]:
    """ROWS of them; an ambiguous family shows its causes in turn."""
    causes = FAMILIES[family].causes or (None,)
    return [draw(f"sheet {i}", size=size, family=family, cause=causes[i % len(causes)]) for i in range(ROWS)]


def sheet(family: str, size: int) -> Image.Image:
    rows = [row(d, f"{family}{': ' + d.cause if d.cause else ''}") for d in examples(family, size)]
    paper = Image.new("RGB", (rows[0].width, sum(r.height for r in rows)), PAPER)
    for i, picture in enumerate(rows):
        paper.paste(picture, (0, i * picture.height))
    return paper


def overview(size: int, columns: int = 5) -> Image.Image:
    """Input and goal of one example of every family."""
    side, label, font = 96, 18, ImageFont.load_default(size=13)
    lines = -(-len(FAMILIES) // columns)
    paper = Image.new("RGB", (columns * (2 * side + 14), lines * (side + label + 8)), PAPER)
    pen = ImageDraw.Draw(paper)
    for i, family in enumerate(FAMILIES):
        x, y = i % columns * (2 * side + 14), i // columns * (side + label + 8)
        drawn = draw("overview", size=size, family=family)
        pen.text((x, y), family, fill=INK, font=font)
        paper.paste(enlarged(drawn.input_image, side), (x, y + label))
        paper.paste(enlarged(drawn.goal_image, side), (x + side + 2, y + label))
    return paper


def save(paper: Image.Image, path: Path) -> None:
    """256 colours keep a sheet small; the datasets themselves are not reduced."""
    few = paper.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def readme(size: int) -> str:
    lines = [
        "# The miniature world", "",
        f"Drawn by `make world` at {size} px. Every example comes from a seed; a family is one kind of edit. Rows:",
        "input image, goal image, mask (difference where the whole picture changes), instruction in the training set's",
        "style, expressive instruction, goal caption.", "",
        f"Of {len(things())} objects that pictures show, {len(NEW_OBJECTS)} may be brought in by add, replace and",
        f"make-a-pair: {', '.join(NEW_OBJECTS)}.", "", "![one example of every family](overview.png)", "",
        "| family | changes | needs eyes for | example instruction |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, family in FAMILIES.items():
        drawn = draw("overview", size=size, family=name)
        scope = "the whole picture" if family.is_global else "inside the mask"
        eyes = ", ".join(family.causes) or "-"
        lines.append(f"| [{name}]({name}.png) | {scope} | {eyes} | {drawn.instruction} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mgie.mini.sheets", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/mini/world"), help="folder of the sheets")
    parser.add_argument("--size", type=int, default=64, help="px of a picture")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in FAMILIES:
        save(sheet(name, options.size), options.out / f"{name}.png")
    save(overview(options.size), options.out / "overview.png")
    (options.out / "README.md").write_text(readme(options.size), encoding="utf-8")
    print(f"{len(FAMILIES)} sheets and an overview in {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
