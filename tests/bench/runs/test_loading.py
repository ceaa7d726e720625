"""A model is loaded once, before the first slice; what cannot be loaded is said once, if plain before it is tried."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from drawn import draw_evr, draw_gier, draw_magicbrush
from tiny_diffusers import instruct_pix2pix

from bench.grid.jobs import Job, groups_of, run_group
from bench.run import main
from bench.runs import execute
from bench.runs.__main__ import main as list_runs
from mgie.io import memory
from mgie.io.devices import all_cores
from tests.bench.runs.test_resume import command, draw_ma5k, folder_of, seeded  # noqa: F401


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """The name of each model that is loaded, in order."""
    found, load = [], execute.load
    monkeypatch.setattr(execute, "load", lambda model: found.append(model.name) or load(model))
    return found


def test_out_of_memory_at_load_is_one_load_one_line_and_exit_2(tmp_path, capsys, monkeypatch, loads):
    def short(self) -> None:
        raise MemoryError("CUDA out of memory")

    monkeypatch.setattr("baselines.identity.Identity.load", short)
    monkeypatch.setattr("baselines.identity.Identity.edit", lambda *_: pytest.fail("nothing was to be edited"))
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path / "out")) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "warning"))]
    assert said == ["error: identity cannot be loaded: MemoryError: CUDA out of memory"] and loads == ["identity"]


def test_a_table_of_three_models_over_four_datasets_has_three_loads(tmp_path, capsys, loads):
    data = tmp_path / "data"
    for draw, name in ((draw_evr, "evr"), (draw_gier, "gier"), (draw_magicbrush, "magicbrush")):
        draw(data / name)
    draw_ma5k(data, photos=1)
    instruct_pix2pix(tmp_path / "weights" / "inspix2pix")
    fixed = ["--suite", "paper", "--data-root", str(data), "--weights", str(tmp_path / "weights"), "--metrics", "l1",
             "--out", str(tmp_path / "out"), "--limit", "2", "--num-inference-steps", "1", "--device", "cpu",
             "--seeds", "2", "--max-failures", "1"]  # fmt: skip
    jobs = [Job(("--model", m, "--dataset", d, *fixed), f"{d} {m}", m, False, 8, "cpu")
            for d in ("evr", "gier", "ma5k", "magicbrush") for m in ("identity", "inspix2pix", "oracle")]  # fmt: skip
    groups, told = groups_of(jobs, range(12), 2), []
    assert len(groups) == 3
    for group in groups:
        run_group([(i, jobs[i].argv) for i in group], told.append)
    ended = {place: more[0] for kind, place, *more in told if kind == "ended"}
    assert [ended[i].reason for i in range(12)] == [""] * 12
    assert sorted(loads) == ["identity", "inspix2pix", "oracle"]
    assert len(groups_of(jobs, range(12), 6)) == 6  # more cores than models: a model's cells are dealt to two


def test_a_model_that_cannot_be_loaded_is_tried_once_for_all_its_cells(tmp_path, monkeypatch, loads):
    def short(self) -> None:
        raise MemoryError

    monkeypatch.setattr("baselines.identity.Identity.load", short)
    told, data = [], draw_ma5k(tmp_path / "data", photos=1)
    argv = [tuple(command(data, tmp_path / out)[:-1]) for out in ("one", "two")]
    run_group(list(enumerate(argv)), told.append)
    reasons = [more[0].reason for kind, _, *more in told if kind == "ended"]
    assert len(reasons) == 2 and all("identity cannot be loaded" in r for r in reasons) and loads == ["identity"]


def test_loading_may_use_all_cores_and_the_work_after_it_as_many_as_before(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(7))
    before = torch.get_num_threads()
    with all_cores():
        assert torch.get_num_threads() == max(7, before)
    assert torch.get_num_threads() == before


def test_weights_that_plainly_do_not_fit_are_refused_with_what_would(tmp_path, monkeypatch):
    folder = instruct_pix2pix(tmp_path / "tiny") or tmp_path / "tiny"
    files = sorted(Path(folder).glob("*/*.safetensors"))
    whole = memory.weights_bytes(files, 4)
    assert whole == 2 * memory.weights_bytes(files, 2) > 0

    def parts(dtype: torch.dtype) -> dict[Path, float]:
        return {Path(folder) / name: dtype.itemsize for name in ("unet", "vae", "text_encoder")}

    assert memory.weights_bytes(files) <= sum(path.stat().st_size for path in files)
    monkeypatch.setattr(memory, "free_bytes", lambda device: whole - 1)
    with pytest.raises(ValueError, match=r"take .* GB as float32, and main memory has .*--dtype bfloat16 needs"):
        memory.refuse_too_large(parts, torch.float32, "cpu")
    memory.refuse_too_large(parts, torch.bfloat16, "cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda device: whole if device == "cpu" else 1)
    with pytest.raises(ValueError, match=r"cuda has .*--offload keeps them in main memory"):
        memory.refuse_too_large(parts, torch.float32, "cuda")
    memory.refuse_too_large(parts, torch.float32, "cuda", offload=True)


@pytest.mark.parametrize(
    "more", [["inspix2pix"], ["diffusers:WEIGHTS/inspix2pix"], ["mgie", "--form", "fz"], ["inspix2pix", "--rewrite",
             "lgie"], ["mgie"]], ids=" ".join,
)  # fmt: skip
def test_no_model_and_no_rewriter_is_loaded_that_does_not_fit(tmp_path, capsys, monkeypatch, more):
    weights, data = tmp_path / "weights", draw_ma5k(tmp_path / "data", photos=1)
    instruct_pix2pix(weights / "inspix2pix")
    for name in ("mgie", "lgie"):
        tiny.build(eyes=name == "mgie").save_pretrained(weights / f"{name}-e2e")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    for loader in ("baselines.loading.load_pipeline", "mgie.expressive.writer.open_writer", "mgie.folder.load"):
        monkeypatch.setattr(loader, lambda *_: pytest.fail("nothing was to be loaded"))
    asked = [part.replace("WEIGHTS", str(weights)) for part in more]
    argv = ["--suite", "paper", "--dataset", "ma5k", "--data-root", str(data), "--weights", str(weights), "--metrics",
            "l1", "--device", "cpu", "--out", str(tmp_path / "out"), "--model", *asked]  # fmt: skip
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "cannot be loaded: the weights in " in said and "as float32, and main memory has 0.0 GB free" in said


def test_log_txt_holds_what_was_said_and_how_it_ended(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=2)
    (data / "ma5k" / "images" / "0001_B.jpg").write_bytes(b"")
    assert main(command(data, tmp_path / "out", "--max-failures", "0.2")) == 0
    log = (folder_of(tmp_path / "out") / "log.txt").read_text()
    assert "started: " in log and "have no usable goal image" in log and log.endswith(" done\n")
    assert "━" not in log and "\r" not in log


def test_the_run_folders_are_listed_and_a_damaged_one_is_named(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path / "out")) == 0
    capsys.readouterr()
    assert list_runs(["--out", str(tmp_path / "out"), "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["dataset"], run["model"], run["form"], run["setting"]) == ("ma5k", "identity", "none", "zero-shot")
    assert (run["edited"], run["of"], run["seeds"], run["finished"], run["failures"]) == (10, 10, 2, True, 0)
    assert run["bytes"] > 0 and run["started"] and run["run"] == str(folder_of(tmp_path / "out"))
    (folder_of(tmp_path / "out") / "run.json").write_text("{")
    assert list_runs(["--out", str(tmp_path / "out")]) == 0
    assert "damaged: " in capsys.readouterr().out
    assert list_runs(["--out", str(tmp_path / "none")]) == 2
