"""What every metric promises: closed forms, laws, a reason where there is no value, texts that are cut."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from metric_checks import ours
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from tiny_networks import awkward_pairs, drawn, pair, tiny_clip, tiny_settings

from bench.metrics.clip_s import CLIPS
from bench.metrics.cts import CTS
from bench.metrics.l1 import l1
from bench.metrics.networks import clip as clip_backbone
from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.pairs import Picture
from bench.metrics.ssim import ssim
from bench.registry import METRICS, load
from bench.settings import MetricSettings

PIXELS, NETWORKS = ("l1", "l2", "ssim", "lpips"), ("dino", "cvs")
LONG = "a dog and a house " * 40


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> MetricSettings:
    return tiny_settings(tmp_path_factory.mktemp("networks"))


def one(name, output, goal, settings) -> float:
    return ours(name, [pair(output, goal)], settings)[0]


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_says_what_it_is(name, settings):
    metric = load(METRICS, name, "metric")(settings, FeatureCache(None))
    assert metric.name == name
    assert set(metric.needs) <= {"goal_image", "goal_caption", "input_image", "input_caption"}
    assert metric.protocol.startswith(f"{name}: ") and "\n" not in metric.protocol
    assert (not metric.networks) == ("sha256:" not in metric.protocol)
    assert metric([]) == []


@pytest.mark.parametrize("name", [*PIXELS, *NETWORKS])
def test_equal_images_score_perfectly(name, settings):
    image = drawn(3, 90, 70)
    assert one(name, image, image.copy(), settings) == pytest.approx(0 if METRICS[name].lower else 1, abs=1e-12)


def test_black_against_white_is_as_far_as_it_gets(settings):
    black, white = Image.new("RGB", (40, 50)), Image.new("RGB", (40, 50), "white")
    assert one("l1", black, white, settings) == 1
    assert one("ssim", black, white, settings) == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-9)  # C1 / (1 + C1)


def test_l1_of_a_known_difference(settings):
    assert one("l1", Image.new("RGB", (33, 21), (10, 20, 30)), Image.new("RGB", (33, 21), (16, 20, 27)), settings) == (
        pytest.approx(9 / 3 / 255)
    )


@pytest.mark.parametrize("name", [*PIXELS, *NETWORKS])
def test_the_negative_is_far_from_its_image(name, settings):
    image = drawn(4, 90, 70)
    value = one(name, ImageOps.invert(image), image, settings)
    assert value > 0.05 if METRICS[name].lower else value < 0.95


@pytest.mark.parametrize("name", [*PIXELS, *NETWORKS])
def test_more_noise_is_never_better(name, settings):
    image = np.asarray(drawn(5, 96, 96)).astype(float)
    noise = np.random.default_rng(0).normal(size=image.shape)
    steps = [Image.fromarray(np.clip(image + amount * noise, 0, 255).astype(np.uint8)) for amount in (0, 6, 24, 96)]
    found = [one(name, step, steps[0], settings) for step in steps]
    assert found == sorted(found, reverse=not METRICS[name].lower)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", [*PIXELS, *NETWORKS])
def test_output_and_goal_of_one_size_can_be_swapped(name, settings):
    a, b = drawn(6, 70, 64), drawn(7, 70, 64)
    assert one(name, a, b, settings) == pytest.approx(one(name, b, a, settings), abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_values_follow_their_pairs_in_any_order(name, settings):
    pairs = awkward_pairs()
    forward, backward = ours(name, pairs, settings), ours(name, pairs[::-1], settings)
    np.testing.assert_allclose(forward, backward[::-1], rtol=0, atol=1e-4 if name == "clip_s" else 1e-5)
    assert len(set(forward)) == len(forward)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("size", [1, 3])
def test_the_batch_size_moves_a_value_by_less_than_the_stated_tolerance(name, size, settings):
    pairs = awkward_pairs()
    expected = ours(name, pairs, settings)
    found = ours(name, pairs, replace(settings, metric_batch_size=size))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 if name == "clip_s" else 1e-5)


@pytest.mark.parametrize("name", ["ssim", "dino", "cts"])
def test_the_number_of_threads_moves_a_value_by_less_than_the_stated_tolerance(name, settings):
    threads = torch.get_num_threads()
    expected = ours(name, awkward_pairs(), settings)
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        found = ours(name, awkward_pairs(), settings)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 if name == "clip_s" else 1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", METRICS)
def test_a_gpu_gives_the_values_of_the_cpu(name, settings):
    found = ours(name, awkward_pairs(), replace(settings, metric_device="cuda"))
    expected = ours(name, awkward_pairs(), settings)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2 if name == "clip_s" else 1e-4)


@pytest.mark.parametrize("name", METRICS)
def test_the_same_call_gives_the_same_bits(name, settings):
    assert ours(name, awkward_pairs(), settings).tolist() == ours(name, awkward_pairs(), settings).tolist()


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.integers(11, 80), st.integers(11, 80), st.integers(0, 2**31))
def test_ssim_in_strips_equals_scikit_image_at_any_size(width, height, seed):
    from skimage.metrics import structural_similarity

    from bench.metrics import ssim as module

    random = torch.Generator().manual_seed(seed)
    a = torch.rand(1, 3, height, width, generator=random)
    b = (a + 0.3 * torch.rand(1, 3, height, width, generator=random)).clamp(0, 1)
    x, y = (t[0].permute(1, 2, 0).double().numpy() for t in (a, b))
    expected = structural_similarity(
        x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1, data_range=1.0
    )
    strip, module.STRIP = module.STRIP, 700
    try:
        assert ssim(a, b).item() == pytest.approx(expected, abs=1e-9)
    finally:
        module.STRIP = strip


def test_ssim_equals_torchmetrics_with_the_border_cropped():
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = torch.rand(2, 3, 40, 33).double(), torch.rand(2, 3, 40, 33).double()
    _, full = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    np.testing.assert_allclose(ssim(a, b), full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "limit"), [("ssim", 11), ("lpips", 32)])
def test_a_goal_image_that_is_too_small_has_no_value_but_a_reason(name, limit, settings):
    metric = load(METRICS, name, "metric")(settings, FeatureCache(None))
    small, enough = pair(drawn(1, 90, 90), drawn(2, 60, limit - 1)), pair(drawn(1, 8, 8), drawn(2, limit, 60))
    found = metric([small, enough])
    assert found[0].value is None and f"{limit} px" in found[0].reason and f"60x{limit - 1}" in found[0].reason
    assert np.isfinite(found[1].value) and found[1].reason == ""


@pytest.mark.parametrize("name", ["l1", *NETWORKS, "cts", "clip_s"])
def test_one_pixel_is_enough_for_the_others(name, settings):
    assert np.isfinite(one(name, Image.new("RGB", (1, 1), "red"), Image.new("RGB", (1, 1), "blue"), settings))


def test_features_that_are_not_finite_are_no_score(tmp_path):
    folder = tiny_clip(tmp_path / "clip")
    state = load_file(folder / "open_clip_model.safetensors")
    state["visual.proj"][0, 0] = float("nan")
    save_file(state, folder / "open_clip_model.safetensors")
    metric = load(METRICS, "cvs", "metric")(MetricSettings(clip=str(folder), metric_device="cpu"), FeatureCache(None))
    (value,) = metric([pair(drawn(1, 50, 50), drawn(2, 50, 50))])
    assert value.value is None and "not finite" in value.reason


@pytest.mark.parametrize("function", [l1, ssim])
@pytest.mark.parametrize("wrong", ["range", "integers", "shape"])
def test_a_pure_metric_refuses_what_it_does_not_mean(function, wrong):
    a = torch.rand(1, 3, 20, 20)
    b = {"range": 2 * a - 1, "integers": (a * 255).byte(), "shape": torch.rand(1, 3, 20, 21)}[wrong]
    with pytest.raises(ValueError, match="expected"):
        function(b, a)


def test_a_text_that_is_cut_keeps_its_end_token_and_is_counted(settings):
    clip = clip_backbone.clip_of(settings)
    ids, lengths = clip.tokens(["a dog", LONG])
    assert ids.shape == (2, 77) and ids[1, -1] == 49407 and lengths[0] == 4 and lengths[1] > 77
    metric = CTS(settings, FeatureCache(None))
    short, long = awkward_pairs()[:2]
    long = replace(long, example=replace(long.example, goal_caption=LONG))
    metric([short, long, long])
    assert metric.truncated == 2


def test_a_repeated_text_is_encoded_once_and_given_to_each(settings):
    texts = ["a dog", "a cat", "a dog"]
    found = clip_backbone.clip_of(settings).texts(texts).features
    assert (found[0] == found[2]).all() and (found[0] != found[1]).any()


def test_clip_s_takes_any_image_and_any_text(settings):
    metric = CLIPS(settings, FeatureCache(None))
    picture = Picture.of(drawn(1, 60, 60))
    found = metric.of([picture, picture], ["a dog", "a cat"])
    assert found[0].value != found[1].value and all(-100 <= v.value <= 100 for v in found)
    with pytest.raises(ValueError, match="2 images and 1 texts"):
        metric.of([picture, picture], ["a dog"])


def test_cosine_is_exact_to_the_last_digit_and_nan_for_a_zero_row():
    a = np.array([[3, 4], [1, 0], [0, 0]], dtype=np.float32)
    b = np.array([[6, 8], [0, -2], [1, 1]], dtype=np.float32)
    np.testing.assert_array_equal(cosine(a, b), [1, 0, np.nan])


def test_every_setting_of_the_metrics_has_a_flag_and_a_word_of_help():
    from argparse import ArgumentParser

    from bench.settings import add_flags, flags_in, from_flags

    parser = ArgumentParser()
    add_flags(parser, MetricSettings)
    assert from_flags(MetricSettings, parser.parse_args([])) == MetricSettings()
    assert all(f.metadata["help"] for f in flags_in(MetricSettings))
    assert from_flags(MetricSettings, parser.parse_args(["--lpips", "vgg", "--metric-batch-size", "3"])).lpips == "vgg"
