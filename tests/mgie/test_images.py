"""What mgie.io.images makes of every kind of file: decoded as stated, or refused with the path and the reason."""

import io
import os

import numpy as np
import odd_files
import pytest
from PIL import Image

from bench.audit import read_header
from bench.datasets.masks import load_mask
from bench.records import Mask
from bench.settings import EditSettings
from mgie.io import images
from mgie.io.files import write_whole
from mgie.io.images import ImageError, load, of_memory, pixel_hash, png, resize, to_tensor

RED, ORIENTATION = (200, 30, 40), 0x0112
ALL_BITS_COUNT = odd_files.chunk(b"sBIT", bytes((16,)))


def scene(width=24, height=16) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) * 3 % 256], axis=-1).astype(np.uint8))


def stored(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


# ---- what can be read


def test_a_file_is_read_alike_with_no_settings_and_with_those_of_a_run():
    usual, bare = EditSettings(), images.AS_IT_IS
    assert {name: getattr(usual, name) for name in bare._fields} == bare._asdict()


def test_rgb_png_comes_back_as_it_was(tmp_path):
    np.testing.assert_array_equal(pixels(load(stored(scene(), tmp_path / "a.png"))), np.asarray(scene()))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_greyscale_has_three_equal_channels(mode, tmp_path):
    grey = scene().convert(mode)
    found = pixels(load(stored(grey, tmp_path / "a.png")))
    np.testing.assert_array_equal(found, np.repeat(np.asarray(grey.convert("L"))[..., None], 3, axis=-1))


def test_one_pixel_is_an_image(tmp_path):
    assert load(stored(Image.new("RGB", (1, 1), RED), tmp_path / "a.png")).getpixel((0, 0)) == RED


@pytest.mark.parametrize("value", [0, 1, 255, 256, 40000, 65535])
def test_sixteen_bits_keep_their_high_byte(value, tmp_path):
    (tmp_path / "a.png").write_bytes(odd_files.png(np.full((4, 5), value), 16, 0, extra=ALL_BITS_COUNT))
    found = pixels(load(tmp_path / "a.png"))
    assert set(found.flatten().tolist()) == {value // 256}


def test_sixteen_bits_do_not_depend_on_what_else_is_in_the_image(tmp_path):
    dark = np.full((4, 4), 200)
    mixed = dark.copy()
    mixed[0, 0] = 60000
    files = [odd_files.png(values, 16, 0, extra=ALL_BITS_COUNT) for values in (dark, mixed)]
    a, b = (pixels(images.from_bytes(data, "a.png"))[3, 3] for data in files)
    np.testing.assert_array_equal(a, b)


def test_cmyk_is_converted(tmp_path):
    found = pixels(load(stored(scene(64, 64).convert("CMYK"), tmp_path / "a.tif")))
    assert np.abs(found.astype(int) - np.asarray(scene(64, 64))).max() <= 1
    jpeg = pixels(load(stored(Image.new("RGB", (32, 32), RED).convert("CMYK"), tmp_path / "a.jpg", quality=95)))
    assert np.abs(jpeg[16, 16].astype(int) - RED).max() <= 6


def transparent(mode):
    """Left half opaque red (or grey), right half fully transparent over black."""
    image = Image.new("RGBA", (8, 4), (*RED, 255))
    image.paste((0, 0, 0, 0), (4, 0, 8, 4))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_laid_on_white_or_their_alpha_is_dropped(mode, tmp_path):
    path = stored(transparent(mode), tmp_path / "a.png")
    left = RED if mode == "RGBA" else (Image.new("RGB", (1, 1), RED).convert("L").getpixel((0, 0)),) * 3
    for alpha, right in (("white", (255, 255, 255)), ("drop", (0, 0, 0))):
        found = load(path, EditSettings(alpha=alpha))
        assert found.getpixel((0, 0)) == left and found.getpixel((7, 0)) == right


def test_half_transparent_pixels_are_blended(tmp_path):
    path = stored(Image.new("RGBA", (2, 2), (100, 0, 0, 128)), tmp_path / "a.png")
    assert load(path).getpixel((0, 0)) == pytest.approx((177, 127, 127), abs=1)


def test_a_palette_with_a_transparent_colour_is_laid_on_white(tmp_path):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, *RED, 10, 200, 30])
    image.paste(2, (0, 0, 3, 4))
    path = stored(image, tmp_path / "a.png", transparency=1)
    assert load(path).getpixel((5, 0)) == (255, 255, 255) and load(path).getpixel((0, 0)) == (10, 200, 30)
    assert load(path, EditSettings(alpha="drop")).getpixel((5, 0)) == RED
    opaque = stored(image, tmp_path / "b.png")
    assert load(opaque).getpixel((5, 0)) == RED


def test_an_rgb_image_with_a_transparent_colour_is_laid_on_white(tmp_path):
    path = stored(Image.new("RGB", (3, 3), RED), tmp_path / "a.png", transparency=RED)
    assert load(path).getpixel((0, 0)) == (255, 255, 255)


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert load(path).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_or_ignored_as_asked(orientation, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = stored(scene(), tmp_path / "a.png", exif=exif)
    turned = {
        1: [],
        2: ["FLIP_LEFT_RIGHT"],
        3: ["ROTATE_180"],
        4: ["FLIP_TOP_BOTTOM"],
        5: ["TRANSPOSE"],
        6: ["ROTATE_270"],
        7: ["TRANSVERSE"],
        8: ["ROTATE_90"],
    }
    expected = scene()
    for step in turned[orientation]:
        expected = expected.transpose(Image.Transpose[step])
    np.testing.assert_array_equal(pixels(load(path)), np.asarray(expected))
    np.testing.assert_array_equal(pixels(load(path, EditSettings(exif="ignore"))), np.asarray(scene()))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_exif_orientation_that_means_nothing_changes_nothing(value, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    np.testing.assert_array_equal(pixels(load(stored(scene(), tmp_path / "a.png", exif=exif))), np.asarray(scene()))


def test_the_content_counts_and_not_the_name(tmp_path):
    scene().save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(pixels(load(tmp_path / "a.jpg")), np.asarray(scene()))


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((200, 100), 50, (50, 25)),
        ((100, 200), 50, (25, 50)),
        ((40, 30), 50, (40, 30)),
        ((50, 50), 50, (50, 50)),
        ((300, 1), 30, (30, 1)),
    ],
)
def test_max_side_shrinks_and_never_enlarges(size, limit, expected, tmp_path):
    path = stored(scene(*size), tmp_path / "a.png")
    found = load(path, EditSettings(max_side=limit))
    assert found.size == expected
    np.testing.assert_array_equal(pixels(found), np.asarray(scene(*size).resize(expected, Image.Resampling.BICUBIC)))


# ---- what cannot be read


def truncated_jpeg(path):
    buffer = io.BytesIO()
    scene(200, 200).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def truncated_png(path):
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:-500])


def damaged_png(path):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


BROKEN = {
    "truncated JPEG": truncated_jpeg,
    "truncated PNG": truncated_png,
    "damaged PNG": damaged_png,
    "0 bytes": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not found"),
    "folder": lambda path: path.mkdir(),
    "nothing there": lambda path: None,
    "PNG signature alone": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"),
    "GIF header alone": lambda path: path.write_bytes(b"GIF89a\x08\x00\x08\x00\x00\x00\x00"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_whole_image_is_an_image_error_that_names_it(kind, tmp_path):
    path = tmp_path / "broken.png"
    BROKEN[kind](path)
    with pytest.raises(ImageError, match=r"broken\.png: \S"):
        load(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_a_named_pipe_is_refused_and_not_waited_for(ending, tmp_path):
    os.mkfifo(tmp_path / f"a.{ending}")
    with pytest.raises(ImageError, match=rf"a\.{ending}: .*no plain file"):
        load(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp", "avif"])
def test_the_header_tells_the_size_that_an_image_is_read_at(ending, orientation, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = stored(scene(), tmp_path / f"a.{ending}", exif=exif)
    ignored = images.AS_IT_IS._replace(exif="ignore")
    assert images.size_of(path) == read_header(path).size == load(path).size
    assert images.size_of(path, ignored) == load(path, ignored).size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_an_image_that_pil_has_opened_is_turned_as_its_file_is(ending, orientation, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = stored(scene(), tmp_path / f"a.{ending}", exif=exif)
    assert load(path).size == ((24, 16) if orientation < 5 else (16, 24))
    np.testing.assert_array_equal(pixels(images.of_memory(Image.open(path))), pixels(load(path)))
    np.testing.assert_array_equal(pixels(images.from_bytes(path.read_bytes(), "a")), pixels(load(path)))


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = stored(scene(30, 30), tmp_path / "bomb.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 899)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"bomb\.png: 30x30 px is over the limit of 899"):
        load(path)


# ---- sizes, tensors, hashes, writing


def test_resize_is_pil_bicubic_with_antialiasing():
    lines = np.zeros((64, 64, 3), dtype=np.uint8)
    lines[:, ::2] = 255
    shrunk = np.asarray(resize(Image.fromarray(lines), (8, 8)))
    assert np.abs(shrunk.astype(int) - 127).max() <= 5  # without antialiasing: black or white
    same = scene()
    assert resize(same, same.size) is same


def test_a_tensor_holds_the_pixels_between_0_and_1():
    image = scene()
    tensor = to_tensor(image)
    assert tuple(tensor.shape) == (3, image.height, image.width) and str(tensor.dtype) == "torch.float32"
    np.testing.assert_array_equal((tensor * 255).round().permute(1, 2, 0).numpy(), np.asarray(image))
    assert to_tensor(Image.new("RGB", (1, 1), "white")).tolist() == [[[1.0]], [[1.0]], [[1.0]]]


def test_the_pixel_hash_follows_the_pixels_and_the_shape_alone(tmp_path):
    png, bmp = (load(stored(scene(), tmp_path / f"a.{kind}")) for kind in ("png", "bmp"))
    assert pixel_hash(png) == pixel_hash(bmp) == pixel_hash(scene())
    changed = scene()
    changed.putpixel((3, 3), (1, 2, 3))
    tall, wide = Image.new("RGB", (2, 8), RED), Image.new("RGB", (8, 2), RED)
    assert len({pixel_hash(i) for i in (scene(), changed, tall, wide)}) == 4


def test_a_png_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.png"
    write_whole(png(scene()), path)
    np.testing.assert_array_equal(pixels(load(path)), np.asarray(scene()))
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]

    def full_disk(self, data):
        self.write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_whole(png(Image.new("RGB", (4, 4))), path)
    np.testing.assert_array_equal(pixels(load(path)), np.asarray(scene()))


def test_an_image_in_memory_may_be_of_floating_point():
    assert of_memory(Image.fromarray(np.full((2, 2), 77.4, dtype=np.float32))).getpixel((0, 0)) == (77, 77, 77)


# ---- masks


def test_a_mask_is_where_the_image_is_transparent(tmp_path):
    path = stored(transparent("RGBA"), tmp_path / "m.png")
    edit = load_mask(Mask(path), (8, 4))
    np.testing.assert_array_equal(edit, np.repeat([[False] * 4 + [True] * 4], 4, axis=0))
    assert load_mask(Mask(path), (16, 8)).sum() == 64
    with pytest.raises(ImageError, match="mask"):
        load_mask(Mask(tmp_path / "absent.png"), (8, 4))
