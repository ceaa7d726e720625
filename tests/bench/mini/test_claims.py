"""The claims of the miniature: planted effects get the right verdict, what is missing is said, pictures are drawn."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.figures import texts
from bench.grid.cells import Cell, Options, Result
from bench.mini import claims, claims_report, verdicts
from bench.mini.evidence import Answers, Runs, answers, chance_interval, in_and_out, new_object
from bench.records import Score
from bench.run import main as bench_run
from bench.runs.folder import RunFolder
from mgie.mini.datasets import draw
from mgie.mini.datasets import writer as layouts

SMALL = layouts.Parameters(size=48, train=5, val=5, test=50, ipr2pr=20)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def scores(values: list[float], metric: str = "l1") -> list[Score]:
    """Two examples a group."""
    return [Score(f"ma5k/test/{i}", f"g{i // 2}", 0, metric, v, "", "") for i, v in enumerate(values)]


LOW, HIGH = [0.1 + 0.001 * (i % 5) for i in range(40)], [0.2 + 0.001 * (i % 7) for i in range(40)]


@pytest.mark.parametrize(
    ("metric", "first", "second", "says"),
    [
        ("l1 (evr, ma5k)", LOW, HIGH, "holds"), ("l1 (evr, ma5k)", HIGH, LOW, "contradicted"),
        ("cvs (evr)", HIGH, LOW, "holds"), ("cvs (evr)", LOW, HIGH, "contradicted"), ("l1", LOW, LOW, "not shown"),
    ],
)  # fmt: skip
def test_the_verdict_is_the_direction_where_the_difference_holds(metric, first, second, says):
    (found,) = verdicts.judged([verdicts.test("1", "all", metric, ("a", "b"), scores(first), scores(second))])
    assert found.verdict == says and found.n == 40 and found.groups == 20
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))
    assert found.low <= found.difference <= found.high
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)  # the interval is the test's own


def test_holm_counts_a_claims_tests_of_one_subset_and_metric_and_a_missing_side_is_no_test():
    one = verdicts.test("1", "all", "l1", ("a", "b"), scores(LOW), scores(HIGH))
    none = verdicts.test("1", "all", "l1", ("a", "c"), scores(LOW), [], "no weights")
    other = verdicts.test("2", "all", "l1", ("a", "b"), scores(LOW), scores(HIGH))
    found = verdicts.judged([one, none, one, other])
    assert [t.p_holm for t in found] == pytest.approx([2 * one.p, None, 2 * one.p, one.p])
    assert found[1].verdict == "not run" and found[1].reason == "no weights"


def test_a_ratio_is_a_sum_over_a_sum_and_says_whether_it_is_reached():
    found = verdicts.ratio("L1", "x", scores([0.1, 0.3, 0.2, 0.2]), scores([0.4, 0.4, 0.4, 0.4]), 0.5)
    assert found.value == pytest.approx(0.5) and found.reached == "yes" and found.target == "at most 0.5"
    assert verdicts.ratio("L1", "x", [], scores(LOW), 0.5).reached == ""


def test_new_objects_are_read_from_captions():
    names = ["a candle on the left", "an airplane in the lower left", "some fries on the right"]
    assert [new_object(n) for n in names] == ["candle", "airplane", "fries"]


def test_guessing_lies_in_the_chance_interval_and_a_seeing_one_does_not():
    rng = np.random.default_rng(1)
    blind = [Answers(str(k), int(rng.binomial(40, 1 / k)), 40, 1 / k) for k in (2, 3, 4, 8)]
    chance, low, high = chance_interval(blind)
    assert low <= np.mean([f.share for f in blind]) <= high < 0.8
    assert chance == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 1 / 8) / 4)


def test_a_tables_results_are_taken_by_cell_with_their_folder_or_their_reason():
    cells = Cell("mini", "ma5k", "identity", form="none"), Cell("mini", "ma5k", "mgie", "fine-tuned")
    found = Runs(Options())
    found.take([Result(cells[0], Path("runs/mini/ma5k--identity")), Result(cells[1], None, "no weights", "make them")])
    assert found.folders["ma5k", "identity", "none"].path == Path("runs/mini/ma5k--identity")
    assert found.reasons == {("ma5k", "mgie", "tuned"): "no weights"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """identity as itself and as InsPix2Pix; the goal images as MGIE's, with the world's own expressive instructions."""
    root, patch = tmp_path_factory.mktemp("claims"), pytest.MonkeyPatch()
    patch.setattr(layouts, "Parameters", lambda: SMALL)
    patch.setattr(draw, "Parameters", lambda: SMALL)
    found = Runs(Options("test", 1, (), root / "data", None, root / "runs"), ("magicbrush", "ma5k"))
    for dataset in found.datasets:
        for model in ("identity", "oracle"):
            argv = ["--suite", "mini", "--dataset", dataset, "--model", model, "--metrics", "l1", "--json"]
            assert bench_run([*argv, "--data-root", str(root / "data"), "--out", str(root / "runs")]) == 0
        (same,), (goal,) = ((root / "runs" / "mini").glob(f"{dataset}--{m}--*") for m in ("identity", "oracle"))
        told = root / "told" / dataset
        shutil.copytree(goal, told)
        edits = [json.loads(line) for line in (told / "edits.jsonl").read_text().splitlines()]
        for edit in edits:
            edit["expressive_instruction"] = found.worlds[dataset].facts(edit["example_id"]).expressive_instruction
        RunFolder(told).rewrite("edits.jsonl", edits)
        found.folders |= {(dataset, "identity", "none"): RunFolder(same), (dataset, "mgie", "e2e"): RunFolder(told),
                          (dataset, "inspix2pix", "none"): RunFolder(same)}  # fmt: skip
        found.reasons[dataset, "lgie", "e2e"] = "no weights for lgie-e2e"
    _ = found.examples
    patch.undo()
    return found


def test_inside_and_outside_the_mask_are_told_apart(runs):
    inside, outside = in_and_out(runs, "magicbrush", "identity")
    assert np.mean([s.value for s in inside]) > 10 * np.mean([s.value for s in outside if s.value is not None])
    assert all(s.value in (0.0, None) for part in in_and_out(runs, "magicbrush", "mgie") for s in part)


def test_the_worlds_own_expressive_instructions_are_all_right(runs):
    found = answers(runs, "mgie")
    assert found and all(f.right == f.n for f in found)
    assert answers(runs, "lgie") == [] and "no weights" in runs.why("lgie")


def test_clip_s_is_of_the_examples_of_the_runs_and_of_no_other_split(runs, monkeypatch):
    for module in (layouts, draw):
        monkeypatch.setattr(module, "Parameters", lambda: SMALL)
    seen = {}
    monkeypatch.setattr(
        texts, "run_all", lambda cells: [Result(cell, None, "no run is needed here") for cell, _ in cells]
    )
    monkeypatch.setattr(texts, "score", lambda found, *_: seen.update({found.dataset: found.examples}) or [])
    of_val = Runs(replace(runs.options, split="val"), runs.datasets)
    for one in (runs, of_val):
        claims.clip_s(one)
        assert seen == one.examples
    assert runs.examples != of_val.examples


def test_the_report_shows_what_holds_and_what_was_not_run(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "clip_s", lambda runs: [])
    tests = verdicts.judged([*claims.sight(runs), *claims.text(runs), *claims.brushed(runs)])
    paths = claims_report.write(runs, tests, claims.right(runs), tmp_path)
    assert paths[0].name.startswith("claims-only-")  # two of four datasets: a selection never replaces the whole
    text = paths[0].read_text()
    assert "Ambiguous: MGIE over InsPix2Pix, l1 (magicbrush, ma5k): **holds**" in text
    assert "Ambiguous: MGIE over LGIE, l1 (magicbrush, ma5k): **not run** (no weights for lgie-e2e)" in text
    rows = list(csv.DictReader(paths[1].open()))
    assert len(rows) == len(tests) and {"holds", "not run"} <= {r["verdict"] for r in rows}
    pictures = [p for p in paths if p.suffix == ".png"]
    only = paths[0].stem.removeprefix("claims")
    assert {p.name for p in pictures} == {f"comparison-magicbrush{only}.png", f"comparison-ma5k{only}.png"}
    assert all(Image.open(p).width > 5 * 48 * 3 and p.name in text for p in pictures)


def test_a_split_beside_the_default_never_replaces_it(runs, tmp_path):
    quick = Runs(Options("quick", 1, (), runs.options.data_root), ("ma5k",), runs.folders)
    quick.worlds = {"ma5k": runs.worlds["ma5k"]}
    paths = claims_report.write(quick, [], [], tmp_path)
    assert paths[0].name == "claims-quick-only-ma5k.md" and not (tmp_path / "claims.md").exists()


@pytest.mark.parametrize("argv", [["--datasets", "cifar"], ["--seeds", "0"]])
def test_wrong_use_is_one_line_and_exit_code_2(argv, capsys):
    assert claims.main(argv) == 2
    assert capsys.readouterr().err.count("\n") == 1
