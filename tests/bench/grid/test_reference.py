"""Made here, and accepted: what a command makes never feeds the gate, and every table says how the two compare."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import draw_ma5k

from bench.check import main as check
from bench.clip_score import main as clip_score
from bench.grid import reference
from bench.grid.accept import command_of, names_of, with_companions, without_pictures
from bench.grid.cells import Cell, Options, argv_of
from bench.grid.gate import Check, Tolerance
from bench.grid.reference import against, compared, made_here, rows_of
from bench.grid.stored import read_scores, scores_name, write_scores
from bench.mini import claims
from bench.mini.evidence import Runs
from bench.records import Score
from bench.report import main as report
from bench.run import main as run
from bench.stats import summarise
from bench.tables import main as tables
from bench.tradeoff import main as tradeoff
from mgie.folder import MINI
from tests.bench.mini.test_claims import runs  # noqa: F401

ROOT = Path(__file__).parents[3]
MINI_CLIP = MINI / "mini-clip"
HEAD = "dataset,model,setting,form,metric,mean,n,protocol,reason\n"


def table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return path


def test_a_table_ends_with_how_many_cells_agree_and_names_those_that_do_not(tmp_path):
    table(tmp_path / "ref" / "mini" / "table1.csv", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,",
          "ma5k,lgie,zero-shot,e2e,l1,0.2,8,p,", "ma5k,lgie,zero-shot,e2e,ssim,0.5,8,p,",
          "all,mgie,zero-shot,e2e,seconds,1.0,8,p,")  # fmt: skip
    made = table(tmp_path / "made" / "table1.csv", "ma5k,mgie,zero-shot,e2e,l1,0.10001,8,p,",
                 "ma5k,lgie,zero-shot,e2e,l1,0.21,8,p,", "ma5k,lgie,zero-shot,e2e,ssim,0.5,8,another,",
                 "all,mgie,zero-shot,e2e,seconds,9.0,8,p,")  # fmt: skip
    said = against(made, "mini", tmp_path / "ref")
    assert said[0].endswith("table1.csv: 1 of 3 cells agree within tolerance.")
    assert "ma5k lgie zero-shot e2e l1: here 0.21, accepted 0.2 (+0.01, tolerance 0.0004)" in said[1]
    assert "here another, accepted p (another protocol)" in said[2] and len(said) == 3


def test_a_selection_is_compared_with_the_whole_and_nothing_to_compare_with_is_said(tmp_path):
    table(tmp_path / "ref" / "mini" / "table1.csv", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,")
    made = table(tmp_path / "made" / "table1-only-mgie.csv", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,")
    assert "1 of 1 cells agree" in against(made, "mini", tmp_path / "ref")[0]
    other = table(tmp_path / "made" / "table2.csv", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,")
    (line,) = against(other, "mini", tmp_path / "ref")
    assert line.startswith("Nothing to compare with: ") and line.endswith("holds no table2.csv.")


def test_cells_of_which_none_is_accepted_are_nothing_to_compare_with_and_some_are_counted(tmp_path):
    table(tmp_path / "ref" / "mini" / "table1.csv", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,")
    cells = ["ma5k,mgie,zero-shot,e2e,l2,0.1,8,p,", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,"]
    (line,) = against(table(tmp_path / "made" / "table1-only-l2.csv", cells[0]), "mini", tmp_path / "ref")
    assert line.startswith("Nothing to compare with: ") and line.endswith("holds no number of a cell made here.")
    said = against(table(tmp_path / "made" / "table1-only-l1_l2.csv", *cells), "mini", tmp_path / "ref")
    assert "1 of 1 cells agree" in said[0] and said[1:] == ["  1 cells made here are not accepted"]


def test_a_cell_that_moved_with_another_number_of_seeds_says_so():
    old = {"": "0.1", "metric": "l1", "n": "8", "seeds": "1"}
    (moved,) = compared({("a",): old}, {("a",): old | {"": "0.2", "seeds": "3"}}, {}).moved
    assert moved.why.endswith("another number of seeds")
    (same,) = compared({("a",): old}, {("a",): old | {"seeds": "3"}}, {}).moved
    assert (same.here, same.accepted, same.why) == ("3", "1", "another number of seeds")


def test_no_op_and_over_edit_rates_are_cells_of_their_own(tmp_path):
    path = tmp_path / "rates1.csv"
    path.write_text("dataset,model,rate,value\nma5k,mgie,no-op,0.1\nma5k,mgie,over-edit,0.2\n")
    assert set(rows_of(path)) == {("ma5k", "mgie", "no-op"), ("ma5k", "mgie", "over-edit")}


def test_the_processor_of_the_accepted_numbers_is_named(tmp_path):
    table(tmp_path / "ref" / "mini" / "table1.csv", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,")
    (tmp_path / "ref" / "mini" / "origin.json").write_text(json.dumps({"table1": {"processor": "Abacus 1"}}))
    made = table(tmp_path / "made" / "table1.csv", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,")
    assert "another processor: accepted on Abacus 1, here " in against(made, "mini", tmp_path / "ref")[0]


def test_a_cell_that_was_not_run_here_does_not_agree_and_shows_why():
    old, new = {"": "0.1", "metric": "l1"}, {"": "", "metric": "l1", "reason": "not run: no weights"}
    found = compared({("a",): old}, {("a",): new}, {})
    assert found.agree == 0 and found.moved[0].here == "not run: no weights"


def test_no_command_takes_the_reference_as_its_place_for_results(capsys):
    for argv in (["1", "--results", str(reference.REFERENCE)], ["1", "--results", str(reference.REFERENCE / "mini")]):
        with pytest.raises(SystemExit):
            tables(argv)
        assert "only make accept writes there" in capsys.readouterr().err
    assert made_here("results") == Path("results")


def test_a_link_into_the_reference_is_no_place_for_results(tmp_path):
    (tmp_path / "mini").symlink_to(reference.REFERENCE / "mini")
    with pytest.raises(argparse.ArgumentTypeError, match="only make accept writes there"):
        made_here(str(tmp_path))


def test_a_damaged_accepted_table_is_not_compared_with_and_ends_no_command(tmp_path):
    made = table(tmp_path / "mini" / "here.csv", "ma5k,mgie,zero-shot,e2e,l1,0.1,8,p,")
    (tmp_path / "reference" / "mini").mkdir(parents=True)
    (tmp_path / "reference" / "mini" / "here.csv").write_text(f"mean\n{200_000 * '1'}\n")
    (line,) = against(made, "mini", tmp_path / "reference")
    assert line.startswith("Not compared with") and "field larger than" in line


def test_every_accepted_name_has_the_command_that_makes_it():
    folder = reference.REFERENCE / "mini"
    names = names_of(folder)
    assert {"check", "table1", "table1-fresh", "table1-test", "table2", "table3", "figure3", "figure4", "claims",
            "claims-fresh", "ablations"} <= set(names)  # fmt: skip
    assert names.index("claims-fresh") > names.index("table2")  # which trains what the claims look at
    made = {name: command_of(name, "mini", folder) for name in names if name != "check"}
    assert made["table1-test"] == ["bench.tables", "1", "--suite", "mini", "--split", "test", "--seeds", "5"]
    assert made["table2-fresh-only-ma5k"][-4:-1] == ["--datasets", "ma5k", "--models"]
    assert made["claims-fresh"] == ["bench.mini.claims", "--split", "fresh"]
    assert set(with_companions(["table3"], folder)) == {"table3", "check", "table1", "table2", "rewrite"}
    with pytest.raises(ValueError, match="unknown name 'table9'"):
        command_of("table9", "mini", folder)


def test_a_picture_that_is_not_accepted_is_named_in_place_of_a_broken_link(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    text = without_pictures("![one](a.png) ![two](b.png)", tmp_path)
    assert text == "![one](a.png) (two: b.png, drawn by the command)"


# the gate cannot be fed by its subject

FIGURES = {
    "figure3": (tradeoff, "--models", "identity", "--image-guidance-scales", "1.4"),
    "figure4": (clip_score,),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A small checkout: drawn data, an accepted reference of the metric as it is, and runs of it made 1 % higher."""
    root = tmp_path_factory.mktemp("fed")
    draw_ma5k(root / "data" / "ma5k")
    on_cpu = ("--device", "cpu", "--metric-device", "cpu")

    def make(out: str, *extra: str) -> None:
        options = Options(metrics=("l1",), data_root=root / "data", out=root / out, extra=(*on_cpu, *extra))
        for setting in ("zero-shot", "fine-tuned"):
            assert run(argv_of(Cell("paper", "ma5k", "identity", setting), options)) == 0

    make("before")
    folders = sorted((root / "before" / "paper").glob("ma5k--identity--*"))
    folder = next(f for f in folders if json.loads((f / "run.json").read_text())["setting"] == "zero-shot")
    stored = [Score(**json.loads(line)) for line in (folder / "scores.jsonl").read_text().splitlines()]
    name, place = scores_name("ma5k", "identity", "zero-shot", "none"), root / "results" / "reference" / "paper"
    write_scores(place / "scores" / name, stored)
    ids = tuple(dict.fromkeys(s.example_id for s in stored))
    found = Check("paper", "", 1, 10, ("identity",), ("ma5k",), ids, ("l1",), {name: len(stored)},
                  {"l1": Tolerance(0.01, 0.002, "stated in the test")})  # fmt: skip
    (place / "check.json").write_text(found.to_json())
    import bench.metrics.l1 as module

    right, patch = module.l1, pytest.MonkeyPatch()
    patch.setattr(module, "l1", lambda output, goal: 1.01 * right(output, goal))
    make("runs")
    make("slice", "--limit", "10")
    patch.undo()
    return root


@pytest.mark.parametrize("command", ["table1", "table2", "table3", "figure3", "figure4", "claims", "report"])
def test_a_metric_moved_by_one_percent_stays_red_whatever_command_was_run(world, monkeypatch, capsys, command, request):
    monkeypatch.chdir(world)
    accepted = world / "results" / "reference"
    monkeypatch.setattr(reference, "REFERENCE", accepted)
    before = {p: p.read_bytes() for p in accepted.rglob("*.*")}
    suite = ["--suite", "paper", "--data-root", "data"]
    gate = [*suite, "--reference", "results/reference", "--runs-out", "slice"]
    assert check(gate) == 1 and "mean of l1 moved by" in capsys.readouterr().out
    if command == "report":
        made = list((world / "results" / "paper").glob("*.md"))  # by the other cases, if they ran
        assert report(["--suite", "paper"]) == (0 if made else 2)
    elif command in FIGURES:
        argv = [*suite, "--datasets", "ma5k", "--clip", str(MINI_CLIP), *FIGURES[command][1:]]
        assert FIGURES[command][0](argv) == 0
        assert "Nothing to compare with" in capsys.readouterr().out
        assert list((world / "results" / "paper").glob(f"{command}*.csv"))
    elif command == "claims":
        monkeypatch.setattr(Runs, "run", lambda _: request.getfixturevalue("runs"))
        monkeypatch.setattr(claims, "clip_s", lambda runs: [])
        assert claims.main(["--datasets", "magicbrush,ma5k"]) == 0
        assert "Nothing to compare with" in capsys.readouterr().out
        assert list((world / "results" / "mini").glob("claims*.csv"))
    else:
        argv = [command[-1], *suite, "--models", "identity", "--datasets", "ma5k", "--metrics", "l1", "--seeds", "1"]
        assert tables([*argv, "--device", "cpu", "--metric-device", "cpu"] if has_device() else argv) == 0
        assert "Nothing to compare with" in capsys.readouterr().out
        (made,) = (world / "results" / "paper").glob(f"{command}*l1.csv")
        (row,) = (r for r in rows_of(made).values() if r["metric"] == "l1")
        stored = read_scores(accepted / "paper" / "scores" / scores_name("ma5k", "identity", "zero-shot", "none"))
        assert float(row["mean"]) == pytest.approx(1.01 * summarise(stored).mean)  # the subject's own results moved
    assert check(gate) == 1 and "mean of l1 moved by" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in accepted.rglob("*.*")} == before


def has_device() -> bool:
    from bench.tables import table_parser

    return "--device" in table_parser().format_help()


def ignored(*paths: str) -> set[str]:
    done = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_what_commands_make_is_ignored_by_git_and_what_is_accepted_is_not():
    made = {"results/mini/table1.csv", "results/mini/training/vae/train.csv", "results/mini/speed/startup.csv",
            "results/published/table1.csv", "results/paper/table1.csv", "runs/mini/x/run.json", "data/mini-0/x.png",
            "votes/mini.sqlite"}  # fmt: skip
    kept = {"results/reference/mini/table1.csv", "results/paper/reported.csv", "results/speed/scale.csv"}
    assert ignored(*made, *kept) == made


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_documented_commands_leave_a_clean_clone_clean(tmp_path):
    """With the reference write-protected too (which the superuser does not notice). About 15 minutes on one core."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for path in (clone / "results" / "reference").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    env = {**os.environ, "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    commands = ("bench.tables 1", "bench.tables 3", "bench.clip_score", "bench.tradeoff --image-guidance-scales 1.0",
                "bench.gallery", "bench.tables rewrite", "bench.controls", "bench.agreement", "bench.standings",
                "bench.timing --model inspix2pix --batch-sizes 1", "bench.export --dataset ma5k --to runs/mine",
                "bench.report", "bench.check", "mgie.mini.make", "mgie.mini.sheets")  # fmt: skip
    for command in commands:
        done = subprocess.run([sys.executable, "-B", "-m", *command.split()], cwd=clone, env=env, capture_output=True)
        assert done.returncode == 0, (command, done.stderr[-2000:])
        status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
        assert status.stdout == "", command
