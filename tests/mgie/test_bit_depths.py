"""Bit depths: what a file says of its values is followed; where it says too little it is refused by name."""

import struct

import numpy as np
import odd_files
import pytest
import tifffile
from PIL import Image

from mgie.io.images import ImageError, load, of_memory

Y, X = np.mgrid[0:32, 0:48]
GREY = ((X * 255 // 47 + Y * 3) % 256).astype(np.uint32)  # 0 to 255
RGB = np.stack([GREY, GREY[:, ::-1], 255 - GREY], axis=-1)
RIGHT = X >= 24
S_MIN, S_MAX, MAX = 340, 341, 281


def tiff(path, values, **options):
    tifffile.imwrite(path, values, **options)
    return path


def stated(tag: int, value: float, kind: str = "H") -> tuple:
    return (tag, kind, 1, value, True)


def levels(path, expected: np.ndarray) -> int:
    expected = expected if expected.ndim == 3 else expected[..., None]
    return int(np.abs(np.asarray(load(path)).astype(int) - expected).max())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("zero", ["minisblack", "miniswhite"])
@pytest.mark.parametrize(
    "values",
    [GREY.astype(np.uint8), (GREY * 257).astype(np.uint16), GREY * 16843009, (GREY / 255).astype(np.float32)],
    ids=["8", "16", "32", "float"],
)
def test_grey_tiffs_are_right_or_refused_whatever_is_white_and_whichever_byte_comes_first(
    values, zero, order, tmp_path
):
    path = tiff(tmp_path / "a.tif", values, photometric=zero, byteorder=order)
    name = f"{values.dtype} {zero} {order}"
    if name in ("uint16 miniswhite >", "uint32 miniswhite >", "uint32 miniswhite <", "uint32 minisblack >"):
        with pytest.raises(ImageError, match=r"a\.tif: a TIFF of 1 channels .* which PIL does not read"):
            load(path)
    else:
        assert levels(path, GREY if zero == "minisblack" else 255 - GREY) == 0


@pytest.mark.parametrize("zero", ["minisblack", "miniswhite"])
def test_one_bit_tiffs(zero, tmp_path):
    path = tiff(tmp_path / "a.tif", GREY > 100, photometric=zero)
    assert levels(path, np.where((GREY > 100) == (zero == "minisblack"), 255, 0)) == 0


@pytest.mark.parametrize("tag", [S_MAX, MAX])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_fewer_bits_in_sixteen_are_scaled_by_the_maximum_that_the_tiff_states(bits, tag, tmp_path):
    white = 2**bits - 1
    path = tiff(tmp_path / "a.tif", (GREY * white // 255).astype(np.uint16), extratags=[stated(tag, white)])
    assert levels(path, GREY) <= 1
    three = (RGB * white // 255).astype(np.uint16)
    for order, compression in (("<", None), (">", "zlib")):
        options = {"photometric": "rgb", "byteorder": order, "compression": compression}
        path = tiff(tmp_path / "b.tif", three, **options, extratags=[(tag, "H", 3, (white,) * 3, True)])
        assert levels(path, RGB) <= 1


def test_twelve_bits_a_sample_without_padding(tmp_path):
    pairs = (GREY * 4095 // 255).reshape(-1, 2)
    data = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1)
    tags = [(256, 48), (257, 32), (258, 12), (259, 1), (262, 1), (273, 126), (277, 1), (278, 32), (279, 2304)]
    body = b"".join(struct.pack("<HHII", name, 4, 1, value) for name, value in tags)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + body + bytes(4) + b"\0\0\0\0"
    path = tmp_path / "a.tif"
    path.write_bytes(head + data.astype(np.uint8).tobytes())
    assert len(head) == 126 and levels(path, GREY) <= 1


def test_a_maximum_that_is_a_statistic_alone_changes_nothing(tmp_path):
    path = tiff(tmp_path / "a.tif", (GREY * 200).astype(np.uint16), extratags=[stated(MAX, 51000)])
    assert levels(path, GREY * 200 // 256) == 0


def test_a_float_tiff_is_scaled_by_the_maximum_that_it_states(tmp_path):
    path = tiff(tmp_path / "a.tif", GREY.astype(np.float32), extratags=[stated(S_MAX, 255.0, "f")])
    assert levels(path, GREY) == 0


def test_numbers_with_a_sign_are_read_between_the_bounds_that_they_state(tmp_path):
    bounds = [(S_MIN, "h", 1, -32768, True), (S_MAX, "h", 1, 32767, True)]
    path = tiff(tmp_path / "a.tif", (GREY.astype(np.int32) * 257 - 32768).astype(np.int16), extratags=bounds)
    assert levels(path, GREY) == 0


UNCLEAR = {
    "12 bits in 16, not stated": ((GREY * 4095 // 255).astype(np.uint16), {}, "values up to 4095 alone"),
    "12 bits in 16, RGB": ((RGB * 4095 // 255).astype(np.uint16), {"photometric": "rgb"}, "which value is white"),
    "8 bits in 32": (GREY, {}, "values up to 255 alone"),
    "14 bits in 16": ((GREY * 16383 // 255).astype(np.uint16), {}, "values up to 16383 alone"),
    "8 bits in 16, RGB": (RGB.astype(np.uint16), {"photometric": "rgb"}, "values up to 255 alone"),
    "a maximum of no scale": ((GREY * 200).astype(np.uint16), {"extratags": [stated(S_MAX, 51000)]}, "51000"),
    "over its own maximum": ((GREY * 257).astype(np.uint16), {"extratags": [stated(S_MAX, 4095)]}, "over its own"),
    "float over 1": ((GREY / 25).astype(np.float32), {}, "outside 0 to 1"),
    "float under 0": ((GREY / 255 - 0.5).astype(np.float32), {}, "outside 0 to 1"),
    "not a number": (np.where(GREY == 5, np.nan, GREY / 255).astype(np.float32), {}, "no numbers"),
    "sign, 8": ((GREY // 2).astype(np.int8), {}, "with a sign"),
    "sign, 16": ((GREY * 128).astype(np.int16), {}, "with a sign"),
    "sign, 32": ((GREY * 2**20).astype(np.int32), {}, "with a sign"),
    "half floats": ((GREY / 255).astype(np.float16), {}, "PIL does not read"),
    "doubles": (GREY / 255, {}, "PIL does not read"),
    "float RGB": ((RGB / 255).astype(np.float32), {"photometric": "rgb"}, "PIL does not read"),
    "planes of 16 bits": (
        np.moveaxis(RGB * 257, -1, 0).astype(np.uint16), {"photometric": "rgb", "planarconfig": "separate"}, "planes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNCLEAR)
def test_a_tiff_that_does_not_say_what_is_white_is_refused_by_name(kind, tmp_path):
    values, options, why = UNCLEAR[kind]
    path = tiff(tmp_path / "unclear.tif", values, **({"photometric": "minisblack"} | options))
    with pytest.raises(ImageError, match=rf"unclear\.tif: .*{why}"):
        load(path)


@pytest.mark.parametrize("key", [0, 7, 300, 0x1234, 65535])
def test_a_transparent_grey_of_sixteen_bits_is_that_grey_alone(key, tmp_path):
    values = np.where(RIGHT, key, GREY * 257)
    values[:, -1] = key + 1 if key < 65535 else key - 1  # its neighbour, equal in the high byte or not
    (tmp_path / "a.png").write_bytes(odd_files.png(values, 16, 0, struct.pack(">H", key)))
    assert levels(tmp_path / "a.png", np.where(values == key, 255, values >> 8)) == 0


@pytest.mark.parametrize("key", [(7, 7, 7), (0x0107, 0x0207, 0x0307), (0x1234, 0x5678, 0x9ABC)])
def test_a_transparent_colour_of_sixteen_bits_is_that_colour_alone(key, tmp_path):
    values = np.where(RIGHT[..., None], np.array(key), RGB * 257)
    values[:, -1] = np.array(key) + np.array([0, 0, 1])
    (tmp_path / "a.png").write_bytes(odd_files.png(values, 16, 2, struct.pack(">HHH", *key)))
    transparent = (values == np.array(key)).all(axis=-1, keepdims=True)
    expected = np.where(transparent, 255, values >> 8)
    assert levels(tmp_path / "a.png", expected) == 0
    opened = Image.open(tmp_path / "a.png")
    opened.load()
    np.testing.assert_array_equal(np.asarray(of_memory(opened)), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_grey_of_few_bits(depth, tmp_path):
    values, step = GREY * 2**depth // 256, 255 // (2**depth - 1)
    (tmp_path / "a.png").write_bytes(odd_files.png(values, depth, 0, struct.pack(">H", 1)))
    assert levels(tmp_path / "a.png", np.where(values == 1, 255, values * step)) == 0


def test_a_deep_picture_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray((GREY * 257).astype(np.uint16))
    deep.save(tmp_path / "a.png", exif=exif)
    assert levels(tmp_path / "a.png", np.rot90(GREY, -1)) == 0


def sbit(bits: int, channels: int) -> bytes:
    return odd_files.chunk(b"sBIT", bytes((bits,)) * channels)


COLOURS = {0: GREY, 2: RGB, 6: np.dstack([RGB, np.full_like(GREY, 255)])}  # by PNG's colour type
CHANNELS = {0: 1, 2: 3, 6: 4}


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", COLOURS)
def test_fewer_bits_in_sixteen_are_refused_in_a_png_as_in_a_tiff(kind, bits, tmp_path):
    deep = COLOURS[kind] * (2**bits - 1) // 255
    deep[..., 3:] = 65535 if kind == 6 else deep[..., 3:]  # alpha is no colour
    for extra in (b"", sbit(bits, CHANNELS[kind])):  # by PNG's standard that is no scale
        (tmp_path / "few.png").write_bytes(odd_files.png(deep, 16, kind, extra=extra))
        with pytest.raises(
            ImageError, match=r"few\.png: PNG of 16 bits with values up to .* which value is white.*sBIT"
        ):
            load(tmp_path / "few.png")
    if kind != 6:
        path = tiff(tmp_path / "few.tif", deep.astype(np.uint16), photometric="rgb" if kind else "minisblack")
        with pytest.raises(ImageError, match=r"few\.tif: TIFF of 16 bits with values up to .*SMaxSampleValue"):
            load(path)


@pytest.mark.parametrize("kind", COLOURS)
def test_a_dark_picture_is_read_where_its_file_says_that_all_bits_count(kind, tmp_path):
    deep = COLOURS[kind] * 16
    deep[..., 3:] = 65535 if kind == 6 else deep[..., 3:]
    (tmp_path / "dark.png").write_bytes(odd_files.png(deep, 16, kind, extra=sbit(16, CHANNELS[kind])))
    assert levels(tmp_path / "dark.png", COLOURS[kind][..., :3] * 16 // 256 if kind else GREY * 16 // 256) == 0
    if kind != 6:
        white = (S_MAX, "H", CHANNELS[kind], (65535,) * CHANNELS[kind] if kind else 65535, True)
        options = {"photometric": "rgb" if kind else "minisblack", "extratags": [white]}
        path = tiff(tmp_path / "dark.tif", deep.astype(np.uint16), **options)
        assert levels(path, COLOURS[kind] * 16 // 256) == 0


@pytest.mark.parametrize("kind", [0, 2])
def test_black_is_black_at_any_depth(kind, tmp_path):
    (tmp_path / "black.png").write_bytes(odd_files.png(COLOURS[kind] * 0, 16, kind))
    assert levels(tmp_path / "black.png", GREY * 0) == 0


def test_sixteen_bits_in_memory_are_refused_where_they_are_fewer(tmp_path):
    with pytest.raises(
        ImageError, match="in memory: samples of 16 bits with values up to 4095 alone.*8 bits a channel"
    ):
        of_memory(Image.fromarray((GREY * 4095 // 255).astype(np.uint16)))
    found = np.asarray(of_memory(Image.fromarray((GREY * 257).astype(np.uint16))))
    np.testing.assert_array_equal(found[..., 0], GREY)


@pytest.mark.parametrize("values", [GREY / 255, GREY * 2.0, GREY - 1.0])
def test_floats_in_memory_are_0_to_255_as_pil_has_them_or_refused(values):
    with pytest.raises(ImageError, match="which value is white"):
        of_memory(Image.fromarray(values.astype(np.float32)))
    found = np.asarray(of_memory(Image.fromarray(GREY.astype(np.float32))))
    np.testing.assert_array_equal(found[..., 0], GREY)
