"""Training pairs of the miniature's editors: edits of the world drawn once, kept as arrays, read like any dataset.

Pair i of a split follows from (split, seed, i). Three fifths of the instructions are worded loosely, the others plainly
or tersely (now and then with a typo); all with the training set's strengths. The benchmarks word and dose their
requests otherwise. Not covered: the labelled pictures for codec and towers (pictures.py), datasets in official layouts
(layouts.py).
"""

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgie.io.files import replacing, write_atomic
from mgie.mini.world import examples as world
from mgie.mini.world import phrasing
from mgie.mini.world.assets import ASSETS
from mgie.mini.world.dice import Dice
from mgie.train.data import TrainingPair

STYLES = ("plain", "loose", "loose", "loose", "terse")
TYPOS = 6  # one terse instruction in so many is mistyped
SOURCES = ("assets", "change", "dice", "pixels", "families_ambiguous", "families_global", "families_local",
           "families_which", "phrasing", "scene", "examples")  # fmt: skip
TABLES = ("objects", "phrases", "photos", "scenes")


class Words(NamedTuple):
    """What is said of a pair, and what it is."""

    instruction: str
    expressive: str
    goal_caption: str
    input_caption: str
    family: str
    cause: str  # empty: not ambiguous
    answer: tuple[str, ...]
    photograph: str


@dataclass(frozen=True)
class WorldPairs:
    """The Pairs of mgie.train.data, drawn when first asked for and kept in a folder."""

    folder: Path
    split: str
    count: int
    seed: int
    size: int = 64
    families: tuple[str, ...] = tuple(world.FAMILIES)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> TrainingPair:
        from PIL import Image

        before, after = (Image.fromarray(side) for side in self.pixels[index])
        words = self.words[index]
        return TrainingPair(f"{self.split}/{self.seed}/{index}", before, after, words.instruction, words.expressive)

    def texts(self) -> list[tuple[str, str]]:
        return [(words.instruction, words.expressive) for words in self.words]

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """(n, 2, size, size, 3): input image and goal image."""
        return np.load(self.drawn / "pixels.npy", mmap_mode="r")

    @cached_property
    def words(self) -> list[Words]:
        rows = json.loads((self.drawn / "words.json").read_text(encoding="utf-8"))
        return [Words._make([*row[:6], tuple(row[6]), row[7]]) for row in rows]

    @cached_property
    def drawn(self) -> Path:
        """The folder with the arrays, which are drawn if they are not there."""
        key = json.dumps([code_hash(), self.split, self.count, self.seed, self.size, self.families])
        path = self.folder / f"{self.split}-{self.count}-{sha256(key.encode()).hexdigest()[:8]}"
        if not (path / "words.json").exists():
            shape = (self.count, 2, self.size, self.size, 3)
            with replacing(path / "pixels.npy") as temporary:
                pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
                rows = [self.draw(i, pixels) for i in range(self.count)]
                pixels.flush()
            write_atomic(path / "words.json", json.dumps(rows))
        return path

    def draw(self, index: int, pixels: NDArray[np.uint8]) -> Words:
        dice = Dice("pairs", self.split, self.seed, index)
        family = dice.choice(self.families)
        drawn = None
        while drawn is None:
            try:
                drawn = world.draw(dice.below(2**40), self.split, self.size, family)
            except world.Invisible:  # this photograph does not show such an edit: another one
                continue
        pixels[index] = np.stack([drawn.change.input_image, drawn.change.goal_image])
        return Words(worded(dice, drawn), drawn.expressive_instruction, drawn.goal_caption,
                     drawn.input_caption, drawn.family, drawn.cause, drawn.answer, drawn.photograph)  # fmt: skip

    def content_hash(self) -> str:
        """SHA-256 of words and of every 64th pair's pixels: what these pairs are, however they are drawn."""
        total = sha256(json.dumps(self.words).encode())
        total.update(np.ascontiguousarray(self.pixels[::64]).tobytes())
        return total.hexdigest()


def worded(dice: Dice, drawn: world.Drawn) -> str:
    """The instruction in one of the styles. The strengths stay the training set's."""
    style = dice.choice(STYLES)
    if style == "plain":
        return drawn.instruction
    text = phrasing.instruction(dice, drawn.change, style)
    if style == "loose":
        return phrasing.as_written(dice, text)
    return phrasing.with_typos(dice, text) if dice.below(TYPOS) == 0 else text


def code_hash() -> str:
    """SHA-256 over everything that decides a pair."""
    here = ASSETS.parent / "world"
    files = [Path(__file__), *(here / f"{name}.py" for name in SOURCES)] + [ASSETS / f"{name}.json" for name in TABLES]
    return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).hexdigest()
