"""Masks that are images: transparency marks, or white on black; what could be either is refused by name."""

import numpy as np
import pytest
from PIL import Image

from bench.datasets.masks import load_mask
from bench.records import Mask
from mgie.io.images import ImageError

LEFT = np.tile(np.arange(8) < 4, (4, 1))
GREY = np.where(LEFT, 255, 0).astype(np.uint8)
PHOTO = (np.arange(32).reshape(4, 8, 1) * np.array([3, 5, 7])).astype(np.uint8)


def palette() -> Image.Image:
    image = Image.fromarray(LEFT.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    return image


FORMS = {
    "transparency": Image.fromarray(np.dstack([PHOTO, 255 - GREY])),
    "half transparency": Image.fromarray(np.dstack([PHOTO, np.where(LEFT, 254, 255).astype(np.uint8)])),
    "transparent grey": Image.fromarray(np.dstack([PHOTO[..., 0], 255 - GREY])),
    "black and white": Image.fromarray(GREY),
    "zeros and ones": Image.fromarray(LEFT.astype(np.uint8)),
    "one bit": Image.fromarray(GREY).convert("1"),
    "16 bits": Image.fromarray(GREY.astype(np.uint16) * 257),
    "RGB": Image.fromarray(GREY).convert("RGB"),
    "opaque RGBA": Image.fromarray(GREY).convert("RGBA"),
    "palette": palette(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_marks_the_same_pixels(form, tmp_path):
    FORMS[form].save(tmp_path / "m.png")
    np.testing.assert_array_equal(load_mask(Mask(tmp_path / "m.png"), (8, 4)), LEFT)
    assert load_mask(Mask(tmp_path / "m.png"), (16, 8)).sum() == 64


@pytest.mark.parametrize("value", [0, 255])
def test_one_colour_marks_all_or_nothing(value, tmp_path):
    Image.new("L", (8, 4), value).save(tmp_path / "m.png")
    assert load_mask(Mask(tmp_path / "m.png"), (8, 4)).all() == load_mask(Mask(tmp_path / "m.png"), (8, 4)).any()
    assert load_mask(Mask(tmp_path / "m.png"), (8, 4)).any() == (value == 255)


UNCLEAR = {
    "a photograph": Image.fromarray(PHOTO),
    "an opaque photograph": Image.fromarray(PHOTO).convert("RGBA"),
    "greys": Image.fromarray(PHOTO[..., 0]),
    "two greys": Image.fromarray(np.where(LEFT, 200, 100).astype(np.uint8)),
    "red on black": Image.fromarray(GREY[..., None] * np.array([1, 0, 0], dtype=np.uint8)),
}


@pytest.mark.parametrize("form", UNCLEAR)
def test_what_could_mark_either_side_is_refused_by_name(form, tmp_path):
    UNCLEAR[form].save(tmp_path / "unclear.png")
    with pytest.raises(ImageError, match=r"mask .*unclear\.png: no pixel of it is transparent"):
        load_mask(Mask(tmp_path / "unclear.png"), (8, 4))


def test_a_mask_of_jpegs_greys_is_refused_with_what_to_do(tmp_path):
    Image.fromarray(np.kron(GREY, np.ones((11, 11), dtype=np.uint8))).save(tmp_path / "m.jpg", quality=60)
    with pytest.raises(ImageError, match="save it as PNG"):
        load_mask(Mask(tmp_path / "m.jpg"), (88, 44))
