"""What was edited stays edited: goals, captions and masks belong to the scores, and older folders are taken up."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from bench.run import main
from bench.runs.adoption import main as take_up
from bench.runs.digests import FILE, Digests
from tests.bench.runs.test_resume import command, draw_ma5k, files_of, folder_of

OLDER = Path(__file__).parents[2] / "golden" / "older-run.zip"


@pytest.fixture
def data(tmp_path) -> Path:
    return draw_ma5k(tmp_path / "data", photos=2)


def stamps(out: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder_of(out).rglob("*.png")}


def scores(out: Path) -> dict[str, float]:
    lines = (folder_of(out) / "scores.jsonl").read_text().splitlines()
    return {f"{s['example_id']} {s['metric']}": s["value"] for s in map(json.loads, lines)}


def test_a_mended_goal_image_is_scored_anew_and_nothing_is_edited_again(data, tmp_path, capsys):
    assert main(command(data, tmp_path / "out")) == 0
    before, edited = scores(tmp_path / "out"), stamps(tmp_path / "out")
    Image.new("RGB", (24, 25), "teal").save(data / "ma5k" / "images" / "0001_B.jpg")
    assert main(command(data, tmp_path / "out")) == 0
    assert "goals, captions or masks of 1 examples changed" in capsys.readouterr().err
    after = scores(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {f"ma5k/test/0001_B {m}" for m in ("l1", "ssim")}
    assert stamps(tmp_path / "out") == edited
    assert main(command(data, tmp_path / "new")) == 0
    assert files_of(tmp_path / "out") == files_of(tmp_path / "new")


def test_scores_that_nothing_says_the_source_of_are_made_anew(data, tmp_path, capsys):
    assert main(command(data, tmp_path)) == 0
    whole = files_of(tmp_path)
    (folder_of(tmp_path) / "scored_from.json").unlink()
    assert main(command(data, tmp_path)) == 0
    assert files_of(tmp_path) == whole and "of 10 examples changed" in capsys.readouterr().err


def test_a_reworded_note_and_another_count_are_brought_up_to_date_and_refused_by_nobody(data, tmp_path, capsys):
    assert main(command(data, tmp_path)) == 0
    whole, path = files_of(tmp_path), folder_of(tmp_path) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"note": "worded otherwise", "groups": 9}))
    edited = stamps(tmp_path)
    assert main(command(data, tmp_path)) == 0
    assert files_of(tmp_path) == whole and stamps(tmp_path) == edited


def test_another_instruction_or_input_image_is_another_run(data, tmp_path, capsys):
    assert main(command(data, tmp_path)) == 0
    Image.new("RGB", (24, 25), "teal").save(data / "ma5k" / "images" / "0001_O.jpg")
    assert main(command(data, tmp_path)) == 0
    assert len(list((tmp_path / "paper").iterdir())) == 2


@pytest.fixture
def older(tmp_path, monkeypatch) -> list[str]:
    """A folder that the version before made, and the command that made it."""
    with zipfile.ZipFile(OLDER) as file:
        file.extractall(tmp_path)
    fixed = "--suite paper --dataset ma5k --model identity --metrics l1,ssim --batch-size 3 --size native --json"
    return [*fixed.split(), "--icc", "ignore", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "out")]


def test_a_folder_of_the_version_before_is_taken_up_under_its_new_name(older, tmp_path, capsys):
    edited, before = stamps(tmp_path / "out"), scores(tmp_path / "out")
    assert main(older) == 0
    folder = folder_of(tmp_path / "out")
    assert folder.name.startswith("ma5k--identity--zero-shot--") and (folder / "done.json").exists()
    assert stamps(tmp_path / "out") == edited and scores(tmp_path / "out") == pytest.approx(before)
    shutil.copytree(tmp_path / "out", tmp_path / "again")
    assert main(older) == 0
    assert files_of(tmp_path / "out") == files_of(tmp_path / "again")


def test_a_folder_of_the_version_before_that_is_another_run_is_named_and_left_alone(older, tmp_path, capsys):
    assert main([*older, "--batch-size", "2"]) == 0
    assert "ma5k--identity--7ad68d73, of an earlier version, is not taken up: edit differ" in capsys.readouterr().err
    assert len(list((tmp_path / "out" / "paper").iterdir())) == 2


def test_a_folder_of_the_version_before_whose_goal_was_mended_is_refused_with_the_command_that_takes_it_up(
    older, tmp_path, capsys
):
    Image.new("RGB", (16, 16), "teal").save(tmp_path / "data" / "ma5k" / "images" / "0001_B.jpg")
    path, edited, before = folder_of(tmp_path / "out"), stamps(tmp_path / "out"), scores(tmp_path / "out")
    assert main(older) == 2
    said = capsys.readouterr().err
    assert "not taken up: manifest differ" in said and f"python -m bench.runs.adoption {path}, and the same" in said
    assert "another --out" in said and folder_of(tmp_path / "out") == path
    assert take_up([str(path)]) == 0 and main(older) == 0
    assert folder_of(tmp_path / "out") != path and stamps(tmp_path / "out") == edited
    after = scores(tmp_path / "out")
    changed = {name for name in before if after[name] != pytest.approx(before[name])}
    assert changed == {"ma5k/test/0001_B l1", "ma5k/test/0001_B ssim"}
    assert take_up([str(folder_of(tmp_path / "out"))]) == 2
    assert "is no run folder of the version before" in capsys.readouterr().err


def test_the_new_defaults_are_named_that_keep_an_older_folder_from_being_taken_up(older, tmp_path, capsys):
    at = older.index("--size")
    plain = [*older[:at], *older[at + 2 :]]
    edited = stamps(tmp_path / "out").items()
    assert main(plain) == 2
    assert "edited as by --size native: add that to the command" in capsys.readouterr().err
    assert main([*plain, "--size", "long:16"]) == 0  # asked for by name: another run, beside it
    assert main(older) == 0
    assert edited <= {(p.name, p.stat().st_mtime_ns) for p in (tmp_path / "out").rglob("*.png")}


def test_files_are_hashed_and_opened_once_a_machine(data, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.runs.digests.SETTLED", 0)
    images = sorted((data / "ma5k" / "images").iterdir())
    images[0].write_bytes(b"no image")
    first = Digests(tmp_path).of(images)
    assert first[images[0]].fault.endswith("not an image that PIL knows (8 bytes)") and not first[images[1]].fault
    opened = []
    monkeypatch.setattr("bench.runs.digests.fault_of", lambda path: opened.append(path) or "")
    assert Digests(tmp_path).of(images) == first and opened == []
    Image.new("RGB", (8, 8)).save(images[1])
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-20])  # as a kill leaves it
    assert Digests(tmp_path).of(images)[images[1]] != first[images[1]] and set(opened) == {images[1], images[-1]}


def test_what_was_changed_a_moment_ago_is_not_taken_on_trust(data, tmp_path):
    images = list((data / "ma5k" / "images").iterdir())
    Digests(tmp_path).of(images)
    assert not (tmp_path / FILE).exists()
