"""Images in and out: the only place where pixels are decoded, resized or scaled.

Every decision a library would make silently is made here: EXIF orientation, first frame, alpha, 16 bit, CMYK, the
resize filter (PIL bicubic on uint8: F.interpolate without antialias moves scores), the pixel limit.
"""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from mgie.io.files import Bounded

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 90_000_000  # a larger image is refused before it is decoded; as RGBA one of this size takes 2 GB
ImageFile.LOAD_TRUNCATED_IMAGES = False  # a truncated file is a failure, never half an image
Image.MAX_IMAGE_PIXELS = None  # our own limit below raises an error that names it


# What PIL's decoders raise on damaged files, from fuzzing each format; UnidentifiedImageError is an OSError.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class ImageError(ValueError):
    """An image that cannot be used; the message holds the path and the reason."""


class Reading(NamedTuple):
    """How a file becomes pixels. A run's EditSettings serve too: they have these three."""

    max_side: int | None = None  # px; a larger image is shrunk to it, PIL bicubic; None: its own size
    exif: str = "apply"  # EXIF orientation: apply or ignore
    alpha: str = "white"  # transparent pixels: laid on white, or drop, the alpha channel dropped


AS_IT_IS = Reading()


def load(path: Path, settings: Reading = AS_IT_IS) -> Image.Image:
    """The image at path as RGB, 8 bit.

    First frame of an animation; 16-bit values keep their high byte; CMYK and palettes are converted by PIL; alpha and
    EXIF orientation by `settings`; shrunk so that its longer side is at most settings.max_side. Raises ImageError.
    """
    try:
        with Bounded(path) as held, Image.open(held) as file:
            refuse_bomb(file, path)
            file.load()
            image = ImageOps.exif_transpose(file) if settings.exif == "apply" else file.copy()
        image = to_rgb(image, settings.alpha)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        size = path.stat().st_size
        raise ImageError(f"{path}: not an image that PIL knows ({size} bytes)") from None
    except ImageError:
        raise
    except BROKEN as error:
        raise ImageError(f"{path}: cannot be decoded: {error}") from error
    side = max(image.size)
    if settings.max_side and side > settings.max_side:
        image = resize(image, tuple(max(1, round(s * settings.max_side / side)) for s in image.size))
    return image


def refuse_bomb(file: Image.Image, where: Path | str) -> None:
    """Raises ImageError for more pixels than anything here decodes; the header says so before a pixel is decoded."""
    if file.width * file.height > MAX_PIXELS:
        raise ImageError(f"{where}: {file.width}x{file.height} px is over the limit of {MAX_PIXELS:,} pixels")


def to_rgb(image: Image.Image, alpha: str = "white") -> Image.Image:
    if image.mode.startswith("I;16"):  # convert("RGB") would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):  # 32 bit: the file does not say what white is; above 255 it is taken to be 65535
        values = np.asarray(image).astype(np.float32)
        values = values / 256 if values.max(initial=0) > 255 else values
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        if alpha == "white":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


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
