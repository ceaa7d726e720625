"""Colour profiles: pixels in any ICC profile's colours brought to sRGB.

Convention: LittleCMS through Pillow's ImageCms, on 8 bits; relative colorimetric with black point compensation. A
profile that says sRGB, in whatever words (every colour within SRGB_WITHIN levels), leaves the pixels equal to the bit.
The same pixels and profile give the same bits in any thread, process or order; digests of them are stored in the tests,
and tests/README.md says for which builds and processors they were compared. CIELab pixels have colours of
their own and are always converted (D50).
Not used, because Pillow hands it out in part or not at all: PNG's gAMA, cHRM, sRGB and cICP chunks, the code points
(CICP) of AVIF, profiles within JPEG 2000, BMP's calibrated colours, EXIF's ColorSpace and InteropIndex. Such a file
without a profile is read as sRGB.
"""

import io
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageCms

SRGB_WITHIN = 2  # levels of 255; Pillow's own sRGB and others' differ by one in rounding, gamma 2.2 by eight
HEAD = 128  # bytes of a profile before its tags
SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}  # mode -> what a profile for it says
FAILED = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


class Conversion(NamedTuple):
    """What a profile asks for: nothing (srgb), a transform (converted), or it cannot be followed (broken)."""

    kind: Literal["srgb", "converted", "broken"]
    mode: str = ""  # that the transform takes
    transform: ImageCms.ImageCmsTransform | None = None
    why: str = ""  # broken: in words


@lru_cache(maxsize=64)
def conversion(profile: bytes, mode: str) -> Conversion:
    """profile: an ICC profile's bytes. mode: of the pixels, L, RGB, CMYK or LAB. Never raises for what profile holds.

    Grey pixels with a profile for RGB are read as three equal channels of it.
    """
    said, space = int.from_bytes(profile[:4], "big"), profile[16:20]
    if len(profile) < HEAD or profile[36:40] != b"acsp":
        return Conversion("broken", why=f"its {len(profile)} bytes are no ICC profile")
    if said > len(profile):
        return Conversion("broken", why=f"it is cut short: {len(profile)} of {said} bytes")
    if mode == "L" and space == SPACES["RGB"]:
        mode = "RGB"
    if SPACES[mode] != space:
        return Conversion("broken", why=f"it is for {space.decode('latin-1').strip()!r} pixels, these are {mode}")
    try:
        transform = to_srgb(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode)
        same = mode in ("L", "RGB") and is_srgb(transform, mode)
    except FAILED as error:
        return Conversion("broken", why=" ".join(str(error).split()) or type(error).__name__)
    return Conversion("srgb") if same else Conversion("converted", mode, transform)


def to_srgb(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "L":  # LittleCMS's shortcut for greys is ten levels off in the shadows of a linear profile
        flags |= ImageCms.Flags.NOOPTIMIZE
    return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)


def is_srgb(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether all greys, and of RGB a lattice of colours, come out as they went in."""
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    steps: np.ndarray = np.arange(0, 256, 15, dtype=np.uint8)  # 0 and 255 among them
    lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    probe = greys if mode == "L" else np.concatenate([greys, lattice])
    sent = Image.fromarray(probe[None, :, 0] if mode == "L" else probe[None])
    found = np.asarray(ImageCms.applyTransform(sent, transform))[0]
    return int(np.abs(found.astype(int) - probe).max()) <= SRGB_WITHIN


@lru_cache(maxsize=1)
def lab() -> ImageCms.ImageCmsTransform:
    return to_srgb(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB")


def base_mode(image: Image.Image) -> str:
    """The mode that image's colours, without its alpha, are converted in: L, RGB, CMYK or LAB."""
    if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;"):
        return "L"
    return image.mode if image.mode in ("CMYK", "LAB") else "RGB"


def of_image(image: Image.Image) -> Conversion | None:
    """What the profile of an image, of which the head is enough, asks for; None: it has none."""
    profile = image.info.get("icc_profile")
    if profile and isinstance(profile, bytes):
        return conversion(profile, base_mode(image))
    # what Pillow cannot put together it leaves as None (a TIFF's, in its type), a JPEG's behind the frame as chunks
    lost = "icc_profile" in image.info or getattr(image, "icclist", None)
    return Conversion("broken", why="its data or chunks do not make up a whole profile") if lost else None


def apply(image: Image.Image, conversion: Conversion) -> Image.Image:
    """image: L, LA, RGB, RGBA or CMYK. Returns it as RGB or RGBA; alpha is no colour and stays as it is."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert("L" if image.mode == "LA" else "RGB") if alpha else image
    if colours.mode != conversion.mode:  # greys with a profile for RGB
        colours = colours.convert(conversion.mode)
    assert conversion.transform is not None  # only what is converted comes here
    found = ImageCms.applyTransform(colours, conversion.transform)
    assert found is not None  # as it is not done in place
    if alpha:
        found.putalpha(alpha)
    return found
