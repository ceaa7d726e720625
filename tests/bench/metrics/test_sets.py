"""Sets of metrics: what each name stands for, what a row may be compared with, and the worked examples."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_magicbrush
from PIL import Image
from tiny_networks import drawn, pair, tiny_clip, tiny_dino, tiny_settings

from bench.metrics.clip_direction import CLIPDirection, direction_similarity
from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.sets import SETS, Scored, differences, expanded, said, with_flags
from bench.registry import METRICS, load, metric_of, plain
from bench.run import main
from bench.settings import MetricSettings
from bench.tables import main as tables


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> MetricSettings:
    return tiny_settings(tmp_path_factory.mktemp("networks"))


# what a name stands for


def test_a_set_stands_for_its_metrics_and_others_may_stand_beside_it():
    assert expanded(["magicbrush", "ssim", "l1"], "magicbrush") == ("l1", "l2", "cvs", "dino", "cts@local", "ssim")
    assert expanded(["emu"], "emu-edit") == (
        "clip_direction@emu", "image_similarity", "cts", "l1@input", "dino@input",
    )  # fmt: skip
    assert expanded(["paper"], "gier") == ("l1", "ssim", "cvs")
    assert expanded(["paper"], "magicbrush") == ("l1", "dino", "cvs", "cts@global")


def test_the_paper_scores_no_other_dataset():
    with pytest.raises(ValueError, match="the paper does not score ipr2pr; it scores evr, gier, ma5k, magicbrush"):
        expanded(["paper"], "ipr2pr")


@pytest.mark.parametrize("name", SETS)
def test_every_metric_of_a_set_is_one_of_ours_and_every_set_says_what_it_fixes(name):
    for dataset in SETS[name].datasets:
        for metric in expanded([name], dataset):
            assert plain(metric) in METRICS and metric_of(metric, MetricSettings())
    assert SETS[name].fixed and SETS[name].sizes and (SETS[name].assumed or name == "magicbrush")


# what a row may be compared with

CLIP = "open_clip ViT-B-32-quickgelu/openai sha256:01234567 fp32, own transform (bicubic 224, centre crop)"
DINO = ("timm timm/vit_small_patch16_224.dino sha256:89abcdef fp32, Resize 256 bicubic (PIL), CenterCrop 224, "
        "ImageNet norm, class token")  # fmt: skip
RULE = "(PIL bicubic uint8), [0, 1]"
OFFICIAL = {
    "l1": f"l1: output resized to goal {RULE}, mean over RGB in float64",
    "l2": f"l2: output resized to goal {RULE}, mean of squares over RGB in float64",
    "cvs": f"cvs: {CLIP}, cosine output/goal", "dino": f"dino: {DINO}, cosine output/goal",
    "cts@local": f"cts: {CLIP}, cosine output/local goal caption, end token kept",
    "cts@global": f"cts: {CLIP}, cosine output/global goal caption, end token kept",
    "clip_direction@emu": f"clip_direction: {CLIP}, cosine of output - input and goal - input caption, end token kept, "
                          "no value where either is nothing",
    "image_similarity": f"image_similarity: {CLIP}, cosine input/output",
    "cts": f"cts: {CLIP}, cosine output/goal caption, end token kept",
    "l1@input": f"l1: output resized to input {RULE}, mean over RGB in float64",
    "dino@input": f"dino: {DINO}, cosine output/input",
}  # fmt: skip
OF = Scored("paper", "magicbrush", "test", "single", None, 1053, "native", None, OFFICIAL)
RIGHT = {
    "magicbrush": OF, "emu": OF._replace(dataset="emu-edit", n=2899, wrong_captions="leave-out"),
    "paper": OF._replace(size="authors"),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_a_run_that_keeps_to_the_protocol_may_stand_beside_the_published_rows(name):
    assert differences(name, RIGHT[name]) == []
    assert "may stand beside" in said(name, RIGHT[name], "bench.run", [])[0]


@pytest.mark.parametrize(
    ("name", "change", "says", "flags"),
    [
        ("magicbrush", {"size": "authors"}, "--size authors", {"--size": "native", "--max-side": None}),
        ("magicbrush", {"size": "square:256"}, "--size square:256", {"--size": "native", "--max-side": None}),
        ("emu", {"size": "long:512"}, "--size long:512", {"--size": "native", "--max-side": None}),
        ("paper", {"size": "native"}, "--size native", {"--size": "authors", "--max-side": None}),
        ("magicbrush", {"max_side": 256}, "--max-side 256", {"--size": "native", "--max-side": None}),
        ("magicbrush", {"limit": 9}, "first 9", {"--limit": None}),
        ("magicbrush", {"split": "dev"}, "split dev", {"--split": None}),
        ("magicbrush", {"n": 900}, "900 examples, the protocol scores 1,053", {}),
        ("emu", {"n": 3589, "wrong_captions": "keep"}, "690 of 3,589", {"--wrong-captions": "leave-out"}),
        ("emu", {"dataset": "magicbrush"}, "a protocol for emu-edit", {"--dataset": "emu-edit"}),
        ("magicbrush", {"suite": "published", "split": "all"}, "hand-picked",
         {"--suite": "paper", "--data-root": "DIR", "--split": None}),
        ("magicbrush", {"suite": "mini"}, "64 px", {"--suite": "paper", "--data-root": "DIR", "--size": "native"}),
    ],
)  # fmt: skip
def test_what_differs_is_named_with_the_flags_that_would_take_it_away(name, change, says, flags):
    of = RIGHT[name]._replace(**change)
    found = differences(name, of)
    assert len(found) == 1 and says in found[0].what and found[0].flags == flags
    assert "not comparable" in said(name, of, "bench.run", [])[0]


def test_outputs_of_the_whole_test_set_are_none_that_were_hand_picked():
    assert differences("magicbrush", OF._replace(suite="published")) == []
    (found,) = differences("magicbrush", OF._replace(suite="published", split="test-by-folder"))
    assert "split test-by-folder" in found.what


def test_multi_turn_is_counted_as_the_scripts_final_turn():
    assert differences("magicbrush", OF._replace(turns="multi", n=535)) == []
    assert "535" in differences("magicbrush", OF._replace(turns="multi"))[0].what


@pytest.mark.parametrize(
    ("metric", "protocol", "flag"),
    [("cvs", OFFICIAL["cvs"].replace("B-32", "L-14"), "--clip"), ("dino", "dino: timm a folder", "--dino"),
     ("cts@local", OFFICIAL["cts@local"].replace("centre crop", "squash"), "--clip")],
)  # fmt: skip
def test_another_network_is_another_protocol_and_the_flag_of_the_right_one_is_said(metric, protocol, flag):
    found = differences("magicbrush", OF._replace(protocols=OFFICIAL | {metric: protocol}))
    assert len(found) == 1 and metric in found[0].what and flag in found[0].flags


def test_swapped_captions_or_a_metric_that_was_not_run_are_seen():
    swapped = OFFICIAL | {"cts@local": OFFICIAL["cts@global"]}
    assert "cts@local" in differences("magicbrush", OF._replace(protocols=swapped))[0].what
    without = {k: v for k, v in OFFICIAL.items() if k != "l2"}
    assert differences("magicbrush", OF._replace(protocols=without))[0].what == "l2 was not run"


def test_the_command_that_would_be_comparable_is_the_given_one_with_other_flags():
    argv = ["--size", "authors", "--model", "mgie", "--limit=4", "--metrics", "magicbrush"]
    found = with_flags(argv, {"--size": "native", "--limit": None, "--max-side": None})
    assert found == ["--model", "mgie", "--metrics", "magicbrush", "--size", "native"]


# worked examples of Emu Edit's protocol


def test_clip_dir_clip_im_and_clip_out_of_the_worked_example():
    source, output, before, after = (np.array([v]) for v in ([1.0, 0], [0.6, 0.8], [1.0, 0], [0.0, 1]))
    assert direction_similarity(source, output, before, after)[0] == pytest.approx(0.9486833, abs=1e-7)
    assert cosine(source, output)[0] == pytest.approx(0.6, abs=1e-9)
    assert cosine(output, after)[0] == pytest.approx(0.8, abs=1e-9)
    assert direction_similarity(2 * source, output, before, after)[0] == pytest.approx(0.9486833, abs=1e-7)  # form A


def test_an_item_without_a_direction_is_left_out_of_clip_dir_and_counted(settings):
    """Equal captions, or an output that is the input, would be 0/0."""
    of = [pair(drawn(k, 60, 50), drawn(9, 60, 50), drawn(20 + k, 60, 50), k) for k in range(3)]
    same = replace(of[1].example, input_caption=" a dog ", goal_caption="a dog")
    of[1], of[2] = replace(of[1], example=same), replace(of[2], input=of[2].output)
    emu = CLIPDirection(metric_of("clip_direction@emu", settings), FeatureCache(None))
    found, usual = emu(of), CLIPDirection(settings, FeatureCache(None))(of)
    assert found[0] == usual[0] and found[0].value is not None
    assert found[1].value is None and "caption are the same" in found[1].reason
    assert found[2].value is None and "the output is the input" in found[2].reason
    assert usual[1].value == usual[2].value == 0  # as instruct-pix2pix has it


def test_a_copy_of_the_input_is_at_distance_0_and_similarity_1(settings):
    image = drawn(3, 70, 60)
    of = [pair(image, drawn(4, 70, 60), image)]
    for name, value in (("l1@input", 0), ("dino@input", 1), ("image_similarity", 1)):
        made = load(METRICS, plain(name), "metric")(metric_of(name, settings), FeatureCache(None))
        assert made(of)[0].value == pytest.approx(value, abs=1e-6)


def test_multi_and_single_turn_means_of_the_worked_example(settings):
    """MagicBrush, example 6: copies of constant greys, input 0, goals .2, .2, .8."""

    def l1(output: float, goal: float) -> float:
        grey = [Image.new("RGB", (16, 16), (round(255 * v),) * 3) for v in (output, goal)]
        return load(METRICS, "l1", "metric")(settings, FeatureCache(None))([pair(*grey)])[0].value

    own_inputs = [l1(0, 0.2), l1(0.2, 0.2), l1(0.2, 0.8)]
    assert np.mean(own_inputs) == pytest.approx(0.266667, abs=1e-6) and l1(0, 0.8) == pytest.approx(0.8, abs=1e-6)


# through the commands


def run(tmp_path: Path, capsys, *more: str) -> dict:
    if not (tmp_path / "data").exists():
        draw_magicbrush(tmp_path / "data" / "magicbrush", count=4)
    argv = ["--suite", "paper", "--data-root", str(tmp_path / "data"), "--dataset", "magicbrush", "--model", "identity",
            "--out", str(tmp_path / "runs"), "--metric-device", "cpu", "--json", *more,
            "--clip", str(tiny_clip(tmp_path / "clip")), "--dino", str(tiny_dino(tmp_path / "dino"))]  # fmt: skip
    code, told = main(argv), capsys.readouterr()
    assert code == 0, told.err
    return json.loads(told.out)


def test_a_run_of_a_set_has_its_metrics_and_says_which_command_would_be_comparable(tmp_path, capsys):
    found = run(tmp_path, capsys, "--metrics", "magicbrush")
    assert list(found["metrics"]) == ["l1", "l2", "dino", "cvs", "cts@local"]
    first, command = found["sets"]["magicbrush"]
    assert "not comparable" in first and "--size authors" in first and "cvs is" in first
    argv = shlex.split(command.partition("python -m bench.run ")[2])
    assert argv[argv.index("--size") + 1] == "native" and argv[argv.index("--clip") + 1] == "ViT-B-32-quickgelu/openai"
    again = run(tmp_path, capsys, "--metrics", "magicbrush", "--size", "native")
    assert "--size" not in again["sets"]["magicbrush"][0]


@pytest.mark.slow
def test_a_table_takes_a_set_and_says_the_same_below_it(tmp_path, capsys):
    draw_magicbrush(tmp_path / "data" / "magicbrush", count=4)
    argv = ["1", "--suite", "paper", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"),
            "--results", str(tmp_path / "results"), "--datasets", "magicbrush", "--models", "identity", "--seeds", "1",
            "--metric-device", "cpu", "--metrics", "magicbrush"]  # fmt: skip
    assert tables(argv) == 0
    capsys.readouterr()
    (text,) = (tmp_path / "results" / "paper").glob("table1-seeds1-only-*.md")
    said = text.read_text("utf-8")
    assert "L2" in said and "set magicbrush, magicbrush: not comparable" in said and "bench.tables 1" in said
