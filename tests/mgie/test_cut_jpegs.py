"""A JPEG of which the end is lost is refused, with its end marker put back too; whole ones never are."""

from pathlib import Path

import numpy as np
import odd_files
import pytest
from PIL import Image

from mgie.io import jpeg
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
    assert not jpeg.ends_early(b"\xff\xd8\xff\xda", Image.new("RGB", (8, 8)))
    assert not jpeg.ends_early(b"", Image.new("RGB", (8, 8)))
