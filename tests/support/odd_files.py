"""PNGs of any depth and JPEGs cut short, written here because PIL writes neither."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def png(values: np.ndarray, depth: int, kind: int, transparent: bytes = b"", extra: bytes = b"") -> bytes:
    """values: (H, W) or (H, W, channels). kind: PNG's colour type. transparent: a tRNS chunk's data; extra: chunks."""
    height, width = values.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    rows = b"".join(b"\0" + packed(row.reshape(-1), depth) for row in values)
    parts = chunk(b"IHDR", head) + extra + (chunk(b"tRNS", transparent) if transparent else b"")
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def packed(row: np.ndarray, depth: int) -> bytes:
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = (row[:, None].astype(np.uint8) >> np.arange(depth - 1, -1, -1, dtype=np.uint8)) & 1
    return np.packbits(bits.reshape(-1)).tobytes()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def cut(data: bytes, share: float) -> bytes:
    """A JPEG of which the end is lost, with its end marker put back."""
    return data[: int(len(data) * share)] + b"\xff\xd9"
