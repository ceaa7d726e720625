"""Human evaluation without a browser: who is given what, what a vote is, and what is made of the votes."""

import csv
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from human_runs import make_runs
from matplotlib.figure import Figure

from bench.human.__main__ import main, serve_parser, study
from bench.human.count import agreement_of, alpha, rows_of
from bench.human.figures import markdown, panel, report
from bench.human.page import over, task_of, texts_of
from bench.human.study import CHOICES5, Item, Study, answers_of, slots
from bench.human.votes import ALONE, OTHER_TAB, Left, Refused, Votes
from bench.resampling.intervals import METHODS

TEXTS = {"lgie": "make it so", "mgie": "replace the cake"}
IMAGES = {"inspix2pix": "1.png", "lgie": "2.png", "mgie": "3.png"}


def item(number: int, figure: int = 5, goal: str | None = "goal.png") -> Item:
    shown = TEXTS if figure == 5 else IMAGES
    return Item(f"{figure}/evr/test/{number}", figure, "evr", f"g{number}", "go", "in.png", goal, shown, str(number))


def opened(tmp_path: Path, items: list[Item], suite: str = "mini") -> Votes:
    return Votes.open(tmp_path / "votes.sqlite", Study(suite, items, []))


def answer(votes: Votes, who: str, tab: str, choose) -> Item | None:
    """One vote; choose: of (item, letters of the models) the same answer to every question."""
    found, _ = votes.next(who)
    if found:
        letters = {model: letter for letter, model in slots(found, who).items()}
        votes.vote(who, tab, found.id, dict.fromkeys(found.questions, choose(found, letters)))
    return found


def for_mgie(found: Item, letters: dict[str, str]) -> str:
    if found.figure == 5:
        return letters["mgie"]
    return " > ".join(letters[m] for m in ("mgie", "lgie", "inspix2pix"))


def everything(votes: Votes, people: list[str], choose=for_mgie) -> None:
    for who in people:
        tab = votes.sign_in(who, True)
        while answer(votes, who, tab, choose):
            pass


def test_each_item_gets_three_annotators_and_nobody_judges_one_twice(tmp_path):
    votes = opened(tmp_path, [item(i, f) for i in range(6) for f in (5, 6)])
    everything(votes, ["a", "b", "c", "d"])
    cast = votes.all()
    assert len(cast) == len({(v.annotator, v.item.id) for v in cast}) == 36
    assert {sum(v.item.id == i.id for v in cast) for i in votes.items()} == {3}


def test_annotators_at_once_never_push_an_item_over_three(tmp_path):
    votes = opened(tmp_path, [item(i) for i in range(5)])
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda who: everything(votes, [who]), "abcde"))
    counts = [sum(v.item.id == i.id for v in votes.all()) for i in votes.items()]
    assert max(counts) <= 3
    everything(votes, list("abcde"))  # who had to leave something to others comes back
    assert {sum(v.item.id == i.id for v in votes.all()) for i in votes.items()} == {3}


def test_who_only_looks_in_keeps_no_item_from_being_finished(tmp_path, monkeypatch):
    votes, now = opened(tmp_path, [item(i) for i in range(3)]), [1000.0]
    monkeypatch.setattr("bench.human.votes.time.time", lambda: now[0])
    looked = {}
    for who in ("looker", "second"):
        votes.sign_in(who, True)
        looked[who] = votes.next(who)[0].id
    everything(votes, ["a", "b"])
    tab = votes.sign_in("c", True)
    while answer(votes, "c", tab, for_mgie):
        pass
    found, left = votes.next("c")
    short = {i for i in looked.values() if sum(v.item.id == i for v in votes.all()) < 3}
    assert found is None and short and left.held == len(short)  # they may still be at it
    assert "Nothing is free for you just now" in over(left) and "data-again" in over(left)
    now[0] += ALONE + 1
    assert votes.next("c")[0].id in short
    while answer(votes, "c", tab, for_mgie):
        pass
    everything(votes, ["a", "b"])
    assert {sum(v.item.id == i.id for v in votes.all()) for i in votes.items()} == {3}
    assert votes.next("c") == (None, Left(3, 0)) and "That was all" in over(Left(3, 0))


def test_order_and_sides_differ_between_annotators_and_stay_for_one(tmp_path):
    many, people = [item(i) for i in range(40)], [f"p{i}" for i in range(8)]
    assert len({tuple(slots(i, who)["A"] for i in many) for who in people}) == 8
    assert all(slots(i, who) == slots(i, who) for i in many for who in people)
    share = sum(slots(i, who)["A"] == "mgie" for i in many for who in people) / 320
    assert 0.4 < share < 0.6
    first = {opened(tmp_path / who, many).next(who)[0].id for who in people}
    assert len(first) > 3


def test_the_page_names_no_model_and_no_path(tmp_path):
    for figure in (5, 6):
        text = (task_of(item(1, figure), "anna", Left(0, 1)) + texts_of(item(1, figure), "anna")).lower()
        assert not any(word in text for word in ("mgie", "lgie", "inspix2pix", ".png", "runs/"))


def test_letters_are_turned_into_models():
    five, six = item(1), item(1, 6)
    letters = slots(five, "anna")
    assert answers_of(five, "anna", dict.fromkeys(five.questions, "A")) == dict.fromkeys(five.questions, letters["A"])
    assert set(answers_of(five, "anna", dict.fromkeys(five.questions, CHOICES5[1])).values()) == {"tie"}
    order = answers_of(six, "anna", dict.fromkeys(six.questions, "C > A > B"))["overall quality"]
    assert order == [slots(six, "anna")[letter] for letter in "CAB"]


def test_relevance_to_a_goal_image_is_asked_only_where_there_is_one():
    assert set(item(1, 6).questions) - set(item(1, 6, None).questions) == {"ground-truth relevance"}


@pytest.mark.parametrize("change, told", [
    ({"item": "5/evr/test/99"}, "no item '5/evr/test/99'"), ({"tab": "another"}, OTHER_TAB),
    ({"who": "nobody"}, "sign in first"), ({"given": {}}, "answer each question"),
    ({"given": {"practicality": "C", "less hallucination": "A"}}, "'C' is no answer"),
])  # fmt: skip
def test_a_vote_that_cannot_be_counted_is_refused_with_the_reason(tmp_path, change, told):
    votes = opened(tmp_path, [item(1)])
    asked = {"who": "anna", "tab": votes.sign_in("anna", True), "item": "5/evr/test/1",
             "given": {"practicality": "A", "less hallucination": "B"}} | change  # fmt: skip
    with pytest.raises(Refused, match=told[:40]):
        votes.vote(asked["who"], asked["tab"], asked["item"], asked["given"])
    assert votes.all() == []


def test_consent_and_an_id_without_names_are_needed(tmp_path):
    votes = opened(tmp_path, [item(1)])
    for who, consent, told in (("anna", False, "consent"), ("Anna Müller", True, "1 to 32 letters"), ("", True, "1")):
        with pytest.raises(Refused, match=told):
            votes.sign_in(who, consent)


def test_the_same_vote_again_is_one_vote_and_the_older_tab_is_refused(tmp_path):
    votes = opened(tmp_path, [item(1), item(2)])
    tab = votes.sign_in("anna", True)
    for _ in range(2):
        votes.vote("anna", tab, "5/evr/test/1", {"practicality": "A", "less hallucination": "B"})
    assert len(votes.all()) == 1
    newer = votes.sign_in("anna", False)
    with pytest.raises(Refused, match="another tab"):
        votes.undo("anna", tab)
    votes.undo("anna", newer)
    assert votes.all() == [] and votes.next("anna")[0].id == "5/evr/test/1"
    with pytest.raises(Refused, match="no vote of yours"):
        votes.undo("anna", newer)


def test_votes_of_another_study_and_files_that_hold_none_are_refused(tmp_path):
    begun = Study("mini", [item(1)], [], "--sample 5 --seed 0 --figures 5,6")
    votes = Votes.open(tmp_path / "votes.sqlite", begun)
    assert [i.id for i in opened(tmp_path, [item(3)]).items()] == ["5/evr/test/3"]  # nobody had voted yet
    votes = Votes.open(tmp_path / "votes.sqlite", begun)
    everything(votes, ["anna"])
    asked = Study("mini", [item(2)], [], "--sample 25 --seed 0 --figures 5,6")
    said = "holds 1 votes on other items, of other settings: begun with --sample 5 .*, asked for with --sample 25 "
    with pytest.raises(ValueError, match=f"{said}.*make human VOTES=FILE"):
        Votes.open(tmp_path / "votes.sqlite", asked)
    Votes.open(tmp_path / "empty votes", begun)
    (tmp_path / "votes.sqlite").rename(tmp_path / "votes of one")
    (tmp_path / "empty votes").rename(tmp_path / "votes.sqlite")
    (tmp_path / "text").write_text("not a database, surely not" * 100)
    with pytest.raises(ValueError, match="no file of votes"):
        Votes.open(tmp_path / "text")
    sqlite3.connect(tmp_path / "empty").close()
    with pytest.raises(ValueError, match="no study|no such file"):
        Votes.open(tmp_path / "empty")
    with pytest.raises(ValueError, match="no votes yet"):
        report(Votes.open(tmp_path / "votes.sqlite"), tmp_path / "results")


def test_people_of_one_mind_give_all_to_one_model_and_agree_fully(tmp_path):
    votes = opened(tmp_path, [item(i, f) for i in range(8) for f in (5, 6)], suite="paper")
    everything(votes, ["a", "b", "c"])
    rows = {(r.figure, r.criterion, r.choice): r for r in rows_of(votes.all(), "paper") if r.dataset == "all"}
    assert rows[5, "practicality", "mgie"].mean == 1 and rows[5, "practicality", "tie"].mean == 0
    assert [rows[6, "overall quality", m].mean for m in ("mgie", "lgie", "inspix2pix")] == [3, 2, 1]
    assert rows[5, "practicality", "mgie"].paper == pytest.approx(0.537) and rows[6, "overall quality", "mgie"].n == 8
    assert rows[6, "overall quality", "mgie"].verdict == "outside the interval"
    agreement = {(a.figure, a.criterion, a.measure.split(",")[0], a.who): a for a in agreement_of(votes.all())}
    assert agreement[6, "overall quality", "Krippendorff's alpha", "all"].value == pytest.approx(1)
    assert agreement[5, "practicality", "Krippendorff's alpha", "all"].value is None  # one answer only
    assert agreement[6, "overall quality", "pairs of edits in the same order as another's", "1"].value == 1


def test_chance_has_an_alpha_about_zero_and_a_reversed_annotator_one_below():
    import numpy as np

    drawn = np.random.default_rng(0).integers(0, 3, (3, 2000)).astype(float)
    assert abs(alpha(drawn, "nominal")) < 0.05
    assert alpha(np.stack([drawn[0], 2 - drawn[0]]), "ordinal") < -0.3
    assert alpha(np.full((3, 4), np.nan), "nominal") is None


def test_the_report_has_numbers_plots_and_votes_without_the_ids_people_typed(tmp_path):
    votes = opened(tmp_path, [item(i, f) for i in range(3) for f in (5, 6)])
    everything(votes, ["secret-anna", "secret-bob"])
    paths = report(votes, tmp_path / "results")
    assert {p.name for p in paths} == {*(f"figure{f}.{e}" for f in (5, 6) for e in ("csv", "png", "svg")),
                                       "agreement.csv", "votes.csv", "human.md"}  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "results" / "votes.csv").read_text().splitlines()))
    assert len(rows) == 2 * (3 * 2 + 3 * 3) and {r["annotator"] for r in rows} == {"1", "2"}
    assert {r["answer"] for r in rows} == {"mgie", "mgie > lgie > inspix2pix"}
    assert not any("secret" in p.read_text(errors="ignore") for p in paths)
    text = (tmp_path / "results" / "human.md").read_text()
    assert f"Interval: {METHODS}" in text  # alpha's is made as every mean's
    assert "100.0 (groups 100.0 to 100.0)" in text and "Too few groups for an interval (all 3, mini-EVR 3)" in text


def test_the_papers_values_stand_apart_from_the_miniatures_and_beside_those_of_other_suites(tmp_path):
    votes = opened(tmp_path, [item(i, f) for i in range(8) for f in (5, 6)])
    everything(votes, ["a", "b", "c"])

    def made(suite: str) -> tuple[str, int]:
        """The text, and how many diamonds the first panel of Figure 5 has."""
        rows = rows_of(votes.all(), suite)
        here = [r for r in rows if (r.figure, r.dataset, r.criterion) == (5, "all", rows[0].criterion)]
        panel(axes := Figure().subplots(), here)
        return markdown(rows, [], votes.all(), suite, {5: 8, 6: 8}), sum(x.get_marker() == "D" for x in axes.lines)

    text, diamonds = made("mini")
    ours, theirs = text.split("What the paper reports on the real data")
    assert diamonds == 0 and "paper" not in ours.split("## Agreement")[0] and "53.7" in theirs
    text, diamonds = made("published")
    assert diamonds and "paper 53.7" in text and "not comparable" in text and "on the real data" not in text


def test_shares_of_few_groups_stay_between_0_and_100_and_a_note_names_the_method_of_the_points(tmp_path):
    votes = opened(tmp_path, [item(i, f) for i in range(8) for f in (5, 6)])
    everything(votes, ["a", "b", "c"])
    rows = rows_of(votes.all(), "mini")
    assert all(0 <= r.low <= r.mean <= r.high <= 1 for r in rows if r.figure == 5)
    text = markdown(rows, [], votes.all(), "mini", {5: 8, 6: 8})
    assert text.count("Few groups (all 8, mini-EVR 8): bootstrap-t in place of BCa") == 1  # Figure 6


def test_runs_become_items_and_a_sample_is_the_same_draw_every_time(tmp_path, capsys):
    runs = [*make_runs(tmp_path, "ma5k"), *make_runs(tmp_path, "evr")]

    def asked(*flags: str) -> Study:
        return study(serve_parser().parse_args(["--runs", *map(str, runs), *flags]))

    whole, some, again = asked(), asked("--sample", "3"), asked("--sample", "3")
    assert len(some.items) == 12 and {i.figure for i in some.items} == {5, 6}  # 3 x 2 datasets x 2 figures
    assert [i.id for i in some.items] == [i.id for i in again.items] and some.fingerprint == again.fingerprint
    assert {i.id for i in some.items} < {i.id for i in whole.items} and some.fingerprint != whole.fingerprint
    assert [i.id for i in asked("--sample", "3", "--seed", "1").items] != [i.id for i in some.items]
    assert any("only 10 examples" in n for n in asked("--sample", "25").notices)
    assert {i.figure for i in asked("--figures", "6").items} == {6}
    assert len({i.id.partition("/")[2] for i in some.items}) == 6  # the same examples for both figures


def test_a_run_that_is_not_finished_is_named_with_how_much_is_missing(tmp_path, capsys):
    runs = make_runs(tmp_path, "ma5k", unfinished="mgie")
    assert main(["serve", "--runs", *map(str, runs)]) == 2
    error = capsys.readouterr().err
    assert "ma5k--mgie--00000000 is incomplete: 8 of 10 edits" in error and error.startswith("error: ")


def test_a_missing_model_is_named(tmp_path, capsys):
    runs = make_runs(tmp_path, "ma5k")
    assert main(["serve", "--runs", str(runs[0]), str(runs[2])]) == 2
    assert "no run of lgie" in capsys.readouterr().err


@pytest.mark.parametrize("argv, told", [
    (["vote"], "expected serve or report"), ([], "no command"), (["report", "--votes", "nowhere"], "no such file"),
    (["serve", "--figures", "7"], "--figures 7"), (["serve", "--sample", "0"], "--sample 0"),
    (["serve", "--runs", "nowhere"], "no run folder"), (["serve", "--port", "99999"], "--port 99999"),
])  # fmt: skip
def test_wrong_use_is_one_line_and_exit_code_2(argv, told, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("error: ") and error.count("\n") == 1
