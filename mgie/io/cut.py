"""Whether the data of a JPEG or PNG end before its picture does, though an end marker stands behind them.

JPEG: libjpeg fills what is missing with grey, or leaves it coarse, and Pillow does not pass its warning on. So it is
asked again with more data in front of the end marker: of a whole picture they change nothing, in a cut one they become
pixels. That second decoding is needed only where a scan of several may be cut (progressive), or where the last pixel
is the grey that libjpeg fills with.
PNG: Pillow leaves missing rows at zero. So a picture whose last row is all zero has its data inflated once more, in
pieces, and counted.
Not seen: a loss within a JPEG's last block of pixels (at most 16x16), a JPEG within a TIFF, arithmetic coding, a PNG
within an ICO.
"""

import io
import random
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame; the three are tables
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # in coded data: neither stuffing nor a restart
GREY = range(126, 130)  # what libjpeg fills with is 128; 127 after the inversion that Adobe's CMYK has
COEFFICIENTS = 64
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
WHOLE = ((0, 0, 1, 1),)  # a PNG's passes: first column and row, steps across and down
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PIECE = 1 << 16  # bytes inflated at a time


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
    """data: a file's bytes. image: what Pillow made of them, not yet turned."""
    return lacks_rows(data, image) if image.format == "PNG" else lacks_pixels(data, image)


def lacks_pixels(data: bytes, image: Image.Image) -> bool:
    """Of a JPEG."""
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


def lacks_rows(data: bytes, image: Image.Image) -> bool:
    """Of a PNG."""
    head = next(body for name, body in chunks(data) if name == b"IHDR")
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", head[:13])
    if not interlaced and np.asarray(image.crop((0, height - 1, width, height))).any():
        return False
    expected = 0  # bytes: a row begins with that of its filter
    for left, upper, across, down in ADAM7 if interlaced else WHOLE:
        columns, rows = -(-(width - left) // across), -(-(height - upper) // down)
        expected += rows * (1 + (columns * depth * CHANNELS[kind] + 7) // 8) if columns > 0 and rows > 0 else 0
    return inflated(data, expected) < expected


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """A PNG's, by name."""
    at = 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def inflated(data: bytes, enough: int) -> int:
    """How many bytes a PNG's pixels inflate to; counted no further than to enough."""
    count, stream = 0, zlib.decompressobj()
    for body in (body for name, body in chunks(data) if name == b"IDAT"):
        while body and count < enough:
            count += len(stream.decompress(body, PIECE))
            body = stream.unconsumed_tail
    return count
