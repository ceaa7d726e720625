"""The labelled pictures that the miniature's codec, tower and metric networks learn from: both sides of drawn edits.

Each picture has a caption, the object on every patch, the photograph's noun and what is wrong with it (if anything):
labels that the generator knows and nobody has to write. Picture i of a split follows from (split, seed, i) alone; they
are drawn in chunks when first asked for and kept in a cache folder. Edits for training editors are world.py's.
"""

import io
import json
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgie.io.files import write_whole
from mgie.mini.world import examples as world
from mgie.mini.world.assets import ASSETS, photographs, things
from mgie.mini.world.change import Change
from mgie.mini.world.scene import Scene, caption, cut_out

CHUNK = 500  # edits, two pictures each
GRID = 8  # patches a side; each has a label
FAULTS = (
    "none", "too dark", "too bright", "flat", "left side dark", "right side dark", "blue", "orange", "green", "faded",
    "bar at the top", "bar at the bottom", "watermark", "date stamp",
)  # fmt: skip
FAULTY = ("fix-light", "fix-colours", "clean-up")
NO_OBJECT, UNSURE = 0, -1
INPUT, GOAL = 0, 1
DRAWN_BY = ("assets", "change", "dice", "pixels", "families_ambiguous", "families_global", "families_local",
            "families_which", "phrasing", "scene", "examples")  # fmt: skip
MADE_OF = ("objects.json", "photos.json", "scenes.json")


class Chunk(NamedTuple):
    """n edits; axis 1 is input, goal."""

    pixels: NDArray[np.uint8]  # (n, 2, size, size, 3)
    objects: NDArray[np.int16]  # (n, 2, GRID, GRID): 0 no object, k the k-th name of object_names(), -1 unsure
    nouns: NDArray[np.int16]  # (n,): index in nouns()
    faults: NDArray[np.int16]  # (n, 2): index in FAULTS, -1 unsure
    captions: list[list[str]]  # (n, 3): of the input, of the goal, the goal's local one


@dataclass(frozen=True)
class PictureSet:
    """Which pictures: split of the photographs, seed, side in px, and the styles whose strengths the edits have."""

    split: str
    seed: int
    size: int = 64
    styles: tuple[str, ...] = ("plain",)  # the training set's


@lru_cache(maxsize=1)
def object_names() -> tuple[str, ...]:
    """Index 0 is no object."""
    return ("", *things())


@lru_cache(maxsize=1)
def nouns() -> tuple[str, ...]:
    return tuple(sorted({photo.noun for photo in photographs().values()}))


class Pictures:
    """Rows of edits by number, endless; drawn, or read from the cache folder."""

    def __init__(self, source: PictureSet, cache: Path | None = None) -> None:
        self.source = source
        which = f"{source.split}-{source.seed}-{source.size}-{'-'.join(source.styles)}"
        self.folder = cache and cache / f"{code_hash()[:8]}-{which}"
        self.chunks: OrderedDict[int, Chunk] = OrderedDict()

    def chunk(self, number: int) -> Chunk:
        if number not in self.chunks:
            self.chunks[number] = self.read_or_draw(number)
        return self.chunks[number]

    def read_or_draw(self, number: int) -> Chunk:
        path = self.folder and self.folder / f"{number:04d}.npz"
        if path and path.exists():
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in Chunk._fields[:-1]}
                return Chunk(**arrays, captions=json.loads(file["captions"].tobytes()))
        chunk = draw_chunk(self.source, number)
        if path:
            write(path, chunk)
        return chunk

    def rows(self, start: int, count: int) -> Chunk:
        """Edits start .. start + count - 1."""
        parts = []
        while count > 0:
            number, first = divmod(start, CHUNK)
            take = min(count, CHUNK - first)
            parts.append([array[first : first + take] for array in self.chunk(number)])
            start, count = start + take, count - take
        if len(parts) == 1:
            return Chunk(*parts[0])
        *arrays, texts = zip(*parts, strict=True)
        return Chunk._make([*(np.concatenate(a) for a in arrays), [row for part in texts for row in part]])

    def content_hash(self) -> str:
        """SHA-256 of the first chunk, pixels and labels: what these pictures are, however they are drawn."""
        *arrays, texts = self.chunk(0)
        total = sha256(json.dumps(texts).encode())
        for array in arrays:
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


def write(path: Path, chunk: Chunk) -> None:
    """Atomic."""
    buffer = io.BytesIO()
    texts = np.frombuffer(json.dumps(chunk.captions).encode(), np.uint8)
    np.savez(buffer, **dict(zip(Chunk._fields, (*chunk[:-1], texts), strict=True)))
    write_whole(buffer.getvalue(), path)


@lru_cache(maxsize=1)
def code_hash() -> str:
    """SHA-256 over everything that decides a picture: the cache of one version is not read by another."""
    here = ASSETS.parent / "world"
    files = [Path(__file__), *(here / f"{name}.py" for name in DRAWN_BY)] + [ASSETS / name for name in MADE_OF]
    return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def draw_chunk(source: PictureSet, number: int) -> Chunk:
    drawn = [draw_edit(source, number * CHUNK + i) for i in range(CHUNK)]
    *columns, texts = zip(*drawn, strict=True)
    return Chunk._make([*map(np.stack, columns), list(texts)])


def draw_edit(source: PictureSet, number: int) -> tuple:
    """One row of a Chunk. Families, photographs and causes are uniform."""
    style = source.styles[number % len(source.styles)]
    drawn = world.draw(f"pictures {source.seed} {number}", source.split, source.size, style=style, anything=True)
    change = drawn.change
    pixels = np.stack([change.input_image, change.goal_image])
    objects = np.stack([object_map(change.before), object_map(change.after)])
    faults = np.array(fault_labels(drawn.family, change), np.int16)
    texts = [input_caption(change, int(faults[INPUT])), change.goal_caption, change.local_caption]
    noun = nouns().index(photographs()[drawn.photograph].noun)
    return pixels, objects, np.int16(noun), faults, texts


def fault_labels(family: str, change: Change) -> tuple[int, int]:
    """(input, goal). Only what a fix leaves behind is surely right; a goal made dark on purpose is no fault."""
    if family not in FAULTY:
        return FAULTS.index("none"), UNSURE
    cause = f"{change.words['side']} side dark" if change.cause == "one side dark" else change.cause
    return FAULTS.index(cause), FAULTS.index("none")


def input_caption(change: Change, fault: int) -> str:
    text, name = caption(change.before), FAULTS[fault]
    if fault == 0:
        return text
    text = text.removeprefix("a photo of ")
    if name in ("blue", "orange", "green"):
        return f"a photo with a {name} cast of {text}"
    if name in ("faded", "flat"):
        return f"a {name} photo of {text}"
    if name.startswith("too"):
        return f"a photo, {name}, of {text}"
    return f"a photo, {name}, of {text}" if name.endswith("dark") else f"a photo with a {name} of {text}"


def object_map(scene: Scene) -> NDArray[np.int16]:
    """(GRID, GRID): the object that covers 40 % of the patch or more; unsure from 10 %."""
    size = scene.size
    owner: np.ndarray = np.zeros((size, size), np.int16)
    for sprite in scene.sprites:
        _, alpha, _ = cut_out(sprite.name, sprite.width, sprite.height, sprite.flip, sprite.colour)
        x, y = max(0, sprite.x), max(0, sprite.y)
        part = owner[y : sprite.y + sprite.height, x : sprite.x + sprite.width]
        seen = alpha[y - sprite.y :, x - sprite.x :][: part.shape[0], : part.shape[1]] >= 128
        part[seen] = object_names().index(sprite.name)
    blocks = owner.reshape(GRID, size // GRID, GRID, size // GRID)
    present = np.unique(owner[owner > 0])
    if not len(present):
        return np.zeros((GRID, GRID), np.int16)
    counts = np.stack([(blocks == k).sum(axis=(1, 3)) for k in present])
    most, area = counts.max(axis=0), (size // GRID) ** 2
    label = np.where(most * 10 >= area * 4, present[counts.argmax(axis=0)], UNSURE)
    return np.where(counts.sum(axis=0) * 10 < area, NO_OBJECT, label).astype(np.int16)
