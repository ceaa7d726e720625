"""Controls: shares of examples ranked rightly, counted by hand; on drawn data through the command; what is accepted."""

import csv
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from drawn import draw_ma5k

from bench.controls import judge
from bench.controls.__main__ import differing, main, moved
from bench.controls.judge import (
    BLACK,
    COPY,
    GOAL,
    ORDERS,
    OTHER,
    OWN,
    PIXELS,
    SHUFFLED,
    changed,
    ignores,
    name_of,
    ranked,
)
from bench.controls.shares import clopper_pearson, summarise_share, worth
from bench.controls.show import in_words, markdown
from bench.datasets.shuffled import shuffled
from bench.grid.reference import REFERENCE
from bench.records import Edit, Example, Score

SAID = ("mini", "ma5k", "mgie")


def row(metric: str, values: list[float | None]) -> dict[str, Score]:
    return {f"e{i}": Score(f"e{i}", f"g{i}", 0, metric, v, "" if v is not None else "blank", "p")
            for i, v in enumerate(values)}  # fmt: skip


# ten examples: the goal image is at 0, the copy nearer than black but for the last two
L1 = {
    GOAL: row("l1", [0.0] * 10), COPY: row("l1", [0.1] * 8 + [0.5, 0.4]), BLACK: row("l1", [0.4] * 10),
    OWN: row("l1", [0.05] * 10), SHUFFLED: row("l1", [0.05] * 3 + [0.06] * 7), OTHER: row("l1", [0.3] * 10),
}  # fmt: skip


def by_order(metric: str, rows: dict) -> dict:
    return {r.first: r for r in ranked(SAID, metric, rows, 10)}


def check_shares():
    """By hand: copy over black in 8 (one tie, one reversed), own over shuffled in 7 with 3 ties."""
    found = by_order("l1", L1)
    assert [found[name_of(o)].value for o in ((GOAL, COPY), (COPY, BLACK), (GOAL, COPY, BLACK))] == [1, 0.8, 0.8]
    assert (found[name_of((COPY, BLACK))].ties, found[name_of((OWN, SHUFFLED))].ties) == (1, 3)
    assert found[name_of((OWN, SHUFFLED))].value == pytest.approx(0.7) and found[name_of((OWN, OTHER))].value == 1
    assert found[name_of((COPY, BLACK))].low < 0.8 < found[name_of((COPY, BLACK))].high


def test_shares_are_counted_as_by_hand_and_a_tie_is_not_right():
    check_shares()


def test_a_metric_of_which_more_is_better_ranks_the_other_way_round():
    rows = {name: {i: replace(s, metric="ssim", value=1 - s.value) for i, s in of.items()} for name, of in L1.items()}
    found, expected = by_order("ssim", rows), by_order("l1", L1)
    assert {o: r.value for o, r in found.items()} == {o: r.value for o, r in expected.items()}


def test_a_row_that_was_not_run_and_an_example_without_a_value_are_said():
    rows = {name: of for name, of in L1.items() if name != OTHER} | {COPY: row("l1", [None] + [0.1] * 9)}
    found = by_order("l1", rows)
    assert found[name_of((OWN, OTHER))].value is None and "not run: another's" in found[name_of((OWN, OTHER))].reason
    pair = found[name_of((GOAL, COPY))]
    assert pair.n == 9 and "1 of 10 examples without a value: blank" in pair.reason


@pytest.mark.parametrize(
    "plant",
    [
        lambda m: m.setitem(L1, GOAL, L1[COPY]),  # input for goal
        lambda m: swap(m, COPY, BLACK),
        lambda m: swap(m, OWN, SHUFFLED),
        lambda m: m.setattr(judge, "metric_entry", lambda name: judge_entry()),
        lambda m: m.setattr(judge, "pairwise", lambda values: zip(values, reversed(values), strict=True)),
    ],
)
def test_a_planted_error_in_the_controls_is_seen(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_shares()


def swap(patch, one, other):
    first, second = L1[one], L1[other]
    patch.setitem(L1, one, second)
    patch.setitem(L1, other, first)


def judge_entry():
    from bench.registry import MetricEntry

    return MetricEntry("", "L1", "higher")


def test_a_share_of_all_or_none_has_an_interval_with_a_width():
    found = by_order("l1", L1)[name_of((GOAL, COPY))]
    assert found.value == found.high == 1 and found.low == pytest.approx(0.025 ** (1 / 10))


def drawn(rng, groups: int, most: int, share: float, alike: float) -> list[Score]:
    """Scores of 0 and 1 in groups of 1 to `most`; a group shares its first answer with probability `alike`."""
    scores = []
    for g in range(groups):
        first = rng.random() < share
        for i in range(rng.integers(1, most + 1)):
            value = first if i == 0 or rng.random() < alike else rng.random() < share
            scores.append(Score(f"{g}-{i}", f"g{g}", 0, "no-op", float(value), "", ""))
    return scores


@pytest.mark.parametrize(("most", "alike"), [(1, 0.0), (6, 0.5), (6, 1.0)])
@pytest.mark.parametrize(("groups", "share"), [(8, 0.1), (8, 0.5), (12, 0.1), (12, 0.9), (40, 0.3)])
def test_an_interval_of_a_share_covers_the_truth_in_95_of_100_cases_or_more_and_stays_between_0_and_1(
    groups, share, most, alike
):
    rng, covered, trials = np.random.default_rng(11), 0, 300
    for _ in range(trials):
        scores = drawn(rng, groups, most, share, alike)
        mean = fmean(s.value for s in scores)
        low, high = clopper_pearson(mean, worth(scores, mean, groups))
        assert 0 <= low <= mean <= high <= 1 and low < high
        covered += low <= share <= high
    assert covered / trials >= 0.95


def test_a_share_of_single_examples_has_the_textbooks_interval():
    scores = [Score(str(i), str(i), 0, "no-op", float(i == 0), "", "") for i in range(12)]
    found = summarise_share(scores)
    assert (found.low, found.high) == pytest.approx((0.002108, 0.384796), abs=1e-5)  # Clopper and Pearson, 1 of 12


# a model that does not listen


def test_a_model_whose_outputs_stay_the_same_for_other_instructions_is_noticed():
    hashes = {f"e{i}": f"{i}" for i in range(10)}
    groups = {i: i for i in hashes}
    deaf = changed(SAID, hashes, hashes, groups, 10)
    assert deaf.value == 0 and deaf.metric == PIXELS and deaf.ties == 10
    assert ignores([deaf]) == [
        "mgie ignores its instruction on ma5k: 10 of 10 outputs are the same for another example's instruction"
    ]
    listens = changed(SAID, hashes, {i: f"{h}x" for i, h in hashes.items()}, groups, 10)
    assert listens.value == 1 and ignores([listens]) == []


def example(number: int, group: str, instruction: str) -> Example:
    return Example(f"d/test/{number}", group, Path("x"), instruction)


def test_every_example_gets_another_ones_instruction_from_another_group_and_the_same_one_every_time():
    given = [example(i, f"g{i // 2}", f"say {i % 5}") for i in range(20)]
    found = shuffled(given)
    assert [e.id for e in found] == [e.id for e in given] and found == shuffled(given)
    assert all(a.instruction != b.instruction for a, b in zip(given, found, strict=True))
    assert {e.instruction for e in found} <= {e.instruction for e in given}


def test_instructions_that_are_all_the_same_cannot_be_shuffled():
    with pytest.raises(ValueError, match="no example of another group"):
        shuffled([example(i, f"g{i}", "make it brighter") for i in range(4)])


def test_anothers_output_is_of_another_group():
    edits = {f"e{i}": Edit(f"e{i}", 0, f"images/0/{i}.png", str(i)) for i in range(7)}
    groups = {f"e{i}": f"g{i // 3}" for i in range(7)}
    found = moved(edits, groups)
    assert found.keys() == edits.keys()
    assert all(groups[e.example_id] != groups[i] for i, e in found.items())


# the command


@pytest.mark.slow
def test_the_command_on_drawn_data_ranks_copies_and_notices_a_model_that_does_nothing(tmp_path, capsys):
    draw_ma5k(tmp_path / "data" / "ma5k")
    argv = ["--suite", "paper", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"),
            "--results", str(tmp_path / "results"), "--datasets", "ma5k", "--model", "identity", "--metrics", "l1,ssim",
            "--device", "cpu"]  # fmt: skip
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "identity ignores its instruction on ma5k" in said.out
    folder = tmp_path / "results" / "paper"
    (table,) = [p for p in folder.glob("controls-only-*.csv") if not p.stem.endswith("-rows")]
    rows = {(r["metric"], r["first"]): r for r in csv.DictReader(table.open(encoding="utf-8"))}
    assert float(rows["l1", name_of((GOAL, COPY))]["value"]) == 1
    assert rows[PIXELS, name_of((OWN, SHUFFLED))]["value"] == "0.0"
    assert rows["l1", name_of((OWN, OTHER))]["value"] and "goal image > input copy" in next(
        folder.glob("controls-only-*.md")
    ).read_text("utf-8")
    # runs that are of use to nobody else lie apart, and the same command computes nothing again
    names = [p.parent.name for p in (tmp_path / "runs" / "paper").glob("*/done.json")]
    assert all("identity" in name or "oracle" in name for name in names) and len(names) == 2
    assert main(argv) == 0 and "to run" not in capsys.readouterr().err


def test_check_names_every_share_that_moved_by_more_than_two_examples(tmp_path):
    header = "dataset,model,metric,first,value,n\n"
    (tmp_path / "a.csv").write_text(header + "ma5k,mgie,l1,x,0.9,20\nma5k,mgie,l2,x,0.5,20\n")
    (tmp_path / "b.csv").write_text(header + "ma5k,mgie,l1,x,0.8,20\nma5k,mgie,l2,x,0.1,20\nma5k,mgie,ssim,x,1,20\n")
    found = differing(tmp_path / "b.csv", tmp_path / "a.csv")
    assert len(found) == 2 and "l2" in found[0] and "ssim x: here 1, accepted absent" in found[1]
    assert differing(tmp_path / "b.csv", tmp_path / "c.csv") == ["nothing is accepted: no c.csv"]


# what is accepted


def test_the_accepted_controls_of_the_miniature_say_what_every_metric_must():
    path = REFERENCE / "mini" / "controls.csv"
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    value = {(r["dataset"], r["metric"], r["first"]): r["value"] for r in rows}
    for dataset in ("evr", "gier", "ma5k", "magicbrush"):
        for metric in ("l1", "l2", "ssim", "lpips", "dino", "cvs"):
            assert float(value[dataset, metric, name_of((GOAL, COPY))]) == 1
        assert float(value[dataset, PIXELS, name_of((OWN, SHUFFLED))]) > 0.5
    text = (REFERENCE / "mini" / "controls.md").read_text("utf-8")
    assert "share of examples on which a metric ranks rows rightly" in text


def test_in_words_it_is_two_sentences():
    rows = ranked(SAID, "l1", L1, 10)
    assert len(in_words(rows)) == 2 and "no metric puts" in in_words(rows)[1] and "(L1: 80 %)" in in_words(rows)[1]
    assert markdown(rows, [], []).count("| L1 ") >= 1 and len(ORDERS) == 7
