"""Tables and figures take every setting that a run takes; what is not the default stands in head and file name."""

import csv

import pytest
from drawn import draw_evr, draw_gier, draw_magicbrush

from bench.clip_score import main as clip_score
from bench.grid.cells import Cell, argv_of
from bench.grid.options import parser, selected
from bench.registry import DATASETS
from bench.run import main as run
from bench.run import parser as run_parser
from bench.settings import DataSettings, EditSettings, HowSettings, MetricSettings, flags_in
from bench.tables import main, table_of, table_parser
from mgie.mini.datasets import draw, writer

RUNS = (DataSettings, EditSettings, MetricSettings, HowSettings)


def flags_of(p) -> set[str]:
    return {flag for action in p._actions for flag in action.option_strings}


def test_a_table_takes_every_flag_of_the_data_the_edit_the_metrics_and_the_device_that_a_run_takes():
    wanted = {"--" + f.name.replace("_", "-") for kind in RUNS for f in flags_in(kind)}
    assert wanted <= flags_of(table_parser()) and wanted <= flags_of(run_parser())
    assert wanted <= flags_of(parser("figure", ""))


def test_what_is_not_the_default_goes_to_every_run_and_into_the_file_name():
    table = table_of(["1", "--dtype", "bfloat16", "--caption", "local", "--batch-size", "4", "--max-failures", "0.5"])
    argv = " ".join(argv_of(Cell("mini", "magicbrush", "mgie", form="e2e"), table.options))
    for pair in ("--dtype bfloat16", "--caption local", "--batch-size 4", "--max-failures 0.5"):
        assert pair in argv
    assert table.file.name == "table1-local-batch4-bf16"  # what may fail moves no value
    assert table.stem("scores").name == "scores-local-batch4-bf16"
    assert table.options.said == [
        "Settings other than the default: --caption local, --batch-size 4, --dtype bfloat16, --max-failures 0.5."
    ]


LIMITED = {
    "--image-root": ("/photos", {"evr"}), "--expand": ("pair", {"evr", "gier"}), "--turns": ("multi", {"magicbrush"}),
    "--caption": ("local", {"magicbrush"}), "--wrong-captions": ("leave-out", {"emu-edit"}),
    "--limit": ("3", set(DATASETS)),
}  # fmt: skip


@pytest.mark.parametrize("flag", LIMITED)
def test_what_only_some_datasets_take_goes_to_their_cells_alone(flag):
    value, takers = LIMITED[flag]
    options = table_of(["1", "--suite", "paper", flag, value]).options
    given = {name for name in DATASETS if flag in argv_of(Cell("paper", name, "identity"), options)}
    assert given == takers


@pytest.mark.slow
def test_the_images_of_evr_elsewhere_leave_the_other_columns_of_a_table_as_they_are(tmp_path, capsys):
    root = draw_evr(tmp_path / "data" / "evr").parent
    draw_gier(root / "gier")
    (root / "evr" / "images").rename(tmp_path / "photos")
    argv = ["1", "--suite", "paper", "--data-root", str(root), "--out", str(tmp_path / "runs"), "--results",
            str(tmp_path / "results"), "--metrics", "l1", "--seeds", "1", "--models", "identity", "--max-failures", "1",
            "--datasets", "evr,gier", "--image-root", str(tmp_path / "photos")]  # fmt: skip
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "not run" not in said.out + said.err and len(list((tmp_path / "runs" / "paper").glob("*--identity*"))) == 2
    (made,) = (tmp_path / "results" / "paper").glob("table1*.md")
    (head,) = [line for line in made.read_text("utf-8").splitlines() if line.startswith("Settings other")]
    assert "--image-root photos-" in head and str(tmp_path) not in head  # folders are private


def test_a_table_of_defaults_has_its_plain_name_and_asks_a_run_for_nothing():
    for argv in (["1"], ["1", "--caption", "global", "--dtype", "auto", "--batch-size", "8"]):
        table = table_of(argv)
        assert table.file.name == "table1" and table.options.chosen == () and table.options.said == []


def test_another_number_of_seeds_than_the_splits_own_stands_in_the_file_name_and_in_the_head():
    table = table_of(["1", "--seeds", "3"])
    assert (table.file.name, table.stem("rates1").name) == ("table1-seeds3", "rates1-seeds3")
    assert table.options.said == ["Settings other than the default: --seeds 3."]
    assert argv_of(Cell("mini", "evr", "mgie"), table.options).count("--seeds") == 1
    whole = (["--full"], ["--split", "test"], ["--split", "test", "--seeds", "5"])
    assert {(t.options.seeds, t.file.name) for t in (table_of(["1", *a]) for a in whole)} == {(5, "table1-test")}


def test_a_network_is_other_than_the_default_by_what_the_suite_looks_with():
    paper = ["1", "--suite", "paper", "--clip", "ViT-B-32-quickgelu/openai"]
    assert table_of(paper).file.name == "table1"
    mini = table_of(["1", "--clip", "ViT-B-32-quickgelu/openai"])
    assert mini.file.name == "table1-clip-ViT-B-32-quickgelu_openai"
    assert "--clip ViT-B-32-quickgelu/openai" in " ".join(argv_of(Cell("mini", "evr", "identity"), mini.options))


def test_a_long_path_in_a_file_name_is_cut_and_two_of_them_stay_apart():
    names = {
        table_of(["1", "--clip", f"/a/long/folder/of/many/letters/in/a/row/{last}"]).file.name
        for last in ("one", "two")
    }
    assert len(names) == 2 and all(len(name) < 60 and "/" not in name for name in names)


@pytest.mark.parametrize(
    ("argv", "says"),
    [(["1", "--batch-size", "0"], "--batch-size 0"), (["1", "--max-failures", "2"], "--max-failures 2")],
)
def test_a_number_outside_its_range_is_wrong_use(argv, says, capsys):
    assert main(argv) == 2 and says in capsys.readouterr().err


def test_figures_open_the_data_with_the_same_settings():
    args = parser("x", "").parse_args(["--turns", "multi", "--exif", "ignore", "--split", "quick"])
    asked = selected(args)
    assert (asked.options.data.turns, asked.options.data.split, asked.edit.exif) == ("multi", "quick", "ignore")
    assert asked.stem("figure4").name == "figure4-multi-exif-ignore"


def test_a_multi_turn_table_with_local_captions_is_made_and_says_so(tmp_path, capsys):
    draw_magicbrush(tmp_path / "data" / "magicbrush")
    argv = ["1", "--suite", "paper", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"),
            "--results", str(tmp_path / "results"), "--metrics", "l1", "--seeds", "1", "--models", "identity",
            "--datasets", "magicbrush", "--turns", "multi", "--caption", "local"]  # fmt: skip
    assert main(argv) == 0
    assert "Settings other than the default: --turns multi, --caption local" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "paper").iterdir()
    stem = tmp_path / "results" / "paper" / "table1-multi-local-seeds1-only-magicbrush_identity_l1"
    with open(stem.with_suffix(".csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["run"].endswith(folder.name) and int(rows[0]["n"]) > 0
    for ending in (".md", ".tex"):
        assert "--turns multi, --caption local" in stem.with_suffix(ending).read_text(encoding="utf-8")
    assert not stem.with_name("table1.csv").exists()


@pytest.mark.parametrize(
    ("given", "name", "head"),
    [
        ("--size square:48 --dtype bfloat16 --caption local", "local-limit5-square48-bf16",
         "--caption local, --limit 5, --size square:48, --dtype bfloat16, --seeds 1."),
        ("--turns multi", "multi-limit5", "--turns multi, --limit 5, --seeds 1."),
    ],
)  # fmt: skip
def test_the_miniatures_table_in_other_settings_is_made_and_says_so_in_its_head(
    given, name, head, tmp_path, monkeypatch, capsys
):
    small = writer.Parameters(size=48, train=2, val=2, test=8, ipr2pr=2)
    for module in (draw, writer):
        monkeypatch.setattr(module, "Parameters", lambda: small)
    argv = ["1", "--suite", "mini", *given.split(), "--models", "identity", "--datasets", "magicbrush", "--limit", "5",
            "--split", "test", "--seeds", "1", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"),
            "--results", str(tmp_path / "results")]  # fmt: skip
    # first in this process, where the small world is; the table then finds the run
    assert run(argv_of(Cell("mini", "magicbrush", "identity"), table_of(argv).options)) == 0
    capsys.readouterr()
    assert main(argv) == 0
    said = capsys.readouterr()
    assert f"Settings other than the default: {head}" in said.out and "to run" not in said.err
    made = tmp_path / "results" / "mini" / f"table1-test-{name}-seeds1-only-magicbrush_identity.md"
    assert head in made.read_text(encoding="utf-8").partition("|")[0]


def test_a_figure_refuses_what_a_run_refuses(capsys):
    assert clip_score(["--batch-size", "-1"]) == 2 and "--batch-size -1" in capsys.readouterr().err
