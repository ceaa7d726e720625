"""The metric engine gives MagicBrush's way its numbers (bench.speed.metric_engine), and encodes nothing twice."""

from pathlib import Path

import pytest
from tiny_networks import drawn, tiny_settings

from bench.metrics.networks.clip import clip_of
from bench.metrics.networks.features import FeatureCache
from bench.metrics.networks.perceptual import perceptual
from bench.metrics.networks.vit import dino_of
from bench.metrics.pairs import Pair, Picture
from bench.records import Example
from bench.registry import METRICS, load
from bench.speed import metric_engine as reference


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return tiny_settings(tmp_path_factory.mktemp("networks"))


def files_in(folder: Path, count: int = 3) -> list:
    found = []
    for i in range(count):
        files = reference.Files(folder / f"{i}-output.png", folder / f"{i}-goal.png", f"a scene with {i} dogs")
        drawn(i, 80, 64).save(files.output)
        drawn(50 + i, 96, 64).save(files.goal)
        found.append(files)
    return found


def ours(files: list, settings, cache: FeatureCache) -> dict[str, list[float]]:
    pairs = [
        Pair(Example(str(i), "", f.goal, "", f.goal, f.caption), Picture(f.output), Picture(f.goal))
        for i, f in enumerate(files)
    ]
    made = {name: load(METRICS, name, "metric")(settings, cache) for name in reference.METRICS}
    return {name: [v.value for v in metric(pairs)] for name, metric in made.items()}


def test_every_metric_equals_one_image_at_a_time(tmp_path, settings):
    files = files_in(tmp_path)
    lpips = perceptual(settings.lpips, settings.lpips_weights, settings.lpips_heads, "cpu")
    theirs = reference.score(files, reference.Networks(clip_of(settings), dino_of(settings), lpips))
    for name, values in ours(files, settings, FeatureCache(None)).items():
        assert values == pytest.approx(theirs[name], abs=1e-5), name


def test_goal_images_and_captions_are_encoded_once_for_all_models(tmp_path, settings, monkeypatch):
    clip, encoded = clip_of(settings), {"image": 0, "text": 0}
    for kind in encoded:
        true = getattr(clip.network, f"encode_{kind}")

        def counted(batch, kind=kind, true=true):
            encoded[kind] += len(batch)
            return true(batch)

        monkeypatch.setattr(clip.network, f"encode_{kind}", counted)
    files = files_in(tmp_path)
    first = ours(files, settings, FeatureCache(tmp_path / "features"))
    assert encoded == {"image": 6, "text": 3}  # CVS and CTS share the output images
    assert ours(files, settings, FeatureCache(tmp_path / "features")) == first  # to the bit
    assert encoded == {"image": 9, "text": 3}  # only the output images again, as another model's would be
