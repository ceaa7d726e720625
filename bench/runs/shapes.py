"""In which order examples are edited: those of one shape together, so that batches are as large as asked for."""

from pathlib import Path

from bench.records import Example
from bench.settings import EditSettings
from mgie.io.images import size_of
from mgie.io.sizes import cut_of, one_shape


def by_shape(examples: list[Example], settings: EditSettings) -> list[Example]:
    """Those of one shape behind one another, as their input images come out, so that slices are whole batches.

    The order follows from the images alone. A turn has the shape of its session's first input, and stands behind all
    turns of its number less one, so that no slice waits for an output of its own.
    """
    by_id = {e.id: e for e in examples}
    shapes: dict[str, tuple[int, int]] = {}
    depths: dict[str, int] = {}
    for e in examples:  # a turn comes behind the one before it
        before = by_id.get(e.previous) if e.previous else None
        depths[e.id] = depths.get(before.id, 0) + 1 if before else 0
        if before and before.id in shapes:
            shapes[e.id] = shapes[before.id]
        else:
            shapes[e.id] = (0, 0) if one_shape(settings.size) else shape(e.input_image, settings)
    rank = {of: place for place, of in enumerate(dict.fromkeys(shapes.values()))}
    return sorted(examples, key=lambda e: (depths[e.id], rank[shapes[e.id]]))


def shape(path: Path, settings: EditSettings) -> tuple[int, int]:
    """(width, height) of an input image as it is read, down to the multiples of 8 that editors take; of its header
    alone. (0, 0): it cannot be read.
    """
    size = size_of(path, settings)
    if not size:
        return 0, 0
    width, height = cut_of(size, settings.size, settings.max_side).size
    return width // 8 * 8, height // 8 * 8
