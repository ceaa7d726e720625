"""Every metric equals its reference implementation (tests/support: metric_checks, network_checks); known answers."""

import warnings

import pytest
import torch
from metric_checks import PIXEL_CHECKS, PUBLISHED, close, ours, reference_lpips
from network_checks import NETWORK_CHECKS
from tiny_networks import awkward_pairs, drawn, pair, tiny_settings, tiny_trunk

from bench.metrics import pairs
from bench.settings import MetricSettings
from mgie.io import images


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> MetricSettings:
    return tiny_settings(tmp_path_factory.mktemp("networks"))


@pytest.mark.parametrize("check", PIXEL_CHECKS + NETWORK_CHECKS, ids=lambda c: c.__name__)
def test_ours_equals_the_reference(check, settings):
    check(settings)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_every_lpips_network_equals_the_package(net, tmp_path):
    weights = tiny_trunk(tmp_path / f"{net}.safetensors", net, seed=1)
    settings = MetricSettings(lpips=net, lpips_weights=weights, metric_device="cpu")
    reference = reference_lpips(net, weights)
    of = [pair(drawn(1, 50, 40), drawn(2, 40, 36)), pair(drawn(3, 32, 32), drawn(4, 32, 32))]
    close(ours("lpips", of, settings), [reference(p.output.image, p.goal.image) for p in of], 1e-6)


def test_an_own_lpips_network_without_calibrated_layers_sums_over_layers(tmp_path):
    import lpips
    from safetensors.torch import save_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = lpips.LPIPS(net="squeeze", pnet_rand=True, lpips=False, verbose=False)
    save_file(package.net.state_dict(), tmp_path / "own.safetensors")
    settings = MetricSettings(
        lpips="squeeze", lpips_weights=tmp_path / "own.safetensors", lpips_heads="none", metric_device="cpu"
    )
    p = pair(drawn(1, 40, 40), drawn(2, 40, 40))
    a, b = (images.to_tensor(x.image)[None] * 2 - 1 for x in (p.output, p.goal))
    with torch.no_grad():
        close(ours("lpips", [p], settings), [package(a, b).item()], 1e-5)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published examples are not at hand")
@pytest.mark.parametrize(
    ("model", "l1", "ssim"),
    [
        ("mgie", 0.0581, 0.7975),
        ("inspix2pix", 0.1803, 0.6902),
        ("lgie", 0.1445, 0.7564),
        ("input", 0.1533, 0.8332),
    ],
)
def test_the_authors_outputs_on_ma5k_have_their_known_scores(model, l1, ssim):
    folder = PUBLISHED / "ma5k"
    example = awkward_pairs()[0].example
    of = [
        pairs.Pair(example, pairs.Picture(folder / f"{i}_{model}.jpg"), pairs.Picture(folder / f"{i}_goal.jpg"))
        for i in range(3)
    ]
    assert ours("l1", of, MetricSettings()).mean() == pytest.approx(l1, abs=5e-5)
    assert ours("ssim", of, MetricSettings()).mean() == pytest.approx(ssim, abs=5e-5)
