"""The gate is green on a rerun, red on everything else: drift, missing, extra, damaged, empty, never compared."""

import gzip
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from drawn import draw_ma5k
from stopping import Stopped

from bench.check import main
from bench.grid.cells import Cell, Options, argv_of
from bench.grid.gate import Check, Findings, Tolerance, compare, read_check
from bench.grid.stored import read_scores, scores_name, write_scores
from bench.records import Score
from bench.run import main as run

CELL = Cell("mini", "ma5k", "identity")
NAME = scores_name("ma5k", "identity", "zero-shot", "none")
IDS = tuple(f"ma5k/test/{i:04d}_A" for i in range(8))


def scores(change=lambda s: s, ids=IDS) -> list[Score]:
    made = [
        Score(i, i[:14], 0, metric, round(0.05 + 0.03 * place + 0.4 * (metric == "ssim"), 6), "", f"{metric} p")
        for place, i in enumerate(ids) for metric in ("l1", "ssim")
    ]  # fmt: skip
    return [change(s) for s in made]


def check_of(**changes) -> Check:
    tolerances = {m: Tolerance(0.01, 0.002, "stated in the test") for m in ("l1", "ssim")}
    made = Check("mini", "quick", 1, 8, ("identity",), ("ma5k",), IDS, ("l1", "ssim"), {NAME: 16}, tolerances)
    return replace(made, **changes)


def moved(fresh, stored=None, **changes) -> Findings:
    return compare(check_of(**changes), CELL, scores() if stored is None else stored, fresh)


def test_equal_scores_are_green_and_all_of_them_are_compared():
    report = moved(scores())
    assert report.green and len(report.moves) == 16 and report.problems == []


def test_noise_within_the_tolerance_is_green():
    noisy = scores(lambda s: replace(s, value=s.value + (0.0009 if int(s.example_id[13]) % 2 else -0.0009)))
    assert moved(noisy).green


def test_a_drift_of_one_percent_in_one_metric_is_red_though_each_example_is_within_its_tolerance():
    drifted = scores(lambda s: replace(s, value=s.value * 1.01) if s.metric == "l1" else s)
    report = moved(drifted)
    assert not report.green and all(m.share <= 1 for m in report.moves)
    assert len(report.problems) == 1 and "mean of l1" in report.problems[0] and "+1.00%" in report.problems[0]


def test_one_example_that_moved_is_red_though_the_mean_barely_did():
    report = moved(scores(lambda s: replace(s, value=s.value + 0.011) if s.example_id == IDS[3] else s),
                   tolerances={m: Tolerance(0.01, 1.0, "") for m in ("l1", "ssim")})  # fmt: skip
    assert not report.green and [m.example_id for m in report.moves if m.share > 1] == [IDS[3], IDS[3]]


@pytest.mark.parametrize("side", ["fresh", "stored"])
def test_a_missing_example_is_red_on_either_side(side):
    fewer = [s for s in scores() if s.example_id != IDS[5]]
    report = moved(fewer) if side == "fresh" else moved(scores(), fewer)
    assert not report.green and any(side in p and "missing" in p and IDS[5] in p for p in report.problems)


def test_an_example_that_check_json_does_not_list_is_red():
    report = moved(scores(ids=(*IDS, "ma5k/test/9999_A")))
    assert not report.green and "9999_A" in report.problems[0]


def test_a_row_too_many_or_too_few_in_the_stored_file_is_red_even_outside_the_slice():
    more = [*scores(), Score("ma5k/test/9999_A", "g", 0, "l1", 0.1, "", "l1 p")]
    assert "17 scores are stored, check.json says 16" in moved(scores(), more).problems[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: replace(s, protocol="another"), "protocol"),
        (lambda s: replace(s, value=None, reason="too small"), "too small"),
        (lambda s: replace(s, value=float("nan")), "finite"),
    ],
)
def test_another_protocol_a_lost_value_and_nan_are_red(change, says):
    report = moved(scores(lambda s: change(s) if (s.example_id, s.metric) == (IDS[0], "l1") else s))
    assert not report.green and any(says in p for p in report.problems)


def test_a_score_that_is_there_twice_is_red():
    assert "twice" in " ".join(moved([*scores(), scores()[0]]).problems)


def test_nothing_compared_is_red():
    assert not Findings([], []).green
    nothing = scores(lambda s: replace(s, value=None, reason="too small"))
    assert not moved(nothing, nothing).green


def test_a_zero_that_stays_zero_is_green_and_one_that_moves_is_red():
    zeros = scores(lambda s: replace(s, value=0.0))
    assert moved(zeros, zeros).green
    assert not moved(scores(lambda s: replace(s, value=0.0001)), zeros).green


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: {}, "expected exactly"),
        (lambda d: d | {"example_ids": []}, "example_ids"),
        (lambda d: d | {"example_ids": [IDS[0], IDS[0]]}, "each once"),
        (lambda d: d | {"example_ids": ["evr/test/1#0"]}, "evr/test/1#0"),
        (lambda d: d | {"models": []}, "models"),
        (lambda d: d | {"metrics": ["lpips2"]}, "lpips2"),
        (lambda d: d | {"tolerances": {}}, "tolerance of l1"),
        (lambda d: d | {"tolerances": {"l1": {"example": "inf", "mean": 0, "source": ""}}}, "finite"),
        (lambda d: d | {"rows": {}}, NAME),
        (lambda d: d | {"limit": 0}, "limit"),
    ],
)
def test_an_empty_or_damaged_check_json_is_refused(tmp_path, change, says):
    path = tmp_path / "check.json"
    path.write_text(json.dumps(change(json.loads(check_of().to_json()))))
    with pytest.raises(ValueError, match=says):
        read_check(path)


def test_check_json_reads_back_equal(tmp_path):
    (tmp_path / "check.json").write_text(check_of().to_json())
    assert read_check(tmp_path / "check.json") == check_of()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing"),
        ("a,b\n", "expected example_id"),
        ("example_id,group,seed,metric,value,reason,protocol\nx,g,0,l1,nan,,p\n", "finite"),
        ("example_id,group,seed,metric,value,reason,protocol\nx,g,0,l1,,,p\n", "neither"),
        ("example_id,group,seed,metric,value,reason,protocol\nx,g,0,l1,0.1\n", "5 columns"),
        ("example_id,group,seed,metric,value,reason,protocol\nx,g,0,l1,abc,,p\n", "abc"),
        ("example_id,group,seed,metric,value,reason,protocol\n" + 2 * "x,g,0,l1,0.1,,p\n", "twice"),
    ],
)
def test_a_damaged_file_of_stored_scores_is_refused(tmp_path, text, says):
    path = tmp_path / "s.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(ValueError, match=says):
        read_scores(path)
    path.write_bytes(gzip.compress(b"example_id" * 100)[:-7])
    with pytest.raises(ValueError, match="unpacked"):
        read_scores(path)


# the command, on a drawn MA5k: the slice's runs are made beforehand, so that the gate only has to find them


def run_beforehand(data: Path, out: Path, *extra: str, models: tuple[str, ...] = ("identity", "oracle")) -> None:
    options = Options(data_root=data, out=out, extra=("--device", "cpu", "--metric-device", "cpu", *extra))
    for model in models:
        assert run(argv_of(Cell("paper", "ma5k", model), options)) == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """data, runs and results of identity and oracle on ten examples, with a check.json; l1 and ssim need no network."""
    root = tmp_path_factory.mktemp("gate")
    draw_ma5k(root / "data" / "ma5k")
    rows = {}
    run_beforehand(root / "data", root / "runs", "--limit", "10")
    for model in ("identity", "oracle"):
        (folder,) = (root / "runs" / "paper").glob(f"ma5k--{model}--*")
        lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
        made = [Score(**line) for line in lines if line["metric"] in ("l1", "ssim")]
        name = scores_name("ma5k", model, "zero-shot", "none")
        write_scores(root / "results" / "paper" / "scores" / name, made)
        rows[name] = len(made)
    ids = tuple(dict.fromkeys(s.example_id for s in made))
    check = Check("paper", "", 1, 10, ("identity", "oracle"), ("ma5k",), ids, ("l1", "ssim"), rows,
                  {m: Tolerance(0.01, 0.002, "stated in the test") for m in ("l1", "ssim")})  # fmt: skip
    (root / "results" / "paper" / "check.json").write_text(check.to_json())
    return root


@pytest.fixture
def gate(world, tmp_path):
    """The stored results to spoil, and the command."""
    results = tmp_path / "results"
    for path in (world / "results").rglob("*.*"):
        (results / path.relative_to(world / "results")).parent.mkdir(parents=True, exist_ok=True)
        (results / path.relative_to(world / "results")).write_bytes(path.read_bytes())
    argv = ["--suite", "paper", "--data-root", str(world / "data"), "--reference", str(results)]
    return results / "paper", [*argv, "--runs-out", str(world / "runs")]


def spoil(folder: Path, change) -> None:
    path = folder / "scores" / NAME
    write_scores(path, change(read_scores(path)))


def test_a_rerun_is_green_and_stays_green(gate, capsys):
    for _ in range(2):
        assert main(gate[1]) == 0
        assert capsys.readouterr().out == "check: 40 scores of 2 models equal within tolerance\n"


def test_a_planted_drift_turns_it_red_and_what_moved_most_is_shown(gate, capsys):
    folder, argv = gate
    spoil(folder, lambda rows: [replace(s, value=s.value * 1.01) if s.metric == "l1" else s for s in rows])
    assert main(argv) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("check: FAILED: 1 problems") and "mean of l1" in said[0]
    assert said[1] == "what moved most:" and len(said) == 2 + 5 + 1 and "ma5k/test/" in said[2]


def test_a_missing_example_turns_it_red(gate, capsys):
    folder, argv = gate
    spoil(folder, lambda rows: [s for s in rows if s.example_id != rows[0].example_id])
    assert main(argv) == 1
    assert "are missing" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["scores file", "check.json", "emptied check.json"])
def test_missing_and_empty_files_turn_it_red(gate, capsys, what):
    folder, argv = gate
    if what == "scores file":
        (folder / "scores" / NAME).unlink()
    elif what == "check.json":
        (folder / "check.json").unlink()
    else:
        (folder / "check.json").write_text("")
    assert main(argv) == 1
    assert "check: FAILED" in capsys.readouterr().out


def test_a_link_to_what_a_command_may_write_turns_it_red(gate, tmp_path, capsys):
    folder, argv = gate
    (folder / "scores").rename(tmp_path / "made")
    (folder / "scores").symlink_to(tmp_path / "made")
    assert main(argv) == 1
    assert "scores: a link; what is accepted lies here itself" in capsys.readouterr().out


def test_a_slice_that_cannot_be_run_is_red(gate, tmp_path, capsys):
    argv = [*gate[1][:-1], str(tmp_path / "runs")]
    argv[argv.index("--data-root") + 1] = str(tmp_path / "nowhere")
    assert main(argv) == 1
    assert "cannot be run again" in capsys.readouterr().out


def test_update_asks_first_and_then_stores_the_fresh_scores_and_the_next_check_is_green(gate, capsys, tmp_path):
    folder, argv = gate
    spoil(folder, lambda rows: [replace(s, value=s.value + 0.1) for s in rows])
    before = {p: p.read_bytes() for p in folder.rglob("*.*")}
    argv = [*argv[:-1], str(tmp_path / "update")]
    run_beforehand(Path(argv[3]), tmp_path / "update" / "runs")  # --update runs all that is stored, without --limit
    assert main([*argv, "--update"]) == 1  # nobody is there to say yes
    assert "nothing was stored; --yes" in (said := capsys.readouterr().out) and "what moved most" in said
    assert {p: p.read_bytes() for p in folder.rglob("*.*")} == before
    assert main([*argv, "--update", "--yes"]) == 0
    assert "stored 3 files" in capsys.readouterr().out
    assert json.loads((folder / "origin.json").read_text())["check"].keys() == {"processor", "torch", "commit"}
    assert main(gate[1]) == 0


def test_init_writes_a_check_that_is_green_with_measured_tolerances(gate, tmp_path, capsys):
    folder, argv = gate
    (folder / "check.json").unlink()
    models, data = ("identity",), Path(argv[3])
    run_beforehand(data, tmp_path / "init" / "as-stored", "--limit", "4", models=models)
    threes = ("--batch-size", "3", "--metric-batch-size", "3")
    run_beforehand(data, tmp_path / "init" / "other-batch", "--limit", "4", *threes, models=models)
    out = ["--runs-out", str(tmp_path / "init")]
    assert main([*argv[:-2], *out, "--init", "--models", "identity", "--datasets", "ma5k", "--limit", "4"]) == 0
    check = read_check(folder / "check.json")
    assert len(check.example_ids) == 4 and check.rows == {NAME: 20} and check.metrics == ("l1", "ssim")
    assert "batch size 8 and 3" in check.tolerances["l1"].source and 0.001 <= check.tolerances["l1"].example < 0.01
    run_beforehand(data, tmp_path / "slice", "--limit", "4", models=models)
    capsys.readouterr()
    assert main([*argv[:-1], str(tmp_path / "slice")]) == 0
    assert capsys.readouterr().out == "check: 8 scores of 1 model equal within tolerance\n"


def test_wrong_use_ends_with_2(capsys):
    assert main(["--init", "--update"]) == 2
    assert main(["--yes"]) == 2
    assert main(["--data-root", "data"]) == 2
    with pytest.raises(SystemExit) as error:
        main(["--suite", "cifar"])
    assert error.value.code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_stopped_leaves_no_run_folder_behind_nor_what_an_earlier_kill_left(
    gate, tmp_path, monkeypatch, number
):
    argv = ["-m", "bench.check", *gate[1][:-2]]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    here = tmp_path / "here"
    left = here / "runs" / "check" / "paper" / "left by a kill"
    left.mkdir(parents=True)
    monkeypatch.chdir(here)
    stopped = Stopped(argv, lambda: [*here.glob("runs/check/*/*/run.json")], number, env=env)
    assert stopped.code == 1 and stopped.said.splitlines()[-1] == "check: FAILED: stopped", stopped.said
    assert not (here / "runs" / "check").exists() and not [*(tmp_path / "temporary").glob("*/")]
