"""The rehearsal: its random files are the authors' layout, stages are measured and killed, figures outlive a stop."""

import json
import os
import signal
import sys
import time
from argparse import Namespace
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bench.rehearse import edits, stages, told
from bench.rehearse.__main__ import Figures, chosen, made, main
from bench.rehearse.measure import Ended, Failed, python, run
from bench.rehearse.official import write
from bench.rehearse.stages import STAGES, Asked, Stage, link_lgie
from mgie.convert.__main__ import convert
from mgie.pipeline import MGIEPipeline
from mgie.presets import PRESETS


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("rehearsal")
    write(PRESETS["mini"], out)
    return out


def asked(out, **more) -> Asked:
    return replace(Asked(out, "mini", "cpu", "float16", 8, 4, 60.0), **more)


def test_random_files_in_the_authors_layout_convert_and_edit_with_numbers(official, tmp_path):
    from mgie.io.images import load
    from mgie.mini.world.assets import PHOTOS

    files = official / "official"
    record = convert(
        files / "llava", files / "mllm.pt", files / "unet.pt", official / "weights/inspix2pix", tmp_path / "mgie-e2e"
    )
    assert record["preset"] == "custom"  # the miniature's sizes in the authors' layout
    link_lgie(tmp_path / "mgie-e2e", tmp_path / "lgie-e2e")
    for name, eyes in (("mgie-e2e", True), ("lgie-e2e", False)):
        pipe = MGIEPipeline.from_pretrained(tmp_path / name, dtype=torch.float32)
        pipe.progress = False
        assert (pipe.mllm.tower is not None) == eyes
        photo = load(next(iter(sorted(PHOTOS.glob("*.*"))))).resize((64, 64))
        edited = pipe(photo, "make it night", num_inference_steps=1, max_new_tokens=9)
        assert edited.images[0].size == (64, 64)
    shared = "unet/diffusion_pytorch_model.safetensors"
    assert os.path.samefile(tmp_path / "mgie-e2e" / shared, tmp_path / "lgie-e2e" / shared)


def test_files_that_are_there_are_not_written_again(official):
    before = {path: path.stat().st_mtime_ns for path in official.rglob("*") if path.is_file()}
    write(PRESETS["mini"], official)
    assert before == {path: path.stat().st_mtime_ns for path in official.rglob("*") if path.is_file()}


def test_a_stage_is_measured_and_its_failure_says_what_it_said_last(tmp_path):
    log, heard = tmp_path / "log.txt", []
    code = "x = bytearray(300_000_000); x[::4096] = b'1' * len(x[::4096]); print('one'); print('two', flush=True)"
    ended = run([sys.executable, "-c", code], log, heard.append)
    assert [line.strip() for line in heard] == ["one", "two"]
    assert ended.code == 0 and ended.peak > 3e8 and ended.seconds > 0
    with pytest.raises(Failed, match=r"ended with 1: .*No module named no_such_module"):
        python(["no_such_module"], log)


def test_a_stage_is_killed_with_its_children_when_it_is_due_or_over_its_time(tmp_path):
    log, mark = tmp_path / "log.txt", tmp_path / "child"
    code = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(child.pid)); time.sleep(60)\n"
    )
    ended = run([sys.executable, "-c", code], log, until=lambda: mark.exists() and bool(mark.read_text()))
    assert ended.killed and ended.code == -signal.SIGKILL
    child = int(mark.read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and alive(child):
        time.sleep(0.05)
    assert not alive(child)
    with pytest.raises(Failed, match="killed by the system, as when main memory is full, or took longer"):
        python(["timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"], log, seconds=0.5)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_figures_outlive_a_stop_and_a_stage_that_is_done_is_not_made_again(tmp_path):
    calls: list[str] = []

    def make(one: Asked, record) -> None:
        calls.append("made")
        record(seconds=1.0, peak=2)
        if len(calls) == 1:
            raise KeyboardInterrupt

    stage, key = Stage("write", "something", make), {"device": "this"}
    with pytest.raises(KeyboardInterrupt):
        made(stage, asked(tmp_path), Figures(tmp_path / "f.jsonl", key))
    with open(tmp_path / "f.jsonl", "a") as file:
        file.write('{"stage": "cut by a ki')
    figures = Figures(tmp_path / "f.jsonl", key)
    assert made(stage, asked(tmp_path), figures) and calls == ["made", "made"]
    assert [one["seconds"] for one in figures.shown] == [1.0]
    assert made(stage, asked(tmp_path), Figures(tmp_path / "f.jsonl", key)) and len(calls) == 2
    assert not Figures(tmp_path / "f.jsonl", {"device": "another"}).known


def test_other_settings_of_an_edit_measure_the_edits_anew_and_not_the_conversion(tmp_path):
    calls: list[str] = []
    convert = Stage("convert", "x", lambda one, record: calls.append("convert"))
    mgie = Stage("mgie", "x", lambda one, record: calls.append("mgie"))
    for tokens in (2, 2, 8):
        for stage in (convert, mgie):
            made(stage, asked(tmp_path), Figures(tmp_path / "f.jsonl", {"device": "this"}, {"tokens": tokens}))
    assert calls == ["convert", "mgie", "mgie"]


def test_official_files_that_were_converted_and_removed_are_not_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "command", lambda *_: pytest.fail("18 GB are written again"))
    ours = tmp_path / "weights" / "mgie-e2e"
    ours.mkdir(parents=True)
    (ours / stages.INDEX).write_text("{}")
    stages.write(asked(tmp_path), lambda **_: pytest.fail("a figure of nothing"))


def test_a_stage_that_fails_is_told_and_the_others_go_on(tmp_path, capsys):
    def fail(one: Asked, record) -> None:
        raise Failed("mgie.convert was killed")

    figures = Figures(tmp_path / "f.jsonl", {})
    assert not made(Stage("convert", "x", fail), asked(tmp_path), figures)
    assert "convert: mgie.convert was killed" in capsys.readouterr().err
    assert "mgie.convert was killed" in (tmp_path / "rehearsal.md").read_text()
    late = asked(tmp_path, ends=time.monotonic() - 1)
    assert not made(Stage("table", "x", fail), late, figures) and "no time is left" in capsys.readouterr().out


EDIT = {
    "stage": "mgie", "kind": "edit", "model": "mgie", "dtype": "float16", "seconds": 9.0, "peak": 10**9,
    "device_peak": None, "prefill": 5.0, "token": 0.5, "tokens": 9, "step": 2.0, "rest": 1.0, "batch": 1,
}  # fmt: skip


def test_table1_is_foretold_from_what_an_edit_took():
    assert told.edits_of_table1() == 52_285  # (1,485 + 2,969 + 4,950 + 1,053) x 5 seeds
    # the text is written once for 5 seeds: (5 + 40 x 0.5) / 5, then 100 steps
    assert told.seconds_of(EDIT) == pytest.approx(5 + 200 + 1)
    assert told.seconds_of(EDIT | {"batch": 4}) == pytest.approx(206 / 4)
    row = {"evr l1": "0.25", "evr cts": "no one; x"}
    table = {
        "stage": "table", "kind": "table", "model": "mgie", "side": 256, "edits": 4, "image": 100_000, "kept": 1,
        "before": 1, "seconds": 3.0, "peak": 10**9, "row": row,
    }  # fmt: skip
    small = Asked(None, "7b", "cpu", "float16", 2, 8, 1.0)
    score = {"stage": "metrics", "kind": "score", "pair": 0.57, "seconds": 20.0, "peak": 10**9}
    text = "\n".join(
        told.lines(small, [EDIT, EDIT | {"batch": 4}, table, score], {"main memory": 20 * 10**9}, "Device: x")
    )
    assert "mgie: 52,285 edits, 51.5 s each at batch 4 (100 steps): 31 days" in text
    assert "scoring: 0.57 s an output in one process: 8.3 hours a model" in text
    assert "21 GB (0.40 MB each at 512 px" in text  # 52,285 x 0.4 MB
    assert "MGIE as float32 at batch 1 on main memory: 32.8 GB, 20.0 are free" in text
    assert "MGIE as float16" not in text
    assert (
        "continued: 1 of 1 edits kept, 4 in all" in text and "- evr l1: 0.2500" in text and "- evr cts: no one" in text
    )


@pytest.mark.parametrize(
    ("known", "batch", "free", "why"),
    [
        ([(1, 10)], 2, 0, ""),  # of one batch nothing is foreseen
        ([(1, 10), (2, 14)], 4, 8, ""),
        ([(1, 10), (2, 14)], 4, 7, "does not fit"),
    ],
)
def test_the_batch_that_would_not_fit_into_main_memory_is_not_tried(monkeypatch, known, batch, free, why):
    monkeypatch.setattr(edits, "free_bytes", lambda device: free)
    assert edits.foreseen(known, batch).startswith(why) and bool(edits.foreseen(known, batch)) == bool(why)


def test_the_search_ends_where_it_takes_too_long_or_does_not_fit(monkeypatch, capsys):
    def ends(took: float, limit: int, device: str) -> tuple[list[int], str]:
        tried: list[int] = []

        def edit(timed, options, batch: int) -> float:
            if batch > limit:
                raise torch.OutOfMemoryError
            tried.append(batch)
            return took * batch

        monkeypatch.setattr(edits, "edit", edit)
        monkeypatch.setattr(edits, "foreseen", lambda known, batch: "")
        edits.search(SimpleNamespace(), Namespace(model="mgie", most=8, patience=10.0, device=device))
        return tried, json.loads(capsys.readouterr().out.splitlines()[-1])["why"]

    assert ends(1.0, 99, "cpu") == ([1, 2, 4, 8], "not tried: --most 8")
    assert ends(3.0, 99, "cpu") == ([1, 2], "not tried: it would take 12 s")
    assert ends(1.0, 4, "cuda") == ([1, 2, 4], "does not fit on cuda")


def test_a_row_is_killed_after_its_first_edit_and_every_edit_is_kept(tmp_path, monkeypatch):
    """The stage's own bookkeeping: the table is a script here that edits once a call until it is killed."""
    runs, recorded = tmp_path / "runs" / "paper" / "evr", []
    runs.mkdir(parents=True)

    def edit(name: str) -> None:
        (runs / name).write_bytes(b"png")
        with open(runs / "edits.jsonl", "a") as file:
            file.write(json.dumps({"output_image": name}) + "\n")

    def first(command, log, until, seconds) -> Ended:
        assert not until()
        edit("0.png")
        assert until()
        return Ended(-9, 1.0, 1, True)

    def second(one, arguments, line=None) -> Ended:
        edit("1.png")
        return Ended(0, 1.0, 1, False)

    monkeypatch.setattr(stages, "run", first)
    monkeypatch.setattr(stages, "command", second)
    monkeypatch.setattr("mgie.mini.datasets.draw.draw", lambda root, parameters: root)
    stages.table(asked(tmp_path), lambda **values: recorded.append(values))
    assert recorded[0] | {"killed": True, "edits": 1} == recorded[0]
    assert recorded[1] | {"kept": 1, "before": 1, "edits": 2, "image": 3} == recorded[1]


def test_unknown_stages_and_a_full_disk_are_wrong_use(tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match="unknown 'covert'; known: write, convert"):
        chosen("write,covert", asked(tmp_path))
    assert [stage.name for stage in chosen(None, asked(tmp_path))] == [stage.name for stage in STAGES]
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**8))
    assert main(["--small", "--out", str(tmp_path)]) == 2
    assert "the rehearsal needs 1 GB; name another --out" in capsys.readouterr().err
