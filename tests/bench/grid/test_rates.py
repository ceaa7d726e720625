"""No-op and over-edit rates: shares of outputs counted by hand, what is missing is said, a table carries them."""

import csv

import pytest
from drawn import draw_ma5k
from table_cells import asked, finished

from bench.controls import rates as module
from bench.controls.rates import DISTANCE, FACTOR, NO_OP, OVER_EDIT, WORDS, block, footer, percent, rates
from bench.grid.cells import Cell
from bench.grid.rows import Measured
from bench.records import Score
from bench.tables import copies_beside, main


def cell(model: str, distances: list[float | None], seeds: int = 1) -> Measured:
    scores = [
        Score(f"ma5k/test/{i}", f"g{i}", seed, DISTANCE, d, "" if d is not None else "unreadable: x", "p")
        for seed in range(seeds) for i, d in enumerate(distances)
    ]  # fmt: skip
    return Measured(Cell("mini", "ma5k", model), finished("ma5k", {})._replace(scores=scores, of=len(distances)))


CODEC = cell("codec", [0.02] * 10)
GOAL = cell("oracle", [0.1] * 9 + [0.01])
MODEL = cell("mgie", [0.0, 0.01, 0.02, 0.021, 0.1, 0.15, 0.2, 0.201, 0.5, 0.03])


def of(found, model, rate):
    (row,) = [r for r in found if (r.model, r.rate) == (model, rate)]
    return row


def check_counts():
    """By hand: three outputs no farther than .02; over .2 two, and the last one over twice its goal's .01."""
    found = rates(1, [MODEL], [CODEC, GOAL, MODEL])
    assert of(found, "mgie", NO_OP).value == pytest.approx(0.3)
    assert of(found, "mgie", OVER_EDIT).value == pytest.approx(0.3) and FACTOR == 2
    row = of(found, "mgie", NO_OP)
    assert row.low < 0.3 < row.high and (row.n, row.of, row.groups) == (10, 10, 10)


def test_rates_are_the_shares_of_outputs_counted_by_hand():
    check_counts()


def test_copies_do_nothing_and_the_goal_image_over_edits_nowhere():
    rows = [cell("identity", [0.0] * 10), CODEC, GOAL]
    found = rates(1, rows, rows)
    assert [of(found, m, NO_OP).value for m in ("identity", "codec")] == [1, 1]
    assert of(found, "oracle", OVER_EDIT).value == 0 and of(found, "oracle", NO_OP).value == pytest.approx(0.1)


def test_a_rate_of_few_groups_has_an_interval_within_0_and_100_or_one_line_why_there_is_none():
    (row, _) = rates(1, [cell("mgie", [0.0] + [0.5] * 11)], [cell("codec", [0.02] * 12)])
    assert percent(row) == "8.3 % [0, 38]" and WORDS.count("Clopper-Pearson") == 1
    few = rates(1, [cell("mgie", [0.0, 0.5]), cell("lgie", [0.0, 0.5])], [cell("codec", [0.02] * 2)])
    for said in (footer(few), block(few)):
        assert sum("Too few groups for an interval (mini-MA5k 2)" in line for line in said) == 1


def test_every_seed_counts_against_the_one_copy():
    found = rates(1, [cell("mgie", [0.0, 0.5] * 5, seeds=3)], [CODEC])
    assert of(found, "mgie", NO_OP).value == pytest.approx(0.5) and of(found, "mgie", NO_OP).n == 10


@pytest.mark.parametrize(
    ("rows", "beside", "says"),
    [
        ([MODEL], [], "the codec copy is no row of this table"),
        ([MODEL], [Measured(CODEC.cell, None, "no weights")], "the codec copy was not run: no weights"),
        ([Measured(MODEL.cell, None, "no GPU")], [CODEC], "not run: no GPU"),
        (
            [Measured(MODEL.cell, finished("ma5k", {"l1": 0.1}))],
            [CODEC],
            "mgie has no distance to the input: give its command again with --metrics l1@input",
        ),
    ],
)
def test_a_rate_that_is_not_known_says_why(rows, beside, says):
    row = of(rates(1, rows, beside), "mgie", NO_OP)
    assert row.value is None and says in row.reason
    assert any(says in line for line in footer([row])) and any(says in line for line in block([row]))


def test_an_output_without_a_distance_is_left_out_and_counted():
    row = of(rates(1, [cell("mgie", [None, 0.5] + [0.0] * 8)], [CODEC]), "mgie", NO_OP)
    assert (row.n, row.of) == (9, 10) and row.value == pytest.approx(8 / 9)
    assert "1 of 10 outputs not judged: unreadable" in row.reason


@pytest.mark.parametrize(
    "plant",
    [
        lambda m: m.setattr(module, "YARDSTICKS", {NO_OP: "oracle", OVER_EDIT: "codec"}),  # goal for codec copy
        lambda m: m.setattr(module, "FACTOR", 1.0),
        lambda m: m.setattr(module, "DISTANCE", "l1"),  # to the goal, not to the input
        lambda m: m.setattr(module, "shares", swapped),
    ],
)
def test_a_planted_error_in_a_rate_is_seen(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises((AssertionError, TypeError)):
        check_counts()


def swapped(scores, yardstick, rate, original=module.shares):
    """The output's distance for the copy's, and the other way round."""
    mine = {s.example_id: s for s in scores}
    return original(list(yardstick.values()), mine, rate)


@pytest.mark.slow
def test_a_table_has_them_in_its_footer_its_csv_and_its_markdown(tmp_path, capsys):
    draw_ma5k(tmp_path / "data" / "ma5k")
    argv = ["1", "--suite", "paper", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"),
            "--results", str(tmp_path / "results"), "--datasets", "ma5k", "--models", "identity,oracle",
            "--seeds", "1", "--metrics", "l1", "--device", "cpu"]  # fmt: skip
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "Over-edit, MA5k: Input copy 0.0 %" in said and "no-op on MA5k: the codec copy is no row" in " ".join(
        said.split()
    )
    folder = tmp_path / "results" / "paper"
    (table,) = folder.glob("rates1-seeds1-only-*.csv")
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    said = [(r["rate"], r["value"], r["model"]) for r in rows]
    assert said[:2] == [("no-op", "", "identity"), ("over-edit", "0.0", "identity")]
    (text,) = folder.glob("table1-seeds1-only-*.md")
    assert "Does it edit at all" in text.read_text("utf-8")
    (cells,) = (p for p in folder.glob("table1-seeds1-only-*.csv") if "tests" not in p.name)
    with open(cells, encoding="utf-8", newline="") as file:
        assert {r["metric"] for r in csv.DictReader(file)} == {"l1", "seconds"}  # the distance is no column


def test_the_copies_are_run_beside_a_table_that_has_a_model_to_judge_and_lacks_them(tmp_path):
    def beside(models: str) -> list[str]:
        return [c.model for c in copies_beside(asked(tmp_path, "--datasets", "ma5k", "--models", models))]

    assert beside("identity,mgie") == ["codec", "oracle"] and beside("identity,codec,mgie") == ["oracle"]
    assert beside("identity,oracle") == []
