"""Whether a JPEG's data end before its picture does, though an end marker stands behind them.

libjpeg fills what is missing with grey, or leaves it coarse, and Pillow does not pass its warning on. So it is asked
again with more data in front of the end marker: of a whole picture they change nothing, in a cut one they become
pixels. That second decoding is needed only where a scan of several may be cut (progressive), or where the last pixel
is the grey that libjpeg fills with.
Not seen: a loss within the last block of pixels (at most 16x16), a JPEG within a TIFF, arithmetic coding.
"""

import io
import random
import re
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame; the three are tables
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # in coded data: neither stuffing nor a restart
GREY = range(126, 130)  # what libjpeg fills with is 128; 127 after the inversion that Adobe's CMYK has
COEFFICIENTS = 64


@dataclass
class Scans:
    """What the scans of a JPEG's first picture bring."""

    progressive: bool = False
    count: int = 0
    left: dict[int, list[int]] = field(default_factory=dict)  # component -> bits that each coefficient still lacks
    end: int = 0  # where the end marker stands

    @property
    def whole(self) -> bool:
        return all(bits == 0 for component in self.left.values() for bits in component)


def scans_of(data: bytes) -> Scans:
    """Raises ValueError, IndexError for what is no JPEG."""
    scans, at = Scans(), 2
    while True:
        found = MARKER.search(data, at)
        if found is None:
            scans.end = len(data)
            return scans
        kind, at = found[1][0], found.end()
        if kind == EOI:
            scans.end = found.start()
            return scans
        if kind in (SOI, 0x01):  # no length follows
            continue
        segment = data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]
        if kind in FRAMES:
            scans.progressive = kind in PROGRESSIVE
            scans.left = {segment[6 + 3 * i]: [14] * COEFFICIENTS for i in range(segment[5])}
        elif kind == SOS:
            scans.count += 1
            components, tail = [segment[1 + 2 * i] for i in range(segment[0])], segment[1 + 2 * segment[0] :]
            first, last, low = (tail[0], tail[1], tail[2] & 15) if scans.progressive else (0, COEFFICIENTS - 1, 0)
            for component in components:
                scans.left[component][first : last + 1] = [low] * (last + 1 - first)
        at += 2 + len(segment)


def ends_early(data: bytes, image: Image.Image) -> bool:
    """data: a JPEG file's bytes. image: what Pillow made of them, not yet turned."""
    try:
        scans = scans_of(data)
    except (LookupError, ValueError):
        return False  # Pillow has read it all the same
    if scans.count == 0:
        return False
    if not scans.whole:
        return True
    last = image.getpixel((image.width - 1, image.height - 1))
    grey = all(band in GREY for band in (last if isinstance(last, tuple) else (last,)))
    if not grey and scans.count == 1:
        return False
    try:
        with Image.open(io.BytesIO(data[: scans.end] + filler() + b"\xff\xd9")) as again:
            return not np.array_equal(np.asarray(again), np.asarray(image))
    except OSError:
        return True


def filler() -> bytes:
    """Coded data of no meaning, then the same behind each restart marker, for a decoder that waits for one."""
    dice = random.Random(0)
    piece = bytes(dice.randrange(255) for _ in range(256))  # without 0xFF, which begins a marker
    return piece + b"".join(bytes((0xFF, 0xD0 + i % 8)) + piece for i in range(16))
