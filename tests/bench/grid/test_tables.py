"""The tables: every cell a row, the paper's values on the right scale, nothing missing without its reason."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import draw_ma5k
from table_cells import METRICS_OF, asked, find, finished, measured, scores_of

from bench.grid.cells import Cell, Options, argv_of
from bench.grid.paper import MARK
from bench.grid.rows import Measured, TableRow, comparisons, rows_of, seconds_row
from bench.grid.show import grid, markdown
from bench.grid.stored import read_scores, write_scores
from bench.records import Score
from bench.run import main as run
from bench.stats import summarise
from bench.tables import main, table_of, table_rows, write
from mgie.folder import MINI
from mgie.io.files import write_csv

COLUMNS = (
    "table,suite,setting,form,dataset,model,metric,mean,low,high,n,of,groups,seeds,paper,paper_confirmed,difference,"
    "verdict,reason,protocol,run,method,group_least,group_most"
)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# rows


def test_each_cell_is_one_row_with_the_statistics_of_its_scores(tmp_path):
    rows = table_rows(asked(tmp_path), measured())
    assert len(rows) == 4 * 13 + 4  # 13 metrics a model, and its inference time
    row, expected = find(rows, "mgie", "ma5k", "ssim"), summarise(scores_of("ma5k", "ssim", 0.65))
    assert (row.mean, row.low, row.high, row.n, row.of, row.groups) == (*expected[:3], 8, 8, 8)
    assert row.protocol == "ssim p" and row.run == "runs/paper/ma5k--x--01234567"


def test_difference_and_verdict_exist_only_in_suite_paper(tmp_path):
    row = find(table_rows(asked(tmp_path), measured()), "mgie", "ma5k", "ssim")
    assert row.difference == pytest.approx(row.mean - 0.6625) and row.verdict == "outside the interval"
    near = measured(centres={"mgie": 0.662})
    assert find(table_rows(asked(tmp_path), near), "mgie", "ma5k", "ssim").verdict == "agrees"
    for suite in ("mini", "published"):
        row = find(table_rows(asked(tmp_path), measured(suite)), "mgie", "ma5k", "ssim")
        assert (row.difference, row.verdict, row.paper) == (None, "not comparable", 0.6625)


def test_a_printed_number_agrees_within_its_rounding():
    equal = [Score(f"ma5k/test/{i}", f"g{i}", 0, "lpips", 0.2984, "", "p") for i in range(8)]
    cell = Cell("paper", "ma5k", "mgie", form="e2e")
    run = finished("ma5k", {})._replace(scores=equal, of=8)
    assert rows_of(1, Measured(cell, run), ["lpips"], 1, "runs")[0].verdict == "agrees"  # printed .298


def test_a_cell_that_was_not_run_is_a_row_with_its_reason_and_no_number():
    cell = Cell("paper", "ma5k", "mgie", form="e2e")
    (row,) = rows_of(1, Measured(cell, None, "no  weights\nthe way to get them"), ["l1"], 5, "runs")
    assert (row.mean, row.low, row.n, row.of, row.verdict) == (None, None, 0, None, "not run")
    assert row.reason == "not run: no weights" and row.paper == 0.133


def test_a_metric_without_its_network_is_not_run_while_the_others_are():
    run = finished("ma5k", {"l1": 0.1}, not_run={"lpips": "LPIPS alex: not at hand"})
    l1, lpips = rows_of(1, Measured(Cell("mini", "ma5k", "identity"), run), ["l1", "lpips"], 1, "runs")
    assert l1.mean is not None and l1.reason == ""
    assert lpips.mean is None and lpips.reason == "not run: LPIPS alex: not at hand"


def test_examples_without_a_value_show_in_n_and_in_the_reason():
    scores = scores_of("ma5k", "l1", 0.2, n=10)
    scores[3:5] = [s.__class__(**(s.__dict__ | {"value": None, "reason": "too small"})) for s in scores[3:5]]
    run = finished("ma5k", {}, n=10)._replace(scores=scores)
    (row,) = rows_of(1, Measured(Cell("mini", "ma5k", "identity"), run), ["l1"], 1, "runs")
    assert (row.n, row.of) == (8, 10) and row.reason == "2 of 10 scores missing: 2 x too small"
    assert grid([row]).cells["identity", "none", "ma5k", "l1"].count == "n 8 of 10"


def test_a_cell_of_few_groups_has_a_mean_and_the_reason_for_no_interval():
    run = finished("ma5k", {"l1": 0.2}, n=7)
    (row,) = rows_of(1, Measured(Cell("mini", "ma5k", "identity"), run), ["l1"], 1, "runs")
    assert row.mean is not None and (row.low, row.high, row.groups) == (None, None, 7)
    assert row.reason.startswith("no interval: 7 groups; under 8")


def test_the_released_checkpoint_has_seen_magicbrush_and_its_rows_say_so(tmp_path):
    rows = table_rows(asked(tmp_path), measured())
    assert "not zero-shot" in find(rows, "mgie", "magicbrush", "dino").reason
    assert "IPr2Pr and MagicBrush" in find(rows, "mgie", "evr", "dino").reason
    assert find(rows, "lgie", "magicbrush", "dino").reason == ""
    mini = table_rows(asked(tmp_path), measured("mini"))
    assert find(mini, "mgie", "magicbrush", "dino").reason == ""


def test_inference_time_is_a_median_over_all_timings_of_a_model():
    cells = [m for m in measured() if m.cell.model == "mgie"]
    row = seconds_row(1, cells, 1)
    assert row.dataset == "all" and row.mean == pytest.approx(0.85) and row.n == 32 and row.of == 32
    assert row.low < row.mean < row.high and "a CPU" in row.protocol and "batch size 8" in row.protocol
    given = seconds_row(1, [m._replace(run=m.run._replace(seconds=[])) for m in cells], 1)
    assert given.mean is None and given.reason == "not run: the output images were given"


# files


def test_the_csv_has_exactly_the_promised_columns_and_reads_back_equal(tmp_path):
    rows = table_rows(asked(tmp_path), measured())
    write_csv(tmp_path / "t.csv", TableRow, rows)
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == COLUMNS
    back = read(tmp_path / "t.csv")
    assert [float(b["mean"]) for b in back] == [r.mean for r in rows]
    assert all(b["difference"] == "" for b in back if b["model"] == "identity")


def test_all_forms_of_the_table_are_written_and_carry_the_mark_of_unconfirmed_cells(tmp_path):
    cells = measured("published")
    a = asked(tmp_path)
    rows = table_rows(a, cells)
    files = write(a, cells, grid(rows, comparisons(1, cells, METRICS_OF)))
    assert {p.suffix for p in files} == {".csv", ".md", ".tex", ".png", ".svg"} and all(p.stat().st_size for p in files)
    text = {p.suffix: p.read_text(encoding="utf-8") for p in files if p.suffix in (".md", ".tex", ".svg")}
    assert f"paper 0.163{MARK}" in text[".md"] and "paper 71.49" in text[".md"] and f"71.49{MARK}" not in text[".md"]
    assert r"0.163\textdagger{}" in text[".tex"] and r"\toprule" in text[".tex"]
    assert "not confirmed" in text[".svg"]
    for body in text.values():
        assert "not comparable" in body
    assert text[".tex"].count("{") == text[".tex"].count("}")


def test_writing_the_same_table_twice_gives_the_same_bytes(tmp_path):
    cells, a = [m for m in measured() if m.cell.dataset == "ma5k"], asked(tmp_path)
    g = grid(table_rows(a, cells))
    files = write(a, cells, g)
    before = {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.*")}
    assert write(a, cells, g) == files
    assert {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.*")} == before
    assert len(before) == 6 + 4  # table files, stored scores


def test_the_markdown_says_scale_n_protocol_and_notes(tmp_path):
    cells = measured("published")
    text = markdown(grid(table_rows(asked(tmp_path), cells)), ["a note"], "sample")
    for said in (
        "printed x100",
        "hand-picked",
        "n = 8",
        "SSIM: ssim p",
        "Note: a note",
        "8 examples in 8 groups",
        "Input copy",
    ):
        assert said in text


def test_stored_scores_read_back_equal_and_equal_scores_are_equal_files(tmp_path):
    scores = [*scores_of("ma5k", "l1", 0.1), Score("ma5k/test/x", "g", 0, "l1", None, 'too, small\n"q"', "p")]
    write_scores(tmp_path / "a.csv.gz", scores)
    write_scores(tmp_path / "b.csv.gz", scores)
    assert read_scores(tmp_path / "a.csv.gz") == scores
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_a_split_that_is_not_the_default_stands_beside_it(tmp_path):
    assert table_of(["1"]).file.name == "table1" and table_of(["1"]).options.split == "quick"
    full = table_of(["1", "--full"])
    assert (full.file.name, full.options.seeds) == ("table1-test", 5)
    published = table_of(["1", "--suite", "published", "--split", "sample"])
    assert published.file.name == "table1-sample" and published.options.seeds == 1


# the command


def test_each_cell_is_the_command_of_its_run(tmp_path):
    options = Options("quick", 3, ("l1", "ssim"), Path("d"), Path("w"), tmp_path)
    argv = argv_of(Cell("paper", "evr", "lgie", "fine-tuned", "ft"), options)
    for pair in ("--suite paper", "--dataset evr", "--model lgie", "--setting fine-tuned", "--form ft", "--split quick",
                 "--metrics l1,ssim", "--data-root d", "--weights w", "--seeds 3"):  # fmt: skip
        assert pair in " ".join(argv)
    assert "--form" not in argv_of(Cell("mini", "evr", "identity"), Options())


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["1", "--data-root", "d"], "--data-root needs --suite"),
        (["1", "--datasets", "cifar"], "unknown dataset 'cifar'"),
        (["1", "--metrics", "psnr"], "unknown metric 'psnr'"),
        (["1", "--seeds", "0"], "--seeds 0"),
        (["2", "--suite", "published"], "table 1 can"),
        (["1", "--suite", "published", "--split", "nope"], "has no split 'nope'; known: all, sample"),
    ],
)
def test_wrong_use_ends_with_2_and_says_why(argv, says, capsys):
    assert main(argv) == 2
    assert says in capsys.readouterr().err


def test_a_table_runs_its_cells_and_says_why_the_others_were_not(tmp_path, capsys):
    draw_ma5k(tmp_path / "data" / "ma5k")
    argv = ["1", "--suite", "paper", "--size", "native", "--data-root", str(tmp_path / "data"),
            "--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--metrics", "l1", "--seeds", "1",
            "--models", "identity,mine", "--datasets", "ma5k,evr"]  # fmt: skip
    assert main(argv) == 0
    said = capsys.readouterr()
    assert said.out.startswith("suite paper: ") and "Input copy" in said.out and "done" in said.err
    only = "-native-seeds1-only-ma5k_evr_identity_mine_l1"
    rows = {(r["model"], r["dataset"]): r for r in read(tmp_path / "results" / "paper" / f"table1{only}.csv")}
    here = rows["identity", "ma5k"]
    assert here["n"] == here["of"] == "10" and here["groups"] == "2" and here["low"] == ""
    assert "evr" in rows["identity", "evr"]["reason"] and rows["identity", "evr"]["mean"] == ""
    assert "--dataset ma5k --model mine --images DIR" in rows["mine", "ma5k"]["reason"]
    scores = read_scores(tmp_path / "results" / "paper" / f"scores{only}" / "ma5k--identity--zero-shot--none.csv.gz")
    assert summarise(scores).mean == float(here["mean"]) and len(scores) == 10

    assert main([*argv, "--strict"]) == 1  # and nothing is run a second time
    assert "3 cells were not run" in (again := capsys.readouterr()).err and "to run" not in again.err
    assert json.loads((tmp_path / "runs" / "paper" / Path(here["run"]).name / "done.json").read_text())["n"] == 10


def test_a_folder_of_own_outputs_stands_in_the_table_once_it_was_scored(tmp_path, capsys):
    data, out = draw_ma5k(tmp_path / "data" / "ma5k").parent, ["--out", str(tmp_path / "runs")]
    records = json.loads((data / "ma5k" / "annotations" / "test_sess_1.json").read_text(encoding="utf-8"))
    (tmp_path / "mine").mkdir()
    for record in records:
        name = f"ma5k__test__{Path(record['output']).stem}.jpg"
        (tmp_path / "mine" / name).write_bytes((data / "ma5k" / "images" / record["input"]).read_bytes())
    suite = ["--suite", "paper", "--size", "native", "--data-root", str(data), "--metrics", "l1"]
    assert run([*suite, *out, "--dataset", "ma5k", "--model", "mine", "--images", str(tmp_path / "mine")]) == 0
    table = ["1", *suite, *out, "--results", str(tmp_path / "results"), "--datasets", "ma5k", "--models", "mine"]
    assert main(table) == 0
    l1, seconds = read(tmp_path / "results" / "paper" / "table1-native-only-ma5k_mine_l1.csv")
    assert (
        l1["n"] == "10"
        and l1["seeds"] == "1"
        and float(l1["mean"]) > 0
        and l1["reason"].startswith("no interval: 2 groups")
    )
    assert seconds["reason"] == "not run: the output images were given"


def test_a_table_of_which_nothing_can_be_run_writes_nothing_and_says_all_that_is_missing(tmp_path, capsys):
    a = asked(tmp_path)
    write(a, measured(), grid(table_rows(a, measured())))
    before = {p: p.read_bytes() for p in a.folder.rglob("*.*")}
    nowhere = ["1", "--suite", "paper", "--data-root", str(tmp_path / "none"), "--out", str(tmp_path / "runs")]
    assert main([*nowhere, "--results", str(tmp_path / "results")]) == 2
    assert {p: p.read_bytes() for p in a.folder.rglob("*.*")} == before
    said = capsys.readouterr().err
    assert "nothing could be run, so nothing was written" in said
    for dataset in ("EVR", "GIER", "MA5k", "MagicBrush"):
        assert f"{dataset}: no " in said or f"{dataset} test split: no " in said
    assert said.count("\n") > 8  # the whole help of each, not its first line
    assert main([*nowhere, "--results", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_a_table_without_any_score_writes_nothing_and_says_why(tmp_path, capsys):
    """Its model edits, and is scored in its distance to the input, which is no column."""
    draw_ma5k(tmp_path / "data" / "ma5k")
    argv = ["1", "--suite", "paper", "--data-root", str(tmp_path / "data"), "--size", "native", "--seeds", "1",
            "--models", "inspix2pix", "--datasets", "ma5k", "--metrics", "lpips", "--weights", str(MINI),
            "--num-inference-steps", "1", "--limit", "1", "--device", "cpu", "--max-failures", "1",
            "--lpips-weights", str(tmp_path / "none.pth"),
            "--out", str(tmp_path / "runs"), "--results", str(tmp_path / "made")]  # fmt: skip
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "no cell of the table has a score, so nothing was written" in said
    assert "ma5k inspix2pix lpips: not run" in said and not (tmp_path / "made").exists()


def test_a_selection_has_a_name_of_its_own_and_replaces_nothing():
    assert table_of(["1", "--models", "oracle,mgie,lgie,inspix2pix,codec,identity"]).file.name == "table1"
    assert table_of(["1", "--datasets", "magicbrush", "--models", "mgie,mine"]).file.name == (
        "table1-only-magicbrush_mgie_mine"
    )
    fresh = table_of(["2", "--split", "fresh", "--metrics", "l1"])
    assert fresh.file.name == "table2-fresh-only-l1" and fresh.stem("scores").name == "scores-fresh-only-l1"
    longest = table_of(["1", "--models", ",".join(f"model{i}" for i in range(40))])
    assert len(longest.file.name) < 80


def test_reading_the_flags_needs_no_heavy_import():
    heavy = "{'torch', 'pandas', 'scipy', 'matplotlib', 'rich'} & set(sys.modules)"
    code = f"import sys, bench.tables, bench.check; bench.tables.table_parser().format_help(); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
