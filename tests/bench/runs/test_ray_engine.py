"""`--engine ray`: the same bytes as the local engine, workers that die, models that fail, and what flags refuse."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.records import Example, Output
from bench.run import main
from bench.runs.engines import next_of
from bench.runs.folder import RunFolder
from bench.runs.runner import Slice, WorkerDied, edit_all
from bench.settings import EditSettings
from tests.bench.runs.test_resume import command, draw_ma5k, files_of, folder_of
from tests.bench.runs.test_runner import run_of

ray = pytest.importorskip("ray")


class Mortal:
    """Adds a constant that comes from the seed; its process is killed at an example while `marks` has lives left."""

    name, defaults = "mortal", EditSettings()

    def __init__(self, marks: Path | None = None, kills: int = 0, at: str = "") -> None:
        self.marks, self.kills, self.at = marks, kills, at

    def fingerprint(self):
        return {}

    def load(self):
        if self.at == "load":
            raise MemoryError("CUDA out of memory")

    def edit(self, examples, settings, seeds):
        from mgie.io.images import load

        if any(e.id == self.at for e in examples) and len(list(self.marks.iterdir())) < self.kills:
            (self.marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if any(e.instruction == "edit 3" for e in examples):
            raise FloatingPointError("NaN in the edit")
        images = [np.asarray(load(e.input_image, settings)) + np.uint8(seed % 7 + 1)
                  for e, seed in zip(examples, seeds, strict=True)]  # fmt: skip
        return [Output(Image.fromarray(i), "bright", 3, {"edit": 0.5}) for i in images]


def examples(folder: Path, n: int) -> list[Example]:
    folder.mkdir(exist_ok=True)
    for k in range(n):
        Image.fromarray(np.full((8, 8, 3), 20 * k, np.uint8)).save(folder / f"{k}.png")
    return [Example(f"toy/test/{k}", f"toy/{k}", folder / f"{k}.png", f"edit {k}") for k in range(n)]


@pytest.fixture(scope="module")
def cluster():
    """Room for two workers, on this machine."""
    from bench.runs.engines import Workers
    from bench.runs.engines import pool as opened

    with pytest.MonkeyPatch.context() as patch:
        support = Path(__file__).parents[2] / "support"
        patch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{support}")  # a worker imports Mortal from here
        patch.delenv("RAY_ADDRESS", raising=False)
        with opened(Mortal(), EditSettings(batch_size=2), Workers("ray", 2), "cpu") as made:
            made.close()
            yield made


@pytest.fixture
def pool_of(cluster):
    """Makes two workers that hold a model; they end with the test."""
    from bench.runs.engines import Pool

    pools = []

    def make(model) -> Pool:
        pools.append(Pool(model, cluster.settings, cluster.workers, "cpu"))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def edited(run, model, folder: Path, engine=None) -> tuple[dict[str, bytes], list[dict]]:
    folder.mkdir()
    failures = edit_all(run, model, RunFolder(folder), range(2), 1.0, lambda n, failed=0: None, engine)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.*"))}, failures


def test_the_run_folder_is_byte_for_byte_that_of_the_local_engine(pool_of, tmp_path):
    run = run_of(examples(tmp_path / "in", 9))
    local = edited(run, Mortal(), tmp_path / "local")
    assert edited(run, Mortal(), tmp_path / "ray", pool_of(Mortal()).outcomes) == local
    assert [f["example_id"] for f in local[1]] == ["toy/test/3"] * 2  # failures too, and in their order
    assert sum(name.endswith(".png") for name in local[0]) == 16
    assert local[0]["halvings.jsonl"].count(b"NaN in the edit") == 2  # the slice with it was halved, for both seeds


def test_a_worker_goes_on_with_the_batch_whose_texts_it_knows_and_takes_no_other_workers(tmp_path):
    one, two = ([example] for example in examples(tmp_path / "in", 2))
    a, b = one[0].id, two[0].id
    waiting = [Slice(seed, batch) for batch in (one, two) for seed in (0, 1)]

    def any_of(part: Slice) -> bool:
        return True

    assert next_of(waiting, any_of, None, set()) == waiting[0]
    assert next_of(waiting[1:], any_of, None, {a}) == waiting[2]  # the second worker begins with the second batch
    assert next_of(waiting[1:], any_of, a, {a, b}) == waiting[1]
    assert next_of(waiting[2:], any_of, a, {a, b}) == waiting[2]  # what is left is shared out
    assert next_of(waiting, lambda part: part.examples is two, a, {a}) == waiting[2]  # the first must wait
    assert next_of([], any_of, a, {a}) is None


@pytest.mark.slow
def test_later_turns_wait_for_the_output_of_the_turn_before(pool_of, tmp_path):
    first, second, third, *others = examples(tmp_path / "in", 6)
    chain = [first, replace(second, previous=first.id), replace(third, previous=second.id), *others]
    run = run_of(chain)
    local = edited(run, Mortal(), tmp_path / "local")
    assert edited(run, Mortal(), tmp_path / "ray", pool_of(Mortal()).outcomes) == local


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_slice_done_again(pool_of, tmp_path, capsys):
    run = run_of(examples(tmp_path / "in", 7))
    (tmp_path / "marks").mkdir()
    mortal = Mortal(tmp_path / "marks", 2, "toy/test/4")
    assert edited(run, mortal, tmp_path / "ray", pool_of(mortal).outcomes) == edited(run, Mortal(), tmp_path / "local")
    assert len(list((tmp_path / "marks").iterdir())) == 2
    assert capsys.readouterr().err.count("another takes its place") == 2


@pytest.mark.slow
def test_a_slice_that_kills_every_worker_ends_the_run_with_the_others_kept(pool_of, tmp_path, capsys):
    run = run_of(examples(tmp_path / "in", 7))
    (tmp_path / "marks").mkdir()
    mortal = Mortal(tmp_path / "marks", 99, "toy/test/6")
    with pytest.raises(WorkerDied, match=r"3 workers died at slice toy/test/6 .. toy/test/6 .*smaller --batch-size"):
        edited(run, mortal, tmp_path / "ray", pool_of(mortal).outcomes)
    assert len(RunFolder(tmp_path / "ray").edits()) >= 3


@pytest.mark.slow
def test_the_command_joins_the_cluster_ray_address_names_and_gives_the_local_files(cluster, tmp_path):
    from ray._private.state import jobs

    data, before = draw_ma5k(tmp_path / "data", photos=2), len(jobs())
    here = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    for out, more in (("local", ()), ("ray", ("--engine", "ray", "--workers", "2"))):
        argv = [sys.executable, "-m", "bench.run", *command(data, tmp_path / out, *more)]
        done = subprocess.run(argv, env=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert len(jobs()) == before + 1
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")
    session = json.loads((folder_of(tmp_path / "ray") / "sessions.jsonl").read_text())
    assert (session["engine"], session["workers"], session["threads"]) == ("ray", 2, 1)


@pytest.mark.parametrize("flags, said", [
    (("--workers", "2"), "--workers 2 needs --engine ray"),
    (("--gpus-per-worker", "1"), "--gpus-per-worker 1 needs --engine ray"),
    (("--engine", "ray", "--workers", "0"), "--workers 0: it must be at least 1"),
    (("--engine", "ray", "--gpus-per-worker", "-1"), "it must be a number from 0 up"),
    (("--engine", "ray", "--device", "cpu", "--gpus-per-worker", "1"), "the GPUs would stand idle"),
    (("--engine", "ray", "--device", "cuda", "--gpus-per-worker", "0"), "the workers would see no GPU"),
])  # fmt: skip
def test_flags_that_mean_nothing_together_are_refused(tmp_path, capsys, flags, said):
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path / "out", *flags)) == 2
    assert said in capsys.readouterr().err
