"""Finished runs as rows: in tables, report, gallery and figures; a verified bundle too."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from seen_runs import folder_of

from bench.bundle.__main__ import main as bundle
from bench.clip_score import with_texts
from bench.datasets.magicbrush import MagicBrush
from bench.figures.figure3 import AXES, SweepRow, markdown, plot
from bench.figures.figure4 import TextRow
from bench.figures.figure4 import latex as latex4
from bench.figures.figure4 import markdown as markdown4
from bench.figures.figure4 import plot as plot4
from bench.figures.texts import pairs_of, texts_of
from bench.gallery import main as gallery
from bench.given.named import Given, add_with
from bench.grid.options import parser, selected
from bench.pages.entries import from_cells
from bench.pages.sections import Scope
from bench.report import main as report
from bench.report import published
from bench.run import main as run
from bench.runs.folder import RunFolder
from bench.settings import DataSettings
from bench.tables import main as tables
from bench.verify.__main__ import main as verify


@pytest.fixture(scope="module")
def shown(world) -> Path:
    """results/ with Table 1 of the input copy and "near", and of the plain one."""
    where = ["--suite", "paper", "--data-root", str(world / "data"), "--out", str(world / "runs")]
    near = ["--model", "near", "--images", str(world / "near"), "--dataset", "magicbrush", "--metrics", "l1@input"]
    assert run([*where, *near]) == 0  # as without --metrics
    argv = ["1", *where, "--datasets", "magicbrush", "--models", "identity", "--metrics", "l1,ssim", "--seeds", "1",
            "--device", "cpu", "--results", str(world / "results")]  # fmt: skip
    assert tables([*argv, "--with", str(folder_of(world / "runs"))]) == 0
    assert tables(argv) == 0
    return world / "results" / "paper"


def rows_in(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_the_row_and_the_tests_beside_the_others_and_leaves_the_whole_alone(shown, world):
    (path,) = shown.glob("table1-seeds1-only-*-with-near.csv")
    rows = rows_in(path)
    of = {(row["model"], row["metric"]): row for row in rows}
    expected = [s.value for s in RunFolder(folder_of(world / "runs")).scores().values() if s.metric == "l1"]
    assert float(of["near", "l1"]["mean"]) == pytest.approx(sum(expected) / len(expected), abs=1e-12)
    assert of["near", "l1"]["run"].endswith(folder_of(world / "runs").name) and of["identity", "l1"]["mean"]
    (tests,) = shown.glob("table1-seeds1-only-*-with-near-tests.csv")
    assert {(t["a"], t["b"]) for t in rows_in(tests)} == {("near", "identity")}
    whole = next(p for p in shown.glob("table1-seeds1-only-*.csv") if "with" not in p.name and "tests" not in p.name)
    assert "near" not in whole.read_text()


def test_the_row_of_somebodys_own_images_has_its_rates_where_their_yardsticks_were_run(shown):
    (path,) = shown.glob("rates1-seeds1-only-*-with-near.csv")
    found = {row["rate"]: row for row in rows_in(path) if row["model"] == "near"}
    assert 0 <= float(found["over-edit"]["value"]) <= 1
    assert found["no-op"]["reason"].startswith("the codec copy was not run")  # its weights are not here


def test_the_report_has_the_row_on_its_first_screen(shown, world, capsys):
    whole = next(p for p in shown.glob("table1-seeds1-only-*.csv") if "with" not in p.name and "tests" not in p.name)
    for path in shown.glob(f"{whole.stem}*"):
        if path.is_file():
            shutil.copy(path, path.with_name(path.name.replace(whole.stem, "table1")))
    argv = ["--suite", "paper", "--results", str(shown.parent), "--out", str(world / "runs"), "--with", "near"]
    assert report(argv) == 0
    text = (shown / "report-with-near.md").read_text()
    first = text.split("## Tables")[0]
    assert "| near |" in first and "Against the input copy" in first  # its tests are there too
    assert "with-near" in text.split("## Tables")[1]  # the table that was made with it
    assert report([*argv[:-1], "far"]) == 0 and "| far |" in (shown / "report-with-far.md").read_text()


def test_the_standings_of_a_report_look_at_a_given_run_that_lies_elsewhere(mine, tmp_path):
    folder = folder_of(mine)
    near = Given(folder, "magicbrush", "near", "none", "zero-shot")
    asked = Scope("paper", "", tmp_path / "results", tmp_path / "no-runs", (near,))
    assert folder.name in " ".join(published(asked))
    assert folder.name not in " ".join(published(replace(asked, given=())))


def test_the_gallery_has_the_runs_edits(world, tmp_path):
    args = parser("x", "", leave=())
    add_with(args)
    base = [
        "--suite",
        "paper",
        "--data-root",
        str(world / "data"),
        "--out",
        str(world / "runs"),
        "--datasets",
        "magicbrush",
    ]
    asked = selected(args.parse_args([*base, "--with", "near", "--as", "mine"]), ("far",), metrics=())
    made = from_cells(asked, None)
    assert all(set(entry.views) == {"far", "mine"} for entry in made.entries) and len(made.entries) == 7
    assert made.entries[0].views["mine"].folder == folder_of(world / "runs")
    assert gallery([*base, "--runs", str(folder_of(world / "runs")), "--with", "near"]) == 2


def test_figure_4_has_a_bar_for_a_run_that_wrote_texts_and_says_why_another_has_none(world, mine, tmp_path, capsys):
    args = parser("x", "")
    add_with(args)
    base = ["--suite", "paper", "--data-root", str(world / "data"), "--datasets", "magicbrush", "--out"]
    asked = with_texts(selected(args.parse_args([*base, str(world / "runs"), "--with", "near"]), metrics=()))
    examples = MagicBrush(world / "data" / "magicbrush", DataSettings()).examples()
    texts = texts_of(asked, "magicbrush", examples, {"lgie": folder_of(world / "runs", "far"), "mgie": "not made"})
    assert texts.kinds == ["instruction", "lgie", "mgie", "near"]
    assert (
        all(text.startswith("near says") for text in texts.by_kind["near"].values()) and len(texts.by_kind["near"]) == 7
    )
    assert ("near", "mgie") in pairs_of(texts.kinds)
    folder = RunFolder(folder_of(mine))
    folder.rewrite("edits.jsonl", [json.loads(line) | {"expressive_instruction": None}
                                   for line in (folder.path / "edits.jsonl").read_text().splitlines()])  # fmt: skip
    assert with_texts(selected(args.parse_args([*base, str(mine), "--with", "near"]), metrics=())).given == ()
    assert "near on magicbrush" in (said := capsys.readouterr().err) and "so it has no bar" in said
    rows = [TextRow(4, "mini", "zero-shot", "magicbrush", image, text, 20.0 + place, None, None, 7, 7, 7, 0, None, "",
                    None, "", "", "p", "r") for image in ("input image", "goal image")
            for place, text in enumerate(("instruction", "lgie", "mgie", "near"))]  # fmt: skip
    assert "near's expressive instruction" in markdown4(rows, [], ["suite mini"]) and "near" in latex4(rows, ["x"])
    assert all(path.stat().st_size for path in plot4(rows, tmp_path / "figure4", ""))


def test_figure_3_has_one_point_for_a_run_beside_the_curves(tmp_path):
    def row(model, scale, axis, mean):
        return SweepRow(3, "mini", "zero-shot", "none", "magicbrush", model, None, scale, axis, mean, None, None, 7, 7,
                        7, 1, None, "", None, "", "", "p", "r")  # fmt: skip

    curve = [row("mgie", s, a, 0.1 * s) for s in (1.0, 1.2) for a in AXES]
    rows = [*curve, *(row("near", None, a, 0.3) for a in AXES), *(row("far", 1.2, a, 0.2) for a in AXES)]
    table = [line for line in markdown(rows, ["suite mini"]).splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in table[2:]] == ["| 1.0", "| 1.2", "| as given"]
    assert "30.00" in table[-1] and "20.00" in table[-2] and "20.00" not in table[-3]
    assert all(path.stat().st_size for path in plot(rows, tmp_path / "figure3"))


def test_a_verified_bundle_is_a_row_and_says_what_was_verified(world, tmp_path):
    archive = tmp_path / "near.zip"
    assert bundle([str(folder_of(world / "runs")), "-o", str(archive)]) == 0
    out = Path(shutil.copytree(world / "runs", tmp_path / "runs"))
    assert verify([str(archive), "--data-root", str(world / "data"), "--out", str(out)]) == 0
    args = parser("x", "")
    add_with(args)
    argv = ["--suite", "paper", "--data-root", str(world / "data"), "--out", str(out), "--datasets", "magicbrush"]
    argv += ["--with", str(archive), "--as", "theirs"]
    (given,) = selected(args.parse_args(argv), metrics=("l1",)).given
    assert given.name == "theirs" and "7 of l1" in given.said and out / "bundles" in given.folder.parents
