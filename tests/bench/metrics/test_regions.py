"""Metrics inside and outside the mask and against the input image: as others compute them, and where there is no value.

Numbers of worked examples are those of PIE-Bench's and GIE-Bench's definitions with the true masked mean.
"""

from dataclasses import replace

import numpy as np
import pytest
import region_checks
from PIL import Image
from region_checks import Drawn, ellipse, masked_pairs, numbers, ours
from tiny_networks import pair, tiny_settings

from bench.metrics.pairs import Value
from bench.metrics.regions import grown, needs_of
from bench.registry import METRICS, load, metric_entry, metric_of, plain
from bench.settings import MetricSettings

MASKED = ("l1", "l2", "ssim", "lpips")


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> MetricSettings:
    return tiny_settings(tmp_path_factory.mktemp("networks"))


@pytest.mark.parametrize("check", region_checks.CHECKS)
def test_a_metric_in_a_region_is_what_others_compute_there(check, settings):
    check(settings)


# worked examples


def flat(value: int, side: int) -> Image.Image:
    return Image.new("RGB", (side, side), (value,) * 3)


def test_a_mask_with_few_pixels_left_gives_their_mean_and_not_a_share_of_the_whole(settings):
    """PIE-Bench, example 2: 14 of 36 pixels kept, one difference everywhere: its true masked MSE is that difference
    squared (.25 for a half), not 14/36 of it."""
    run = np.zeros(36, dtype=bool)
    run[21:24] = True  # RLE [21, 3]
    edit = run.reshape(6, 6)
    edit[[0, -1]], edit[:, [0, -1]] = True, True
    assert (~edit).sum() == 14
    of = [replace(pair(flat(128, 6), flat(0, 6)), mask=Drawn(edit))]
    assert numbers("l2@outside", of, settings)[0] == pytest.approx((128 / 255) ** 2, abs=1e-7)
    assert numbers("l1@inside", of, settings)[0] == pytest.approx(128 / 255, abs=1e-7)


def test_a_difference_inside_the_object_alone_is_none_outside(settings):
    """GIE-Bench, example 2: 10 grey levels inside the upper left 100 x 100 of 224 x 224."""
    edit = np.zeros((224, 224), dtype=bool)
    edit[:100, :100] = True
    goal = np.full((224, 224, 3), 90, dtype=np.uint8)
    output = goal.copy()
    output[:100, :100] += 10
    of = [replace(pair(Image.fromarray(output), Image.fromarray(goal)), mask=Drawn(edit))]
    for name in ("l1", "l2", "lpips"):
        assert numbers(f"{name}@outside", of, settings)[0] == 0
    assert numbers("ssim@outside", of, settings)[0] == pytest.approx(1, abs=1e-12)
    assert 255**2 * numbers("l2@inside", of, settings)[0] == pytest.approx(100, rel=1e-5)
    assert 255**2 * numbers("l2", of, settings)[0] == pytest.approx(19.92985, rel=1e-5)


# what must hold of any pictures


@pytest.mark.parametrize("name", MASKED)
def test_what_changes_on_one_side_of_the_mask_moves_no_number_of_the_other(name, settings):
    for p in masked_pairs():
        goal = p.goal.image
        pixels = np.asarray(goal).copy()
        inside = p.mask.at(goal.size)
        pixels[inside] = 255 - pixels[inside]
        of = [replace(p, output=type(p.output).of(Image.fromarray(pixels)))]
        perfect = 1 if name == "ssim" else 0
        assert numbers(f"{name}@outside", of, settings)[0] == pytest.approx(perfect, abs=1e-9)
        assert numbers(name, of, settings)[0] != pytest.approx(perfect, abs=1e-3)
        assert name == "ssim" or numbers(f"{name}@inside", of, settings)[0] > 1e-3


def test_inside_and_outside_weighed_by_their_pixels_are_the_whole(settings):
    for p in masked_pairs():
        share = p.mask.at(p.goal.image.size).mean()
        inside, outside, whole = (numbers(n, [p], settings)[0] for n in ("l1@inside", "l1@outside", "l1"))
        assert share * inside + (1 - share) * outside == pytest.approx(whole, abs=1e-7)


def test_a_mask_grows_by_so_many_pixels_to_each_side_and_no_further_than_the_picture():
    mask = np.zeros((9, 12), dtype=bool)
    mask[4, 6], mask[0, 0] = True, True
    found = grown(mask, 2)
    assert found[2:7, 4:9].all() and found[:3, :3].all() and found.sum() == 25 + 9
    assert grown(mask, 0) is mask


# where there is no value


@pytest.mark.parametrize(
    ("name", "edit", "says"),
    [
        ("l1@outside", np.ones((5, 5), dtype=bool), "leaves nothing outside"),
        ("l1@inside", np.zeros((5, 5), dtype=bool), "marks nothing"),
        ("ssim@inside", ellipse(64, 64, 0.05), "no whole 11 px window lies inside the mask"),
        ("lpips@outside", np.ones((5, 5), dtype=bool), "leaves nothing outside"),
        ("clip_s@inside", np.zeros((5, 5), dtype=bool), "marks nothing"),
    ],
)
def test_where_nothing_is_left_there_is_no_value_and_the_reason_says_so(name, edit, says, settings):
    first, second = masked_pairs()[:2]
    found = ours(name, [replace(first, mask=Drawn(edit)), second], settings)
    assert found[0].value is None and says in found[0].reason
    assert isinstance(found[1], Value) and found[1].value is not None


def test_clip_says_where_its_centre_crop_cuts_off_all_that_counts(settings):
    (p,) = [p for p in masked_pairs() if p.output.image.size == (64, 120)]
    edit = np.zeros((120, 64), dtype=bool)
    edit[:20] = True
    (found,) = ours("clip_s@inside", [replace(p, mask=Drawn(edit))], settings)
    assert found.value is None and "centre crop shows nothing inside the mask" in found.reason


# names


def test_a_variant_says_what_it_looks_at_and_how_its_mask_was_made(settings):
    assert needs_of("l1@outside") == ("goal_image", "mask") and needs_of("l1") == ("goal_image",)
    assert needs_of("l1@input@outside") == ("input_image", "mask") and needs_of("clip_s@inside") == ("mask",)
    made = load(METRICS, "l1", "metric")(metric_of("l1@outside", replace(settings, mask_grow=4)), None)
    assert "only outside the mask (resized to goal, nearest; grown by 4 px)" in made.protocol
    assert "output resized to input" in load(METRICS, "l1", "metric")(metric_of("l1@input", settings), None).protocol
    assert [metric_entry(n).printed for n in ("l1@outside", "clip_s@inside")] == ["L1 outside", "CLIP-S inside"]
    assert (
        metric_of("lpips@squeeze@outside", settings).region == "outside" and plain("lpips@squeeze@outside") == "lpips"
    )


@pytest.mark.parametrize("name", ["l1@red", "ssim@middle", "l2@Inside", "lpips@within"])
def test_a_place_that_there_is_not_is_named_with_those_that_there_are(name, settings):
    with pytest.raises(ValueError, match="@outside"):
        metric_of(name, settings)
