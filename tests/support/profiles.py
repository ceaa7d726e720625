"""ICC profiles drawn here: RGB by matrix, grey by a curve, CMYK and Lab-based ones by a table. Bytes, version 2.4.

Matrices are XYZ of the primaries, adapted to D50, as the spaces' own profiles have them.
"""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71187, 0.0), (0.03134, 0.00009, 0.82521))


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(*values)


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def srgb_decoded(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_curve(points: int = 1024) -> bytes:
    table = np.round(srgb_decoded(np.linspace(0, 1, points)) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", points) + table.tobytes()


def profile(space: bytes, kind: bytes, pcs: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    """space: of the pixels, b"RGB ". kind: b"mntr" a display, b"prtr" a printer. pcs: b"XYZ " or b"Lab "."""
    desc = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"p\0" + b"\0" * 78
    tags = [(b"desc", desc), (b"cprt", b"text\0\0\0\0none\0\0\0\0"), (b"wtpt", xyz(*D50)), *tags]
    tags = [(name, data + b"\0" * (-len(data) % 4)) for name, data in tags]
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags:
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    dates = (2020, 1, 1, 0, 0, 0)
    head = struct.pack(">I4sI4s4s4s6H", at + len(body), b"none", 0x02400000, kind, space, pcs, *dates)
    return (head + b"acsp" + b"\0" * 28 + fixed(*D50)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb(primaries: tuple, trc: bytes) -> bytes:
    named = zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)
    columns = [(name, xyz(*column)) for name, column in named]
    return profile(b"RGB ", b"mntr", b"XYZ ", [*columns, *((name, trc) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def grey(trc: bytes) -> bytes:
    return profile(b"GRAY", b"mntr", b"XYZ ", [(b"kTRC", trc)])


def cmyk() -> bytes:
    """An ink table of two points a channel: L is 100 without ink and falls to 0 with any one of them full."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    light = np.prod(1 - corners, axis=1)
    grid = np.stack([light * 255, np.full(16, 128), np.full(16, 128)], axis=-1).astype(np.uint8)
    return profile(b"CMYK", b"prtr", b"Lab ", [(b"A2B0", lut8(4, grid)), (b"A2B1", lut8(4, grid))])


def lut8(inputs: int, grid: np.ndarray) -> bytes:
    """grid: (2 ** inputs, 3) uint8, the last channel fastest."""
    straight = bytes(range(256))
    unit = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return b"mft1\0\0\0\0" + bytes((inputs, 3, 2, 0)) + unit + straight * inputs + grid.tobytes() + straight * 3


def rgb_by_table(levels: int = 17) -> bytes:
    """sRGB's colours through a table into Lab instead of a matrix: a LUT profile as scanners have."""
    steps = np.linspace(0, 1, levels)
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = lab_of(srgb_decoded(colours) @ np.array(SRGB))
    grid = np.stack([lab[:, 0] * 255 / 100, lab[:, 1] + 128, lab[:, 2] + 128], axis=-1)
    data = np.round(np.clip(grid, 0, 255)).astype(np.uint8)
    straight = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes((3, 3, levels, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + straight * 3
    table += data.tobytes() + straight * 3
    return profile(b"RGB ", b"scnr", b"Lab ", [(b"A2B0", table), (b"A2B1", table)])


def lab_of(xyz_values: np.ndarray) -> np.ndarray:
    """(n, 3) XYZ, white D50. Returns (n, 3): L 0 to 100, a, b."""
    t = xyz_values / np.array(D50)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


def to_srgb(pixels: np.ndarray, primaries: tuple, gamma: float | None) -> np.ndarray:
    """What a matrix profile's pixels, (..., 3) uint8, are in sRGB, in float64 by the definition. gamma None: sRGB's."""
    values = pixels.astype(np.float64) / 255
    linear = srgb_decoded(values) if gamma is None else values**gamma
    found = np.clip(linear @ np.array(primaries) @ np.linalg.inv(np.array(SRGB)), 0, 1)
    coded = np.where(found <= 0.0031308, found * 12.92, 1.055 * found ** (1 / 2.4) - 0.055)
    return np.round(coded * 255).astype(np.uint8)


WIDE = {  # name -> (profile, primaries, gamma)
    "Display P3": (rgb(DISPLAY_P3, srgb_curve()), DISPLAY_P3, None),
    "Adobe RGB": (rgb(ADOBE_RGB, curve(2.19921875)), ADOBE_RGB, 2.19921875),
    "ProPhoto": (rgb(PROPHOTO, curve(1.8)), PROPHOTO, 1.8),
}
