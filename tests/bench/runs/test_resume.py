"""A run killed at any moment and started again ends in the same files as one that was left alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mgie.io.files
from bench.records import to_line
from bench.run import main
from bench.runs.folder import Busy, RunFolder


@pytest.fixture(scope="module", autouse=True)
def seeded():
    """As a model would be: else one seed serves the input copy, and nothing here would see a second one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("baselines.identity.Identity.seeded", True)
        yield


def draw_ma5k(root: Path, photos: int = 4, side: int = 24) -> Path:
    """A MA5k data root with five experts a photo, each image unlike the others."""
    rng = np.random.default_rng(0)
    folder = root / "ma5k"
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    records = []
    for photo in range(1, photos + 1):
        for letter in "OABCDE":
            pixels = rng.integers(0, 256, (side, side + photo, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{photo:04d}_{letter}.jpg")
        for letter in "ABCDE":
            name = f"{photo:04d}_{letter}.jpg"
            records.append({"input": f"{photo:04d}_O.jpg", "output": name, "request": f"lift the shadows of {name}"})
    (folder / "annotations" / "test_sess_1.json").write_text(json.dumps(records))
    return root


def command(data: Path, out: Path, *more: str) -> list[str]:
    fixed = "--suite paper --size native --dataset ma5k --model identity --metrics l1,ssim --seeds 2"
    small = "--batch-size 3 --metric-batch-size 4"
    return [*fixed.split(), *small.split(), "--data-root", str(data), "--out", str(out), "--json", *more]


def folder_of(out: Path) -> Path:
    (folder,) = [p for p in (out / "paper").iterdir() if p.name.startswith("ma5k--")]
    return folder


def files_of(out: Path) -> dict[str, bytes]:
    """What must be equal: all but the seconds of the edits and the lines about the sessions."""
    folder = folder_of(out)
    edits = [json.loads(line) | {"seconds": None} for line in (folder / "edits.jsonl").read_text().splitlines()]
    images = {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png")) if not p.name.startswith(".")
    }
    names = ("run.json", "scored_from.json", "scores.jsonl", "failures.jsonl", "done.json")
    return {name: (folder / name).read_bytes() for name in names} | images | {"edits": json.dumps(edits).encode()}


def run_and_die(argv: list[str], at: int) -> bool:
    """Run in a child that kills itself at its at-th write, half way through it; whether it was killed."""
    pid = os.fork()
    if pid == 0:
        writes = 0
        replace, append = os.replace, RunFolder.append

        def count() -> bool:
            nonlocal writes
            writes += 1
            return writes == at

        def dying_replace(source, target):
            if count():
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        def dying_append(self, name, records):
            if count():
                with open(self.path / name, "a", encoding="utf-8") as file:
                    text = "".join(map(to_line, records))
                    file.write(text[: len(text) * 2 // 3])
                os.kill(os.getpid(), signal.SIGKILL)
            append(self, name, records)

        mgie.io.files.os.replace = dying_replace
        RunFolder.append = dying_append
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(main(argv))
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.slow
def test_a_run_killed_at_every_write_ends_in_the_same_bytes(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path / "whole")) == 0
    expected, at = files_of(tmp_path / "whole"), 1
    while run_and_die(command(data, tmp_path / f"at{at}"), at):
        assert main(command(data, tmp_path / f"at{at}")) == 0
        assert files_of(tmp_path / f"at{at}") == expected, f"killed at write {at}"
        at += 1
    assert at > 15


@pytest.mark.slow
def test_a_finished_run_taken_up_for_another_metric_and_killed_keeps_the_account_of_the_earlier_ones(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path / "whole")) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "before")
    more = ("--metrics", "l2")
    assert main(command(data, tmp_path / "whole", *more)) == 0
    expected = files_of(tmp_path / "whole")
    assert [entry["metric"] for entry in json.loads(expected["done.json"])["scored"]] == ["l1", "l2", "ssim"]
    for at in range(1, 100):
        shutil.copytree(tmp_path / "before", tmp_path / f"at{at}")
        if not run_and_die(command(data, tmp_path / f"at{at}", *more), at):
            break
        assert main(command(data, tmp_path / f"at{at}", *more)) == 0
        assert files_of(tmp_path / f"at{at}") == expected, f"killed at write {at}"
        assert not (folder_of(tmp_path / f"at{at}") / "reopened.json").exists()
    assert at > 6


def test_a_run_killed_again_and_again_ends_in_the_same_bytes(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data")
    assert main(command(data, tmp_path / "whole")) == 0
    dice, kills = random.Random(0), 0
    while run_and_die(command(data, tmp_path / "often"), dice.randint(3, 12)):
        kills += 1
        assert kills < 200
    assert kills > 3
    assert files_of(tmp_path / "often") == files_of(tmp_path / "whole")


def test_kill_9_of_the_command_itself_loses_nothing(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=12)
    assert main(command(data, tmp_path / "whole", "--seeds", "1")) == 0
    argv = [sys.executable, "-m", "bench.run", *command(data, tmp_path / "killed", "--seeds", "1")]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "killed").rglob("*.png")):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert main(command(data, tmp_path / "killed", "--seeds", "1")) == 0
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_a_finished_run_is_not_touched_again(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path)) == 0
    before = {p: p.stat().st_mtime_ns for p in folder_of(tmp_path).rglob("*")}
    assert main(command(data, tmp_path)) == 0
    assert {p: p.stat().st_mtime_ns for p in folder_of(tmp_path).rglob("*")} == before


def test_more_seeds_and_more_metrics_extend_a_finished_run(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path / "whole")) == 0
    assert main(command(data, tmp_path / "grown", "--seeds", "1", "--metrics", "ssim")) == 0
    image = next(folder_of(tmp_path / "grown").rglob("*.png"))
    before = image.stat().st_mtime_ns
    assert main(command(data, tmp_path / "grown")) == 0
    assert files_of(tmp_path / "grown") == files_of(tmp_path / "whole")
    assert image.stat().st_mtime_ns == before  # the edits it had were kept


def test_an_image_deleted_or_swapped_before_scoring_is_edited_again(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path / "whole")) == 0
    assert main(command(data, tmp_path / "hurt", "--metrics", "l1")) == 0
    first, *_, last = sorted(folder_of(tmp_path / "hurt").rglob("*.png"))
    first.unlink()
    Image.new("RGB", (24, 24), "red").save(last)
    assert main(command(data, tmp_path / "hurt")) == 0
    assert files_of(tmp_path / "hurt") == files_of(tmp_path / "whole")
    assert "changed since they were written" in capsys.readouterr().err


def test_a_second_process_on_the_same_run_folder_is_told_so(tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(Busy, match="in use by another process"), RunFolder(tmp_path / "run").locked():
        pass


def test_a_run_json_changed_by_hand_is_refused(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    assert main(command(data, tmp_path, "--metrics", "l1")) == 0
    path = folder_of(tmp_path) / "run.json"
    path.write_text(path.read_text().replace('"exif": "apply"', '"exif": "ignore"'))
    assert main(command(data, tmp_path)) == 2
    assert "changed by hand" in capsys.readouterr().err
