"""The runs of a table: what they lack is said before the first, what they say meanwhile reaches whoever waits."""

import json
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from drawn import draw_ma5k
from tiny_diffusers import instruct_pix2pix

from bench.grid import cells as module
from bench.grid import display as display_module
from bench.grid import jobs as jobs_module
from bench.grid.cells import Cell, Options, run_all
from bench.grid.display import Display
from bench.grid.jobs import Ended, Job, run_group, run_jobs, told_of
from bench.runs.pool import News


@pytest.fixture
def data(tmp_path):
    return draw_ma5k(tmp_path / "data" / "ma5k").parent


def goals(data):
    records = json.loads((data / "ma5k" / "annotations" / "test_sess_1.json").read_text(encoding="utf-8"))
    return [data / "ma5k" / "images" / record["output"] for record in records]


def wanted(data, *models: str):
    options = Options(
        "",
        1,
        ("l1",),
        data,
        data.parent / "weights",
        data.parent / "runs",
        ("--device", "cpu", "--max-failures", "0.2"),
    )
    return [(Cell("paper", "ma5k", model), options) for model in models]


def test_what_a_dataset_lacks_is_said_once_before_the_first_of_its_models(data, monkeypatch, capsys):
    goals(data)[0].unlink()
    instruct_pix2pix(data.parent / "weights" / "inspix2pix")
    monkeypatch.setattr(module, "run_jobs", lambda jobs: ((k, Ended(None, "x")) for k in range(len(jobs))))
    run_all(wanted(data, "identity", "inspix2pix"))
    said = capsys.readouterr().err
    assert "2 to run" in said
    assert said.count("notice: ma5k: 1 of 10 examples have no usable goal image: they will have no l1") == 1


def test_a_cell_that_lacks_too_much_has_its_reason_before_anything_runs(data, monkeypatch, capsys):
    for goal in goals(data)[:3]:
        goal.unlink()
    begun = []
    monkeypatch.setattr(module, "run_jobs", lambda jobs: begun.extend(jobs) or iter(()))
    (result,) = run_all(wanted(data, "identity"))
    assert result.reason.startswith("3 of 10 examples have no usable goal image") and not begun


def test_notices_of_a_run_are_shown_once_and_not_those_that_were_said_before(data, monkeypatch, capsys):
    goals(data)[0].unlink()
    ((cell, options),) = wanted(data, "identity")
    job = module.plan_cell(cell, options).job
    monkeypatch.setattr("baselines.identity.Identity.load", lambda self: print("warning: slow", file=sys.stderr))
    told = []
    run_group([(0, job.argv)], told.append)
    assert [said for said in told if said[0] == "notice"] == [
        ("notice", 0, f"notice: {job.notices[0]}"), ("notice", 0, "warning: slow"),
    ]  # fmt: skip
    capsys.readouterr()
    display = Display([job.steps], "cpu")
    for said in [*told, *told]:
        list(told_of(said, [job], display, Counter()))
    assert capsys.readouterr().err == f"{job.label}: warning: slow\n"


class Death(BaseException):
    pass


class PoolHere:
    """Tasks in this process; a death ends the task it is in."""

    def __init__(self, workers: int, fresh: bool = False) -> None:
        self.workers = []

    __enter__ = lambda self: self  # noqa: E731
    __exit__ = lambda self, *_: None  # noqa: E731

    def each(self, work, tasks):
        for place, task in enumerate(tasks):
            said = []
            try:
                last = News(place, "done", work(task, said.append))
            except Death:
                last = News(place, "died", -9)
            yield from (News(place, "said", value) for value in said)
            yield last


@pytest.fixture
def tried(monkeypatch):
    """How often each run was begun; the one of the argument "kills" ends its process."""
    found = Counter()

    def run_one(place, argv, held, tell, scores):
        found[place] += 1
        if argv[0] == "kills":
            raise Death
        return Ended(None, "ended") if scores else None

    monkeypatch.setattr(jobs_module, "Pool", PoolHere)
    monkeypatch.setattr(jobs_module, "run_one", run_one)
    monkeypatch.setattr("bench.runs.scorers.together.score_together", lambda runs, engine: [])
    monkeypatch.setattr("bench.runs.scorers.together.alike", lambda plan: ("all",))
    return found


@pytest.mark.parametrize("planned", [True, False])
def test_a_run_that_kills_its_process_is_tried_twice_and_the_others_of_its_model_end(tried, planned):
    plan = SimpleNamespace(workers=SimpleNamespace(engine="local", scoring=None), run=SimpleNamespace(dataset="d"))
    jobs = [
        Job((name,), name, "model", True, {"edits": 1}, "cpu", plan if planned else None)
        for name in ("a", "kills", "b", "c")
    ]
    reasons = {place: ended.reason for place, ended in run_jobs(jobs)}
    assert reasons.pop(1) == "its process died, twice (killed for memory?); its edits are kept"
    assert tried[1] == 2 and reasons == {0: "ended", 2: "ended", 3: "ended"}


def test_a_run_whose_process_dies_before_it_is_not_begun(tried, monkeypatch):
    def dies(*given):
        raise Death

    monkeypatch.setattr(jobs_module, "run_group", dies)
    ((_, ended),) = run_jobs([Job(("a",), "a", "model", True, {"edits": 1}, "cpu")])
    assert ended.reason.startswith("not begun: ") and not tried


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(display_module.time, "monotonic", lambda: now.seconds)
    return now


def tick(display, clock, place: int, seconds: float, n: int, failed: int = 0) -> None:
    clock.seconds += seconds
    display.tick(place, n, failed)


def test_edits_of_an_earlier_start_are_no_part_of_the_rate_and_scores_have_one_of_their_own(clock):
    display = Display([{"edits": 100, "scores": 100}], "here")
    assert display.line() == (
        "edits: 0 of 100, time left not known yet; scores: 0 of 100, time left not known yet; on here"
    )
    display.begun(0, "a", "edits")
    tick(display, clock, 0, 60, 80)  # what was there, behind a minute of loading
    tick(display, clock, 0, 20, 10)
    assert display.line().startswith("edits: 90 of 100, 0.5/s, 20 s left; scores: 0 of 100, time left not known yet;")
    tick(display, clock, 0, 20, 10)
    display.begun(0, "a", "scores")
    tick(display, clock, 0, 0, 0)
    tick(display, clock, 0, 10, 50)
    assert display.line() == "edits: 100 of 100, 0.5/s; scores: 50 of 100, 5.0/s, 10 s left; on here"


def test_edits_that_failed_are_counted_and_a_run_that_is_tried_again_counts_once(clock):
    display = Display([{"edits": 10, "scores": 10}], "here")
    for _ in range(2):
        display.begun(0, "a", "edits")
        tick(display, clock, 0, 1, 0)
        tick(display, clock, 0, 1, 4, failed=2)
    assert display.line().startswith("edits: 4 of 10, ") and display.line().endswith("on here; 2 edits failed")
    display.ended(0, {"edits": 10, "scores": 10}, True)
    assert display.line().endswith("on here; 2 edits failed; 1 not run")
