"""--plan: what is missing with the commands, how many edits, and that nothing is touched; on worlds drawn here."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import draw_evr, draw_gier, draw_ma5k, draw_magicbrush

from baselines.identity import Identity
from baselines.oracle import Oracle
from bench.agreement.__main__ import main as agreement
from bench.controls.__main__ import main as controls
from bench.run import main as run
from bench.tables import main as table

ROOT = Path(__file__).parents[3]


def plan_of(capsys, command, argv) -> tuple[int, dict]:
    code = command([*argv, "--plan", "--json"])
    return code, json.loads(capsys.readouterr().out)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The four datasets, small, in the layouts of suite paper."""
    monkeypatch.chdir(tmp_path)
    for name, draw in (("evr", draw_evr), ("gier", draw_gier), ("ma5k", draw_ma5k), ("magicbrush", draw_magicbrush)):
        draw(tmp_path / "data" / name)
    return tmp_path


PAPER = ["--suite", "paper", "--data-root", "data"]


def table_of(*more: str) -> list[str]:
    return [
        "1",
        *PAPER,
        "--metrics",
        "l1",
        "--seeds",
        "2",
        "--max-failures",
        "0.5",
        "--models",
        "identity,oracle",
        *more,
    ]


class Counted:
    """How many examples each model was given."""

    def __init__(self, monkeypatch) -> None:
        self.edited = 0
        for kind in (Identity, Oracle):
            monkeypatch.setattr(kind, "edit", self.counting(kind.edit))

    def counting(self, edit):
        def counted(model, examples, settings, seeds):
            outputs = edit(model, examples, settings, seeds)
            self.edited += len(outputs)
            return outputs

        return counted


def bare(tmp_path, *argv: str) -> subprocess.CompletedProcess:
    empty = {name: str(tmp_path / "caches" / name) for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME")}
    env = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")} | empty
    code = f"import sys\nfrom bench.tables import main\ncode = main({list(argv)!r})\n"
    code += "assert 'torch' not in sys.modules, 'torch was imported'\nsys.exit(code)"
    folder = tmp_path / "checkout"
    folder.mkdir()
    env |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


def test_a_bare_checkout_is_told_all_that_table_1_lacks_with_the_commands_in_seconds(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = bare(tmp_path, "1", "--plan", "--suite", "paper")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    for command in (
        "python -m bench.fetch evr --data-root data", "python -m bench.fetch gier --data-root data",
        "python -m bench.fetch ma5k --data-root data", "python -m bench.fetch magicbrush:test --data-root data",
        "python -m bench.fetch inspix2pix --weights weights", "python -m bench.fetch mgie --weights weights",
        "python -m bench.fetch networks",
    ):  # fmt: skip
        assert f"    {command}" in lines
    assert any(line.startswith("    python -m mgie.train --preset 7b --model lgie") for line in lines)
    assert "make data weights" in lines[-1]
    # three models of 5 x 10,457 examples; the input copy once, and beside the rows codec copy and goal image
    assert "edits to make: 188,226" in done.stdout
    assert "size authors, batch 8" in done.stdout and "make table4" in done.stdout
    assert "evr--mgie-e2e--zero-shot--" in done.stdout
    assert all(len(line) <= 80 for line in lines if "python -m" not in line)
    assert list((tmp_path / "checkout").iterdir()) == [] and not (tmp_path / "caches").exists()
    assert used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime < 5


def test_networks_are_looked_for_below_the_root_that_is_named_and_the_advice_names_it(tmp_path):
    root = tmp_path / "scratch"
    clip = root / "networks" / "timm" / "vit_base_patch32_clip_224.openai" / "open_clip_model.safetensors"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"weights")
    done = bare(tmp_path, "1", "--plan", "--suite", "paper", "--weights", str(root))
    assert "network clip" not in done.stdout and "network dino" in done.stdout
    assert f"    python -m bench.fetch networks --weights {root}" in done.stdout.splitlines()


@pytest.mark.parametrize("main, edits", [(controls, {"identity", "oracle", "black", "mgie"}), (agreement, {"mgie"})])
def test_controls_and_agreement_tell_their_plan_and_touch_nothing(world, capsys, main, edits):
    before = tree(world)
    more = ["--model", "mgie"] if main is controls else ["--models", "mgie"]
    code, plan = plan_of(capsys, main, [*PAPER, "--datasets", "ma5k", "--metrics", "l1", *more])
    assert code == 1 and plan["missing"]  # mgie has no weights here
    assert {cell["model"] for cell in plan["cells"]} == edits and tree(world) == before


def test_a_gpu_that_is_named_need_not_be_here(tmp_path):
    done = bare(tmp_path, "1", "--plan", "--suite", "paper", "--for", "a100-40gb")
    assert done.returncode == 1
    assert "a100-40gb" in done.stdout and "40.0 GB there: fits" in done.stdout
    assert "not told for another device" in done.stdout


def test_the_plans_number_of_edits_is_what_is_then_made(world, capsys, monkeypatch):
    code, plan = plan_of(capsys, table, table_of())
    assert code == 0 and plan["complete"] and all(cell["counted"] for cell in plan["cells"])
    before, made = tree(world), Counted(monkeypatch)
    assert table([*table_of(), "--plan"]) == 0  # in words as well
    assert tree(world) == before and made.edited == 0  # nothing is written, nothing edited
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    capsys.readouterr()
    for cell in plan["cells"]:
        made.edited = 0
        assert run(cell["command"][3:]) == 0
        assert made.edited == cell["edits"] > 0
        assert Path(cell["folder"]).joinpath("done.json").is_file()
    capsys.readouterr()
    code, plan = plan_of(capsys, table, table_of())
    assert (code, plan["edits"]) == (0, 0)
    assert table([*table_of(), "--plan"]) == 0
    assert capsys.readouterr().out.count("  done") == 8


def test_of_a_half_done_run_only_what_is_left_counts(world, capsys, monkeypatch):
    argv = [*PAPER, "--dataset", "ma5k", "--model", "oracle", "--metrics", "l1", "--batch-size", "4"]
    assert run([*argv, "--json"]) == 0
    folder = Path(json.loads(capsys.readouterr().out)["run"])
    (folder / "done.json").unlink()
    lines = (folder / "edits.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "edits.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:-9])  # killed within the second slice of 4
    before = tree(world)
    code, plan = plan_of(capsys, run, argv)
    assert (code, plan["edits"]) == (0, len(lines) - 4)  # a broken slice is made again whole
    assert tree(world) == before  # the cut line, too, is left as it is
    made = Counted(monkeypatch)
    assert run(argv) == 0
    assert made.edited == len(lines) - 4


def test_an_input_that_is_not_there_is_no_edit(world, capsys, monkeypatch):
    argv = [*PAPER, "--dataset", "ma5k", "--model", "identity", "--metrics", "l1"]
    _, whole = plan_of(capsys, run, argv)
    missing = sorted((world / "data" / "ma5k" / "images").glob("*_O.jpg"))
    for path in missing[:6]:
        path.unlink()
    code, plan = plan_of(capsys, run, argv)
    gone = whole["edits"] - plan["edits"]
    assert gone > 0 and code == 1 and [lack["kind"] for lack in plan["missing"]] == ["images"]
    assert plan["missing"][0]["command"] == "python -m bench.fetch ma5k --data-root data"
    made = Counted(monkeypatch)
    assert run([*argv, "--max-failures", "1"]) in (0, 2) and made.edited == plan["edits"]


def test_images_that_were_not_given_are_no_edits(world, capsys):
    (world / "mine").mkdir()
    argv = [*PAPER, "--dataset", "magicbrush", "--model", "mine", "--images", "mine", "--metrics", "l1"]
    names = [f"magicbrush__test__10{s}-1.png" for s in range(5)]
    for name in names:
        source = world / "data" / "magicbrush" / "test" / "images" / name.split("__")[2][:3]
        (world / "mine" / name).write_bytes(next(source.glob("*-input.png")).read_bytes())
    code, plan = plan_of(capsys, run, argv)
    assert code == 1 and "14 of 19 examples have no image" in plan["missing"][0]["why"]
    code, plan = plan_of(capsys, run, [*argv, "--max-failures", "1"])
    assert (code, plan["edits"]) == (0, len(names))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--plan", "--for", "a100"], "a100-40gb or a100-80gb"),
        (["--plan", "--for", "mycard"], "unknown"),
        (["--for", "a100-40gb"], "goes with --plan"),
        (["--json"], "goes with --plan"),
        (["--plan", "--data-root", "s3://bucket/data"], "local folders"),
    ],
)
def test_wrong_use_of_the_plan_ends_with_2(argv, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert table(["1", "--suite", "paper", *argv]) == 2
    assert says in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_run_of_a_model_or_dataset_that_is_not_known_is_wrong_use(capsys, world):
    assert run([*PAPER, "--dataset", "ma5k", "--model", "mgi", "--plan"]) == 2
    assert run([*PAPER, "--dataset", "nope", "--model", "mgie", "--plan", "--metrics", "l1"]) == 2
    assert "mgi" in (said := capsys.readouterr().err) and "nope" in said


def test_the_time_is_told_from_what_was_run_on_this_device(world, capsys):
    argv = [*PAPER, "--dataset", "ma5k", "--model", "oracle", "--metrics", "l1", "--batch-size", "1"]
    _, plan = plan_of(capsys, run, argv)
    assert plan["seconds"] is None
    assert run([*argv, "--limit", "4"]) == 0
    capsys.readouterr()
    code, plan = plan_of(capsys, run, argv)
    (cell,) = plan["cells"]
    assert code == 0 and cell["edits"] == cell["examples"] > 4
    assert 0 < plan["seconds"] < 60 and cell["time_by"].startswith("the run ma5k--oracle")
    _, elsewhere = plan_of(capsys, run, [*argv, "--for", "h100"])
    assert elsewhere["seconds"] is None


def test_table_4_tells_the_time_before_data_and_weights_are_there(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["1", "--suite", "paper", "--device", "cpu", "--models", "mgie", "--datasets", "evr"]
    _, plan = plan_of(capsys, table, argv)
    timing = {"model": "mgie", "device": plan["device"]["name"], "dtype": "float32", "steps": 50, "compiled": False,
              "batch": 4, "seconds": 60.0}  # fmt: skip
    kept = tmp_path / "runs" / "paper" / "timing" / "mgie--4--0123abcd.json"
    kept.parent.mkdir(parents=True)
    for steps, seconds in ((50, None), (100, 15.0)):  # the paper's steps are 100
        kept.write_text(json.dumps(timing | {"steps": steps}))
        _, plan = plan_of(capsys, table, argv)
        edits, *copies = plan["cells"]
        assert edits["seconds"] == (seconds and seconds * edits["edits"])
        assert edits["time_by"] == (seconds and "Table 4, batch 4") and plan["missing"]
        assert all(cell["seconds"] is None for cell in copies)
    table([*argv, "--plan"])
    said = " ".join(capsys.readouterr().out.split())
    assert "measured by Table 4, batch 4" in said and "make table4" not in said


def test_a_plan_of_many_cells_reads_each_file_once(world, monkeypatch, capsys):
    from bench.runs import digests

    read: list[str] = []
    monkeypatch.setattr(digests, "HELD", {})
    monkeypatch.setattr(digests, "SETTLED", -1.0)  # drawn a moment ago, and yet taken for settled
    monkeypatch.setattr(digests, "fault_of", lambda path: read.append(str(path)) or "")
    argv = [
        "1",
        *PAPER,
        "--metrics",
        "l1",
        "--max-failures",
        "0.5",
        "--models",
        "identity,oracle",
        "--datasets",
        "ma5k",
    ]
    assert plan_of(capsys, table, argv)[0] == 0
    assert read and len(read) == len(set(read))


@pytest.mark.parametrize("command", [controls, agreement])
def test_what_metrics_reward_and_how_they_agree_is_planned_too_and_nothing_is_run(command, world, capsys, monkeypatch):
    before, made = tree(world), Counted(monkeypatch)
    _, plan = plan_of(capsys, command, [*PAPER, "--datasets", "ma5k", f"--model{'s' * (command is agreement)}",
                                        "identity", "--metrics", "l1", "--max-failures", "0.5"])  # fmt: skip
    assert plan["complete"] and plan["edits"] > 0
    assert len(plan["cells"]) == (5 if command is controls else 1)
    assert tree(world) == before and made.edited == 0
