"""Image arithmetic in integers: crops, colour maps, blurs and compositing that give the same pixels everywhere.

No float, no libm, no BLAS, no library resampler: those differ in the last bit between machines and versions. Images
are (H, W, 3) uint8, alpha (H, W) uint8. Not covered: speed for large images (the miniature is 64 to 128 px).
"""

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
STEP = 64  # resampling positions are fractions of a pixel in units of 1/64


def resample(image: Image, width: int, height: int) -> Image:
    """(h, w, C) to (height, width, C): each new pixel is the exact mean of the area it covers."""
    return _resample_rows(_resample_rows(image, height).swapaxes(0, 1), width).swapaxes(0, 1)


def _resample_rows(image: Image, n: int) -> Image:
    """(h, w, C) to (n, w, C), from differences of the running sum at fractional places."""
    h = image.shape[0]
    sums: np.ndarray = np.zeros((h + 1, *image.shape[1:]), np.int32)
    np.cumsum(image, axis=0, dtype=np.int32, out=sums[1:])
    edges = np.arange(n + 1) * h * STEP // n
    whole, part = np.minimum(edges // STEP, h - 1), None
    part = (edges - whole * STEP).astype(np.int32)[:, None, None]
    at = sums[whole] * (STEP - part) + sums[whole + 1] * part  # running sum in units of 1/STEP
    area = np.diff(edges).astype(np.int32)[:, None, None]
    return ((np.diff(at, axis=0) + area // 2) // area).astype(np.uint8)


def luma(image: Image) -> NDArray[np.int32]:
    """(H, W), Rec. 601 weights in 256ths."""
    wide = image.astype(np.int32)
    return (77 * wide[..., 0] + 150 * wide[..., 1] + 29 * wide[..., 2] + 128) >> 8


def clip(values: NDArray) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)


@lru_cache(maxsize=256)
def gamma(p: int, q: int) -> Image:
    """Table of 255 (v / 255)^(p / q), rounded by comparing whole numbers: below 1 brightens, above 1 darkens."""
    table, y = [], 0
    for v in range(256):  # the largest y with y - 1/2 <= the value, both sides raised to q
        while (2 * y + 1) ** q * 255**p <= (2 * 255) ** q * v**p and y < 255:
            y += 1
        table.append(y)
    return np.array(table, np.uint8)


@lru_cache(maxsize=256)
def line(k: int, middle: int = 128, add: int = 0) -> Image:
    """Table of middle + (v - middle) k / 256 + add: contrast, and exposure where middle is 0."""
    return clip(middle + (((np.arange(256) - middle) * k + 128) >> 8) + add)


def scale(image: Image, red: int, green: int, blue: int) -> Image:
    """Each channel times its factor in 256ths: warm, cool and colour casts."""
    return clip((image.astype(np.int32) * np.array([red, green, blue], np.int32) + 128) >> 8)


def saturate(image: Image, k: int) -> Image:
    """k in 256ths: 0 grey, 256 unchanged."""
    grey = luma(image)[..., None]
    return clip(grey + (((image - grey) * k + 128) >> 8))


def sepia(image: Image) -> Image:
    return clip((luma(image)[..., None] * np.array([290, 240, 175], np.int32) + 128) >> 8)


def mix(a: Image, b: Image, k: int | NDArray) -> Image:
    """a where k is 0, b where k is 256."""
    a32 = a.astype(np.int32)
    return (a32 + (((b.astype(np.int32) - a32) * k + 128) >> 8)).astype(np.uint8)


def tint(image: Image, colour: tuple[int, int, int], k: int) -> Image:
    """The image's light in one colour, mixed in by k 256ths."""
    toned = clip((luma(image)[..., None] * np.array(colour, np.int32) + 64) // 128)
    return mix(image, toned, k)


def blur(image: Image, radius: int) -> Image:
    """Two box means of 2 radius + 1, edges repeated: close to a Gaussian. Takes (H, W) and (H, W, C)."""
    if radius < 1:
        return image
    for _ in range(2):
        for axis in (0, 1):
            image = _box(image, radius, axis)
    return image


def _box(image: Image, radius: int, axis: int) -> Image:
    n = 2 * radius + 1
    pad = [(0, 0)] * image.ndim
    pad[axis] = (radius + 1, radius)
    sums = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.int32)
    size = image.shape[axis]
    high = np.take(sums, range(n, n + size), axis=axis)
    low = np.take(sums, range(size), axis=axis)
    return ((high - low + n // 2) // n).astype(np.uint8)


def sharpen(image: Image, radius: int, k: int) -> Image:
    """Unsharp mask: image + k / 256 of what the blur takes away."""
    detail = image.astype(np.int32) - blur(image, radius)
    return clip(image + ((detail * k + 128) >> 8))


def recolour(image: Image, hue: tuple[int, int, int]) -> Image:
    """Every pixel in one hue, light and shade kept. hue: a pure colour with a 255 in it.

    Dark and grey surfaces get some light and colour first, else a red hat would stay black.
    """
    wide = image.astype(np.int32)
    value = wide.max(axis=-1)
    chroma = value - wide.min(axis=-1)
    value = np.where(chroma * 4 < value * 3, (value * 3 + 255) >> 2, value)  # lift what is grey
    chroma = np.maximum(chroma, (value * 5) >> 3)
    return clip(value[..., None] - (chroma[..., None] * (255 - np.array(hue, np.int32)) + 127) // 255)


def ramp(size: int, dark_left: bool, low: int, reach: int) -> NDArray[np.int32]:
    """(1, W, 1) factors in 256ths: `low` at one side, 256 from `reach` per cent of the width on."""
    steps = range(size) if dark_left else range(size - 1, -1, -1)
    x: np.ndarray = np.array(steps, np.int32)
    return np.minimum(256, low + (256 - low) * 100 * x // (reach * size))[None, :, None]


def over(canvas: Image, colour: Image | tuple[int, int, int], alpha: Image, x: int, y: int) -> None:
    """Lay colour (h, w, 3), or one colour, with alpha (h, w) on the canvas at (x, y), in place; edges are cut off."""
    h, w = alpha.shape
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(h, canvas.shape[0] - y), min(w, canvas.shape[1] - x)
    if bottom <= top or right <= left:
        return
    part = canvas[y + top : y + bottom, x + left : x + right]
    a = alpha[top:bottom, left:right, None].astype(np.int32)
    ink = np.asarray(colour, np.uint8)
    ink = ink if ink.ndim == 1 else ink[top:bottom, left:right]
    part[:] = (part * (255 - a) + ink * a + 127) // 255


def enlarge(image: Image, size: int) -> Image:
    """Square (n, n, ...) to (size, size, ...), nearest: for marks that are drawn on a 64 px grid."""
    index = np.arange(size) * image.shape[0] // size
    return image[index][:, index]


COLUMNS = {  # five bytes a letter, lowest bit on top
    "A": "7E1111117E", "B": "7F49494936", "C": "3E41414122", "D": "7F4141221C", "E": "7F49494941", "F": "7F09090901",
    "G": "3E4149497A", "H": "7F0808087F", "I": "00417F4100", "J": "2040413F01", "K": "7F08142241", "L": "7F40404040",
    "M": "7F020C027F", "N": "7F0408107F", "O": "3E4141413E", "P": "7F09090906", "Q": "3E4151215E", "R": "7F09192946",
    "S": "4649494931", "T": "01017F0101", "U": "3F4040403F", "V": "1F2040201F", "W": "3F4038403F", "X": "6314081463",
    "Y": "0708700807", "Z": "6151494543", "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31",
    "4": "1814127F10", "5": "2745454539", "6": "3C4A494930", "7": "0171090503", "8": "3649494936", "9": "064949291E",
    " ": "0000000000",
}  # fmt: skip


def letters(text: str, stretch: int = 1) -> Image:
    """(7 stretch, 6 stretch n) alpha: 255 where ink is."""
    columns = [byte for letter in text for byte in (*bytes.fromhex(COLUMNS[letter]), 0)]
    bits = np.array(columns, np.uint8)[None, :] >> np.arange(7, dtype=np.uint8)[:, None] & 1
    return np.repeat(np.repeat(bits * np.uint8(255), stretch, axis=0), stretch, axis=1)
