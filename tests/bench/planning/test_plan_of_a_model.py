"""--plan of a model that computes: edits, memory, device; and that suite paper goes to the CPU only when told to."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from drawn import draw_gier, draw_ma5k, draw_magicbrush, picture

from bench.planning.device import named
from bench.planning.memory import TRUE_SIZES
from bench.planning.seconds import unknown
from bench.run import main as run
from bench.tables import main as table
from mgie.folder import MINI
from mgie.io import devices
from mgie.io.images import png
from mgie.presets import PRESETS, parameters

ARGV = ["--suite", "paper", "--data-root", "data", "--dataset", "ma5k", "--model", "inspix2pix", "--weights", str(MINI),
        "--size", "square:64", "--metrics", "l1", "--seeds", "2", "--batch-size", "2", "--limit", "3",
        "--num-inference-steps", "2"]  # fmt: skip


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_ma5k(tmp_path / "data" / "ma5k")
    return tmp_path


@pytest.fixture
def no_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "no driver")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def planned(capsys, *argv: str) -> tuple[int, dict]:
    code = run([*argv, "--plan", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_model_is_planned_refused_in_silence_and_run_when_told_to(world, no_gpu, capsys):
    code, plan = planned(capsys, *ARGV)  # whole, though the run would begin nothing
    (cell,) = plan["cells"]
    assert (code, cell["examples"], cell["seeds"], cell["edits"], cell["batch"]) == (1, 3, 2, 6, 2)
    assert [lack["kind"] for lack in plan["missing"]] == ["GPU"] and "--device cpu" in plan["missing"][0]["why"]
    assert planned(capsys, *ARGV, "--for", "h100")[0] == 0  # another machine's: this one need not have a GPU
    sizes = [p.stat().st_size for p in (MINI / "inspix2pix").glob("*/*.safetensors")]
    assert sum(sizes) <= cell["memory"]["weights"] * 1.01 <= 2.2 * sum(sizes)  # shipped in half, run in float32
    assert plan["fits"] is True and cell["memory"]["working"] > 0

    assert run(ARGV) == 2
    said = capsys.readouterr().err
    assert "no GPU" in said and "no NVIDIA driver" in said and "--device cpu" in said
    assert not (world / "runs").exists()  # nothing was begun
    tables = ["1", *ARGV[:4], *ARGV[8:], "--models", "identity,inspix2pix", "--datasets", "ma5k"]
    assert table(tables) == 2 and "--device cpu" in capsys.readouterr().err
    assert not (world / "runs" / "paper").exists()  # nor of the models that would need none

    assert run([*ARGV, "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("suite paper: ")
    assert lines[1].startswith("device: ") and "(cpu), float32" in lines[1]
    edits = Path(cell["folder"]).joinpath("edits.jsonl").read_text().splitlines()
    assert len(edits) == cell["edits"]
    code, again = planned(capsys, *ARGV, "--seeds", "3", "--device", "cpu")
    assert (code, again["edits"]) == (0, 3)  # the third seed's
    assert again["cells"][0]["time_by"].startswith("the run ma5k--inspix2pix")


def test_models_that_compute_nothing_need_no_device(world, no_gpu, capsys):
    argv = [word if word != "inspix2pix" else "identity" for word in ARGV]
    assert run(argv) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("device: ")


def test_a_table_says_its_device_and_dtype_first(world, no_gpu, capsys):
    argv = ["1", *ARGV[:4], "--models", "identity", "--datasets", "ma5k", "--metrics", "l1", "--limit", "2"]
    assert table(argv) == 0
    assert "(cpu), float32" in capsys.readouterr().out.splitlines()[1]
    assert table([*argv, "--device", "cpu", "--dtype", "bfloat16"]) == 0
    assert "(cpu), bfloat16" in capsys.readouterr().out.splitlines()[1]


def test_memory_is_held_against_what_the_gpu_has(world, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA Pretended")
    for free, fits in ((10**12, True), (10**6, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_, free=free: (free, free))
        code, plan = planned(capsys, *ARGV)
        assert code == (not fits) and plan["device"]["name"] == "NVIDIA Pretended" and plan["device"]["kind"] == "cuda"
        assert plan["fits"] is fits
    assert run([*ARGV, "--plan"]) == 1
    said = capsys.readouterr().out
    assert "device: NVIDIA Pretended (cuda)" in said and "does not fit" in said and "--offload" in said


def test_what_does_not_fit_a_cpu_is_missing_and_offload_is_no_way_out_there(world, no_gpu, monkeypatch, capsys):
    monkeypatch.setattr("bench.planning.device.free_bytes", lambda kind: 10**6)
    argv = [*ARGV, "--device", "cpu", "--plan"]
    assert run(argv) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "memory of " in said and "--dtype bfloat16" in said and "--offload" not in said


def test_a_disk_with_too_little_room_is_missing(world, no_gpu, monkeypatch, capsys):
    for free, kinds in ((10**9, []), (10, ["disk"])):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        code, plan = planned(capsys, *ARGV, "--device", "cpu")
        assert code == len(kinds) and [lack["kind"] for lack in plan["missing"]] == kinds
        assert plan["disk"] > plan["disk_free"] if kinds else plan["disk"] < plan["disk_free"]
    assert "--out" in plan["missing"][0]["why"]


def test_weights_that_are_not_here_have_the_true_models_sizes():
    counted = parameters(PRESETS["7b"])
    assert {name: TRUE_SIZES[name] for name in counted} == counted


@pytest.mark.parametrize(
    ("text", "gigabytes"),
    [("a100-40gb", 40), ("A100-80GB", 80), ("h100", 80), ("NVIDIA A100-40GB", 40), ("rtx4090", 24), ("RTX 3090", 24),
     ("anything-12gb", 12), ("a100 80gb", 80)],
)  # fmt: skip
def test_gpus_are_named_with_their_memory(text, gigabytes):
    device = named(text)
    assert device.memory == gigabytes * 10**9 and device.kind == "cuda" and device.named


def test_where_nothing_was_measured_it_says_what_measures_it_and_how_long_that_takes():
    from bench.planning.device import Device

    assert unknown("mini", Device("a CPU", "cpu", None)).startswith("not known: make table4 measures it in about ")
    assert "22 minutes" in unknown("paper", Device("a GPU", "cuda", None))


def test_a_table_of_models_plans_the_copies_that_it_runs_beside_its_rows(world, capsys):
    argv = ["1", *ARGV[:4], *ARGV[8:], "--models", "inspix2pix", "--datasets", "ma5k", "--plan", "--json"]
    assert table([*argv, "--device", "cpu"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [cell["model"] for cell in cells] == ["inspix2pix", "codec", "oracle"]
    assert all("l1,l1@input" in cell["command"] for cell in cells)  # whether a row edits at all


def test_memory_is_that_of_the_larger_of_rewriter_and_editor_and_with_offload_of_the_largest_part(world, capsys):
    def weights(root: str, *more: str) -> int:
        argv = [word if word != str(MINI) else root for word in ARGV]
        return planned(capsys, *argv, "--for", "h100", *more)[1]["cells"][0]["memory"]["weights"]

    for root in (str(MINI), "nowhere"):
        assert weights(root, "--offload") < weights(root) <= weights(root, "--rewrite", "mgie")
    writing = 2 * sum(TRUE_SIZES[name] for name in ("llama", "tower", "projector"))
    assert weights("nowhere", "--rewrite", "mgie") == writing > weights("nowhere")
    assert weights("nowhere", "--model", "mgie", "--offload") == writing  # the LLM comes with its eyes


def test_a_rewriter_that_is_not_here_is_missing_beside_the_editor_that_is_not(world, capsys):
    argv = [word if word != str(MINI) else "nowhere" for word in ARGV]
    code, plan = planned(capsys, *argv, "--rewrite", "mgie", "--for", "h100")
    lacks = {lack["name"]: lack for lack in plan["missing"]}
    assert code == 1 and set(lacks) == {"inspix2pix", "rewriter mgie"}
    assert all(lack["kind"] == "weights" and "bench.fetch" in lack["command"] for lack in lacks.values())
    argv = [*ARGV, "--rewrite", "a/folder/that/is/none"]
    code, plan = planned(capsys, *argv, "--for", "h100")
    assert code == 1 and "no rewriter" in plan["missing"][0]["why"]


def test_later_turns_of_an_input_that_cannot_be_read_count_before_anything_is_edited(tmp_path, capsys):
    draw_magicbrush(tmp_path / "data" / "magicbrush", count=3)
    next((tmp_path / "data").rglob("102-input.png")).write_bytes(b"no image")
    argv = ["--suite", "paper", "--size", "native", "--data-root", str(tmp_path / "data"), "--dataset", "magicbrush",
            "--turns", "multi", "--model", "identity", "--metrics", "l1", "--out", str(tmp_path / "runs")]  # fmt: skip
    argv += ["--max-failures", "0.4"]
    for more, code in ((["--plan"], 1), ([], 1), (["--plan", "--max-failures", "0.5"], 0)):
        assert run([*argv, *more]) == code
        assert "3 of 6 examples have no usable input image" in " ".join(" ".join(capsys.readouterr()).split())
    assert not list((tmp_path / "runs").rglob("edits.jsonl"))


@pytest.mark.parametrize(
    ("draw", "file", "data", "says"),
    [
        (draw_gier, "aa4_aa4_mask.json", b"[{", "mask file cannot be read"),
        (draw_magicbrush, "100-mask1.png", png(picture(3, (20, 20))), "no pixel of it is transparent"),
    ],
)
def test_a_mask_that_cannot_be_used_counts_before_anything_is_edited(tmp_path, capsys, draw, file, data, says):
    name = draw.__name__.removeprefix("draw_")
    draw(tmp_path / "data" / name)
    next((tmp_path / "data").rglob(file)).write_bytes(data)
    argv = ["--suite", "paper", "--size", "native", "--data-root", str(tmp_path / "data"), "--dataset", name,
            "--model", "identity", "--metrics", "l1@outside", "--out", str(tmp_path / "runs")]  # fmt: skip
    for more in (["--plan"], []):
        assert run([*argv, *more]) == 1
        said = " ".join(" ".join(capsys.readouterr()).split())
        assert "have no usable mask" in said and says in said
    assert not list((tmp_path / "runs").rglob("edits.jsonl"))
