"""Ctrl-C means stop: at the prompt within five seconds, no process left, and the same command goes on."""

import json
import os
import shutil
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import tiny
from drawn import draw_magicbrush
from pool_tasks import work
from small_trainings import shrink, train_here
from stopping import Stopped
from tiny_diffusers import instruct_pix2pix

from bench.runs.folder import RunFolder
from bench.runs.pool import Pool
from mgie.mini.datasets.draw import draw
from tests.bench.runs.test_resume import draw_ma5k

SCRIPT = Path(__file__).parents[2] / "support" / "small_trainings.py"
MINI_CLIP = Path(__file__).parents[3] / "mgie" / "mini" / "weights" / "mini-clip"


def test_every_task_is_answered_whatever_becomes_of_the_others():
    with Pool(2) as pool:
        news = list(pool.each(work, ["a", "die", "fail", "b", "c"]))
    last = {n.place: n for n in news if n.kind != "said"}
    assert {place: n.kind for place, n in last.items()} == {0: "done", 1: "died", 2: "failed", 3: "done", 4: "done"}
    assert (last[1].value, last[2].value) == (3, "ValueError: cannot be done")
    assert [n.value for n in news if n.kind == "said" and n.place == 3] == ["at b"]


def test_a_fresh_pool_has_a_process_for_each_task_and_another_keeps_them():
    with Pool(1, fresh=True) as pool:
        assert len({n.value for n in pool.each(work, list("abc")) if n.kind == "done"}) == 3
    with Pool(1) as pool:
        assert len({n.value for n in pool.each(work, list("abc")) if n.kind == "done"}) == 1


def test_leaving_the_block_ends_workers_at_once_whatever_they_do():
    with Pool(2) as pool:
        pids = [n.value for _, n in zip(range(2), pool.each(work, ["sleep", "sleep"]), strict=False)]
        start = time.monotonic()
    assert time.monotonic() - start < 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_ctrl_c_while_a_worker_is_started_ends_those_that_are_up(monkeypatch):
    started = []

    def start(process: BaseProcess) -> None:
        if started:
            raise KeyboardInterrupt
        BaseProcess.start(process)
        started.append(process)

    with pytest.raises(KeyboardInterrupt), Pool(2) as pool:
        monkeypatch.setattr(pool.context.Process, "start", start)
        next(pool.each(work, ["sleep", "sleep"]))
    assert pool.workers == [] and started[0].exitcode is not None


def test_workers_of_a_killed_command_end_by_themselves(tmp_path):
    code = f"""
from bench.runs.pool import Pool
from pool_tasks import work
with Pool(2) as pool:
    for news in pool.each(work, ["sleep", "sleep"]):
        open({str(tmp_path / "up")!r}, "a").write("up")
"""
    (tmp_path / "parent.py").write_text(f"if __name__ == '__main__':\n {code.replace(chr(10), chr(10) + ' ')}")
    up = tmp_path / "up"
    stopped = Stopped([str(tmp_path / "parent.py")], lambda: up.exists() and up.read_text() == "upup", signal.SIGKILL,
                      group=False, env=os.environ | {"PYTHONPATH": ":".join(sys.path)})  # fmt: skip
    ended(stopped)


def ended(stopped: Stopped) -> None:
    """Nothing is left of it, or not for longer than a moment."""
    until = time.monotonic() + max(0.0, 5 - stopped.seconds)
    while stopped.left() and time.monotonic() < until:
        time.sleep(0.05)
    assert stopped.left() == []


def stops(argv: list[str], ready, number: int = signal.SIGINT, env: dict | None = None) -> None:
    stopped = Stopped(argv, ready, number, env=env)
    assert stopped.code == 1 and stopped.seconds < 5, stopped.said
    assert "stopping ..." in stopped.said and "Traceback" not in stopped.said, stopped.said
    assert stopped.said.splitlines()[-1] == "stopped; the same command continues from here"
    ended(stopped)


def goes_on(argv: list[str], env: dict | None = None) -> str:
    done = Stopped(argv, lambda: True, 0, env=env)
    assert done.code == 0, done.said
    return done.said


def edits_of(out: Path) -> int:
    return sum(p.read_bytes().count(b"\n") for p in out.rglob("edits.jsonl"))


def bytes_of(out: Path) -> dict[str, bytes]:
    """What must be equal: all but seconds and what is said of the sessions."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name, data = str(path.relative_to(out)), path.read_bytes()
        if path.name in ("sessions.jsonl", ".lock", "log.txt", ".digests.jsonl"):
            continue
        if path.name == "edits.jsonl":
            data = json.dumps([json.loads(line) | {"seconds": None} for line in data.splitlines()]).encode()
        found[name] = data
    return found


def table(data: Path, out: Path, *more: str) -> list[str]:
    fixed = "-m bench.tables 1 --suite paper --size native --datasets ma5k --models identity,oracle --metrics l1,ssim"
    places = ["--data-root", str(data), "--out", str(out / "runs"), "--results", str(out / "results")]
    return [*fixed.split(), "--seeds", "1", *places, *more]


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return draw_ma5k(tmp_path_factory.mktemp("data"), photos=24)


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory) -> dict[str, bytes]:
    """The run folders of a table that nothing stopped."""
    out = tmp_path_factory.mktemp("whole")
    goes_on(table(many, out))
    return bytes_of(out / "runs")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_table_stops_and_ends_in_the_same_bytes(many, whole, tmp_path, number):
    stops(table(many, tmp_path / "stopped"), lambda: edits_of(tmp_path / "stopped") > 20, number)
    assert not list((tmp_path / "stopped").rglob("done.json"))
    for folder in (tmp_path / "stopped" / "runs" / "paper").iterdir():
        with RunFolder(folder).locked():  # no lock is held
            pass
    goes_on(table(many, tmp_path / "stopped"))
    assert bytes_of(tmp_path / "stopped" / "runs") == whole


@pytest.mark.slow
def test_the_trade_off_stops_and_goes_on(tmp_path):
    draw_magicbrush(tmp_path / "data" / "magicbrush", count=30)
    argv = ["-m", "bench.tradeoff", "--suite", "paper", "--size", "native", "--models", "identity",
            "--image-guidance-scales", "1.0,1.4", "--data-root", str(tmp_path / "data"),
            "--out", str(tmp_path / "runs"), "--clip", str(MINI_CLIP),
            "--results", str(tmp_path / "results")]  # fmt: skip
    stops(argv, lambda: edits_of(tmp_path / "runs"))
    goes_on(argv)
    assert len(list((tmp_path / "runs").rglob("done.json"))) == 2
    stopped = bytes_of(tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs")
    goes_on(argv)
    assert bytes_of(tmp_path / "runs") == stopped


def has_checkpoint(root: Path) -> bool:
    """Folders may come and go while it looks."""
    return any(Path(folder).name == ".checkpoints" and inside for folder, inside, _ in os.walk(root))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["finetune", "ablate"])
def test_trainings_on_demand_stop_and_end_in_the_same_weights(what, tmp_path, monkeypatch):
    weights, data = tmp_path / "weights", tmp_path / "data"
    if what == "finetune":
        instruct_pix2pix(weights / "inspix2pix")
    else:  # an ablation takes its UNet for MGIE: one of MGIE's sizes
        tiny.build(seed=1).save_pretrained(weights / "inspix2pix")
    tiny.build(eyes=True).save_pretrained(weights / "mgie-e2e")
    shrink(weights, tmp_path / "whole", monkeypatch.setattr)
    draw(data)
    train_here(what, data, tmp_path / "whole")
    argv = [str(weights), str(data), str(tmp_path / "stopped")]
    stopped = "table2" if what == "finetune" else what  # a table trains first what it needs
    stops([str(SCRIPT), stopped, *argv], lambda: has_checkpoint(tmp_path / "stopped"))
    goes_on([str(SCRIPT), what, *argv])
    one, other = ({str(p.relative_to(tmp_path / c)): p.read_bytes() for p in (tmp_path / c).rglob("unet/*.safetensors")
                   if p.parts[-3] != "start"} for c in ("stopped", "whole"))  # fmt: skip
    assert one == other and len(one) == 2


@pytest.mark.slow
def test_a_run_on_ray_stops_and_leaves_nothing_in_the_temporary_folder(many, whole, tmp_path):
    pytest.importorskip("ray")
    short = Path("/tmp") / f"mgie-{os.getpid()}"  # Ray's sockets have no room for a longer path
    short.mkdir()
    env = os.environ | {"TMPDIR": str(short), "RAY_TMPDIR": str(short)}
    argv = table(many, tmp_path / "stopped", "--engine", "ray", "--workers", "2")
    try:
        stops(argv, lambda: edits_of(tmp_path / "stopped") > 20, env=env)
        goes_on(argv, env)
        assert bytes_of(tmp_path / "stopped" / "runs") == whole
        left = [p.name for p in (short / "ray").glob("session_2*")] if (short / "ray").exists() else []
        assert not left and not list(short.glob("mgie-bench-*"))
    finally:
        shutil.rmtree(short)
