"""A JPEG or PNG of which the end is lost is refused, with its end marker put back too; whole ones never are."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import odd_files
import pytest
from PIL import Image

from mgie.io import cut
from mgie.io.images import ImageError, from_bytes
from mgie.mini.world.assets import ASSETS

KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "4:4:4": {"quality": 95, "subsampling": 0},
    "restart markers": {"restart_marker_blocks": 3},
    "a restart each row": {"restart_marker_rows": 1},
    "own tables": {"optimize": True},
}


def scene(width=150, height=101) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, x * y % 256], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_jpeg_is_refused_by_name(kind, mode, share):
    data = odd_files.cut(odd_files.jpeg(scene().convert(mode), **KINDS[kind]), share)
    with pytest.raises(ImageError, match=r"a\.jpg: cut short"):
        from_bytes(data, "a.jpg")


@pytest.mark.parametrize("colour", ["gray", "black", "teal"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_read_also_where_it_ends_in_the_grey_of_missing_data(kind, mode, colour):
    image = scene()
    image.paste(colour, (0, 60, 150, 101))
    for whole in (scene(), image, Image.new("RGB", (33, 17), colour)):
        assert from_bytes(odd_files.jpeg(whole.convert(mode), **KINDS[kind]), "a.jpg").size == whole.size


def test_a_progressive_jpeg_that_lost_whole_scans_is_refused():
    data = odd_files.jpeg(scene(), progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    for at in scans[1:]:
        with pytest.raises(ImageError, match="cut short"):
            from_bytes(data[: data.rfind(b"\xff\xc4", 0, at)] + b"\xff\xd9", "a.jpg")
    assert len(scans) > 3


def photographs() -> list[Path]:
    return sorted((ASSETS / "photos").glob("*.webp"))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_none_of_the_packages_photographs_is_called_cut(options):
    for path in photographs()[::10]:
        with Image.open(path) as file:
            image = file.convert("RGB").resize((96, 96))
        assert from_bytes(odd_files.jpeg(image, **options), path.name).size == (96, 96)


def test_what_is_no_jpeg_is_not_called_cut():
    assert not cut.ends_early(b"\xff\xd8\xff\xda", Image.new("RGB", (8, 8)))
    assert not cut.ends_early(b"", Image.new("RGB", (8, 8)))


MODES = {  # depth and colour type
    "1": (1, 0),
    "L": (8, 0),
    "I;16": (16, 0),
    "P": (8, 3),
    "LA": (8, 4),
    "RGB": (8, 2),
    "RGBA": (8, 6),
}


def row_of(mode: str, value: int, width: int = 13) -> bytes:
    """A PNG's, of one value, with its filter."""
    depth, kind = MODES[mode]
    return b"\0" + bytes((value,)) * ((width * depth * cut.CHANNELS[kind] + 7) // 8)


def png_of(mode: str, data: bytes, height: int = 9, interlaced: int = 0) -> bytes:
    depth, kind = MODES[mode]
    head = odd_files.chunk(b"IHDR", struct.pack(">IIBBBBB", 13, height, depth, kind, 0, 0, interlaced))
    head += odd_files.chunk(b"PLTE", bytes(range(256)) * 3) if mode == "P" else b""
    head += odd_files.chunk(b"sBIT", bytes((16,))) if mode == "I;16" else b""  # it may be dark
    halves = zlib.compress(data)
    parts = b"".join(odd_files.chunk(b"IDAT", part) for part in (halves[:7], b"", halves[7:]))
    return b"\x89PNG\r\n\x1a\n" + head + parts + odd_files.chunk(b"IEND", b"")


@pytest.mark.parametrize("value", [0, 1, 255])
@pytest.mark.parametrize("mode", MODES)
def test_a_png_that_lacks_rows_is_refused_and_a_whole_one_is_read_also_where_it_is_black(mode, value):
    row = row_of(mode, value)
    assert from_bytes(png_of(mode, row * 9), "a.png").size == (13, 9)
    for rows in (1, 5, 8):
        with pytest.raises(ImageError, match=r"a\.png: (cut short|.* is truncated)"):  # some are noticed by Pillow
            from_bytes(png_of(mode, row * rows), "a.png")


def test_half_a_png_whose_data_end_in_order_is_refused_by_name():
    with pytest.raises(ImageError, match=r"a\.png: cut short: its data end before its last rows; get the file again"):
        from_bytes(png_of("RGB", row_of("RGB", 200) * 4), "a.png")


@pytest.mark.parametrize("mode", MODES)
def test_an_interlaced_png_is_counted_by_its_passes(mode):
    sizes = [(2, 2), (2, 2), (4, 1), (3, 3), (7, 2), (6, 5), (13, 4)]  # of 13 x 9 px, by the standard
    rows = [row_of(mode, 200, across) for across, down in sizes for _ in range(down)]
    assert from_bytes(png_of(mode, b"".join(rows), interlaced=1), "a.png").size == (13, 9)
    for lost in (1, 4, 9):
        with pytest.raises(ImageError, match="cut short|truncated"):
            from_bytes(png_of(mode, b"".join(rows[:-lost]), interlaced=1), "a.png")


def test_counting_the_rows_of_a_large_black_png_takes_little_memory():
    data = png_of("RGB", b"\0" * 40 * 200_000, height=200_000)
    image = Image.open(io.BytesIO(data))
    image.load()
    tracemalloc.start()
    assert not cut.ends_early(data, image)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
