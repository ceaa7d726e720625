"""A run stands among the published rows only where its stored protocols are those of MagicBrush's script."""

import hashlib
import json

import pytest
from drawn import draw_magicbrush
from standings_checks import PROTOCOLS, check_placement, draw_run, found, refused, without

from bench.metrics import cts, cvs, dino
from bench.metrics.cts import CTS
from bench.metrics.cvs import CVS
from bench.metrics.dino import DINO
from bench.metrics.l1 import L1
from bench.metrics.l2 import L2
from bench.metrics.networks import clip, vit
from bench.metrics.networks.features import FeatureCache
from bench.run import main as run
from bench.settings import MetricSettings
from bench.standings import placement
from bench.standings.placement import mismatch, own_runs, placed
from bench.standings.show import terminal


def test_a_run_is_placed_only_where_its_protocol_is_the_scripts(tmp_path):
    check_placement(tmp_path)


def test_what_the_metrics_say_of_themselves_is_what_placement_expects(tmp_path, monkeypatch):
    """With the networks of MagicBrush's script, as far as their names and transforms go: no weights are loaded."""
    from open_clip import get_model_config

    weights = tmp_path / "weights"
    weights.write_bytes(b"stands for the weights")
    config = clip.json.dumps(get_model_config("ViT-B-32-quickgelu"))
    network = clip.CLIP(
        clip.ClipWeights("ViT-B-32-quickgelu", "ViT-B-32-quickgelu/openai", weights, (), config), "cpu", 1
    )
    name = "timm/vit_small_patch16_224.dino"
    eye = vit.DINONetwork(vit.ViTWeights("vit_small_patch16_224", name, weights, (), 224, vit.IMAGENET), "cpu", 1)
    for module, attribute, value in ((cvs, "clip_of", network), (cts, "clip_of", network), (dino, "dino_of", eye)):
        monkeypatch.setattr(module, attribute, lambda settings, value=value: value)
    made = {"l1": L1, "l2": L2, "clip_i": CVS, "dino": DINO, "clip_t": CTS}
    for column, metric in made.items():
        protocol = metric(MetricSettings(), FeatureCache(None)).protocol
        assert mismatch(column, protocol, "local") == "", protocol
        assert mismatch(column, f"{protocol}; colour profiles ignored; alpha dropped", "local") == ""
        assert mismatch(column, f"{protocol}; size native: own size, at most 2048 px a side", "local") == ""
        assert "would place it" in mismatch(column, f"{protocol}; images at most 256 px", "local")
        assert "would place it" in mismatch(column, f"{protocol}; something new", "local")


def test_the_captions_are_those_that_the_protocol_names_else_those_of_the_run():
    named = PROTOCOLS["cts"].replace("goal caption", "local goal caption")
    assert mismatch("clip_t", named, "global") == "" and mismatch("clip_t", PROTOCOLS["cts"], "local") == ""
    other = named.replace("local", "global")
    assert "its captions are global" in mismatch("clip_t", other, "local")
    assert "its captions are global" in mismatch("clip_t", PROTOCOLS["cts"], "global")
    assert "its captions are not known" in mismatch("clip_t", PROTOCOLS["cts"], "")


def test_what_bench_run_writes_is_placed_at_the_pictures_own_size_and_not_at_the_authors(tmp_path, monkeypatch):
    draw_magicbrush(tmp_path / "data" / "magicbrush", count=10)
    argv = ["--suite", "paper", "--data-root", str(tmp_path / "data"), "--dataset", "magicbrush", "--model", "identity"]
    monkeypatch.setattr(placement, "OFFICIAL", {"single": 19})
    for name, size in (("native", ["--size", "native"]), ("script", ["--size", "magicbrush"]), ("default", [])):
        assert run([*argv, *size, "--metrics", "l1,l2", "--out", str(tmp_path / name)]) == 0
        (own,) = own_runs(tmp_path / name, [], "single", None)
        if name == "default":
            refused(own, "--size authors; --size native or --size magicbrush would place it")
        else:
            assert set(own.entry.cells) == {"l1", "l2"} and own.entry.system == "Input copy", own


def test_of_several_variants_the_one_of_the_script_is_placed(tmp_path):
    named = PROTOCOLS["cts"].replace("goal caption", "local goal caption")
    folder = draw_run(tmp_path, protocols={**PROTOCOLS, "cts": named.replace("local", "global"), "cts@local": named})
    own = placed(folder, "single")
    assert own.entry.cells["clip_t"].protocol == named and not own.reasons


def test_a_missing_value_keeps_its_column_out(tmp_path):
    folder = draw_run(tmp_path)
    lines = (folder / "scores.jsonl").read_text().splitlines(keepends=True)
    (folder / "scores.jsonl").write_text("".join(line for line in lines if '"magicbrush/test/7"' not in line))
    own = placed(folder, "single")
    refused(own, "L1: 1 of 1,053 examples have no value")


def test_metrics_that_were_not_asked_for_are_named(tmp_path):
    own = placed(draw_run(tmp_path, protocols={"l1": PROTOCOLS["l1"]}), "single")
    without(own, "dino", "DINO: not scored; --metrics l1,l2,cvs,dino,cts@local would place it")
    assert set(own.entry.cells) == {"l1"}


def test_a_bundle_is_marked_says_what_was_verified_and_has_only_those_values(tmp_path):
    folder = draw_run(tmp_path, "identity", protocols={"l1": PROTOCOLS["l1"]})
    place = tmp_path / "runs" / "bundles" / hashlib.sha256(b"a bundle").hexdigest()[:16]
    place.mkdir(parents=True)
    folder = folder.rename(place / folder.name)
    done = json.loads((folder / "done.json").read_text()) | {"not_run": {"cvs": "not verified here"}}
    (folder / "done.json").write_text(json.dumps(done))
    (place / "verified.json").write_text(json.dumps({folder.name: "verified here: 1053 of l1"}))
    (tmp_path / "x.zip").write_bytes(b"a bundle")
    (own,) = own_runs(tmp_path / "runs", [tmp_path / "x.zip"], "single", None)
    assert "b" in own.entry.marks and own.entry.notes[-1] == "from a bundle, verified here: 1053 of l1"
    assert set(own.entry.cells) == {"l1"} and not own.entry.bound  # it only says that it copies the input
    without(own, "clip_i", "CLIP-I: not verified here")
    text = terminal(found(out=tmp_path / "runs", given=[tmp_path / "x.zip"]))
    assert "b a run that somebody handed in" in " ".join(text.split())


def test_unfinished_and_damaged_runs_are_said_and_stop_nothing(tmp_path):
    unfinished, damaged, good = draw_run(tmp_path, "a"), draw_run(tmp_path, "b"), draw_run(tmp_path, "c")
    (unfinished / "done.json").unlink()
    (damaged / "run.json").write_text("{")
    runs = {own.run: own for own in own_runs(tmp_path, [], "single", None)}
    refused(runs[unfinished.name], "it is not finished: give its command again")
    refused(runs[damaged.name], "is not JSON")
    assert runs[good.name].entry is not None


def test_the_multi_turn_run_has_535_pictures(tmp_path):
    folder = draw_run(tmp_path, data={"turns": "multi"})
    assert placed(folder, "multi").entry.cells["l1"].n == 535
    with pytest.raises(ValueError, match="no run folder"):
        own_runs(tmp_path, [tmp_path], "multi", None)
