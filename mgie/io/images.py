"""Images in and out: the only place where pixels are decoded, resized or scaled.

Every decision a library would make silently is made here: EXIF orientation, colour profiles (colour.py), bit depths
(depth.py), first frame, alpha, CMYK, files cut short (cut.py), the resize filter (PIL bicubic on uint8: F.interpolate
without antialias moves scores), the pixel limit. What cannot be read rightly is refused by name.
A TIFF's orientation is applied by Pillow itself, with exif="ignore" too.
"""

import hashlib
import io
import logging
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from mgie.io import colour, cut
from mgie.io.depth import NOTHING, Raw, Unclear, eight_bits, raw_mode
from mgie.io.files import Bounded
from mgie.io.sizes import MAX_PIXELS, ImageError, sized

if TYPE_CHECKING:
    from torch import Tensor

ImageFile.LOAD_TRUNCATED_IMAGES = False  # a truncated file is a failure, never half an image
Image.MAX_IMAGE_PIXELS = None  # our own limit below raises an error that names it
log = logging.getLogger("mgie")


# What PIL's decoders raise on damaged files, from fuzzing each format; UnidentifiedImageError is an OSError.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class Reading(NamedTuple):
    """How a file becomes pixels."""

    max_side: int | None = None  # px; a larger image is shrunk to it, PIL bicubic; None: its own size
    exif: str = "apply"  # EXIF orientation: apply or ignore
    alpha: str = "white"  # transparent pixels: laid on white; drop, the alpha channel dropped; keep (masks): RGBA
    icc: str = "convert"  # colour profile: converted to sRGB, or ignore, the pixels as they are
    size: str | None = None  # a rule of mgie.io.sizes; None: its own size


class HowRead(Protocol):
    """What reading asks of its settings. A run's EditSettings serve as well as a Reading: they have these."""

    @property
    def max_side(self) -> int | None: ...
    @property
    def exif(self) -> str: ...
    @property
    def alpha(self) -> str: ...
    @property
    def icc(self) -> str: ...
    @property
    def size(self) -> str | None: ...


AS_IT_IS = Reading()


def load(path: Path, settings: HowRead = AS_IT_IS) -> Image.Image:
    """The image at path as RGB, 8 bit, sRGB.

    First frame of an animation; deeper values keep their highest eight bits; CMYK without a profile and palettes are
    converted by PIL; profile, alpha and EXIF orientation by `settings`; brought to size by its size and max_side
    (mgie.io.sizes). Raises ImageError.
    """
    return read(lambda: Bounded(path), str(path), settings)


def from_bytes(data: bytes, where: str, settings: HowRead = AS_IT_IS) -> Image.Image:
    """load for a file in memory; where: what errors call it."""
    return read(lambda: io.BytesIO(data), where, settings)


def read(opened: Callable[[], BinaryIO], where: str, settings: HowRead) -> Image.Image:
    """opened: opens the file; more than once where a file has to be looked at again."""
    try:
        with opened() as held, Image.open(held) as file:
            refuse_bomb(file, where)
            raw = Raw(where, raw_mode(file), lambda: again(opened))
            file.load()
            if file.format in ("JPEG", "MPO", "PNG"):
                held.seek(0)
                if cut.ends_early(held.read(), file):
                    raise ImageError(f"{where}: cut short: its data end before its last rows; get the file again")
            image = decoded(file, settings, raw)
    except FileNotFoundError:
        raise ImageError(f"{where}: no such file") from None
    except UnidentifiedImageError:
        raise ImageError(unknown(opened, where)) from None
    except ImageError:
        raise
    except BROKEN as error:
        raise ImageError(f"{where}: cannot be decoded: {error}") from error
    try:
        return sized(image, settings.size, settings.max_side)
    except ImageError as error:
        raise ImageError(f"{where}: {error}") from None


def size_of(path: Path, settings: HowRead = AS_IT_IS) -> tuple[int, int] | None:
    """(width, height) by the header, turned as load turns it; None where it cannot be read."""
    try:
        with Bounded(path) as held, Image.open(held) as file:
            return shown_size(file, settings.exif)
    except BROKEN:
        return None


def shown_size(file: Image.Image, exif: str = "apply") -> tuple[int, int]:
    """(width, height) of an image that is not loaded, turned as load turns it; of a TIFF Pillow has swapped them."""
    turned = exif == "apply" and file.format != "TIFF" and file.getexif().get(0x0112) in (5, 6, 7, 8)
    return file.size[::-1] if turned else file.size


def again(opened: Callable[[], BinaryIO]) -> Image.Image:
    with opened() as held:
        return Image.open(io.BytesIO(held.read()))


def of_memory(image: Image.Image, settings: HowRead = AS_IT_IS) -> Image.Image:
    """An image that PIL has opened, or made: turned, converted and flattened as load does with a file.

    A JPEG or PNG cut short is noticed by load alone. Raises ImageError.
    """
    try:
        path = Path(getattr(image, "filename", ""))
        raw = NOTHING
        if path.is_file():
            raw = Raw(str(path), "", lambda: again(lambda: Bounded(path)))
        raw = raw._replace(mode=raw_mode(image) or (raw_mode(raw.again()) if raw.again else ""))
        image.load()
        return decoded(image, settings, raw)
    except ImageError:
        raise
    except BROKEN as error:
        raise ImageError(f"the image cannot be decoded: {error}") from error


def decoded(file: Image.Image, settings: HowRead, raw: Raw) -> Image.Image:
    """file: loaded. Returns RGB of its own size with nothing in .info, so that a copy of it is saved without a profile.

    Raises ImageError.
    """
    turned = ImageOps.exif_transpose if settings.exif == "apply" else Image.Image.copy
    try:
        image = eight_bits(file, raw)
    except Unclear as error:
        raise ImageError(f"{raw.where}: {error}") from None
    image = turned(image) if image is file else of_exif(turned, image, file)
    image = with_alpha(image)
    image = in_srgb(image, file, settings, raw.where)
    if settings.alpha == "keep":
        return image.convert("RGBA")
    if image.mode in ("LA", "RGBA"):
        image = image.convert("RGBA")
        if settings.alpha == "white":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    image.info = {}
    return image


def of_exif(turned: Callable[[Image.Image], Image.Image], image: Image.Image, file: Image.Image) -> Image.Image:
    """image, made anew from file's samples, turned as file says."""
    orientation = file.getexif().get(0x0112)
    if orientation is not None:
        image.getexif()[0x0112] = orientation
    return turned(image)


def with_alpha(image: Image.Image) -> Image.Image:
    """Palettes and transparent colours as channels: L, LA, RGB, RGBA, CMYK or LAB."""
    if image.mode in ("PA", "RGBa", "La") or (image.mode not in ("LA", "RGBA") and "transparency" in image.info):
        return image.convert("RGBA")
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def in_srgb(image: Image.Image, file: Image.Image, settings: HowRead, where: str) -> Image.Image:
    """image: in a mode of with_alpha. file: whose profile counts."""
    if image.mode == "LAB":
        return colour.apply(image, colour.Conversion("converted", "LAB", colour.lab()))
    asked = colour.of_image(file) if settings.icc == "convert" else None
    if asked is not None and asked.kind == "broken":
        say(f"{where}: its colour profile cannot be followed ({asked.why}); its pixels are taken as they are")
    return colour.apply(image, asked) if asked is not None and asked.kind == "converted" else image


@lru_cache(maxsize=4096)
def say(text: str) -> None:
    """Once a process: an image is decoded for the model and again for each metric."""
    log.warning(text)


def profile_of(path: Path) -> str:
    """What load does about the file's colour profile: none, srgb, converted or broken; its pixels are not decoded.

    none too for a file that cannot be read.
    """
    try:
        with Bounded(path) as held, Image.open(held) as file:
            asked = colour.of_image(file)
    except BROKEN:
        return "none"
    return asked.kind if asked else "none"


def unknown(opened: Callable[[], BinaryIO], where: str) -> str:
    """Why PIL knows no image in it."""
    with opened() as held:
        data = held.read()
    if data[:4] in (b"II*\0", b"MM\0*"):
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
            held = io.BytesIO(data)
            held.seek(tags.next)
            tags.load(held)
            kinds = {1: "unsigned", 2: "signed", 3: "float"}
            form = kinds.get(next(iter(tags.get(339, (1,))), 1), "unknown")
            return (
                f"{where}: a TIFF of {len(tags.get(258, (1,)))} channels of {tags.get(258, (1,))} bits, {form}, "
                f"photometric {tags.get(262)}, which PIL does not read; save it with 8 or 16 bits a channel"
            )
        except BROKEN:
            pass
    return f"{where}: not an image that PIL knows ({len(data)} bytes)"


def refuse_bomb(file: Image.Image, where: Path | str) -> None:
    """Raises ImageError for more pixels than anything here decodes; the header says so before a pixel is decoded."""
    if file.width * file.height > MAX_PIXELS:
        raise ImageError(f"{where}: {file.width}x{file.height} px is over the limit of {MAX_PIXELS:,} pixels")


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """size: (width, height). PIL bicubic on uint8, which has antialiasing."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def to_tensor(image: Image.Image) -> "Tensor":
    """(3, H, W) float32 in [0, 1]."""
    import torch

    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).float() / 255


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of size and RGB values: the same for the same pixels in any file format."""
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=1)
    return file.getvalue()
