"""A run folder that was changed by hand, or an own image that is broken, is told plainly and never half-scored."""

import json
import os
import shutil

import pytest
from PIL import Image
from tiny_networks import tiny_clip

from bench.records import file_name
from bench.run import main
from mgie.io.images import ImageError, load
from tests.bench.runs.test_resume import command, draw_ma5k, files_of, folder_of, seeded  # noqa: F401
from tests.bench.test_run_command import own_outputs


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A data root and, beside it, the whole run on it."""
    data = draw_ma5k(tmp_path_factory.mktemp("once") / "data", photos=2)
    assert main(command(data, data.parent / "whole")) == 0
    return data


@pytest.fixture
def finished(once, tmp_path):
    for name in ("whole", "hurt"):
        shutil.copytree(once.parent / "whole", tmp_path / name)
    return once


DAMAGE = {
    "run.json": ["", '{"suite": "pa', "\0"],
    "done.json": ["", "garbage", "{}", "[]", "null", '{"seeds": "two"}'],
    "reopened.json": ["garbage", "{}"],  # a finished run has none
    "scores.jsonl": ["garbage\n", "[1]\n", '{"a": 1}\n', '{"value": NaN}\n'],
    "edits.jsonl": ["{\n", "7\n", '{"example_id": "a"}\n', '{"seconds": {"edit": NaN}}\n'],
    "sessions.jsonl": ["garbage\n"],
    "halvings.jsonl": ["garbage\n", '{"seed": 0}\n'],
}


CASES = [(name, text, undone) for name, texts in DAMAGE.items() for text in texts for undone in (False, True)]


@pytest.mark.parametrize("name, text, undone", [c for c in CASES if c[2] or c[0] != "reopened.json"])
def test_a_damaged_file_is_named_in_one_line(finished, tmp_path, capsys, name, text, undone):
    folder = folder_of(tmp_path / "hurt")
    if undone and name != "done.json":
        (folder / "done.json").unlink()
    (folder / name).write_text(text)
    assert main(command(finished, tmp_path / "hurt")) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and f"error: {folder / name}" in captured.err and "run again" in captured.err


@pytest.mark.parametrize("field, value", [("value", "x"), ("seed", "0"), ("example_id", None), ("reason", 3)])
def test_a_score_of_another_type_is_refused(finished, tmp_path, capsys, field, value):
    path = folder_of(tmp_path / "hurt") / "scores.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | {field: value})
    path.write_text("\n".join(lines) + "\n")
    assert main(command(finished, tmp_path / "hurt")) == 2
    assert f"{path}, line 4 has {field}" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0, 1, -1])
def test_scores_that_are_gone_from_a_finished_run_are_made_again(finished, tmp_path, capsys, keep):
    path = folder_of(tmp_path / "hurt") / "scores.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:keep]))
    assert main(command(finished, tmp_path / "hurt")) == 0
    assert files_of(tmp_path / "hurt") == files_of(tmp_path / "whole")


def test_what_a_kill_left_under_a_temporary_name_is_removed(finished, tmp_path, capsys):
    folder = folder_of(tmp_path / "hurt")
    (folder / "done.json").unlink()
    for path in (folder / f".scores.jsonl.{os.getpid()}", folder / "images" / "0" / ".a.png.77"):
        path.write_bytes(b"half")
    assert main(command(finished, tmp_path / "hurt")) == 0
    assert [p.name for p in folder.rglob(".*")] == [".lock"]


def test_a_broken_image_of_ones_own_is_the_only_failure(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=2)
    own_outputs(data, tmp_path / "mine", file_name)
    broken = tmp_path / "mine" / "ma5k__test__0001_C.png"
    broken.write_bytes(b"")
    more = ["--model", "mine", "--images", str(tmp_path / "mine"), "--seeds", "1", "--batch-size", "8"]
    assert main(command(data, tmp_path / "out", *more, "--max-failures", "0.1")) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["n"], result["of"], result["failures"]) == (9, 10, 1)
    (line,) = (folder_of(tmp_path / "out") / "failures.jsonl").read_text().splitlines()
    assert json.loads(line)["example_id"] == "ma5k/test/0001_C" and str(broken) in json.loads(line)["reason"]


def test_an_edit_that_failed_once_and_is_made_later_is_scored(tmp_path, capsys, monkeypatch):
    from baselines.identity import Identity

    data, edit = draw_ma5k(tmp_path / "data", photos=1), Identity.edit

    def short_of_memory(self, examples, settings, seeds):
        if any(e.id.endswith("_C") for e in examples):
            raise RuntimeError("out of memory")
        return edit(self, examples, settings, seeds)

    assert main(command(data, tmp_path / "whole")) == 0
    monkeypatch.setattr(Identity, "edit", short_of_memory)
    assert main(command(data, tmp_path / "often", "--max-failures", "0.5", "--seeds", "1")) == 0
    monkeypatch.setattr(Identity, "edit", edit)
    assert main(command(data, tmp_path / "often")) == 0
    assert files_of(tmp_path / "often") == files_of(tmp_path / "whole")


@pytest.mark.parametrize(
    "flags",
    [["--max-side", "0"], ["--max-side", "-5"], ["--metric-batch-size", "0"], ["--metric-batch-size", "-1"],
     ["--num-inference-steps", "0"], ["--max-failures", "nan"], ["--max-failures", "2"], ["--guidance-scale", "inf"]],
)  # fmt: skip
def test_a_number_out_of_range_is_wrong_use_and_writes_nothing(tmp_path, capsys, flags):
    assert main(command(draw_ma5k(tmp_path / "data", photos=1), tmp_path / "out", *flags)) == 2
    assert f"error: {flags[0]} {flags[1]}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_out_that_cannot_be_written_is_wrong_use(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=1)
    (tmp_path / "file").write_text("")
    assert main(command(data, tmp_path / "file")) == 2
    assert "cannot be written to (Not a directory); give another --out" in capsys.readouterr().err


def test_a_decoder_that_trips_over_a_damaged_file_names_the_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 20
    path = tmp_path / "a.img"
    for kind in ("JPEG", "TIFF", "AVIF", "WEBP", "GIF"):
        Image.new("RGB", (40, 30), "teal").save(path, kind, exif=exif)
        whole = path.read_bytes()
        for at in range(0, min(len(whole), 400), 3):
            path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
            try:
                load(path)
            except ImageError as error:
                assert str(error).startswith(f"{path}: ")


def test_an_unreadable_goal_costs_only_the_metrics_that_need_it_and_stays_a_failure(tmp_path, capsys):
    data = draw_ma5k(tmp_path / "data", photos=2)
    (data / "ma5k" / "images" / "0001_B.jpg").write_bytes(b"")
    clip = ["--clip", str(tiny_clip(tmp_path / "clip")), "--max-failures", "0.5", "--metrics", "l1,clip_s"]
    assert main(command(data, tmp_path / "whole", *clip)) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["metrics"]["l1"]["n"], result["metrics"]["clip_s"]["n"], result["failures"]) == (9, 10, 2)
    assert main(command(data, tmp_path / "grown", *clip[:-1], "l1")) == 0
    assert main(command(data, tmp_path / "grown", *clip)) == 0
    assert files_of(tmp_path / "grown") == files_of(tmp_path / "whole")
