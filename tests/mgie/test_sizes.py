"""The size rules: what each makes of a picture, to the pixel."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from mgie.io.images import ImageError, Reading, load
from mgie.io.sizes import cut_of, described, for_given_output, for_goal, one_shape, parse, sized


def scene(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


def crop_resize(f: Image.Image, sz: int = 512) -> Image.Image:
    """demo.ipynb of apple/ml-mgie at 835af37."""
    w, h = f.size
    if w > h:
        p = (w - h) // 2
        f = f.crop([p, 0, p + h, h])
    elif h > w:
        p = (h - w) // 2
        f = f.crop([0, p, w, p + w])
    return f.resize([sz, sz])


def generated_from(image: Image.Image) -> Image.Image:
    """edit_cli_single_multi_turn.py of MagicBrush at fcfc892, resolution 512."""
    import math

    width, height = image.size
    factor = 512 / max(width, height)
    factor = math.ceil(min(width, height) * factor / 64) * 64 / min(width, height)
    width, height = int((width * factor) // 64) * 64, int((height * factor) // 64) * 64
    return ImageOps.fit(image, (width, height), method=Image.Resampling.LANCZOS)


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and a.tobytes() == b.tobytes()


SHAPES = [(640, 427), (427, 640), (301, 200), (512, 512), (100, 100), (1024, 683)]


@pytest.mark.parametrize("size", SHAPES)
def test_the_authors_rule_is_the_crop_of_their_demo(size):
    assert same(sized(scene(*size), "authors"), crop_resize(scene(*size)))
    assert same(sized(scene(*size), "square:64"), crop_resize(scene(*size), 64))


@pytest.mark.parametrize("size", [*SHAPES, (500, 500), (97, 333), (2000, 700)])
def test_the_rule_of_magicbrush_is_its_generation_script(size):
    assert same(sized(scene(*size), "magicbrush"), generated_from(scene(*size)))


@pytest.mark.parametrize(
    ("size", "to"), [((500, 500), (512, 512)), ((1024, 683), (512, 384)), ((640, 480), (512, 384))]
)
def test_the_sizes_of_magicbrush_are_those_worked_out_by_hand(size, to):
    assert cut_of(size, "magicbrush").size == to


def test_what_an_editor_made_of_it_is_its_own_size_again():
    for rule in ("authors", "square:48", "long:96", "magicbrush", "native"):
        once = sized(scene(301, 200), rule)
        assert sized(once, rule) is once or same(sized(once, rule), once)


@pytest.mark.parametrize(
    ("rule", "size", "to"),
    [("long:512", (640, 427), (512, 344)), ("long:512", (427, 640), (344, 512)), ("long:512", (100, 100), (512, 512)),
     ("long:64", (640, 3), (64, 8)), ("native", (301, 200), (301, 200)), ("native", (4096, 1024), (2048, 512))],
)  # fmt: skip
def test_sizes_that_keep_the_shape(rule, size, to):
    assert cut_of(size, rule).size == to and sized(Image.new("RGB", size), rule).size == to


def test_without_a_rule_a_picture_is_as_it_is_and_max_side_shrinks_it():
    assert cut_of((4096, 1024), None).size == (4096, 1024)
    assert cut_of((4096, 1024), None, 512).size == cut_of((4096, 1024), "native", 512).size == (512, 128)


@pytest.mark.parametrize("text", ["", "Authors", "square", "square:", "square:50", "square:0", "long:-8", "long:x",
                                  "native:512", "long:99999999", "square:٤٨"])  # fmt: skip
def test_a_rule_that_there_is_not_is_refused(text):
    with pytest.raises(ValueError, match="--size"):
        parse(text)


def test_goal_and_given_outputs_follow_the_rule_of_the_input():
    for rule in ("authors", "square:64", "long:64", "native", None):
        assert for_goal(rule) == rule
    assert for_goal("magicbrush") is None
    assert [for_given_output(r) for r in ("authors", "square:64", "long:64", "native", "magicbrush", None)] == [
        "authors", "square:64", None, None, None, None,
    ]  # fmt: skip
    assert [one_shape(r) for r in ("authors", "square:64", "long:64", "native", None)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_mask_is_cut_without_mixing_its_values():
    half = np.zeros((40, 100), dtype=bool)
    half[:, 50:] = True
    found = np.asarray(sized(Image.fromarray(half), "square:80", nearest=True))
    assert found.shape == (80, 80) and found[:, 40:].all() and not found[:, :40].any()


def test_an_image_is_read_by_the_rule(tmp_path):
    scene(301, 200).save(tmp_path / "a.png")
    assert same(load(tmp_path / "a.png", Reading(size="square:64")), crop_resize(scene(301, 200), 64))


@pytest.mark.parametrize("size", [(1, 25_000), (25_000, 1)])
def test_a_thin_picture_is_refused_where_a_rule_makes_an_enormous_one_of_it(size, tmp_path):
    Image.new("RGB", size).save(tmp_path / "thin.png")
    with pytest.raises(ImageError, match=r"thin\.png: --size magicbrush makes .*over the limit.*; give another --size"):
        load(tmp_path / "thin.png", Reading(size="magicbrush"))
    assert min(load(tmp_path / "thin.png", Reading(size="long:64")).size) == 8


def test_only_an_inference_is_said_to_be_assumed():
    assert "assumed" in described("authors")
    assert not any("assumed" in described(rule) for rule in ("native", "square:64", "long:64", "magicbrush", None))
