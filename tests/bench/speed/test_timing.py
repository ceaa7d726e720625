"""Table 4: what is counted equals closed forms, stages sum up to the call, the paper is compared on an A100 alone."""

import csv
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest
import tiny
import torch
from pretended_gpu import PretendedGPU

import bench.speed.bound
import bench.timing
from bench.registry import PAPER_MODELS
from bench.speed.bound import Convolution, Rates, Work, count_work, operations, rates_of
from bench.speed.models import Case, TimedInsPix2Pix
from bench.speed.stopwatch import Stages, peak_bytes, reset_peak, synchronise
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
        250.0, 300.0, 1300.0,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.slow
def test_all_three_models_are_timed_and_their_stages_sum_up_to_the_call(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*small, "--batch-sizes", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Table 4 in small: the built-in miniature on cpu, random weights; its seconds are not")
    assert max(len(line) for line in said.splitlines() if line.startswith("  ")) <= 80 and "UNet reached" in said
    with open(tmp_path / "results" / "mini" / "table4.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["model"], r["batch"]) for r in rows] == [(m, "1") for m in PAPER_MODELS]
    for r in rows:
        assert 0 < float(r["fastest"]) <= float(r["seconds"]) <= float(r["slowest"]) and int(r["peak_mb"]) > 0
        assert float(r["unet"]) > 0 and float(r["vae_decode"]) > 0 and float(r["tflop"]) > 0
        assert 0 < float(r["fraction"]) <= 1 and 0 < float(r["unet_fraction"]) <= 1
        assert (float(r["tower"]) > 0) == (r["model"] == "mgie")
        assert (float(r["decode"]) > 0, r["tokens"]) == ((False, "") if r["model"] == "inspix2pix" else (True, "6.0"))
    assert "not comparable" in (tmp_path / "results" / "mini" / "table4.md").read_text()
    assert r"\bottomrule" in (tmp_path / "results" / "mini" / "table4.tex").read_text()


def test_inspix2pix_is_timed_in_16_bit_as_runs_edit_with_it(small):
    case = Case("inspix2pix", "mini", 1, "bfloat16", 1, None, True, "", False, 1)
    timed = TimedInsPix2Pix(case, "cpu")
    dtypes = {name: next(part.parameters()).dtype for name, part in timed.modules.items()}
    assert dtypes.pop("unet") == torch.bfloat16 and set(dtypes.values()) == {torch.float32}
    timed.call()


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
    assert work.convolutions == {"linear": 0, "conv": work.flops["conv"]} and work.products["conv"] == 0
    assert work.bytes == {"linear": 2 * 4 * 8 * 16, "conv": 4 * 5 * 3 * 9}  # the linear layer's weights are read twice
    assert [operations(kind) for kind in work.kinds] == [work.flops["conv"]]


def work_of(**changes) -> Work:
    made = Work({"a": 5.0}, {"a": 0.0}, {"a": 200.0}, {"a": 1}, {"a": "float32"})
    return made._replace(**changes)


def test_a_stage_is_bound_by_its_operations_or_by_its_bytes():
    quick = {64: 1e9}
    assert Rates({"float32": 10.0}, {}, quick).limit(work_of()) == {"a": 0.5}
    assert Rates({"float32": 1e12}, {}, {64: 100.0}).limit(work_of()) == {"a": 2.0}
    folded = work_of(products={"a": 0.0}, convolutions={"a": 30.0})
    assert Rates({"float32": 10.0}, {"float32": 20.0}, quick).limit(folded) == {"a": 1.5}
    assert Rates({"float32": 10.0}, {"float32": 5.0}, quick).limit(folded) == {"a": 3.0}  # done as a product


def test_weights_that_fit_into_a_cache_are_read_at_its_rate():
    rates = Rates({"float32": 1e12}, {}, {64: 1000.0, 128: 100.0, 512: 10.0})
    assert rates.limit(work_of()) == {"a": 2.0}  # 200 bytes once
    assert rates.limit(work_of(passes={"a": 2})) == {"a": 0.2}  # 100 bytes twice
    assert rates.limit(work_of(bytes={"a": 20.0})) == {"a": 0.02}


def test_only_the_rows_of_an_embedding_that_are_read_count():
    table = torch.nn.Sequential(torch.nn.Embedding(1000, 4), torch.nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        work = count_work(lambda: (table(torch.tensor([[7, 7, 9]])), table(torch.tensor([[1]]))), {"text": table})
    assert work.bytes == {"text": 2 * 4 * 4 * 2 + (2 + 1) * 4 * 4}


@pytest.mark.parametrize("padding, dilation, stride, groups", [
    ((1, 1), (1, 1), (1, 1), 1), ((0, 2), (2, 1), (2, 1), 2), ("same", (1, 1), (1, 1), 1), ("valid", (1, 1), (1, 1), 1),
])  # fmt: skip
def test_the_operations_of_a_convolution_are_those_torch_counts(padding, dilation, stride, groups):
    from torch.utils.flop_counter import FlopCounterMode

    part = torch.nn.Conv2d(4, 6, 3, padding=padding, dilation=dilation, stride=stride, groups=groups)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part(torch.ones(2, 4, 11, 9))
    kind = Convolution((2, 4, 11, 9), tuple(part.weight.shape), stride, padding, dilation, groups, "float32")
    assert operations(kind) == counter.get_total_flops()


def test_rates_are_of_the_timed_dtype_and_of_the_convolutions_that_were_called(monkeypatch):
    monkeypatch.setattr(bench.speed.bound, "RUNS", 1)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, dtype=torch.bfloat16))
    with torch.no_grad():
        work = count_work(lambda: body(torch.ones(1, 3, 16, 16, dtype=torch.bfloat16)), {"unet": body})
    rates = rates_of("cpu", work)
    assert set(rates.products) == set(rates.convolutions) == {"bfloat16"}
    assert set(rates.reads) == {bench.speed.bound.SMALLEST} and min(rates.reads.values()) > 0
    twice = rates._replace(products={"bfloat16": 2 * rates.products["bfloat16"]})
    assert rates.at_least(twice) == twice == twice.at_least(rates)


@pytest.mark.parametrize("rate, said", [(300.0, True), (250.0, False), (0.0, False)])
def test_the_note_says_what_the_bound_is_of_where_winograd_is_used(rate, said):
    note = next(n for n in notes([row(conv_tflops=rate)]) if n.startswith("At best"))
    assert ("reach 1.2 times the rate of matrix products, since Winograd's algorithm" in note) == said


class Recorded:
    """What of torch.cuda is asked, with the device that it is asked of."""

    def __init__(self, patch) -> None:
        self.asked: list[tuple[str, str]] = []
        for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated", "current_stream",
                     "get_device_name"):  # fmt: skip
            patch.setattr(torch.cuda, name, lambda device=None, name=name: self.answer(name, device))
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device", self.current)
        patch.setattr(torch.cuda, "Event", lambda enable_timing: self)

    def answer(self, name, device):
        self.asked.append((name, str(device)))
        return device if name == "current_stream" else 7

    @contextmanager
    def current(self, device):
        self.asked.append(("device", str(device)))
        yield

    def record(self, stream):
        self.asked.append(("record", str(stream)))

    def elapsed_time(self, other):
        return 1000.0


def test_a_second_gpu_times_itself(monkeypatch):
    """cuda:1 and never the current GPU: what waits, what is recorded, what is counted, what is measured."""
    from mgie.io.devices import device_name

    recorded, part = Recorded(monkeypatch), torch.nn.Linear(4, 4)
    monkeypatch.setattr(bench.speed.bound, "RUNS", 1)
    monkeypatch.setattr(bench.speed.bound, "LARGEST", 2**16)
    with PretendedGPU(), torch.no_grad():
        part.to("cuda:1")
        with Stages({"part": part}, "cuda:1") as stages:
            part(torch.ones(1, 4, device="cuda:1"))
            assert stages.seconds() == {"part": 1.0}
        synchronise("cuda:1")
        reset_peak("cuda:1")
        assert peak_bytes("cuda:1") == 7 and device_name("cuda:1") == 7
        kind = Convolution((1, 3, 8, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1, "float32")
        monkeypatch.setattr(bench.speed.bound, "best_product", lambda device, dtype: recorded.answer("product", device))
        rates = rates_of("cuda:1", work_of(kinds=(kind,)))
    assert rates.products == {"float32": 7} and rates.convolutions["float32"] > 0
    names, devices = zip(*recorded.asked, strict=True)
    assert set(devices) == {"cuda:1"}
    assert {"synchronize", "record", "reset_peak_memory_stats", "max_memory_allocated", "product"} <= set(names)


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
