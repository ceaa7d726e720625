"""A training run that was killed, at any moment, ends in the curve and the weights of an unbroken one, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import curve, draw_pairs, tiny_start, train

from mgie.train import checkpoint, loop
from mgie.train.log import TrainLog

HERE = Path(__file__).parent
RUN = {"steps": 6, "checkpoint_every": 3, "ema": 0.9, "seed": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_pairs(tmp_path_factory.mktemp("data") / "ipr2pr")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny_start(tmp_path_factory.mktemp("start") / "mgie")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, start, data):
    return train(tmp_path_factory.mktemp("run") / "unbroken", start, data, **RUN)


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Of the published model: relative file/name -> tensor."""
    files = [path for path in out.rglob("*.safetensors") if not any(p.startswith(".") for p in path.parts[-3:])]
    return {f"{path.relative_to(out)}/{name}": tensor for path in files for name, tensor in load_file(path).items()}


def same(ours: Path, theirs: Path) -> None:
    assert curve(ours) == curve(theirs)
    a, b = weights(ours), weights(theirs)
    assert a.keys() == b.keys() and len(a) > 20
    assert all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_run_cut_at_a_step_continues_bit_for_bit(tmp_path, start, data, unbroken, monkeypatch, step):
    append = TrainLog.append

    def cut(log, row):
        append(log, row)
        if row.step == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrainLog, "append", cut)
        with pytest.raises(Killed):
            train(tmp_path / "out", start, data, **RUN)
    assert len(curve(tmp_path / "out")) == step
    assert not (tmp_path / "out" / "model_index.json").exists()
    same(train(tmp_path / "out", start, data, **RUN), unbroken)


def test_a_kill_while_a_checkpoint_is_written_uses_the_one_before(tmp_path, start, data, unbroken, monkeypatch):
    out, written, write_json = tmp_path / "out", [], loop.write_json

    def cut(path, content):
        written.append(path)
        if len(written) == 2:
            raise Killed
        write_json(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_json", cut)
        with pytest.raises(Killed):
            train(out, start, data, **RUN)
    assert [step for step, _ in checkpoint.checkpoints(out)] == [3]
    same(train(out, start, data, **RUN), unbroken)
    assert not list((out / checkpoint.FOLDER).glob(".unfinished-*"))


@pytest.mark.slow
def test_a_process_killed_by_the_system_continues_bit_for_bit(tmp_path, start, data, unbroken):
    out = tmp_path / "out"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[2])}
    script = HERE.parents[1] / "support" / "training_runs.py"
    command = [sys.executable, str(script), str(out), str(start), str(data), json.dumps(RUN)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(curve(out)) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(curve(out)) >= 4 and process.returncode == -signal.SIGKILL, process.stderr.read().decode()
    same(train(out, start, data, **RUN), unbroken)


def test_a_full_disk_stops_the_run_with_its_reason_and_the_run_continues(tmp_path, start, data, unbroken):
    import resource

    out, limits = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # no file may grow larger, as on a full disk
    try:
        with pytest.raises(OSError, match="step-000003|step 3|File too large"):
            train(out, start, data, **RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.checkpoints(out) == []
    same(train(out, start, data, **RUN), unbroken)


def test_a_finished_run_given_again_trains_nothing(tmp_path, start, data, unbroken):
    before = {path: path.stat().st_mtime_ns for path in (unbroken / checkpoint.FOLDER).rglob("*.safetensors")}
    train(unbroken, start, data, **RUN)
    assert {path: path.stat().st_mtime_ns for path in (unbroken / checkpoint.FOLDER).rglob("*.safetensors")} == before
    assert len(curve(unbroken)) == RUN["steps"]


def test_a_damaged_checkpoint_is_named(tmp_path, start, data):
    out = train(tmp_path / "out", start, data, steps=2)
    broken = out / checkpoint.FOLDER / "step-000002/trainer/optimizer.safetensors"
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"optimizer.safetensors is .*damaged.*start again"):
        train(out, start, data, steps=2)
