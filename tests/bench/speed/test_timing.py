"""Table 4: what is counted equals closed forms, stages sum up to the call, the paper is compared on an A100 alone."""

import csv
import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import tiny
import torch

import bench.timing
from bench.registry import PAPER_MODELS
from bench.speed.stopwatch import Rates, Stages, Work, count_work
from bench.speed.table4 import TimingRow, cells, notes
from bench.timing import main
from mgie.presets import PRESETS


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Where the miniature is asked for, the tests' own tiny preset. Returns the command's fixed arguments."""
    monkeypatch.setitem(PRESETS, "mini", tiny.TINY)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    where = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    return ["--random-weights", "--device", "cpu", "--preset", "mini", "--tokens", "6", *where]


def row(**changes) -> TimingRow:
    made = TimingRow(
        "mgie", "7b", "random", 8, 512, 100, "bfloat16", False, "NVIDIA A100-SXM4-40GB", True, "1410 MHz", 1, 5, 18.45,
        18.0, 19.0, 30_000, 0.0, 0.1, 3.0, 0.1, 0.2, 14.0, 0.9, 0.15, 32.0, 0.0, True, 500.0, 900.0, 6.0, 0.325, 0.5,
        250.0, 1300.0,
    )  # fmt: skip
    return replace(made, **changes)


def test_all_three_models_are_timed_and_their_stages_sum_up_to_the_call(small, tmp_path, capsys):
    assert main([*small, "--batch-sizes", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Table 4 in small: the built-in miniature on cpu, random weights; its seconds are not")
    with open(tmp_path / "results" / "mini" / "table4.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["model"], r["batch"]) for r in rows] == [(m, "1") for m in PAPER_MODELS]
    for r in rows:
        assert 0 < float(r["fastest"]) <= float(r["seconds"]) <= float(r["slowest"]) and int(r["peak_mb"]) > 0
        assert float(r["unet"]) > 0 and float(r["vae_decode"]) > 0 and float(r["tflop"]) > 0
        assert (float(r["tower"]) > 0) == (r["model"] == "mgie")
        assert (float(r["decode"]) > 0, r["tokens"]) == ((False, "") if r["model"] == "inspix2pix" else (True, "6.0"))
    assert "not comparable" in (tmp_path / "results" / "mini" / "table4.md").read_text()
    assert r"\bottomrule" in (tmp_path / "results" / "mini" / "table4.tex").read_text()


def test_stages_sum_up_to_the_call():
    own = {"mllm": 4.0, "edit_head": 0.5, "vae_encode": 0.25, "diffusion": 3.0, "vae_decode": 1.0}
    hooked = {"tower": 1.0, "decode": 2.0, "lm_head": 0.5, "unet": 2.5, "vae_encode": 0.2, "vae_decode": 0.9}
    stages = bench.timing.by_stage(hooked, own, 10.0)
    assert stages == {"tower": 1.0, "decode": 3.0, "edit_head": 0.5, "vae_encode": 0.25, "unet": 3.0,
                      "vae_decode": 1.0, "other": 1.25}  # fmt: skip
    assert sum(stages.values()) == 10.0


def test_what_was_timed_is_not_timed_again_unless_asked(small, capsys, monkeypatch):
    argv, calls = [*small, "--model", "inspix2pix", "--batch-sizes", "1", "--steps", "1"], []
    time_one = bench.timing.time_one
    monkeypatch.setattr(bench.timing, "time_one", lambda *a: calls.append(a) or time_one(*a))
    for more, timed in (((), 1), ((), 1), (("--again",), 2), (("--steps", "2"), 3)):
        assert main([*argv, *more]) == 0
        assert len(calls) == timed


def test_operations_and_bytes_are_those_of_the_closed_form():
    body = torch.nn.Sequential(torch.nn.Linear(8, 16, bias=False), torch.nn.Conv2d(3, 5, 3, bias=False))
    call = lambda: (body[0](torch.ones(4, 8)), body[1](torch.ones(2, 3, 10, 10)), body[0](torch.ones(1, 8)))  # noqa: E731
    with torch.no_grad():
        work = count_work(call, {"linear": body[0], "conv": body[1]})
    assert work.flops == {"linear": 2 * 5 * 8 * 16, "conv": 2 * 2 * 8 * 8 * 5 * 3 * 9}
    assert work.bytes == {"linear": 2 * 4 * 8 * 16, "conv": 4 * 5 * 3 * 9}  # the linear layer's weights are read twice
    limit = Rates(flops=1000.0, bytes=1e9).limit(work)
    assert limit["linear"] == pytest.approx(1.28)  # bound by operations
    assert Rates(1e12, 100.0).limit(Work({"a": 5.0}, {"a": 200.0})) == {"a": 2.0}  # bound by bytes


def test_stages_count_every_pass_since_the_last_question():
    part = torch.nn.Identity()
    with Stages({"part": part}, "cpu") as stages:
        part(torch.ones(1))
        part(torch.ones(1))
        assert len(stages.marks["part"]) == 4 and stages.seconds()["part"] > 0
        assert stages.seconds()["part"] == 0
    part(torch.ones(1))
    assert stages.marks["part"] == []


def test_the_paper_is_compared_only_on_an_a100_at_the_true_sizes():
    assert cells(row())[-1] == "36.9 (0.50 of it)" and "Compared with it." in notes([row()])[-1]
    for other in (row(device="NVIDIA H100 80GB HBM3"), row(preset="mini")):
        assert cells(other)[-1] == "36.9" and "not comparable" in notes([other])[-1]
    assert "Peak memory: of the GPU." in notes([row()])[-2] and "1 thread;" in notes([row(on_gpu=False)])[0]
    unconfirmed = row(model="inspix2pix", tokens=None, under_32=None, device="NVIDIA H200")
    assert cells(unconfirmed)[-1] == "31.5†"


def test_the_share_under_32_tokens_is_given_where_the_model_chose_them():
    assert cells(row())[6] == "32 (fixed)"
    assert cells(row(fixed=False, tokens=11.0, under_32=0.875))[6] == "11 (88 % under 32)"
    assert set(json.loads(json.dumps(asdict(row())))) == {f for f in TimingRow.__dataclass_fields__}


@pytest.mark.parametrize("flags, said", [
    (("--model", "flux"), "unknown model 'flux'; Table 4 times inspix2pix, lgie, mgie"),
    (("--batch-sizes", "1,x"), "--batch-sizes 1,x: expected numbers"),
    (("--batch-sizes", "0"), "--batch-sizes 0: expected numbers"),
    (("--runs", "4"), "--runs 4: it must be at least 5"),
    (("--tokens", "9999"), "over the 320 tokens the model reads"),
    (("--weights", "w"), "give one of them"),
    (("--compile",), "--compile is for lgie and mgie"),
])  # fmt: skip
def test_wrong_use_is_one_line_and_exit_2(small, capsys, flags, said):
    assert main([*small, *flags]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_trained_weights_that_are_not_there_are_named(small, tmp_path, capsys):
    argv = [flag for flag in small if flag != "--random-weights"]
    assert main([*argv, "--model", "lgie", "--weights", str(tmp_path / "none")]) == 2
    assert f"no weights in {tmp_path / 'none' / 'lgie-e2e'}" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys; from bench.timing import parser; parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
