"""Held-out figures of the miniature's editors: L1 against identity's, inside and outside what changes, right answers.

Pairs are the training world's on photographs that no stage trained on; the benchmarks' own phrasing is bench.run's
matter. inside: pixels that the goal image changes by more than VISIBLE of 255; outside: all others.
"""

from pathlib import Path

import numpy as np

from mgie.mini import ship, world
from mgie.mini.eyes import judged
from mgie.mini.pairs import WorldPairs

VISIBLE = 12


def editor(name: str, folder: Path, test: WorldPairs, many: int) -> dict[str, float]:
    """Of the first held-out pairs, at the preset's sampling. name: inspix2pix, lgie or mgie."""
    words = test.words[:many]
    outputs, texts = ship.edit(name, folder, [test[i] for i in range(many)])
    figures = errors(outputs, test, many)
    if name != "inspix2pix":
        figures |= {f"said_{key}": value for key, value in judged(words, texts).items()}
    return {"rows": many, **figures}


def errors(outputs: np.ndarray, test: WorldPairs, many: int) -> dict[str, float]:
    """L1 in [0, 1] of output images and, as identity_, of the input images."""
    inputs, goals = (test.pixels[:many, side].astype(np.int32) for side in (0, 1))
    whole = np.array([world.FAMILIES[w.family].is_global for w in test.words[:many]])
    changed = np.abs(goals - inputs).max(axis=-1) > VISIBLE                       # (n, H, W)
    found: dict[str, float] = {}
    for row, images in (("", outputs.astype(np.int32)), ("identity_", inputs)):
        error = np.abs(images - goals).mean(axis=-1) / 255                        # (n, H, W)
        found |= {f"{row}l1_global": error[whole].mean(), f"{row}l1_local": error[~whole].mean(),
                  f"{row}inside_local": error[~whole][changed[~whole]].mean(),
                  f"{row}outside_local": error[~whole][~changed[~whole]].mean()}  # fmt: skip
    found["ratio_global"] = found["l1_global"] / found["identity_l1_global"]
    found["ratio_inside_local"] = found["inside_local"] / found["identity_inside_local"]
    return {key: float(value) for key, value in found.items()}
