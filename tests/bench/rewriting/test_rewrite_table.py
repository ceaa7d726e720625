"""Editors behind rewriters: each difference to none is tested in pairs, the ambiguous apart; a deaf editor is named."""

import csv

import pytest
import tiny
import tiny_diffusers
from drawn import draw_ma5k

from bench.grid.cells import Cell, Finished, Options, argv_of
from bench.grid.gate import pair_of, stale_tables, stored_name
from bench.grid.rows import Measured
from bench.grid.stored import write_scores
from bench.records import REWRITING, Edit, Score, Text
from bench.rewriting import rows as made
from bench.rewriting.rows import RewriteRow, Rewritten
from bench.rewriting.show import Shown, in_words, markdown, terminal
from bench.rewriting.table import asked_of
from bench.runs.folder import RunFolder
from bench.stats import timings
from bench.tables import main
from mgie.io.files import write_csv

COUNT = 12
METRICS = {"ma5k": ("l1",)}


def ambiguous(example_id: str) -> bool:
    return int(example_id) % 2 == 0


def cell(rewriter: str, values: list[float] | None, model: str = "inspix2pix") -> Rewritten:
    where = Cell("mini", "ma5k", model, "zero-shot", "none", rewriter)
    if values is None:
        return Rewritten(Measured(where, None, "no weights"), rewriter, None)
    scores = [Score(str(i), f"g{i}", 0, "l1", v, "", "a protocol") for i, v in enumerate(values)]
    seconds = [0.2] * 8
    run = Finished(f"a-run-{rewriter}", "a note", COUNT, COUNT, scores, {}, seconds, 2, "a processor",
                   rewriting=[] if rewriter == "none" else [0.05] * 8)  # fmt: skip
    return Rewritten(Measured(where, run), rewriter, None)


def cells() -> list[Rewritten]:
    plain = [0.5 + 0.01 * i for i in range(COUNT)]
    helped = [v - (0.2 + 0.001 * i if ambiguous(str(i)) else 0.0) for i, v in enumerate(plain)]
    return [cell("none", plain), cell("mgie", helped), cell("lgie", None)]


def test_each_rewriter_is_tested_against_none_on_all_and_on_both_parts():
    found = {t.subset: t for t in made.tests_of(cells(), METRICS, {"ma5k": ambiguous})}
    assert {t.rewriter for t in found.values()} == {"mgie"}  # lgie was not run
    assert found["ambiguous"].difference == pytest.approx(-0.205) and found["ambiguous"].n == COUNT // 2
    assert found["unambiguous"].difference == 0 and found["all"].difference == pytest.approx(-0.1025)
    assert found["all"].family == "all examples" and found["ambiguous"].family == "by ambiguity"
    assert found["all"].p_holm == found["all"].p  # alone in its family
    assert found["ambiguous"].p_holm == min(1.0, 2 * found["ambiguous"].p)


def test_where_the_dataset_does_not_know_there_is_one_row_a_metric():
    rows = made.rows_of(cells(), METRICS, {}, 1, "runs/mini")
    assert {r.subset for r in rows} == {"all"}
    assert [(r.rewriter, r.of is None) for r in rows if r.metric == "l1"] == [
        ("none", False), ("mgie", False), ("lgie", True),
    ]  # fmt: skip
    assert next(r for r in rows if r.rewriter == "lgie").reason == "not run: no weights"


def test_the_time_of_rewriting_is_part_of_the_seconds_and_a_column_of_its_own():
    rows = made.rows_of(cells(), METRICS, {}, 1, "runs/mini")
    times = {(r.rewriter, r.metric): r.mean for r in rows if r.dataset == "all"}
    assert times["mgie", "seconds"] == 0.2 and times["mgie", "rewriting"] == 0.05
    assert ("none", "rewriting") not in times


def shown() -> Shown:
    found, knows = cells(), {"ma5k": ambiguous}
    rows = made.rows_of(found, METRICS, knows, 1, "runs/mini")
    return Shown("mini", "quick", ("ma5k",), rows, made.tests_of(found, METRICS, knows), ["a note"])


def test_the_table_says_in_words_what_holds_and_what_was_not_run():
    lines = in_words(shown().tests)
    assert "1 holds: InsPix2Pix is better by mgie in L1 on mini-MA5k" in lines[0] or "none holds" in lines[0]
    text = markdown(shown())
    for said in ("| InsPix2Pix | mgie |", "ambiguous instructions only", "not run: no weights", "of it rewriting"):
        assert said in text
    assert any("lgie" in line and "not run" in line for line in terminal(shown()))


def test_the_table_says_where_groups_are_few_and_on_a_terminal_no_line_is_longer_than_80_signs(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = markdown(shown())
    assert "Few groups (mini-MA5k 12): bootstrap-t in place of BCa" in text
    assert "Too few groups for an interval (mini-MA5k ambiguous 6, mini-MA5k unambiguous 6)" in text
    table = [line for line in terminal(shown()) if line.startswith("  ")]
    assert table and max(map(len, table)) <= 80


def test_texts_written_in_other_batches_than_the_edits_leave_the_timings_of_the_edits_as_they_are():
    one_by_one = [Edit(str(i), 0, "x", "y", "text", 3, {REWRITING: 0.5, "diffusion": 0.1 * (i + 1)}) for i in range(4)]
    assert timings(one_by_one, 4) == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert timings(one_by_one, 4, REWRITING) == [0.5]
    bare = [e.__class__(e.example_id, 0, "x", "y", seconds={"diffusion": 0.3}) for e in one_by_one]
    assert timings(bare, 4) == pytest.approx([0.3]) and timings(bare, 4, REWRITING) == []


def test_a_cell_s_rewriter_goes_to_its_run_and_that_of_a_table_not_to_the_input_copy():
    argv = argv_of(Cell("mini", "ma5k", "inspix2pix", rewriter="mgie"), Options())
    assert argv[argv.index("--rewrite") + 1] == "mgie"
    from bench.tables import table_of

    options = table_of(["1", "--rewrite", "mgie"]).options
    assert "--rewrite" in argv_of(Cell("mini", "ma5k", "inspix2pix"), options)
    assert "--rewrite" not in argv_of(Cell("mini", "ma5k", "identity"), options)
    assert table_of(["1", "--rewrite", "mgie"]).file.name == "table1-rewrite-mgie"


def test_what_is_compiled_is_not_asked_of_the_others_of_a_table():
    from bench.tables import table_of

    options = table_of(["1", "--compile"]).options
    asked = {model: "--compile" in argv_of(Cell("mini", "ma5k", model, form=form), options)
             for model, form in (("mgie", "e2e"), ("lgie", "ft"), ("inspix2pix", "none"), ("identity", "none"))
             }  # fmt: skip
    assert asked == {"mgie": True, "lgie": False, "inspix2pix": False, "identity": False}


@pytest.mark.parametrize(("argv", "says"), [
    (["--rewriters", "none"], "nobody to compare with none"),
    (["--rewriters", "a/texts.jsonl,b/texts.jsonl"], "two of them are called texts.jsonl"),
])  # fmt: skip
def test_rewriters_that_make_no_table_are_wrong_use(argv, says, capsys):
    assert main(["rewrite", *argv]) == 2 and says in capsys.readouterr().err


def test_none_comes_first_and_a_selection_has_a_name_of_its_own():
    asked = asked_of(["--rewriters", "mgie,/a/folder/llava"])
    assert asked.rewriters == ("none", "mgie", "/a/folder/llava")
    assert asked.stem("rewrite").name == "rewrite-only-mgie_llava"
    assert asked_of([]).stem("rewrite").name == "rewrite"


def test_the_gate_knows_an_editor_behind_a_rewriter_and_sees_a_stale_table(tmp_path):
    assert pair_of("inspix2pix by mgie") == ("inspix2pix", "mgie")
    where = Cell("mini", "ma5k", "inspix2pix", "zero-shot", "none", "mgie")
    assert stored_name(where) == "ma5k--inspix2pix-by-mgie--zero-shot--none.csv.gz"
    found = cells()
    rows = [r for r in made.rows_of(found, METRICS, {"ma5k": ambiguous}, 1, "runs/mini") if r.rewriter != "lgie"]
    write_csv(tmp_path / "rewrite.csv", RewriteRow, rows)
    for one in found[:2]:
        name = stored_name(Cell("mini", "ma5k", "inspix2pix", "zero-shot", "none", one.rewriter))
        write_scores(tmp_path / "scores-rewrite" / name, one.run.scores)
    assert stale_tables(tmp_path) == []
    write_scores(tmp_path / "scores-rewrite" / stored_name(where), found[0].run.scores)
    assert "make the table again" in stale_tables(tmp_path)[0]


@pytest.mark.slow
def test_the_table_is_made_from_runs_whose_texts_are_written_first(tmp_path, capsys):
    weights = tmp_path / "weights"
    tiny_diffusers.instruct_pix2pix(weights / "inspix2pix")
    tiny.build(eyes=True).save_pretrained(weights / "mgie-e2e")
    draw_ma5k(tmp_path / "data" / "ma5k")
    argv = ["rewrite", "--suite", "paper", "--data-root", str(tmp_path / "data"), "--weights", str(weights),
            "--datasets", "ma5k", "--metrics", "l1", "--rewriters", "mgie", "--limit", "4", "--size", "native",
            "--max-side", "32", "--num-inference-steps", "1", "--device", "cpu",
            "--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]  # fmt: skip
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "texts of 1 rewriters and datasets are to be written first" in said.err
    (stem,) = (tmp_path / "results" / "paper").glob("rewrite-*-tests.csv")
    with open(stem.with_name(stem.name.replace("-tests", "")), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["rewriter"], r["metric"]) for r in rows} == {
        ("none", "l1"), ("mgie", "l1"), ("none", "seconds"), ("mgie", "seconds"), ("mgie", "rewriting"),
    }  # fmt: skip
    assert len(list((tmp_path / "runs" / "texts" / "paper").iterdir())) == 1
    assert "does not look at its instruction" not in said.out
    assert main(argv) == 0 and "to be written" not in capsys.readouterr().err  # all is there


def test_an_editor_whose_pixels_do_not_change_with_the_text_is_found(tmp_path):
    def folder(name: str, images: dict[str, str]) -> Rewritten:
        path = tmp_path / name
        (path / "images").mkdir(parents=True)
        (path / "images" / "x.png").write_bytes(b"")
        edits = [Edit(i, 0, "images/x.png", sha256) for i, sha256 in images.items()]
        RunFolder(path).rewrite("edits.jsonl", edits)
        texts = [Text("0", "another", "one", "mgie", "h", ""), Text("1", "same", "same", "mgie", "h", "")]
        RunFolder(path).rewrite("expressive.jsonl", texts)
        return cell(name, None)._replace(folder=path)

    plain = folder("none", {"0": "a", "1": "b"})
    assert made.deaf(folder("deaf", {"0": "a", "1": "b"}), plain) == (1, 1)  # the unchanged text proves nothing
    assert made.deaf(folder("listening", {"0": "c", "1": "b"}), plain) == (0, 1)


def test_a_set_of_metrics_stands_for_its_metrics():
    assert asked_of(["--metrics", "paper"]).metrics("magicbrush") == ("l1", "dino", "cvs", "cts@global")
