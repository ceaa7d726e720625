"""L2 and L1 on the worked examples of MagicBrush's script (image_eval.py at fcfc892), counted by hand and by numpy."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_networks import pair

from bench.metrics.l1 import L1
from bench.metrics.l2 import L2, l2
from bench.metrics.networks.features import FeatureCache
from bench.settings import MetricSettings


def scores(metric, *of) -> list[float]:
    return [v.value for v in metric(MetricSettings(), FeatureCache(None))([pair(*p) for p in of])]


def grey(side: int, value: float) -> Image.Image:
    return Image.fromarray(np.full((side, side, 3), round(255 * value), np.uint8))


def test_one_channel_of_one_pixel():
    output = Image.new("RGB", (2, 2))
    output.putpixel((0, 0), (51, 0, 0))
    assert scores(L1, (output, Image.new("RGB", (2, 2)))) == pytest.approx([0.2 / 12], abs=1e-6)
    assert scores(L2, (output, Image.new("RGB", (2, 2)))) == pytest.approx([0.04 / 12], abs=1e-6)


def test_the_output_is_resized_to_the_goal_as_pil_does_by_default():
    values = np.array([[16 * (4 * row + column) for column in range(4)] for row in range(4)], np.uint8)
    output, goal = Image.fromarray(np.dstack([values] * 3)), Image.new("RGB", (2, 2))
    resized = np.array([[47, 77], [163, 193]]) / 255  # PIL's bicubic; bilinear would be 57, 83, 157, 183
    assert np.asarray(output.resize((2, 2)))[..., 0].tolist() == [[47, 77], [163, 193]]
    assert scores(L1, (output, goal)) == pytest.approx([resized.mean()], abs=1e-6)
    assert scores(L2, (output, goal)) == pytest.approx([np.square(resized).mean()], abs=1e-6)
    assert scores(L2, (output, goal)) == pytest.approx([0.2766474], abs=1e-6)


def test_a_pair_counts_once_whatever_its_size():
    of = (grey(2, 0.4), grey(2, 0)), (grey(4, 0.1), grey(4, 0))
    small, large = 102 / 255, 26 / 255  # 0.1 is no grey level of 8 bits
    assert np.mean(scores(L1, *of)) == pytest.approx((small + large) / 2, abs=1e-6)
    assert np.mean(scores(L2, *of)) == pytest.approx((small**2 + large**2) / 2, abs=1e-6)


def test_each_pair_has_its_own_value_and_none_is_rooted():
    batch, goal = torch.rand(3, 3, 8, 9, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 3, 8, 9)
    expected = np.square(batch.numpy().astype(np.float64)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(l2(batch, goal).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("wrong", [torch.full((1, 3, 4, 4), 1.5), torch.full((1, 3, 4, 4), -1.0)])
def test_values_outside_of_0_to_1_are_refused(wrong):
    with pytest.raises(ValueError, match=r"l2: torch.float32 with values .* expected floating point in \[0, 1\]"):
        l2(wrong, torch.zeros(1, 3, 4, 4))
