"""Whatever happens to a run, what was done is kept, the same command goes on, and its files are an undisturbed run's.

Kills at every write of a single-turn run are in tests/bench/runs/test_resume.py, damaged run folders in
test_damaged_runs.py.
"""

import json
import os
import resource
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drawn import draw_magicbrush

from tests.bench.runs.test_resume import command, draw_ma5k, files_of, folder_of, seeded  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))

from dying import in_a_child, said_by_a_child, spread, without_root

import bench.runs.execute
from baselines.identity import Identity
from bench.metrics.l1 import L1
from bench.run import main
from mgie.io.files import write_whole
from mgie.io.images import png


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data root and, beside it, the files of the undisturbed run on it."""
    data = draw_ma5k(tmp_path_factory.mktemp("whole") / "data", photos=2)
    assert main(command(data, data.parent / "out")) == 0
    return data, files_of(data.parent / "out")


def multi_turn(data: Path, out: Path) -> list[str]:
    return ["--suite", "paper", "--dataset", "magicbrush", "--turns", "multi", "--model", "identity", "--metrics", "l1",
            "--data-root", str(data), "--out", str(out), "--json"]  # fmt: skip


def run_files(out: Path) -> dict[str, bytes]:
    (folder,) = (out / "paper").iterdir()
    names = {"run.json", "scores.jsonl", "failures.jsonl", "done.json"}
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.*")
            if p.suffix == ".png" or p.name in names}  # fmt: skip


def kill_multi_turn(tmp_path: Path, points: int | None) -> None:
    draw_magicbrush(tmp_path / "data" / "magicbrush", count=3)
    run = lambda out: lambda: main(multi_turn(tmp_path / "data", out))  # noqa: E731
    writes = in_a_child(run(tmp_path / "whole"), tmp_path / "whole")
    expected = run_files(tmp_path / "whole")
    assert writes > 20 and len(expected) > 8
    for at in spread(points or writes, writes):
        assert in_a_child(run(tmp_path / f"at{at}"), tmp_path / f"at{at}", at) == 0
        assert main(multi_turn(tmp_path / "data", tmp_path / f"at{at}")) == 0
        assert run_files(tmp_path / f"at{at}") == expected, f"killed at write {at} of {writes}"


@pytest.mark.slow
def test_a_multi_turn_run_killed_at_six_writes_ends_in_the_same_bytes(tmp_path, capsys):
    kill_multi_turn(tmp_path, 6)


@pytest.mark.slow
def test_a_multi_turn_run_killed_at_every_write_ends_in_the_same_bytes(tmp_path, capsys):
    kill_multi_turn(tmp_path, None)


@pytest.mark.parametrize("size", [50, 700, 1500, 4000])
def test_a_full_disk_stops_the_run_in_one_line_and_the_run_goes_on(whole, tmp_path, capsys, size):
    data, expected = whole
    argv = command(data, tmp_path)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731  no file may grow larger
    code, said = said_by_a_child(lambda: main(argv), limit)
    assert code == 1 and "File too large" in said and "Traceback" not in said, said
    assert "what was done is kept, the same command continues" in said
    assert main(argv) == 0
    assert files_of(tmp_path) == expected


def test_a_run_folder_that_may_only_be_read_is_said_to_be_so_and_a_finished_one_is_shown(whole, tmp_path, capsys):
    data, _ = whole
    shutil.copytree(data.parent / "out", tmp_path / "out")
    argv, folder = command(data, tmp_path / "out"), next((tmp_path / "out" / "paper").iterdir())
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    code, said = said_by_a_child(lambda: main(argv), without_root)
    assert code == 0, said
    code, said = said_by_a_child(lambda: main([*argv, "--seeds", "3"]), without_root)  # more is asked for
    assert code == 2 and "cannot be written to (Permission denied); give another --out" in said, said
    (folder / ".lock").chmod(0o644)
    code, said = said_by_a_child(lambda: main([*argv, "--seeds", "3"]), without_root)
    assert code == 1 and "Permission denied" in said and "Traceback" not in said, said
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


def test_two_processes_on_one_run_folder_end_in_one_undisturbed_run(whole, tmp_path, capsys):
    data, expected = whole
    argv, pids = command(data, tmp_path), []
    for _ in range(2):
        pids.append(os.fork())
        if pids[-1] == 0:
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            os._exit(main(argv))
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
    assert codes[0] == 0 and codes[1] in (0, 1)  # 1: it was told that the other one is at work
    assert files_of(tmp_path) == expected


@pytest.mark.parametrize("how", ["deleted", "swapped", "cut"])
def test_an_output_image_lost_between_editing_and_scoring_is_noticed_and_edited_again(
    whole, tmp_path, capsys, monkeypatch, how
):
    data, expected = whole
    original, hurt = bench.runs.execute.score_all, []

    def hurting(run, folder, *rest):
        if not hurt:
            images = sorted((folder.path / "images").rglob("*.png"))
            hurt.append(images[1])
            if how == "swapped":
                shutil.copy(images[5], images[1])  # of another photograph
            elif how == "cut":
                images[1].write_bytes(images[1].read_bytes()[:500])
            else:
                images[1].unlink()
        return original(run, folder, *rest)

    monkeypatch.setattr(bench.runs.execute, "score_all", hurting)
    assert main(command(data, tmp_path)) == 0 and hurt
    assert "changed since they were written" in capsys.readouterr().err
    assert files_of(tmp_path) == expected


def test_a_clock_that_goes_backwards_changes_nothing(whole, tmp_path, capsys, monkeypatch):
    data, expected = whole
    assert in_a_child(lambda: main(command(data, tmp_path)), tmp_path, 12) == 0
    for path in tmp_path.rglob("*"):
        os.utime(path, (4_000_000_000, 4_000_000_000))  # 2096

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(1980, 1, 1, tzinfo=UTC)

    monkeypatch.setattr("bench.runs.sessions.datetime", Clock)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert main(command(data, tmp_path)) == 0
    assert files_of(tmp_path) == expected
    (sessions,) = tmp_path.rglob("sessions.jsonl")
    assert "1980-01-01" in sessions.read_text()


@pytest.mark.slow
def test_out_of_memory_halves_the_batch_reports_the_example_in_the_end_and_does_the_rest(
    whole, tmp_path, capsys, monkeypatch
):
    import torch

    data, expected = whole
    edit, sizes = Identity.edit, []

    def hungry(self, examples, settings, seeds):
        sizes.append(len(examples))
        if len(examples) > 1 or examples[0].id.endswith("0002_C"):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")
        return edit(self, examples, settings, seeds)

    monkeypatch.setattr(Identity, "edit", hungry)
    argv = command(data, tmp_path)
    assert main(argv) == 1  # 10 % of the examples is more than the 1 % allowed
    said = capsys.readouterr().err
    assert "slice ma5k/test/0001_A .. ma5k/test/0001_C: edited in batches of 1, 1, 1 instead of 3" in said
    assert "OutOfMemoryError: CUDA out of memory" in said
    assert main([*argv, "--max-failures", "0.1"]) == 0 and {1, 3} <= set(sizes)
    assert json.loads(capsys.readouterr().out)["halved"] == 6  # of 8 slices; two hold a single example
    rest = {name: content for name, content in files_of(tmp_path).items() if name.endswith(".png")}
    assert rest == {name: expected[name] for name in rest} and len(rest) == 18  # 20 without the one, for 2 seeds
    monkeypatch.setattr(Identity, "edit", edit)
    assert main(argv) == 1  # the failure is still on record: edits are asked for again only when they are missing
    for path in tmp_path.rglob("done.json"):
        path.unlink()
    assert main(argv) == 0
    assert files_of(tmp_path) == expected
    (halvings,) = tmp_path.rglob("halvings.jsonl")  # the two slices edited again are not in it any more
    assert len(halvings.read_text().splitlines()) == 4
    assert not list((data.parent / "out").rglob("halvings.jsonl"))


@pytest.mark.slow
def test_a_run_short_of_memory_killed_at_six_writes_ends_in_the_same_bytes_and_the_same_halvings(
    whole, tmp_path, capsys, monkeypatch
):
    data, expected = whole
    edit = Identity.edit

    def hungry(self, examples, settings, seeds):
        if len(examples) > 1 and examples[0].id < "ma5k/test/0002":
            raise MemoryError("no more")
        return edit(self, examples, settings, seeds)

    monkeypatch.setattr(Identity, "edit", hungry)
    files = lambda out: files_of(out) | {"halvings": (folder_of(out) / "halvings.jsonl").read_bytes()}  # noqa: E731
    writes = in_a_child(lambda: main(command(data, tmp_path / "whole")), tmp_path / "whole")
    short = files(tmp_path / "whole")
    assert {name: content for name, content in short.items() if name != "halvings"} == expected
    assert short["halvings"].count(b"MemoryError: no more") == 4
    for at in spread(6, writes):
        argv = command(data, tmp_path / f"at{at}")
        assert in_a_child(lambda: main(argv), tmp_path / f"at{at}", at) == 0  # noqa: B023
        assert main(argv) == 0
        assert files(tmp_path / f"at{at}") == short, f"killed at write {at} of {writes}"


def test_out_of_memory_in_a_metric_halves_its_batch_and_costs_one_score_at_most(whole, tmp_path, capsys, monkeypatch):
    data, expected = whole
    original = L1.__call__

    def hungry(self, pairs):
        if len(pairs) > 2 or any(pair.example.id.endswith("0002_C") for pair in pairs):
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return original(self, pairs)

    monkeypatch.setattr(L1, "__call__", hungry)
    argv = command(data, tmp_path)
    assert main([*argv, "--max-failures", "0.1"]) == 0
    (scores,) = tmp_path.rglob("scores.jsonl")
    lost = [line for line in scores.read_text().splitlines() if "out of memory" in line]
    assert len(lost) == 2 and all('"metric": "l1"' in line and "0002_C" in line for line in lost)  # 2 seeds
    monkeypatch.setattr(L1, "__call__", original)
    for path in tmp_path.rglob("done.json"):
        path.unlink()
    assert main(argv) == 0
    assert files_of(tmp_path) == expected


def test_a_write_that_fails_half_way_leaves_the_old_file_whole(tmp_path, monkeypatch):
    from PIL import Image

    write_whole(png(Image.new("RGB", (4, 4))), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_whole(png(Image.new("RGB", (9, 9))), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
