"""Bit depths: samples of 1 to 64 bits, whole numbers or floating point, brought to 8; transparent colours to an alpha.

A sample keeps its highest eight bits (65535 and 65280 are both 255). What 0 and white are is read from the file, and
where the file does not say, it is refused: floats are 0 to 1 unless TIFF's SMaxSampleValue says otherwise, never
stretched to what is in them. No gamma is applied: floats are taken to be coded as 8 bits would be.
TIFF's MinSampleValue and MaxSampleValue are statistics by the standard; the second counts where it is 2**k - 1, as
those write it who put 10, 12 or 14 bits into 16.
One rule for all formats: whole numbers of more than 8 bits that leave their two highest bits empty are a dark picture,
or fewer bits that were never scaled. Where the file does not say which, it is refused. TIFF says it by SMaxSampleValue;
of a PNG an sBIT of 16 is taken for it, and any other as nothing: by its standard it is no scale.
Not covered, and refused: TIFF of half floats, of more than one float channel, of 32-bit RGB. Not seen: 15 bits, to
which a dark photograph may well keep; fewer bits in JPEG 2000 of colours, of which Pillow keeps 8 bits alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mgie.io.cut import chunks

BITS, PHOTOMETRIC, MAX_SAMPLE, SAMPLE_FORMAT, S_MIN, S_MAX = 258, 262, 281, 339, 340, 341  # TIFF's tags
WHITE_IS_ZERO = 0
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
SPEAKS = "the file does not say which value is white"
LOW = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": "RGB;16B", "RGBX;16L": "RGBX;16B",
       "RGBX;16B": "RGBX;16L", "RGBX;16N": "RGBX;16B", "RGBA;16L": "RGBA;16B", "RGBA;16B": "RGBA;16L",
       "RGBA;16N": "RGBA;16B"}  # fmt: skip # read in the other byte order, the high byte of each sample is the low one
Again = Callable[[], Image.Image]  # opens the same file once more


class Unclear(ValueError):
    """The file does not say what its values mean; the message says what it lacks."""


class Raw(NamedTuple):
    """What Pillow knows of a file's samples until it has loaded them."""

    where: str = "an image in memory"
    mode: str = ""  # its raw mode, e.g. RGB;16B; "" where it is not known
    again: Again | None = None


NOTHING = Raw()


def raw_mode(file: Image.Image) -> str:
    """Of an image that is not loaded yet."""
    tiles = getattr(file, "tile", None)
    args = tiles[0][3] if tiles else ""
    args = args[0] if isinstance(args, tuple) and args else args
    return args if isinstance(args, str) else ""


def eight_bits(image: Image.Image, raw: Raw = NOTHING) -> Image.Image:
    """image, loaded, in a mode of 8 bits a sample; a transparent colour of grey or deep samples becomes an alpha.

    Raises Unclear.
    """
    if image.format == "TIFF" and hasattr(image, "tag_v2"):
        return of_tiff(image, raw)
    key = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        if image.format not in (None, "PNG", "JPEG2000"):
            raise Unclear(f"{image.format} of 16 bits: {SPEAKS}")
        refuse_dark(int(values.max(initial=0)), 16, image, raw)
        return with_key(high_byte(values), values == key if isinstance(key, int) else None)
    if image.mode == "I" and image.format == "PPM":  # Pillow has scaled it to 16 bits
        return Image.fromarray(high_byte(np.asarray(image).astype(np.uint16)))
    if image.mode in ("I", "F"):
        return of_memory(image)
    if image.mode in ("RGB", "RGBA") and ";16" in raw.mode:
        refuse_dark(highest_of(image, raw), 16, image, raw)
    if image.mode in ("1", "L") and isinstance(key, int):  # of 1, 2 and 4 bits the key is as in the file
        steps = {"1": 255, "L;2": 85, "L;4": 17}.get("1" if image.mode == "1" else raw.mode, 1)
        values = np.asarray(image.convert("L"))
        return with_key(values, values == key * steps)
    if image.mode == "RGB" and isinstance(key, tuple) and (raw.mode in LOW or max(key) > 255):
        deep = np.asarray(image).astype(np.uint16) << 8 | low_bytes(raw)
        return with_key(np.asarray(image), (deep == np.array(key, dtype=np.uint16)).all(axis=-1))
    return image


def high_byte(values: np.ndarray) -> np.ndarray:
    return (values >> 8).astype(np.uint8)


def low_bytes(raw: Raw) -> np.ndarray:
    if raw.again is None or raw.mode not in LOW:
        raise Unclear("its 16-bit values are needed, and only 8 bits of them are at hand; give the file itself")
    file: Any  # a kind of ImageFile, which has tiles
    with raw.again() as file:
        tile = file.tile[0]
        args = LOW[raw.mode] if isinstance(tile.args, str) else (LOW[raw.mode], *tile.args[1:])
        file.tile = [tile._replace(args=args) for tile in file.tile]
        return np.asarray(file).astype(np.uint16)


def highest_of(image: Image.Image, raw: Raw) -> int:
    """Of deep colours, of which Pillow has kept the high bytes: their highest value, to 8 bits where it has more."""
    high = int(np.asarray(image)[..., :3].max(initial=0))
    return high << 8 if high or raw.mode not in LOW else int(low_bytes(raw)[..., :3].max(initial=0))


def with_key(values: np.ndarray, transparent: np.ndarray | None) -> Image.Image:
    """values: (H, W) or (H, W, 3) uint8. transparent: (H, W) bool; None: nothing is."""
    image = Image.fromarray(values)
    if transparent is not None:
        image.putalpha(Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8)))
    return image


def of_memory(image: Image.Image) -> Image.Image:
    """Mode I or F without a file that says more: Pillow's own convert keeps 0 to 255 in them."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    kind = f"{image.format or 'an image in memory'} of mode {image.mode}"
    if image.format == "PPM":  # a float map: 1 is white
        return Image.fromarray(linear(values, 0, 1))
    if image.format is not None or not (low >= 0 and (high == 0 or 1 < high <= 255)):
        raise Unclear(f"{kind} with values from {low:g} to {high:g}: {SPEAKS}; convert it to 8 bits a channel")
    return Image.fromarray(values.astype(np.uint8))


def of_tiff(image: Any, raw: Raw) -> Image.Image:
    """image: with its tags, as Pillow's TiffImageFile has them."""
    tags = image.tag_v2
    bits, kind = number(tags.get(BITS, 1)), number(tags.get(SAMPLE_FORMAT, UNSIGNED))
    inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    if bits <= 8:
        if kind == UNSIGNED:
            return image  # Pillow has scaled it, and turned it where 0 is white
        if kind != SIGNED or image.mode != "L":
            raise Unclear(f"TIFF of {bits} bits with SampleFormat {kind}: {SPEAKS}")
        values = np.asarray(image).view(np.int8)
    elif image.mode in ("RGB", "RGBA", "CMYK"):
        return of_deep_colours(image, raw, bits)
    else:
        values = np.asarray(image)
        if bits == 32 and kind == UNSIGNED:  # Pillow has 32 bits with a sign alone
            values = values.astype(np.int32).view(np.uint32)
    if kind == FLOAT:
        grey = linear(values.astype(np.float64), *float_range(tags))
    elif kind == SIGNED:
        grey = linear(values.astype(np.float64), *signed_range(tags, bits))
    else:
        grey = scaled(values, unsigned_white(image, bits, int(values.max(initial=0))))
    return Image.fromarray(255 - grey if inverted else grey)


def of_deep_colours(image: Any, raw: Raw, bits: int) -> Image.Image:
    """16 bits a channel, of which Pillow has kept the high byte."""
    if raw.mode in ("R", "C"):  # planes one after the other, uncompressed: Pillow takes each byte for a sample
        raise Unclear("TIFF of 16 bits with its channels in planes, uncompressed, which Pillow misreads; save it anew")
    high = np.asarray(image)
    stated = stated_white(image.tag_v2, bits)
    if stated is None and image.mode != "CMYK":  # of inks, none is white
        refuse_dark(highest_of(image, raw), bits, image, raw)
    if stated in (None, 2**bits - 1):
        return image
    values = high.astype(np.uint32) << 8 | low_bytes(raw)
    return Image.fromarray(scaled(values, stated), image.mode)


def number(tag: object) -> Any:
    """A TIFF tag's value, of which each channel may have one; Unclear where they differ."""
    values = set(tag) if isinstance(tag, tuple) else {tag}
    if len(values) != 1:
        raise Unclear(f"TIFF whose channels differ in depth or range: {tag}")
    return values.pop()


def power(white: float) -> bool:
    """Whether white is 2**k - 1."""
    return white == int(white) and white >= 1 and int(white) & (int(white) + 1) == 0


def stated_white(tags: dict, bits: int) -> int | None:
    """The white that a TIFF of whole numbers states; None: it states none. Raises Unclear for one of no known scale."""
    full = 2**bits - 1
    if S_MAX in tags:
        white, black = number(tags[S_MAX]), number(tags.get(S_MIN, 0))
        if not power(white) or white > full or black != 0:
            raise Unclear(
                f"TIFF of {bits} bits whose SMinSampleValue is {black:g} and SMaxSampleValue {white:g}: statistics or "
                "black and white, the file does not say; expected 0 and 2**k - 1"
            )
        return int(white)
    statistic = number(tags.get(MAX_SAMPLE, full))
    return int(statistic) if power(statistic) and 255 < statistic < full else None


def unsigned_white(image: Any, bits: int, highest: int) -> int:
    stated, full = stated_white(image.tag_v2, bits), 2**bits - 1
    if stated is None:
        refuse_dark(highest, bits, image, NOTHING)
        return full
    if highest > stated:
        raise Unclear(f"TIFF with values up to {highest}, over its own maximum of {stated}: {SPEAKS}")
    return stated


def refuse_dark(highest: int, bits: int, image: Image.Image, raw: Raw) -> None:
    """image states no white. Raises Unclear where its values leave their two highest bits empty; all 0 is black."""
    if not 0 < highest < 2 ** (bits - 2) or (image.format == "PNG" and raw.again and significant(raw.again) == bits):
        return
    way = {"TIFF": "write SMaxSampleValue into it", "PNG": f"write an sBIT of {bits} into it"}.get(image.format or "")
    dark = f"; or, if it is meant to be so dark, {way}, or" if way else ", or"
    raise Unclear(
        f"{image.format or 'samples'} of {bits} bits with values up to {highest} alone: {SPEAKS}, "
        f"{2**bits - 1} or less; scale its values{dark} save it with 8 bits a channel"
    )


def significant(again: Again) -> int:
    """How many bits of a sample count, by a PNG's sBIT; 0: it does not say."""
    file: Any  # a kind of ImageFile, of bytes in memory
    with again() as file:
        return max(next((body for name, body in chunks(file.fp.getvalue()) if name == b"sBIT"), b""), default=0)


def float_range(tags: dict) -> tuple[float, float]:
    white, black = number(tags.get(S_MAX, 1)), number(tags.get(S_MIN, 0))
    if not power(white) or black != 0:
        raise Unclear(f"float TIFF from {black:g} to {white:g} by its SMin- and SMaxSampleValue: {SPEAKS}")
    return 0.0, float(white)


def signed_range(tags: dict, bits: int) -> tuple[float, float]:
    if S_MIN not in tags or S_MAX not in tags or not number(tags[S_MIN]) < number(tags[S_MAX]):
        raise Unclear(
            f"TIFF of {bits}-bit numbers with a sign: the file does not say which are black and white "
            "(SMinSampleValue, SMaxSampleValue)"
        )
    return float(number(tags[S_MIN])), float(number(tags[S_MAX]))


def linear(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """values: float64. Returns uint8, black to 0 and white to 255, to the nearest."""
    if not np.isfinite(values).all():
        raise Unclear("holds values that are no numbers (NaN or infinite)")
    low, high = float(values.min(initial=black)), float(values.max(initial=black))
    if low < black or high > white:
        raise Unclear(
            f"holds values from {low:g} to {high:g}, outside {black:g} to {white:g}: {SPEAKS} (SMinSampleValue, "
            "SMaxSampleValue)"
        )
    return np.round((values - black) * (255 / (white - black))).astype(np.uint8)


def scaled(values: np.ndarray, white: int) -> np.ndarray:
    """values: unsigned, 0 to white = 2**k - 1. Returns uint8: the highest eight of the k bits."""
    bits = white.bit_length()
    if bits >= 8:
        return (values >> (bits - 8)).astype(np.uint8)
    return (values.astype(np.uint32) * 255 // white).astype(np.uint8)
