"""What the miniature world is made of: 206 photographs and 109 objects with their names, splits and licences.

The files lie in mgie/mini/assets with photos.json and objects.json (author, licence, source of each; see NOTICE) and
scenes.json (what each photograph shows). Decoded once a process; WebP decoding is exact on every machine.
"""

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from mgie.mini.world.pixels import Image

ASSETS = Path(__file__).parents[1] / "assets"
PHOTOS = ASSETS / "photos"
SPLITS = ("train", "val", "test")
TEST, VAL = 40, 16  # photographs; the other 150 are for training
LEFT_OUT = ("tennis ball",)  # its picture is a racket


@dataclass(frozen=True)
class Photograph:
    id: str  # "explore_monuments__petra"; the group of every example drawn from it
    number: int  # 1 .. 206, its place in the sorted list
    noun: str  # "temple"
    split: str
    is_animal: bool


@dataclass(frozen=True)
class Thing:
    name: str
    category: str
    width: int
    height: int


def _json(name: str) -> Any:
    return json.loads((ASSETS / name).read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def photographs() -> dict[str, Photograph]:
    """All of them by id. Split by the hash of the id; two files of one photograph are both in train."""
    scenes = _json("scenes.json")
    ids = sorted(Path(entry["file"]).stem for entry in _json("photos.json"))
    twice = {photo for pair in scenes["same"] for photo in pair}
    order = sorted((i for i in ids if i not in twice), key=lambda i: sha256(i.encode()).digest())
    split = dict.fromkeys(order[:TEST], "test") | dict.fromkeys(order[TEST : TEST + VAL], "val")
    nouns = scenes["nouns"]
    return {
        i: Photograph(i, n, nouns[i], split.get(i, "train"), nouns[i] in scenes["animals"])
        for n, i in enumerate(ids, start=1)
    }


@lru_cache(maxsize=3)
def of_split(split: str) -> tuple[Photograph, ...]:
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}' of the miniature world; known: {', '.join(SPLITS)}")
    return tuple(photo for photo in photographs().values() if photo.split == split)


@lru_cache(maxsize=1)
def things() -> dict[str, Thing]:
    """The objects by name, in the file's order."""
    return {
        entry["name"]: Thing(entry["name"], entry["category"], entry["width"], entry["height"])
        for entry in _json("objects.json")
        if entry["name"] not in LEFT_OUT
    }


@lru_cache(maxsize=1)
def sources() -> dict[str, str]:
    """The page each photograph comes from, by its id."""
    return {Path(entry["file"]).stem: entry["source"] for entry in _json("photos.json")}


@lru_cache(maxsize=1)
def by_category() -> dict[str, tuple[str, ...]]:
    categories = dict.fromkeys(thing.category for thing in things().values())
    return {c: tuple(t.name for t in things().values() if t.category == c) for c in categories}


@cache
def photo_pixels(photo: str) -> Image:
    """(H, W, 3), the shorter side 201 to 256 px."""
    with PILImage.open(PHOTOS / f"{photo}.webp") as file:
        return np.asarray(file.convert("RGB"))


@cache
def thing_pixels(name: str) -> tuple[Image, Image]:
    """Premultiplied colour (h, w, 3) and alpha (h, w, 1); the longer side 112 px."""
    with PILImage.open(ASSETS / "objects" / f"{name.replace(' ', '_')}.webp") as file:
        rgba = np.asarray(file.convert("RGBA"))
    alpha = rgba[..., 3:]
    return ((rgba[..., :3].astype(np.int32) * alpha + 127) // 255).astype(np.uint8), alpha
