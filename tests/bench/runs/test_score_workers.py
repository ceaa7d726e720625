"""`--score-workers`: the same bytes for any number of processes and for runs scored together; small jobs start none."""

import os
from pathlib import Path

import pytest
from stopping import Stopped
from tiny_networks import tiny_settings

import bench.metrics.lpips
import bench.metrics.pairs
from bench.metrics.networks.clip import CLIP
from bench.metrics.networks.perceptual import Perceptual
from bench.run import main, plan
from bench.runs.pool import News
from bench.runs.runner import WorkerDied
from bench.runs.scorers import local as local_module
from bench.runs.scorers import memory, processes
from bench.runs.scorers.collecting import Looking, Scoring, tasks_of
from bench.runs.scorers.local import in_one_process, local
from bench.runs.scorers.processes import here, in_pool, worth_it
from bench.runs.scorers.tasks import Answer, Task
from bench.runs.scorers.together import Edited, score_together
from bench.runs.scoring import Chunk, ScoredChunk
from bench.settings import EditSettings, MetricSettings
from mgie.io.images import load
from tests.bench.runs.test_resume import command, draw_ma5k, seeded  # noqa: F401
from tests.bench.runs.test_stopping import bytes_of, goes_on, stops


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return draw_ma5k(tmp_path_factory.mktemp("data"), photos=2, side=40)


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> list[str]:
    made = tiny_settings(tmp_path_factory.mktemp("networks"))
    return ["--clip", made.clip, "--lpips", made.lpips, "--lpips-weights", str(made.lpips_weights),
            "--metric-device", "cpu"]  # fmt: skip


def scored_by(data: Path, out: Path, networks: list[str], *more: str) -> list[str]:
    return [*command(data, out), "--metrics", "l1,ssim,lpips,cvs", *networks, *more]


@pytest.fixture(scope="module")
def alone(data, networks, tmp_path_factory) -> dict[str, bytes]:
    """The run folders of two models, each scored by its own process."""
    out = tmp_path_factory.mktemp("alone")
    for model in ("identity", "oracle"):
        assert main([*scored_by(data, out, networks, "--score-workers", "1"), "--model", model]) == 0
    return bytes_of(out)


def of_model(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: found for path, found in files.items() if f"--{name}--" in path}


def test_two_processes_write_the_bytes_of_one(data, networks, alone, tmp_path, capsys):
    for workers in ("2", "5"):  # there are three tasks
        out = tmp_path / workers
        assert main(scored_by(data, out, networks, "--score-workers", workers)) == 0
        files = bytes_of(out)
        assert of_model("identity", files) == of_model("identity", alone)
        assert {p for p in files if "features/" in p} == {p for p in alone if "features/" in p}


@pytest.mark.slow
def test_a_gpu_that_is_fed_by_processes_gives_the_same_bytes(data, networks, alone, tmp_path, monkeypatch):
    """On the CPU: the processes decode, transform and score L1 and SSIM, this one runs the networks."""
    transformed = []
    monkeypatch.setattr(local_module, "is_on_gpu", lambda task: True)
    monkeypatch.setattr(CLIP, "transformed", lambda self, image: transformed.append(image))
    assert main(scored_by(data, tmp_path, networks, "--score-workers", "2")) == 0
    files = bytes_of(tmp_path)
    assert of_model("identity", files) == of_model("identity", alone) and not transformed
    assert {p for p in files if "features/" in p} == {p for p in alone if "features/" in p}


@pytest.mark.slow
def test_a_process_of_its_own_scores_where_models_fill_the_gpu(data, networks, alone, tmp_path, monkeypatch):
    argv = scored_by(data, tmp_path, networks)
    assert main(argv, scores=False) == 0
    assert score_together([Edited(plan(argv), lambda n: None)], lambda metrics: by_one_process) == [0]
    assert of_model("identity", bytes_of(tmp_path)) == of_model("identity", alone)


def by_one_process(tasks):
    return in_one_process(tasks, 1)


def test_runs_scored_together_have_the_bytes_of_each_alone(data, networks, alone, tmp_path, monkeypatch):
    opened, made, features = [], [], Perceptual.features
    argv = [[*scored_by(data, tmp_path, networks), "--model", model] for model in ("identity", "oracle")]
    for one in argv:
        assert main(one, scores=False) == 0
    plans = [plan(one) for one in argv]
    monkeypatch.setattr(bench.metrics.pairs, "load", lambda path, how: opened.append(path) or load(path, how))
    monkeypatch.setattr(Perceptual, "features", lambda self, image: made.append(image) or features(self, image))
    assert score_together([Edited(p, lambda n: None) for p in plans], here) == [0, 1]
    assert bytes_of(tmp_path) == alone
    goals = {e.goal_image for e in plans[0].run.examples}
    assert [opened.count(goal) for goal in goals] == [1] * len(goals)  # for both models and both seeds
    assert len(made) == len(goals) * (1 + 3)  # the goal image, and outputs of two seeds and of one


def test_a_run_whose_images_changed_is_left_to_its_own_command(data, networks, alone, tmp_path, capsys):
    argv = [[*scored_by(data, tmp_path, networks), "--model", model] for model in ("identity", "oracle")]
    for one in argv:
        assert main(one, scores=False) == 0
    plans = [plan(one) for one in argv]
    next((plans[0].folder.path / "images").rglob("*.png")).unlink()
    log, other = (p.folder.path / "log.txt" for p in plans)
    assert log.read_text().endswith(" edited\n")
    assert score_together([Edited(p, lambda n: None) for p in plans], here) == [1]
    assert not (plans[0].folder.path / "done.json").exists()
    assert " error: 1 " in log.read_text().splitlines()[-1] and other.read_text().endswith(" done\n")
    assert main(argv[0]) == 0
    assert bytes_of(tmp_path) == alone


def test_what_is_said_while_runs_are_scored_together_stands_in_the_log_of_each(data, networks, tmp_path):
    argv = [[*scored_by(data, tmp_path, networks), "--metrics", "l1", "--model", m] for m in ("identity", "oracle")]
    for one in argv:
        assert main(one, scores=False) == 0
    plans = [plan(one) for one in argv]

    def dying(metrics):
        return in_pool(Dying({e.id: 9 for e in plans[0].run.examples}))

    assert score_together([Edited(p, lambda n: None) for p in plans], dying) == []
    for p in plans:
        log = (p.folder.path / "log.txt").read_text()
        assert log.count("warning: a process died while it scored") == 6  # two of each of three tasks
        assert "error: 3 processes died while they scored" in log and " done\n" not in log


def test_a_small_job_starts_no_process(data, networks, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(local_module, "cores", lambda: 8)
    monkeypatch.setattr(local_module, "Pool", None)  # calling it would fail
    assert main(scored_by(data, tmp_path, networks)) == 0
    assert of_model("identity", bytes_of(tmp_path)) == of_model("identity", alone)


def test_processes_are_started_where_they_save_more_than_they_cost():
    assert not worth_it(0.5, 20, 8) and worth_it(9.0, 20, 2) and worth_it(0.5, 2000, 2)
    assert not worth_it(9.0, 20, 2, now=2) and not worth_it(100.0, 1, 8)


def task_at(number: int) -> Task:
    from bench.records import Example

    example = Example(f"toy/test/{number}", "toy", Path("none"), "edit")
    return Task([Chunk(0, [example], [], {}, {}, EditSettings(), Path("none"))], ("l1",), MetricSettings(), None)


def test_where_work_pays_for_them_processes_take_over(monkeypatch):
    """The first tasks are done here, and show what one costs."""
    given = []

    class FakePool:
        def __init__(self, workers):
            given.append(workers)
            self.most = workers

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def each(self, work, tasks):
            given.append(len(tasks))
            yield from (News(k, "done", Answer([ScoredChunk([], [], [])], {})) for k in range(len(tasks)))

    monkeypatch.setattr(local_module, "Pool", FakePool)
    monkeypatch.setattr(local_module, "cores", lambda: 3)
    monkeypatch.setattr(processes, "START", -1000.0)
    tasks = [task_at(k) for k in range(10)]
    assert [place for place, _ in local({})(tasks)] == list(range(10))
    assert given == [3, 8]


class Dying:
    """A pool whose process dies at the tasks named, so many times."""

    def __init__(self, deaths: dict[str, int]) -> None:
        self.most, self.deaths = 2, deaths

    def each(self, work, tasks):
        for place, task in enumerate(tasks):
            name = task.chunks[0].examples[0].id
            if self.deaths.get(name, 0):
                self.deaths[name] -= 1
                yield News(place, "died", -9)
            else:
                yield News(place, "done", Answer([ScoredChunk([], [], [])], {}))


def test_a_task_whose_process_was_killed_is_done_by_another(capsys):
    places = [place for place, _ in in_pool(Dying({"toy/test/1": 2}))([task_at(k) for k in range(3)])]
    assert sorted(places) == [0, 1, 2]
    assert capsys.readouterr().err.count("a process died while it scored toy/test/1") == 2


def test_a_task_that_kills_every_process_ends_the_run():
    with pytest.raises(WorkerDied, match=r"3 processes died while they scored toy/test/1 .*fewer --score-workers"):
        list(in_pool(Dying({"toy/test/1": 9}))([task_at(k) for k in range(3)]))


def test_there_are_only_as_many_processes_as_memory_holds(monkeypatch, capsys):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 4 * memory.BASE)
    from bench.metrics.l1 import L1

    metrics = {"l1": L1(MetricSettings(), None)}
    assert memory.fitting(2, [task_at(0)], metrics) == 2 and capsys.readouterr().err == ""
    assert memory.fitting(8, [task_at(0)], metrics) == 3
    assert "notice: 3 instead of 8 processes score: each takes about 0.7 GB, and 2.9 GB are free" in (
        capsys.readouterr().err
    )
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1)
    assert memory.fitting(8, [task_at(0)], metrics) == 1
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)  # not known
    assert memory.fitting(8, [task_at(0)], metrics) == 8


def test_a_process_takes_its_networks_and_its_images(data, networks, tmp_path):
    argv = scored_by(data, tmp_path, networks)
    assert main(argv, scores=False) == 0
    from bench.runs.execute import metrics_of

    asked = plan(argv)
    metrics = metrics_of(asked).ready
    looking = Looking(metrics, asked.metric_settings, None)
    tasks, _ = tasks_of([Scoring(asked.run, asked.folder, looking, asked.seeds, lambda n: None)], looking)
    weights = sum(Path(p).stat().st_size for p in (Path(networks[1]) / "open_clip_model.safetensors", networks[5]))
    takes = memory.process_bytes(tasks, metrics)
    assert 0 < takes - memory.BASE - 2 * weights < 10e6
    assert [len(task.chunks) for task in tasks] == [2, 2, 2]  # both seeds


@pytest.mark.parametrize("flags, said", [
    (("--score-workers", "0"), "--score-workers 0: it must be at least 1"),
    (("--score-workers", "2", "--engine", "ray"), "its --workers score as well as edit"),
])  # fmt: skip
def test_flags_that_mean_nothing_are_refused(data, tmp_path, capsys, flags, said):
    assert main(command(data, tmp_path, *flags)) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_the_processes_that_score(tmp_path):
    many = draw_ma5k(tmp_path / "data", photos=24, side=300)  # seconds of work are left when it stops

    def argv(out: str) -> list[str]:
        small = ["--metric-batch-size", "1", "--seeds", "1", "--score-workers", "2"]
        return ["-m", "bench.run", *command(many, tmp_path / out), *small]

    def scores() -> list[Path]:
        return [p for p in (tmp_path / "stopped").rglob("scores.jsonl") if p.stat().st_size]

    stops(argv("stopped"), scores)
    assert not list((tmp_path / "stopped").rglob("done.json"))
    goes_on(argv("stopped"))
    goes_on([*argv("whole"), "--score-workers", "1"])
    assert bytes_of(tmp_path / "stopped") == bytes_of(tmp_path / "whole")


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced_by_the_others(tmp_path):
    many = draw_ma5k(tmp_path / "data", photos=24, side=400)
    argv = ["-m", "bench.run", *command(many, tmp_path / "out"), "--metric-batch-size", "1", "--seeds", "1"]
    killed: list[int] = []

    def kill_one() -> bool:
        scores = [p for p in (tmp_path / "out").rglob("scores.jsonl") if p.stat().st_size]
        for stat in Path("/proc").glob("[0-9]*/stat") if scores and not killed else ():
            try:
                line = stat.with_name("cmdline").read_bytes()
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                command_of_parent = Path(f"/proc/{parent}/cmdline").read_bytes()
            except OSError:
                continue
            if b"spawn_main" in line and str(tmp_path / "out").encode() in command_of_parent:
                killed.append(int(stat.parent.name))
                os.kill(killed[0], 9)
                return True
        return bool(killed)

    stopped = Stopped([*argv, "--score-workers", "2"], kill_one, 0)
    assert stopped.code == 0 and "a process died while it scored" in stopped.said, stopped.said
    whole = [*command(many, tmp_path / "whole"), "--metric-batch-size", "1", "--seeds", "1", "--score-workers", "1"]
    assert main(whole) == 0
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
