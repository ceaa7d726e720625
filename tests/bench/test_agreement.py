"""Rank agreement: Kendall's tau-b as scipy has it, groups kept whole, people and right answers beside metrics."""

import csv

import numpy as np
import pytest
from human_runs import make_runs
from scipy.stats import kendalltau

from bench.agreement import tau as module
from bench.agreement.show import markdown, write
from bench.agreement.tau import tau
from bench.agreement.views import METRICS, PEOPLE, RIGHT, Views, agreements, views_of
from bench.human.agree import agreed, people_of
from bench.human.study import Item
from bench.human.votes import Vote
from bench.records import Score
from bench.runs.folder import RunFolder

MODELS = ("inspix2pix", "lgie", "mgie", "x", "y")


def view(seed: int, examples: int = 1, values: int = 4) -> dict:
    random = np.random.default_rng(seed)
    return {(f"e{i}", m): float(random.integers(values)) for i in range(examples) for m in MODELS}


GROUPS = {f"e{i}": f"g{i // 2}" for i in range(40)}


def check_scipy():
    """One example at a time it is scipy's tau-b, ties in either view included."""
    seen = 0
    for seed in range(30):
        one, other = view(seed), view(seed + 100)
        keys = sorted(one)
        expected = kendalltau([one[k] for k in keys], [other[k] for k in keys]).statistic
        found = tau(one, other, GROUPS).value
        assert found == pytest.approx(expected, abs=1e-12) if found is not None else np.isnan(expected)
        seen += found is not None
    assert seen > 20


def test_of_one_example_it_is_scipys_tau_b():
    check_scipy()


def test_edits_of_different_examples_are_never_compared():
    """Within each example the two agree; across examples they would not."""
    one = {(f"e{i}", m): 10 * i + k for i in range(12) for k, m in enumerate(MODELS)}
    other = {(f"e{i}", m): -10 * i + k for i in range(12) for k, m in enumerate(MODELS)}
    found = tau(one, other, GROUPS)
    assert found.value == 1 and (found.n, found.pairs, found.groups) == (12, 120, 6)
    assert tau(one, {k: -v for k, v in one.items()}, GROUPS).value == -1


def test_views_that_know_nothing_of_each_other_have_an_interval_around_0_and_few_groups_have_none():
    found = tau(view(1, 40), view(2, 40), GROUPS)
    assert found.low < 0 < found.high and abs(found.value) < 0.2 and found.groups == 20
    few = tau(view(1, 8), view(2, 8), GROUPS)
    assert few.low is None and "4 groups" in few.reason and few.value is not None


def test_the_interval_draws_whole_groups():
    """Copies of one example in one group add no certainty."""
    one, other = view(1, 10), view(2, 10)
    many = {(f"{e}-{k}", m): v for (e, m), v in one.items() for k in range(9)}
    more = {(f"{e}-{k}", m): v for (e, m), v in other.items() for k in range(9)}
    groups = {f"e{i}": f"g{i}" for i in range(10)} | {f"e{i}-{k}": f"g{i}" for i in range(10) for k in range(9)}
    assert tau(one, other, groups)[:3] == pytest.approx(tau(many, more, groups)[:3])


@pytest.mark.parametrize(
    "plant",
    [
        lambda m: m.setattr(module, "ratio", lambda s: float(s[0] / max(s[1], s[2], 1))),  # no correction for ties
        lambda m: m.setattr(module, "sign", lambda number: 1 if number >= 0 else -1),  # a tie ranked
        lambda m: m.setattr(module, "counted", swapped),
    ],
)
def test_a_planted_error_in_the_rank_agreement_is_seen(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_scipy()


def swapped(first, second, original=module.counted):
    return original(first, second[::-1])


# metrics, people, right answers


def test_metrics_are_compared_on_models_edits_alone_and_right_answers_on_all():
    l1 = {("e0", "mgie"): -0.2, ("e0", "lgie"): -0.1, ("e0", "identity"): -1.0, ("e0", "oracle"): 0.0}
    cvs = {("e0", "mgie"): 0.9, ("e0", "lgie"): 0.8, ("e0", "identity"): 0.5, ("e0", "oracle"): 1.0}
    right = {("e0", "oracle"): 1.0, ("e0", "identity"): 0.0, ("e0", "mgie"): 1.0, ("e0", "lgie"): 0.0}
    rows = agreements("mini", Views({"l1": l1, "cvs": cvs}, {}, right, {"e0": "g"}))
    by = {(r.what, r.first): r for r in rows}
    assert by[METRICS, "l1"].value == -1 and by[METRICS, "l1"].pairs == 1
    assert by[RIGHT, "l1"].pairs == by[RIGHT, "cvs"].pairs == 6 and by[RIGHT, "cvs"].value > by[RIGHT, "l1"].value


def votes_on(folder_of: dict, ids: list[str], best: str) -> list[Vote]:
    order = [best, *(m for m in folder_of if m != best)]
    items = []
    for k, i in enumerate(ids):
        shown = {m: str(folder_of[m] / f"images/0/{k}.png") for m in folder_of}
        items.append(Item(f"6/{i}", 6, "ma5k", f"g{k}", "x", "in", None, shown, ""))
    return [Vote(f"who{n}", item, {"overall quality": order}, 1.0, 0.0) for item in items for n in range(2)]


def test_votes_are_compared_with_the_scores_of_the_runs_that_were_judged(tmp_path):
    """People like mgie best; l1 does too, ssim thinks it worst."""
    folders = dict(zip(("inspix2pix", "lgie", "mgie"), make_runs(tmp_path, "ma5k"), strict=True))
    ids = [f"ma5k/test/{k}" for k in range(9)]
    for place, (model, folder) in enumerate(folders.items()):
        values = {"l1": 0.3 - 0.1 * (model == "mgie") + 0.01 * place, "ssim": -0.1 * place}
        scores = [Score(i, f"g{k}", 0, m, v, "", "p") for k, i in enumerate(ids) for m, v in values.items()]
        RunFolder(folder).rewrite("scores.jsonl", scores)
    cast = votes_on(folders, ids, "mgie")
    people = people_of(cast)["people: overall quality"]
    assert people[ids[0], "mgie"] == 3 and people[ids[0], "lgie"] == 1
    rows, why = agreed(cast, [v.item for v in cast], "paper")
    found = {r.first: r for r in rows if r.what == PEOPLE}
    assert why == "" and found["l1"].value > 0 > found["ssim"].value
    assert found["l1"].n == 9 and found["l1"].pairs == 27 and found["l1"].low is not None
    files = write(rows, tmp_path / "out" / "agreement")
    assert {p.suffix for p in files} == {".csv", ".md", ".png", ".svg"}
    assert {r["what"] for r in csv.DictReader(files[0].open())} == {METRICS, PEOPLE}
    text = "\n".join(markdown(rows))
    assert "With people: overall quality L1 agrees most" in text and "SSIM least" in text


def test_without_the_runs_or_without_rankings_it_is_said_why(tmp_path):
    gone = {m: tmp_path / m for m in ("inspix2pix", "lgie", "mgie")}
    cast = votes_on(gone, ["ma5k/test/0"], "mgie")
    assert "not here" in agreed(cast, [v.item for v in cast], "paper")[1]
    assert "nobody has ranked edits" in agreed([], [], "paper")[1]


def test_only_the_scores_that_were_asked_for_are_compared(tmp_path):
    """A run that a table has scored in more metrics agrees with itself as before."""
    (folder, *_) = make_runs(tmp_path, "ma5k")
    scores = [Score("ma5k/test/0", "g", 0, m, 0.1, "", p) for m, p in (("l1", "p"), ("l1", "q"), ("l1@input", "p"))]
    RunFolder(folder).rewrite("scores.jsonl", scores)
    assert set(views_of([folder]).metrics) == {"l1", "l1@input"}
    assert set(views_of({folder: {"l1": "q"}}).metrics) == {"l1"}
