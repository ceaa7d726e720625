"""Where an edit is asked for, as the datasets mark it: transparency or white (MagicBrush), COCO run lengths (GIER)."""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from bench.datasets.annotations import kind_of
from bench.datasets.gier import SOURCE
from bench.records import Mask
from mgie.io.images import ImageError, Reading, load
from mgie.io.sizes import for_goal, sized

if TYPE_CHECKING:
    import numpy as np

LISTS = ".json"  # of COCO RLEs; other masks are images


def decode_masks(path: Path, ids: tuple[int, ...]) -> "np.ndarray":
    """(H, W) bool, True = to be edited: the union of these entries of a list of COCO RLEs. Raises ImageError.

    Its size is the mask's own, which in GIER is not always the image's: bench.datasets.masks.load_mask resizes.
    """
    masks = list_in(path)
    if not ids or max(ids) >= len(masks) or min(ids) < 0:
        raise ImageError(f"{path}: holds {len(masks)} masks, but ids {list(ids)} are asked for")
    decoded = [decode_rle(masks[i], f"{path}, mask {i}") for i in ids]
    if len({mask.shape for mask in decoded}) > 1:
        shapes = sorted({mask.shape for mask in decoded})
        raise ImageError(f"{path}: masks {list(ids)} differ in size: {shapes} (height, width)")
    return np.logical_or.reduce(decoded)


def list_in(path: Path) -> list:
    """Of COCO RLEs, none of which is looked at. Raises ImageError."""
    try:
        masks = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ImageError(f"{path}: no such mask file; the masks are a download of their own: {SOURCE.where}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{path}: mask file cannot be read: {error}") from error
    if not isinstance(masks, list):
        raise ImageError(f"{path}: holds a JSON {kind_of(masks)}, expected a list of COCO RLE masks")
    return masks


def fault_of(path: Path) -> str:
    """Why a mask file cannot be used, whatever it is asked for; empty where it can."""
    try:
        list_in(path) if path.suffix == LISTS else marked(path, "apply")
    except ImageError as error:
        return str(error)
    return ""


def decode_rle(rle: Any, where: str) -> "np.ndarray":
    """One COCO RLE, compressed or not. Runs that do not fill the mask exactly are refused before any is drawn."""
    from pycocotools import mask as coco

    from mgie.io.images import MAX_PIXELS, ImageError

    try:
        height, width = (int(n) for n in rle["size"])
        counts = rle["counts"]
        runs = counts if isinstance(counts, list) else run_lengths(counts)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise ImageError(f"{where}: not a COCO RLE of size [height, width] and counts ({error!r})") from None
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ImageError(f"{where}: its size is {height}x{width}, expected 1 to {MAX_PIXELS:,} pixels")
    if any(type(run) is not int or run < 0 for run in runs) or sum(runs) != height * width:
        raise ImageError(f"{where}: its runs do not fill {height}x{width} = {height * width:,} pixels")
    return coco.decode(coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)).astype(bool)


def run_lengths(counts: str) -> list[int]:
    """The runs of a compressed COCO RLE: five bits a character; from the fourth run on, differences to two before."""
    runs: list[int] = []
    value = shift = 0
    for code in (ord(c) - 48 for c in counts):
        if not 0 <= code < 64:
            raise ValueError(f"character {chr(code + 48)!r} in counts")
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("counts ends within a number")
    return runs


def load_mask(mask: Mask, size: tuple[int, int], exif: str = "apply", rule: str | None = None) -> np.ndarray:
    """(H, W) bool at size (width, height), True = to be edited; another size is brought to it, nearest.

    ids pick entries of a GIER list of COCO RLEs. An image marks by transparency (MagicBrush: alpha != 255), or, where
    no pixel of it is transparent, by white on black, as inpainting models take it. rule: the size rule of the run
    (mgie.io.sizes), by which the mask is cut as its goal image is. Raises ImageError, for anything between black and
    white too: MagicBrush's masks are photographs with a hole, whose light says nothing.
    """
    return Marked(mask, exif, rule).at(size)


class Marked:
    """A mask that is read when it is first looked at. Raises mgie.io.images.ImageError then."""

    def __init__(self, mask: Mask, exif: str = "apply", rule: str | None = None) -> None:
        self.mask, self.exif, self.rule = mask, exif, rule

    @cached_property
    def own(self) -> np.ndarray:
        """(H, W) bool at the mask's own size."""
        mask = self.mask
        return marked(mask.path, self.exif) if mask.ids is None else decode_masks(mask.path, mask.ids)

    def at(self, size: tuple[int, int]) -> np.ndarray:
        """As load_mask."""
        return fitted(self.own, size, self.rule)


def fitted(edit: np.ndarray, size: tuple[int, int], rule: str | None) -> np.ndarray:
    """A mask, (H, W) bool, cut by the size rule and brought to size (width, height), nearest."""
    if rule and for_goal(rule):
        edit = np.asarray(sized(Image.fromarray(edit), for_goal(rule), nearest=True))
    if edit.shape != size[::-1]:
        edit = np.asarray(Image.fromarray(edit).resize(size, Image.Resampling.NEAREST))
    return edit


def marked(path: Path, exif: str) -> np.ndarray:
    """(H, W) bool at the mask's own size."""
    try:
        pixels = np.asarray(load(path, Reading(exif=exif, alpha="keep", icc="ignore")))
    except ImageError as error:
        raise ImageError(f"mask {error}") from error
    opaque = pixels[..., 3] == 255
    if not opaque.all():
        return ~opaque
    found = {tuple(colour) for colour in np.unique(pixels[..., :3].reshape(-1, 3), axis=0).tolist()}
    for white in (255, 1):
        if found <= {(0, 0, 0), (white,) * 3}:
            return pixels[..., 0] == white
    greys = f"{len(found)} greys" if all(len(set(colour)) == 1 for colour in found) else f"{len(found)} colours"
    raise ImageError(
        f"mask {path}: no pixel of it is transparent, and it has {greys}; expected transparency where the edit is, or "
        "black with white (255, or 1) there. A mask saved as JPEG has greys at its edges: save it as PNG"
    )
