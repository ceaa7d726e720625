"""The tables: every cell a row, the paper's values on the right scale, nothing missing without its reason."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import draw_ma5k

from bench.grid.cells import Cell, Finished, Options, argv_of, cells_of
from bench.grid.paper import MARK
from bench.grid.rows import Measured, TableRow, comparisons, rows_of, seconds_row
from bench.grid.show import better, grid, markdown
from bench.grid.stored import read_scores, write_scores
from bench.records import Score
from bench.run import main as run
from bench.stats import summarise
from bench.tables import Table, main, table_of, table_rows, write
from mgie.io.files import write_csv

COLUMNS = (
    "table,suite,setting,form,dataset,model,metric,mean,low,high,n,of,groups,seeds,paper,paper_confirmed,difference,"
    "verdict,reason,protocol,run"
)
METRICS_OF = {
    "evr": ("l1", "dino", "cvs"), "gier": ("l1", "ssim", "cvs"), "ma5k": ("l1", "ssim", "lpips"),
    "magicbrush": ("l1", "dino", "cvs", "cts"),
}  # fmt: skip


def wave(i: int, seed: int) -> float:
    return 0.01 * math.sin(7 * i + seed)


def scores_of(dataset: str, metric: str, centre: float, n: int = 8, seeds: int = 1) -> list[Score]:
    return [
        Score(f"{dataset}/test/{i:04d}", f"g{i}", seed, metric, centre + wave(i, seed), "", f"{metric} p")
        for seed in range(seeds) for i in range(n)
    ]  # fmt: skip


def finished(dataset: str, metrics: dict[str, float], n: int = 8, seeds: int = 1, **changes) -> Finished:
    scores = [s for metric, centre in metrics.items() for s in scores_of(dataset, metric, centre, n, seeds)]
    run = Finished(f"{dataset}--x--01234567", "", n, n, scores, {}, [0.5 + 0.1 * i for i in range(n)], 8, "a CPU")
    return run._replace(**changes)


def measured(suite="paper", setting="zero-shot", centres=None, **changes) -> list[Measured]:
    """A whole Table 1: each model a little better than the one before."""
    cells = cells_of(2 if setting == "fine-tuned" else 1, suite, ("identity", "inspix2pix", "lgie", "mgie"), METRICS_OF)
    places = {"identity": 0.50, "inspix2pix": 0.55, "lgie": 0.60, "mgie": 0.65} | (centres or {})
    centres = {c: dict.fromkeys(METRICS_OF[c.dataset], places[c.model]) for c in cells}
    return [Measured(c, finished(c.dataset, centres[c], **changes)) for c in cells]


def asked(tmp_path: Path, *argv: str) -> Table:
    return table_of(["1", "--suite", "paper", "--results", str(tmp_path / "results"), "--seeds", "1", *argv])


def find(rows: list[TableRow], model: str, dataset: str, metric: str) -> TableRow:
    (row,) = [r for r in rows if (r.model, r.dataset, r.metric) == (model, dataset, metric)]
    return row


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
    cells = measured("mini")
    a = asked(tmp_path)
    rows = table_rows(a, cells)
    tests = comparisons(1, cells, METRICS_OF)
    files = write(a, cells, rows, tests)
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
    files = write(a, cells, table_rows(a, cells), [])
    before = {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.*")}
    assert write(a, cells, table_rows(a, cells), []) == files
    assert {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.*")} == before
    assert len(before) == 6 + 4  # table files, stored scores


def test_the_best_model_is_bold_and_the_input_copy_never_is():
    rows = [r for m in measured(centres={"identity": 0.1, "inspix2pix": 0.2}) for r in rows_of(1, m, ["l1"], 1, "runs")]
    g = grid(rows)
    assert g.cells["inspix2pix", "none", "ma5k", "l1"].best  # L1: lower is better
    assert not g.cells["identity", "none", "ma5k", "l1"].best and not g.cells["mgie", "e2e", "ma5k", "l1"].best
    assert "**0.2" in markdown(g, [], "", []) and "**0.1" not in markdown(g, [], "", [])


def test_the_markdown_says_scale_n_protocol_and_notes(tmp_path):
    cells = measured("published")
    text = markdown(grid(table_rows(asked(tmp_path), cells)), ["a note"], "sample", [])
    for said in ("printed x100", "hand-picked", "n = 8", "SSIM: ssim p", "Note: a note", "n 8", "Input copy"):
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


# between models


def test_models_are_compared_in_pairs_with_holm_over_the_table():
    found = comparisons(1, measured(), METRICS_OF)
    assert len(found) == 13 * 6
    one = next(t for t in found if (t.dataset, t.metric, t.a, t.b) == ("evr", "l1", "mgie", "lgie"))
    assert one.difference == pytest.approx(0.05) and better(one) == ""
    assert one.p == 2 / 256 and one.p_holm == 78 * 2 / 256


def test_table_3_compares_forms_of_a_model_and_models_in_a_form():
    cells = [
        Measured(c, finished("ma5k", {"l1": 0.1}))
        for c in cells_of(3, "mini", ("identity", "lgie", "mgie", "oracle"), ("ma5k",))
    ]
    pairs = {(t.a, t.b) for t in comparisons(3, cells, {"ma5k": ("l1",)})}
    assert ("mgie e2e", "mgie fz") in pairs and ("mgie ft", "lgie ft") in pairs and ("lgie fz", "identity") in pairs
    assert ("mgie e2e", "lgie fz") not in pairs and not any("oracle" in pair for pair in pairs)


def test_the_better_model_follows_the_direction_of_the_metric():
    many = [
        Measured(Cell("mini", "ma5k", model, form="e2e"), finished("ma5k", {"l1": v, "ssim": v}, n=40))
        for model, v in (("mgie", 0.2), ("lgie", 0.3))
    ]
    l1, ssim = comparisons(1, many, {"ma5k": ("l1", "ssim")})
    assert better(l1) == "mgie" and better(ssim) == "lgie"


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
    argv = ["1", "--suite", "paper", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"),
            "--results", str(tmp_path / "results"), "--metrics", "l1", "--seeds", "1",
            "--models", "identity,mine", "--datasets", "ma5k,evr"]  # fmt: skip
    assert main(argv) == 0
    said = capsys.readouterr()
    assert said.out.startswith("suite paper: ") and "Input copy" in said.out and "done" in said.err
    rows = {(r["model"], r["dataset"]): r for r in read(tmp_path / "results" / "paper" / "table1.csv")}
    here = rows["identity", "ma5k"]
    assert here["n"] == here["of"] == "10" and here["groups"] == "2" and here["low"] == ""
    assert "evr" in rows["identity", "evr"]["reason"] and rows["identity", "evr"]["mean"] == ""
    assert "--dataset ma5k --model mine --images DIR" in rows["mine", "ma5k"]["reason"]
    scores = read_scores(tmp_path / "results" / "paper" / "scores" / "ma5k--identity--zero-shot--none.csv.gz")
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
    suite = ["--suite", "paper", "--data-root", str(data), "--metrics", "l1"]
    assert run([*suite, *out, "--dataset", "ma5k", "--model", "mine", "--images", str(tmp_path / "mine")]) == 0
    table = ["1", *suite, *out, "--results", str(tmp_path / "results"), "--datasets", "ma5k", "--models", "mine"]
    assert main(table) == 0
    l1, seconds = read(tmp_path / "results" / "paper" / "table1.csv")
    assert (
        l1["n"] == "10"
        and l1["seeds"] == "1"
        and float(l1["mean"]) > 0
        and l1["reason"].startswith("no interval: 2 groups")
    )
    assert seconds["reason"] == "not run: the output images were given"


def test_a_table_of_which_nothing_can_be_run_leaves_what_is_written_as_it_is(tmp_path, capsys):
    a = asked(tmp_path)
    write(a, measured(), table_rows(a, measured()), [])
    before = (a.folder / "table1.csv").read_bytes()
    nowhere = ["1", "--suite", "paper", "--data-root", str(tmp_path / "none"), "--results", str(tmp_path / "results")]
    assert main([*nowhere, "--out", str(tmp_path / "runs")]) == 0
    assert (a.folder / "table1.csv").read_bytes() == before
    assert "left as they are" in capsys.readouterr().out
    assert main([*nowhere[:-1], str(tmp_path / "other"), "--out", str(tmp_path / "runs")]) == 0
    assert all(r["reason"].startswith("not run: ") for r in read(tmp_path / "other" / "paper" / "table1.csv"))


def test_reading_the_flags_needs_no_heavy_import():
    heavy = "{'torch', 'pandas', 'scipy', 'matplotlib', 'rich'} & set(sys.modules)"
    code = f"import sys, bench.tables, bench.check; bench.tables.table_parser().format_help(); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
