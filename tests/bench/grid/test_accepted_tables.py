"""The gate is red on accepted tables that are not what their stored scores give: moved, cut, emptied, gone."""

from dataclasses import replace

import pytest

from bench.grid.gate import stale_tables
from bench.grid.stored import write_scores
from tests.bench.grid.test_check import NAME, scores

HEAD = "table,setting,form,dataset,model,metric,mean\n"
TWO = "1,zero-shot,none,ma5k,identity,l1,0.155\n1,zero-shot,none,ma5k,identity,ssim,0.555\n"
L1 = [s for s in scores() if s.metric == "l1"]


def test_a_table_that_is_not_of_the_stored_scores_is_red(tmp_path):
    write_scores(tmp_path / "scores" / NAME, L1)
    (tmp_path / "table1.csv").write_text(HEAD + "1,zero-shot,none,ma5k,identity,l1,0.155\n")
    assert stale_tables(tmp_path) == []
    (tmp_path / "table1.csv").write_text(HEAD + "1,zero-shot,none,ma5k,identity,l1,0.156\n")
    assert "the stored scores give 0.155" in stale_tables(tmp_path)[0]
    (tmp_path / "table1.csv").write_text(HEAD + "1,zero-shot,none,ma5k,oracle,l1,0.1\n")
    assert "no stored scores" in stale_tables(tmp_path)[0]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("", "it has 0 cells"),
        (TWO + "1,zero-shot,none,ma5k,oracle,l1,0.1\n", "it has 3 cells, of 2 models in 2 columns"),
        (TWO + TWO, "it has 4 cells, of 1 models in 2 columns"),
        (TWO.replace("0.555", ""), "ssim of ma5k--identity--zero-shot--none.csv.gz is empty"),
        (TWO.splitlines(keepends=True)[0], "ssim is in no table that was accepted"),
        (TWO + TWO.replace("ma5k", "evr").replace("0.155", "").replace("0.555", ""), None),  # evr was not run
    ],
)
@pytest.mark.parametrize("split", ["", "-fresh"])
def test_an_accepted_table_that_is_cut_or_emptied_is_red_on_every_split(tmp_path, rows, says, split):
    write_scores(tmp_path / f"scores{split}" / NAME, scores())
    (tmp_path / f"table1{split}.csv").write_text(HEAD + rows)
    found = stale_tables(tmp_path)
    assert says in found[0] if says else found == []


def test_a_table_that_is_gone_and_scores_that_no_table_shows_are_red(tmp_path):
    extra = tmp_path / "scores" / NAME.replace("identity", "oracle")
    write_scores(extra, scores())
    assert stale_tables(tmp_path) == []  # no table is accepted: bench.check --init alone
    write_scores(tmp_path / "scores" / NAME, scores())
    (tmp_path / "table1.csv").write_text(HEAD + TWO)
    assert stale_tables(tmp_path, [extra]) == []  # check.json names them
    assert "oracle--zero-shot--none.csv.gz: it is in no table" in stale_tables(tmp_path)[0]
    (tmp_path / "origin.json").write_text('{"check": {}, "table1-fresh": {}}')
    assert "table1-fresh.csv: not there" in stale_tables(tmp_path, [extra])[0]
    (tmp_path / "origin.json").write_text("{")
    assert "origin.json: cannot be read" in stale_tables(tmp_path, [extra])[0]


def test_a_table_of_a_selection_is_held_to_the_scores_of_its_own_name(tmp_path):
    write_scores(tmp_path / "scores-only-ma5k" / NAME, L1)
    (tmp_path / "table2-only-ma5k.csv").write_text(HEAD + "2,zero-shot,none,ma5k,identity,l1,0.155\n")
    (tmp_path / "table2-only-ma5k-tests.csv").write_text("no table of cells\n")
    assert stale_tables(tmp_path) == []
    write_scores(tmp_path / "scores-only-ma5k" / NAME, [replace(s, value=s.value + 1) for s in L1])
    assert "make the table again" in stale_tables(tmp_path)[0]
