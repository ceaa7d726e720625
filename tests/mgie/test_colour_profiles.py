"""Colour profiles: every image is read in sRGB, or as it is where that is asked for; broken profiles are said."""

import hashlib
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import odd_files
import profiles
import pytest
import tifffile
from PIL import Image, ImageCms

from mgie.io import colour
from mgie.io.images import AS_IT_IS, load, of_memory, profile_of

IGNORED = AS_IT_IS._replace(icc="ignore")


def scene(width=48, height=32) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 3 % 256], axis=-1).astype(np.uint8)


def stored(pixels, path, profile, mode=None, **options):
    Image.fromarray(pixels, mode).save(path, icc_profile=profile, **options)
    return path


def levels(found: Image.Image, expected: np.ndarray) -> int:
    return int(np.abs(np.asarray(found).astype(int) - expected).max())


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("name", profiles.WIDE)
def test_a_wide_profile_is_brought_to_srgb_within_one_level_of_its_definition(name, ending, tmp_path):
    profile, primaries, gamma = profiles.WIDE[name]
    path = stored(scene(), tmp_path / f"a.{ending}", profile, **({"lossless": True} if ending == "webp" else {}))
    assert levels(load(path), profiles.to_srgb(scene(), primaries, gamma)) <= 1
    assert levels(load(path, IGNORED), scene()) == 0 and profile_of(path) == "converted"


def test_a_jpeg_with_a_profile_is_converted_after_it_is_turned(tmp_path):
    profile, primaries, gamma = profiles.WIDE["ProPhoto"]
    exif = Image.Exif()
    exif[0x0112] = 6
    path = stored(scene(), tmp_path / "a.jpg", profile, exif=exif, quality=100, subsampling=0)
    seen = np.asarray(Image.open(path).convert("RGB").transpose(Image.Transpose.ROTATE_270))
    assert levels(load(path), profiles.to_srgb(seen, primaries, gamma)) <= 1


@pytest.mark.parametrize("words", ["drawn here", "pillow's"])
def test_an_srgb_profile_leaves_the_pixels_equal_to_the_bit(words, tmp_path):
    pillows = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    drawn = profiles.rgb(profiles.SRGB, profiles.srgb_curve())
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = stored(noise, tmp_path / "a.png", drawn if words == "drawn here" else pillows)
    assert levels(load(path), noise) == 0 and profile_of(path) == "srgb"


def test_the_primaries_of_srgb_with_a_plain_gamma_are_another_profile(tmp_path):
    path = stored(scene(), tmp_path / "a.png", profiles.rgb(profiles.SRGB, profiles.curve(2.2)))
    found = load(path)
    assert levels(found, scene()) > 2 and levels(found, profiles.to_srgb(scene(), profiles.SRGB, 563 / 256)) <= 1


def test_a_profile_by_table_is_followed(tmp_path):
    """The table holds sRGB's own colours in 8-bit Lab, so they come back but for what 8 bits of Lab and a grid lose."""
    path = stored(scene(), tmp_path / "a.png", profiles.rgb_by_table())
    found = np.abs(np.asarray(load(path)).astype(int) - scene())
    assert profile_of(path) == "converted" and found.mean() < 2 and found.max() <= 20


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_grey_profiles_are_followed_in_the_shadows_too(gamma, tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    path = stored(ramp, tmp_path / "a.png", profiles.grey(profiles.curve(gamma)))
    linear = (np.arange(256) / 255) ** (round(gamma * 256) / 256)
    coded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert levels(load(path), np.round(coded * 255)[None, :, None]) <= 1


def test_a_grey_profile_with_srgbs_curve_changes_nothing(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    path = stored(ramp, tmp_path / "a.png", profiles.grey(profiles.srgb_curve()))
    assert levels(load(path), ramp[..., None]) == 0 and profile_of(path) == "srgb"


def test_inks_with_a_profile_of_theirs_follow_it(tmp_path):
    inks = np.zeros((2, 3, 4), dtype=np.uint8)
    inks[:, 1, 3], inks[:, 2, 3] = 128, 255  # no ink, half black, black
    path = stored(inks, tmp_path / "a.tif", profiles.cmyk(), "CMYK")
    white, half, black = (load(path).getpixel((x, 0)) for x in range(3))
    assert white == (255, 255, 255) and black == (0, 0, 0)
    assert half == pytest.approx((118, 118, 118), abs=2)  # the table has L = 50 there
    assert load(path, IGNORED).getpixel((1, 0)) == (127, 127, 127)


@pytest.mark.parametrize("settings", [AS_IT_IS, IGNORED])
def test_lab_pixels_become_srgb_by_definition(settings, tmp_path):
    lab = np.array([[[0, 128, 128], [136, 128, 128], [255, 128, 128]]], dtype=np.uint8)
    path = tmp_path / "a.tif"
    Image.frombytes("LAB", (3, 1), (lab ^ np.array([0, 128, 128], dtype=np.uint8)).tobytes()).save(path)
    assert [load(path, settings).getpixel((x, 0))[1] for x in range(3)] == pytest.approx([0, 127, 255], abs=1)


def test_transparency_is_laid_on_white_after_the_conversion(tmp_path):
    profile, primaries, gamma = profiles.WIDE["Display P3"]
    alpha = np.where(np.arange(48) < 24, 255, 0).astype(np.uint8)
    path = stored(np.dstack([scene(), np.tile(alpha, (32, 1))]), tmp_path / "a.png", profile)
    expected = np.where(alpha[None, :, None] > 0, profiles.to_srgb(scene(), primaries, gamma), 255)
    assert levels(load(path), expected) <= 1


def test_a_palette_is_converted_as_its_colours_are(tmp_path):
    profile, primaries, gamma = profiles.WIDE["Adobe RGB"]
    image = Image.new("P", (2, 1))
    image.putpalette([200, 30, 40, 10, 220, 30])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", icc_profile=profile)
    expected = profiles.to_srgb(np.array([[[200, 30, 40], [10, 220, 30]]], dtype=np.uint8), primaries, gamma)
    assert levels(load(tmp_path / "a.png"), expected) <= 1


P3 = profiles.WIDE["Display P3"][0]
BROKEN = {
    "no profile": b"none",
    "cut short": P3[:-40],
    "zeros": bytes(len(P3)),
    "its tags overwritten": P3[:200].ljust(len(P3), b"\xff"),
    "for greys": profiles.grey(profiles.curve(2.2)),
    "for inks": profiles.cmyk(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_profile_that_cannot_be_followed_leaves_the_pixels_and_is_said_once(kind, tmp_path, caplog):
    path = stored(scene(), tmp_path / f"{kind}.png", BROKEN[kind])
    assert levels(load(path), scene()) == levels(load(path), scene()) == 0 and profile_of(path) == "broken"
    said = [record.message for record in caplog.records]
    assert len(said) == 1 and f"{kind}.png: its colour profile cannot be followed" in said[0]


def in_app2(*chunks: bytes, behind: bool = False) -> bytes:
    """A JPEG with these chunks of a profile; behind: behind the start of its frame."""
    data = odd_files.jpeg(Image.fromarray(scene()), quality=100, subsampling=0)
    at = data.index(b"\xff\xda") if behind else 2
    named = [b"ICC_PROFILE\0" + chunk for chunk in chunks]
    return data[:at] + b"".join(b"\xff\xe2" + struct.pack(">H", len(c) + 2) + c for c in named) + data[at:]


def in_iccp(data: bytes) -> bytes:
    return odd_files.png(scene(), 8, 2, extra=odd_files.chunk(b"iCCP", b"p\0\0" + data))


SWALLOWED = {
    "a.png": in_iccp(b"does not inflate"),
    "one of two chunks.jpg": in_app2(b"\1\2" + P3[:300]),
    "a wrong count.jpg": in_app2(b"\1\3" + P3[:300], b"\2\3" + P3[300:]),
    "behind the frame.jpg": in_app2(b"\1\1" + P3, behind=True),
}


@pytest.mark.parametrize("name", SWALLOWED)
def test_a_profile_that_pillow_cannot_put_together_is_said_and_counted_too(name, tmp_path, caplog):
    path = tmp_path / name
    path.write_bytes(SWALLOWED[name])
    assert levels(load(path), np.asarray(load(path, IGNORED))) == 0 and profile_of(path) == "broken"
    assert [f"{name}: its colour profile cannot be followed" in record.message for record in caplog.records] == [True]
    assert profile_of(stored(scene(), tmp_path / f"without {name}", None)) == "none"


def test_a_tiffs_profile_of_another_type_is_broken_and_no_reason_to_refuse_the_picture(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", scene(), photometric="rgb", extratags=[(34675, "s", 4, b"abc\0", True)])
    assert levels(load(tmp_path / "a.tif"), scene()) == 0 and profile_of(tmp_path / "a.tif") == "broken"


def test_chunks_that_make_up_a_profile_are_followed(tmp_path):
    (tmp_path / "a.jpg").write_bytes(in_app2(b"\2\2" + P3[300:], b"\1\2" + P3[:300]))
    (tmp_path / "a.png").write_bytes(in_iccp(zlib.compress(P3)))
    assert [profile_of(tmp_path / name) for name in ("a.jpg", "a.png")] == ["converted"] * 2


def test_an_image_that_pil_has_opened_is_converted_as_its_file_is(tmp_path):
    path = stored(scene(), tmp_path / "a.png", P3)
    for opened in (Image.open(path), Image.open(path).copy(), Image.open(path).convert("RGB")):
        np.testing.assert_array_equal(np.asarray(of_memory(opened)), np.asarray(load(path)))


def test_what_is_read_carries_no_profile_on(tmp_path):
    path = stored(scene(), tmp_path / "a.png", P3)
    for settings in (AS_IT_IS, IGNORED):
        found = load(path, settings)
        found.save(tmp_path / "again.png")
        assert levels(load(tmp_path / "again.png"), np.asarray(found)) == 0


def test_the_conversion_gives_the_same_bits_in_every_thread_and_each_time():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8))

    def digest(fresh: bool) -> str:
        if fresh:
            colour.conversion.cache_clear()
        return hashlib.sha256(colour.apply(noise, colour.conversion(P3, "RGB")).tobytes()).hexdigest()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(digest, [True, False] * 8))) == 1


DRAWN = {
    **{name: (scene(), "RGB", wide[0]) for name, wide in profiles.WIDE.items()},
    "gamma 2.2": (scene(), "RGB", profiles.rgb(profiles.SRGB, profiles.curve(2.2))),
    "a table": (scene(), "RGB", profiles.rgb_by_table()),
    "grey": (np.ascontiguousarray(scene()[..., 2]), "L", profiles.grey(profiles.curve(1.8))),
    "inks": (np.dstack([scene(), scene()[..., 2] // 3]), "CMYK", profiles.cmyk()),
    "Lab": (scene(), "LAB", b""),  # no profile of its own is needed
}
STORED = {  # of the profile and of the pixels that it gives
    "Display P3": ["7e3c6b823464", "8f6707388049"],
    "Adobe RGB": ["3bf58b39f7c5", "3f3ddd6db9c2"],
    "ProPhoto": ["0628d47aa9c3", "076400ce7363"],
    "gamma 2.2": ["768c358bfd36", "cd045843bf41"],
    "a table": ["25e51c9db7c8", "8c87611150f0"],
    "grey": ["6dd3ef4e2f12", "5f49f110958f"],
    "inks": ["2c5b1ea8f66b", "dafe611caba9"],
    "Lab": ["e3b0c44298fc", "ccc435a0be80"],
}


@pytest.mark.parametrize("kind", DRAWN)
def test_the_conversion_gives_the_bits_that_were_stored(kind):
    """Of another machine or build of Pillow too; tests/README.md says where that was compared."""
    pixels, mode, profile = DRAWN[kind]
    image = Image.frombytes(mode, (48, 32), pixels.tobytes())
    asked = colour.conversion(profile, mode) if profile else colour.Conversion("converted", mode, colour.lab())
    found = [hashlib.sha256(data).hexdigest()[:12] for data in (profile, colour.apply(image, asked).tobytes())]
    assert found == STORED[kind]
