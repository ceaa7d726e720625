"""Contact sheets of held-out results: rows of small pictures, enlarged without smoothing, with a line of text each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mgie.io.files import replacing

SCALE, MARGIN, LINE = 2, 6, 14


def save_sheet(rows: Sequence[Sequence[np.ndarray]], path: Path, heads: Sequence[str] = (),
               texts: Sequence[str] = (), columns: int = 1) -> None:  # fmt: skip
    """rows: pictures (H, W, 3) uint8 side by side; texts: a line under each row; columns: rows beside each other."""
    side = rows[0][0].shape[0] * SCALE
    across = len(rows[0]) * (side + MARGIN) + MARGIN
    down = side + MARGIN + (LINE if texts else 0)
    lines = -(-len(rows) // columns)
    page = Image.new("RGB", (columns * across, LINE + MARGIN + lines * down), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=11)
    for n, row in enumerate(rows):
        left, top = n % columns * across, LINE + MARGIN + n // columns * down
        for k, picture in enumerate(row):
            x = left + MARGIN + k * (side + MARGIN)
            page.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST), (x, top))
            if n < columns and k < len(heads):
                pen.text((x, 2), heads[k], "black", font=font)
        if texts:
            pen.text((left + MARGIN, top + side + 1), texts[n], "black", font=font)
    with replacing(path, ".png") as temporary:
        page.quantize(256).save(temporary, optimize=True)  # a third of the size; judged by eye only
