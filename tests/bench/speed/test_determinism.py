"""The determinism statement is measured by a script; here: what must be bit-equal is, and a difference is seen."""

import csv
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bench.run import main
from bench.runs.folder import RunFolder
from mgie.io.images import pixel_hash
from tests.bench.runs.test_resume import command, draw_ma5k, folder_of

SCRIPT = Path(__file__).parents[3] / "bench" / "speed" / "determinism.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("determinism", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_another_batch_size_of_the_metrics_moves_no_score_of_l1_and_ssim(script, tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=2)
    assert main(command(data, tmp_path / "a")) == main(command(data, tmp_path / "b", "--metric-batch-size", "1")) == 0
    found = script.compare("x", script.Setting(()), folder_of(tmp_path / "a"), folder_of(tmp_path / "b"))
    assert (found.n, found.images_equal, found.scores, found.scores_equal) == (10, 10, 20, 20)
    assert found.max_grey == 0 and found.max_score == 0 and found.within


def test_one_pixel_that_moved_by_more_than_is_allowed_is_seen(script, tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    for name in "ab":
        assert main(command(data, tmp_path / name, "--metrics", "l1")) == 0
    folder = RunFolder(folder_of(tmp_path / "b"))
    key, edit = next(iter(folder.edits().items()))
    image = Image.open(folder.path / edit.output_image)
    red, *rest = image.getpixel((3, 3))
    image.putpixel((3, 3), ((red + 3) % 256, *rest))
    image.save(folder.path / edit.output_image)
    lines = [e if k != key else replace(e, image_sha256=pixel_hash(image))
             for k, e in folder.edits().items()]  # fmt: skip
    folder.rewrite("edits.jsonl", lines)
    found = script.compare("x", script.Setting((), grey=2), folder_of(tmp_path / "a"), folder.path)
    assert found.images_equal == found.n - 1 and found.max_grey >= 3 and not found.within


def test_the_stored_measurement_is_within_what_the_script_allows(script):
    with open(SCRIPT.parents[2] / "results" / "speed" / "determinism.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == script.Difference._fields and {r["variant"] for r in rows} <= set(script.VARIANTS)
    for r in rows:
        assert int(r["max_grey"]) <= int(r["allowed_grey"]) and float(r["max_score"]) <= float(r["allowed_score"]), r
        if script.VARIANTS[r["variant"]].grey == 0:
            assert r["images_equal"] == r["n"] and r["texts_equal"] == r["n"], r
