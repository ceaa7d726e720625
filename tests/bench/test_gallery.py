"""The gallery's data: every example with every model's edit and scores; what is missing is named with how much."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from drawn import picture
from seen_runs import draw_runs

from bench.gallery import main, page
from bench.pages.entries import Pictures, View, entries_of, view_of
from bench.records import Example
from bench.runs.folder import RunFolder


def data_in(folder: Path) -> dict:
    text = (folder / "index.html").read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_every_edit_with_its_scores_and_asks_no_network(tmp_path, capsys):
    folders = draw_runs(tmp_path)
    assert main(["--runs", *map(str, folders.values()), "--results", str(tmp_path / "results")]) == 0
    folder = tmp_path / "results" / "paper" / "gallery-runs"
    data, text = data_in(folder), (folder / "index.html").read_text("utf-8")
    assert len(data["examples"]) == 7 and [m["id"] for m in data["models"]] == ["near", "far"]
    files = set()
    for example in data["examples"]:
        for model, edit in example["edits"].items():
            scores = {s.metric: s.value for s in view_of(folders[model]).scores[example["id"]]}
            assert edit["scores"] == scores and set(scores) == {"l1", "ssim"}
            assert edit["text"] == f"{model} says: move {example['id']}"
            files.add(edit["image"]["file"])
        files |= {example["input"]["file"], example["goal"]["file"]}
    assert {f"images/{path.name}" for path in (folder / "images").iterdir()} == files
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", text)
    assert (folder / ".gitignore").read_text().endswith("*\n")
    rows = list(csv.DictReader((folder / "gallery.csv").read_text("utf-8").splitlines()))
    assert len(rows) == 7 * 2 * 2 and float(rows[0]["value"]) > 0
    assert "incomplete" not in capsys.readouterr().err


def test_an_incomplete_run_is_shown_and_named_with_how_much_is_missing(tmp_path, capsys):
    folders = draw_runs(tmp_path, ("near", "far"), write=False)
    (folders["far"] / "done.json").unlink()
    for name, keep in (("edits.jsonl", 3), ("scores.jsonl", 2)):
        lines = (folders["far"] / name).read_text().splitlines(keepends=True)
        (folders["far"] / name).write_text("".join(lines[:keep]))
    assert main(["--runs", *map(str, folders.values()), "--results", str(tmp_path / "results")]) == 0
    said = f"{folders['far']} is incomplete: 3 of 7 edits, 1 of 7 scored"
    text = (tmp_path / "results" / "paper" / "gallery-runs" / "index.html").read_text("utf-8")
    assert said in capsys.readouterr().err and said in text
    assert "python -m bench.run --suite paper --dataset magicbrush --model far" in text and "--images DIR" in text
    last = data_in(tmp_path / "results" / "paper" / "gallery-runs")["examples"][-1]
    assert last["edits"]["far"]["image"]["reason"] == "not edited yet: the run is incomplete"
    assert last["edits"]["near"]["image"]["file"]


def test_a_folder_that_is_no_run_and_runs_that_do_not_match_are_refused_by_name(tmp_path, capsys):
    folders = draw_runs(tmp_path, ("near",))
    assert main(["--runs", str(tmp_path), "--results", str(tmp_path)]) == 2
    assert f"{tmp_path} is no run folder: it has no run.json" in capsys.readouterr().err
    assert main(["--runs", *[str(folders["near"])] * 2, "--results", str(tmp_path)]) == 2
    assert "two runs of near" in capsys.readouterr().err
    assert main(["--limit", "0"]) == 2 and main(["--data-root", str(tmp_path)]) == 2


def test_a_run_at_work_is_shown_as_far_as_it_is_and_nothing_in_its_folder_changes(tmp_path, capsys):
    folder = draw_runs(tmp_path, ("near",))["near"]
    (folder / "done.json").unlink()
    with RunFolder(folder).locked():
        edits = folder / "edits.jsonl"
        edits.write_bytes(edits.read_bytes()[:-9])  # the last line is being written
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}, edits.read_bytes()
        assert main(["--runs", str(folder), "--results", str(tmp_path / "results")]) == 0
        assert ({path: path.stat().st_mtime_ns for path in folder.rglob("*")}, edits.read_bytes()) == before
    assert f"{folder} is incomplete: 6 of 7 edits" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--NOTES-->", "<img src=x onerror=alert(1)>"])
def test_an_instruction_stays_text_whatever_it_holds(text):
    data = {"suite": "mini", "examples": [{"instruction": text}]}
    shown = page(data, [text], [text])
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', shown, re.DOTALL)[1]
    assert json.loads(held)["examples"][0]["instruction"] == text and "<" not in held
    assert shown.count("<script") == 2
    assert shown.count("<ul><li>") == 1


def test_large_images_are_shrunk_and_the_same_image_is_held_once(tmp_path):
    picture(1, (900, 600)).save(tmp_path / "a.png")
    picture(1, (900, 600)).save(tmp_path / "b.png")
    picture(2, (100, 60)).save(tmp_path / "small.png")
    pictures = Pictures(tmp_path / "gallery", 300)
    first, again, small = (pictures.show(tmp_path / f"{name}.png") for name in ("a", "b", "small"))
    assert first == again and (first.width, first.height) == (300, 200) and first.file.endswith(".jpg")
    assert (tmp_path / "gallery" / small.file).read_bytes() == (tmp_path / "small.png").read_bytes()  # lossless
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert "not an image" in pictures.show(tmp_path / "broken.png").reason
    assert pictures.show(tmp_path / "absent.png").reason == "unreadable: No such file or directory"
    (tmp_path / "gallery" / "images" / "old.jpg").write_bytes(b"")
    pictures.remove_unused()
    assert len(list((tmp_path / "gallery" / "images").iterdir())) == 2


def test_examples_of_a_drawn_dataset_say_what_kind_of_edit_they_are(tmp_path, monkeypatch):
    class Drawn:  # as bench.datasets.mini, which knows what it drew
        def examples(self) -> list[Example]:
            return [Example("evr/test/1", "g", Path("1.png"), "take it away")]

        def facts(self, example_id: str) -> SimpleNamespace:
            return SimpleNamespace(family={"evr/test/1": "remove"}[example_id])

    monkeypatch.setattr("bench.pages.entries.open_dataset", lambda *_: Drawn())
    run = {"suite": "mini", "dataset": "evr", "model": "mgie", "form": "e2e", "manifest": "", "data": {}}
    (entry,) = entries_of([View(tmp_path / "evr--mgie--00000000", run, {}, {}, "", {})], tmp_path, None)
    assert entry.example.id == "evr/test/1" and entry.family == "remove"
