"""Figures 3 and 4: every point with its n and interval, the paper's beside it, what is missing with its reason."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_ma5k, draw_magicbrush, picture
from tiny_networks import tiny_clip

from bench.clip_score import main as clip_score
from bench.figures.figure3 import AXES, Point
from bench.figures.figure4 import IMAGES, TEXTS, latex, reported
from bench.figures.texts import Texts, paired_tests, rows_of, score
from bench.grid.options import parser, selected
from bench.grid.paper import REPORTED
from bench.metrics.clip_direction import CLIPDirection
from bench.metrics.clip_s import CLIPS
from bench.metrics.image_similarity import ImageSimilarity
from bench.metrics.networks.clip import clip_of
from bench.metrics.networks.features import FeatureCache
from bench.metrics.pairs import Picture
from bench.records import Example
from bench.run import main as run
from bench.settings import EditSettings, MetricSettings
from bench.tradeoff import SCALES, scales_of
from bench.tradeoff import main as tradeoff


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> MetricSettings:
    return MetricSettings(clip=str(tiny_clip(tmp_path_factory.mktemp("clip"))), metric_device="cpu")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def drawn_texts(folder: Path) -> Texts:
    examples = []
    for i in range(4):
        paths = [folder / f"{side}{i}.png" for side in ("input", "goal")]
        for k, path in enumerate(paths):
            picture(10 * i + k, (50, 40)).save(path)
        examples.append(Example(f"ma5k/test/{i}", f"g{i}", paths[0], f"do {i}", paths[1]))
    lgie = {"ma5k/test/0": "a very long text " * 60, "ma5k/test/1": "short", "ma5k/test/2": ""}
    by_kind = {"instruction": {e.id: e.instruction for e in examples}, "lgie": lgie, "mgie": {}}
    return Texts("ma5k", examples, by_kind, {"mgie": "not run: no weights"})


def test_the_paper_prints_every_bar_and_every_point_of_the_two_figures():
    assert reported("all", "goal image", "mgie").value == 26.5
    assert all(reported("all", image, text).confirmed == "yes" for image in IMAGES for text in TEXTS)
    points = [Point("magicbrush", m, s, a) for m in ("inspix2pix", "lgie", "mgie") for s in SCALES for a in AXES]
    assert len(points) == 42 and all(p.confirmed == "yes" and 0 < p.value < 1 for p in points)
    assert Point("magicbrush", "mgie", 1.0, "image_similarity").value == pytest.approx(0.764)
    assert "about +-0.15" in REPORTED.read_text() and "about +-0.3" in REPORTED.read_text()
    assert (points[0].half_unit, points[1].half_unit) == (0.0015, 0.003)
    assert Point("magicbrush", "mgie", 1.01, "image_similarity").value is None  # no point of the paper's


def test_each_text_meets_both_images_and_what_is_missing_says_why(tmp_path, clip):
    metric, cut = CLIPS(clip, FeatureCache(None)), {}
    texts = drawn_texts(tmp_path)
    texts.examples[3].input_image.write_bytes(b"no image")
    scores = list(score(texts, metric, cut, EditSettings()))
    assert len(scores) == 2 * 2 * 4  # two images, two texts that are there, four examples
    found = {(s.example_id[-1], s.metric): s for s in scores}
    network = clip_of(clip)
    image = network.encode_images([Picture(texts.examples[1].goal_image)])[0].astype(float)
    text = network.texts(["short"]).features[0].astype(float)
    expected = 100 * image @ text / np.linalg.norm(image) / np.linalg.norm(text)
    assert found["1", "clip_s(goal image, lgie)"].value == pytest.approx(expected, abs=1e-4)
    assert found["2", "clip_s(input image, lgie)"].reason == "the text is empty"
    assert found["3", "clip_s(goal image, lgie)"].reason == "not edited: there is no text"
    assert found["3", "clip_s(input image, instruction)"].reason.startswith("unreadable: ")
    assert cut == {(image, text): int(text == "lgie") for image in IMAGES for text in ("instruction", "lgie")}


def test_a_bar_counts_what_it_has_and_a_text_that_was_not_run_is_no_bar(tmp_path, clip):
    asked = selected(parser("x", "").parse_args(["--suite", "paper", "--datasets", "ma5k"]))
    texts, cut = drawn_texts(tmp_path), {}
    scores = list(score(texts, CLIPS(clip, FeatureCache(None)), cut, EditSettings()))
    rows = {(r.image, r.text): r for r in rows_of(asked, texts, scores, cut)}
    lgie, mgie = rows["goal image", "lgie"], rows["goal image", "mgie"]
    assert (lgie.n, lgie.of, lgie.groups, lgie.truncated) == (2, 4, 2, 1) and lgie.mean is not None
    assert lgie.low is None and "no interval: 2 groups" in lgie.reason
    assert "2 of 4 without a value: the text is empty" in lgie.reason
    assert (mgie.mean, mgie.of, mgie.reason) == (None, None, "not run: no weights")
    tests = {(t.image, t.a, t.b): t for t in paired_tests(asked, {"ma5k": scores})}
    pair = tests["goal image", "lgie", "instruction"]
    assert pair.n == 2 and pair.method == "exact, 4 flips" and pair.p <= pair.p_holm <= 1
    assert tests["goal image", "mgie", "lgie"].p is None


def test_the_nearest_text_is_bold_in_latex_by_its_value_and_not_by_its_spelling(tmp_path, clip):
    asked = selected(parser("x", "").parse_args(["--suite", "paper", "--datasets", "ma5k"]))
    texts, means = drawn_texts(tmp_path), {"instruction": 9.5, "lgie": 31.25, "mgie": None}
    rows = [replace(r, mean=means[r.text], low=None) for r in rows_of(asked, texts, [], {})]
    (line,) = [line for line in latex(rows, ["head"]).splitlines() if line.startswith("MA5k")]
    assert line == r"MA5k & 9.50 & \textbf{31.25} & --- & 9.50 & \textbf{31.25} & --- \\"


def test_without_weights_the_command_scores_the_human_instruction_and_names_the_rest(
    tmp_path, clip, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    draw_ma5k(tmp_path / "data" / "ma5k")
    argv = ["--suite", "paper", "--data-root", str(tmp_path / "data"), "--datasets", "ma5k", "--clip", clip.clip]
    argv += ["--weights", str(tmp_path), "--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert clip_score(argv) == 0
    stem = tmp_path / "results" / "paper" / f"{selected(parser('x', '').parse_args(argv)).stem('figure4').name}"
    rows = {(r["image"], r["text"]): r for r in read(stem.with_name(f"{stem.name}.csv"))}
    assert float(rows["input image", "instruction"]["mean"]) and rows["input image", "instruction"]["protocol"]
    absent = rows["input image", "mgie"]
    assert absent["mean"] == "" and "no weights for mgie-e2e" in absent["reason"]
    assert stem.with_name(f"{stem.name}.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "CLIP cut" in said and "mini-clip" not in said
    table = said.split("CLIP-S with the input image")[1].split("written: ")[0].splitlines()
    assert max(map(len, table)) <= 80 and sum(line.startswith("  dataset") for line in table) > 2  # pages, nothing cut
    assert clip_score([*argv, "--strict"]) == 1
    assert clip_score([*argv[:7], str(tmp_path / "nowhere"), *argv[8:]]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert clip_score([*argv, "--datasets", "ma5k,gier"]) == 0  # one of them is not there
    (both,) = (p for p in (tmp_path / "results" / "paper").glob("figure4*gier*.csv") if "-tests" not in p.name)
    rows = {(r["dataset"], r["image"], r["text"]): r for r in read(both)}
    assert rows["gier", "goal image", "instruction"]["reason"].startswith("not run: GIER: no folder")
    assert rows["ma5k", "goal image", "instruction"]["mean"] and rows["all", "goal image", "instruction"]["mean"] == ""


def test_figure_4_of_which_nothing_can_be_run_writes_nothing_and_says_all_that_is_missing(tmp_path, capsys):
    argv = ["--suite", "paper", "--data-root", str(tmp_path / "data"), "--results", str(tmp_path / "results")]
    assert clip_score([*argv, "--datasets", "ma5k,gier", "--out", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert "nothing could be run, so nothing was written." in said and "GIER: no folder" in said
    assert "ViT-B-32" in said and said.count("\n") > 6  # each with what to do, and the network
    assert not (tmp_path / "results").exists()


def test_the_mini_clip_is_named_as_what_it_is():
    from bench.clip_score import head_of
    from bench.registry import metric_settings

    asked = selected(parser("x", "").parse_args(["--suite", "published", "--split", "sample"]))
    unset = MetricSettings(None, None, None, None, None)
    mini, real = metric_settings("mini", unset), metric_settings("published", unset)
    assert any("mini-clip" in line and "--clip" in line for line in head_of(asked, mini, []))
    assert not any("mini-clip" in line for line in head_of(asked, real, []))


def test_image_similarity_is_the_other_axis_of_the_direction_metric(clip):
    from tiny_networks import awkward_pairs

    axes = CLIPDirection(clip, FeatureCache(None)).axes(awkward_pairs())
    assert ImageSimilarity(clip, FeatureCache(None))(awkward_pairs()) == axes.image_similarity


def test_the_sweep_has_one_run_a_scale_and_the_input_copy_stays_in_its_corner(tmp_path, clip, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    draw_magicbrush(tmp_path / "data" / "magicbrush", count=4)
    argv = ["--suite", "paper", "--data-root", str(tmp_path / "data"), "--models", "identity,mgie", "--clip", clip.clip]
    argv += ["--image-guidance-scales", "1.2", "--weights", str(tmp_path), "--out", str(tmp_path / "runs")]
    done = ["--model", "identity", "--dataset", "magicbrush", "--metrics", "clip_direction,image_similarity"]
    done += ["--guidance-scale", "7.5", "--image-guidance-scale", "1.2", *argv[:4], "--out", str(tmp_path / "runs")]
    assert run([*done, "--clip", clip.clip]) == 0  # a run that is finished is taken as it is
    assert tradeoff([*argv, "--results", str(tmp_path / "results")]) == 0
    (made,) = (tmp_path / "results" / "paper").glob("figure3-*only-identity_mgie.csv")
    rows = {(r["model"], r["axis"]): r for r in read(made)}
    assert len(rows) == 4
    still = rows["identity", "clip_direction"]
    assert float(still["mean"]) == 0 and (still["n"], still["of"], still["guidance_scale"]) == ("7", "7", "7.5")
    assert float(rows["identity", "image_similarity"]["mean"]) == pytest.approx(1)
    assert rows["mgie", "image_similarity"]["reason"].startswith("not run: ")
    assert float(rows["mgie", "image_similarity"]["paper"]) == pytest.approx(0.826)
    said = capsys.readouterr().out
    table = [line for line in said.splitlines() if line.startswith("  ")]
    assert any("not run" in line for line in table) and max(map(len, table)) <= 80


def test_given_images_cannot_be_swept_and_that_is_said(tmp_path, capsys):
    argv = ["--suite", "published", "--split", "sample", "--data-root", str(tmp_path), "--results", str(tmp_path)]
    assert tradeoff(argv) == 2 and not (tmp_path / "published").exists()
    said = capsys.readouterr().err
    assert "nothing could be run" in said and "their image_guidance_scale cannot be changed" in said


@pytest.mark.parametrize("given", ["1,x", "", "nan", "1,,2"])
def test_a_scale_that_is_no_number_is_refused_by_name(given):
    with pytest.raises(ValueError, match="--image-guidance-scales"):
        scales_of(given)
    assert scales_of(" 2, 1,2") == (1.0, 2.0)
