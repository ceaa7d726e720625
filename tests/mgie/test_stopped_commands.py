"""Ctrl-C and SIGTERM end every command of mgie in one line, without a traceback; its scratch is gone."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module

import pytest
import tiny
from stopping import Stopped
from training_runs import draw_pairs

AGAIN = "stopped; the same command continues from "
# command, what of it is at work, its arguments, its exit code, its last line
COMMANDS = [
    ("mgie.train.__main__", "mgie.train.run.train", "--model mgie --data d --out o", 1, f"{AGAIN}the last checkpoint"),
    ("mgie.convert.__main__", "mgie.convert.__main__.convert",
     "--llava d --mllm m --unet u --instruct-pix2pix i --out o", 1,
     "stopped; nothing is left of it, and the same command begins anew"),
    ("mgie.expressive.__main__", "mgie.expressive.__main__.run", "--data d --dataset ipr2pr --out o.jsonl", 1,
     f"{AGAIN}here"),
    ("mgie.edit", "mgie.edit.pipeline", "photo.png brighter", 1, "stopped; nothing was saved"),
    ("mgie.demo.__main__", "mgie.demo.__main__.serve", "", 0, "stopping ..."),
]  # fmt: skip


@pytest.fixture
def as_in_a_terminal():
    """Ctrl-C is heeded, and a SIGTERM that the command does not answer fails the test alone."""

    def unanswered(number: int, frame: object) -> None:
        raise AssertionError("SIGTERM was not answered")

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, unanswered)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("module", "work", "argv", "code", "said"), COMMANDS)
def test_a_command_that_is_stopped_ends_in_one_line(
    module, work, argv, code, said, number, tmp_path, monkeypatch, capfd, as_in_a_terminal
):
    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)
        raise AssertionError("it went on")

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(work, stopped)
    monkeypatch.chdir(tmp_path)
    tiny.picture(0, (8, 8)).save("photo.png")
    command = import_module(module).main
    assert command(argv.split()) == code
    lines = capfd.readouterr().err.splitlines()
    assert "stopping ..." in lines and lines[-1] == said
    assert not [*scratch.glob("tmp*/*.png")]  # the demo's examples


def test_a_training_with_processes_that_decode_says_once_that_it_stops_and_leaves_none(tmp_path):
    data = draw_pairs(tmp_path / "data")
    argv = ["--model", "inspix2pix", "--data", data, "--out", tmp_path / "out", "--steps", "100000",
            "--workers", "2", "--precompute", "off", "--batch-size", "4", "--device", "cpu"]  # fmt: skip
    curve = tmp_path / "out" / "train.csv"
    stopped = Stopped(["-m", "mgie.train", *map(str, argv)],
                      lambda: curve.is_file() and curve.read_bytes().count(b"\n") > 2,
                      env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert stopped.code == 1 and stopped.said.splitlines()[-1] == f"{AGAIN}the last checkpoint", stopped.said
    assert stopped.said.count("stopping ...") == 1 and "Traceback" not in stopped.said and stopped.left() == []


HUNG_UP = """
import socket, time
from multiprocessing import resource_sharer
from mgie.train.loop import leave_stopping
leave_stopping(0)
address, _ = resource_sharer.DupFd(1)._id
parent = socket.socket(socket.AF_UNIX)
parent.connect(address)
parent.close()
time.sleep(1)
"""


def test_a_process_that_decodes_is_silent_where_its_stopped_parent_hangs_up_amid_a_batch():
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    worker = subprocess.run([sys.executable, "-c", HUNG_UP], capture_output=True, text=True, env=env, timeout=300)
    assert (worker.returncode, worker.stderr) == (0, "")
