"""What somebody's own editor is to edit: names that bench.run knows again, images as models see them, whole or not."""

import csv
import json
import shlex
from pathlib import Path

import pytest
from drawn import draw_evr, draw_gier, draw_ipr2pr, draw_ma5k, draw_magicbrush, picture

from bench.export import __main__ as export
from bench.run import plan
from bench.settings import EditSettings
from mgie.io.images import load

DRAW = {"evr": draw_evr, "gier": draw_gier, "ma5k": draw_ma5k, "magicbrush": draw_magicbrush, "ipr2pr": draw_ipr2pr}
ENOUGH = ("--max-failures", "0.2")  # the drawn data lack a file or two


def argv(data: Path, to: Path, dataset: str, *more: str) -> list[str]:
    return ["--suite", "paper", "--data-root", str(data), "--dataset", dataset, "--to", str(to), *ENOUGH, *more]


def rows_in(to: Path) -> list[dict[str, str]]:
    with open(to / "todo.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def data(tmp_path) -> Path:
    draw_magicbrush(tmp_path / "data" / "magicbrush", count=3)
    return tmp_path / "data"


@pytest.mark.parametrize(("dataset", "more"), [*((name, ()) for name in DRAW), ("magicbrush", ("--turns", "multi"))])
def test_outputs_under_the_names_of_the_list_are_those_that_a_run_wants(dataset, more, tmp_path, capsys):
    root, to = tmp_path / "data", tmp_path / "todo"
    DRAW[dataset](root / dataset)
    assert export.main(argv(root, to, dataset, *more)) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert f"python -m bench.run --model mine --images {to}/outputs --dataset {dataset} --suite paper" in said
    rows = rows_in(to)
    for place, row in enumerate(rows):
        assert (to / row["input"]).is_file() or row["input"].startswith("outputs/")
        picture(place, (24, 24)).save(to / "outputs" / row["output"])
    asked = plan([*said.partition("bench.run ")[2].split(), "--out", str(tmp_path / "runs"), *ENOUGH])
    inputs = {e.id for e in asked.run.examples} - {row["id"] for row in rows}
    assert len(inputs) <= 0.2 * len(asked.run.examples) and len(rows) >= 2  # those whose input is not there
    assert "belong to no example" not in asked.notice and all(asked.model.path(row["id"]) for row in rows)


def test_an_input_of_a_later_turn_is_the_output_of_the_turn_before(data, tmp_path):
    assert export.main(argv(data, tmp_path / "todo", "magicbrush", "--turns", "multi")) == 0
    rows = rows_in(tmp_path / "todo")
    outputs = [f"outputs/{row['output']}" for row in rows]
    for place, row in enumerate(rows):
        assert (row["input"] in outputs[:place]) == (row["turn"] != "1")  # and its turn comes before it


def test_later_turns_of_an_input_that_cannot_be_read_are_left_out_too(data, tmp_path, capsys):
    next((data / "magicbrush").rglob("102-input.png")).write_bytes(b"no image")
    command = argv(data, tmp_path / "todo", "magicbrush", "--turns", "multi", "--max-failures")
    assert export.main([*command, "0.4"]) == 2  # three of six, of one session
    assert "3 of 6 examples have no usable input image, first: magicbrush/test/102-1@multi" in capsys.readouterr().err
    assert export.main([*command, "0.5"]) == 0
    assert [row["id"].partition("@")[0][-5:] for row in rows_in(tmp_path / "todo")] == ["100-1", "101-1", "101-2"]


def test_inputs_are_the_images_that_every_model_is_given(data, tmp_path):
    assert export.main(argv(data, tmp_path / "todo", "magicbrush", "--size", "square:48")) == 0
    row = rows_in(tmp_path / "todo")[0]
    found = load(tmp_path / "todo" / row["input"])
    session, turn = row["id"].rsplit("/", 1)[1].rsplit("-", 1)
    name = f"{session}-input.png" if turn == "1" else f"{session}-output{int(turn) - 1}.png"
    source = next((data / "magicbrush").rglob(name))
    assert found.size == (48, 48) and found.tobytes() == load(source, EditSettings(size="square:48")).tobytes()


def test_a_stopped_export_goes_on_and_ends_in_the_same_files(data, tmp_path, monkeypatch, capsys):
    assert export.main(argv(data, tmp_path / "whole", "magicbrush")) == 0
    written, write = [], export.write_whole

    def failing(image: bytes, path: Path) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(image, path)

    monkeypatch.setattr(export, "write_whole", failing)
    again = argv(data, tmp_path / "todo", "magicbrush")
    assert export.main(again) == 1 and "the same command continues" in capsys.readouterr().err
    assert not (tmp_path / "todo" / "todo.csv").exists()
    first = written[:]
    written.clear()
    monkeypatch.setattr(export, "write_whole", lambda image, path: (written.append(path), write(image, path)))
    assert export.main(again) == 0
    assert not set(first) & set(written)  # what was there is not written again
    files = {p.relative_to(tmp_path / "whole"): p.read_bytes() for p in (tmp_path / "whole").rglob("*") if p.is_file()}
    assert files == {
        p.relative_to(tmp_path / "todo"): p.read_bytes() for p in (tmp_path / "todo").rglob("*") if p.is_file()
    }


def test_outputs_that_are_there_stay_when_the_export_is_made_again(data, tmp_path):
    to = tmp_path / "todo"
    assert export.main(argv(data, to, "magicbrush")) == 0
    mine = to / "outputs" / rows_in(to)[0]["output"]
    picture(1, (24, 24)).save(mine)
    before = mine.read_bytes()
    (to / rows_in(to)[1]["input"]).unlink()
    assert export.main(argv(data, to, "magicbrush")) == 0
    assert mine.read_bytes() == before and (to / rows_in(to)[1]["input"]).is_file()


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(data, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    assert export.main(argv(data, other, "magicbrush")) == 2
    assert "it holds something else (first: thesis.tex)" in capsys.readouterr().err
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]
    to = tmp_path / "todo"
    assert export.main(argv(data, to, "magicbrush")) == 0
    for more, said in (
        (["--turns", "multi"], "data"),
        (["--size", "native"], "read"),
        (["--limit", "2"], "n 6, here 2"),
    ):
        assert export.main(argv(data, to, "magicbrush", *more)) == 2
        error = capsys.readouterr().err
        assert "it is the export of something else" in error and said in error
    (tmp_path / "file").write_text("")
    assert export.main(argv(data, tmp_path / "file", "magicbrush")) == 2
    (to / "export.json").write_text("[]")
    assert export.main(argv(data, to, "magicbrush")) == 2


def test_other_data_under_the_same_name_are_another_export(data, tmp_path, capsys):
    to = tmp_path / "todo"
    assert export.main(argv(data, to, "magicbrush")) == 0
    turns = next((data / "magicbrush").rglob("edit_turns.json"))
    changed = json.loads(turns.read_text())
    changed[0]["instruction"] = "make it another one"
    turns.write_text(json.dumps(changed))
    assert export.main(argv(data, to, "magicbrush")) == 2
    assert "manifest" in capsys.readouterr().err


def test_inputs_that_cannot_be_read_are_counted_before_anything_is_written(data, tmp_path, capsys):
    broken = sorted((data / "magicbrush").rglob("*-input.png"))[0]
    broken.write_bytes(b"no image")
    command = argv(data, tmp_path / "todo", "magicbrush")
    assert export.main([*command, "--max-failures", "0"]) == 2
    assert "1 of 6 examples have no usable input image, first: magicbrush/test/" in capsys.readouterr().err
    assert not (tmp_path / "todo").exists()
    assert export.main([*command, "--max-failures", "0.5"]) == 0
    said, told = capsys.readouterr()
    assert len(rows_in(tmp_path / "todo")) == 5 and "they are left out" in told
    for row in rows_in(tmp_path / "todo"):
        picture(0, (24, 24)).save(tmp_path / "todo" / "outputs" / row["output"])
    line = shlex.split(said.splitlines()[-1].partition("python -m bench.run ")[2])
    assert "1 of 6 examples have no image" in plan([*line, "--out", str(tmp_path / "runs")]).notice  # and no refusal


def test_of_an_exported_folder_the_inputs_are_no_outputs(data, tmp_path):
    to = tmp_path / "todo"
    assert export.main(argv(data, to, "magicbrush")) == 0
    rows = rows_in(to)
    for place, row in enumerate(rows):
        picture(place, (24, 24)).save((to if place % 2 else to / "outputs") / row["output"])
    given = ["--model", "mine", "--images", str(to), "--out", str(tmp_path / "runs")]
    asked = plan(["--suite", "paper", "--data-root", str(data), "--dataset", "magicbrush", *given])
    assert asked.notice == "" and asked.model.path(rows[0]["id"]) == to / "outputs" / rows[0]["output"]


def test_shuffled_instructions_are_those_that_a_run_of_them_has(data, tmp_path, capsys):
    more = ("--instructions", "shuffled")
    assert export.main(argv(data, tmp_path / "todo", "magicbrush", *more)) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert "--instructions shuffled" in said
    given = ["--suite", "paper", "--data-root", str(data), "--dataset", "magicbrush", "--model", "identity", *ENOUGH]
    own, other = (plan([*given, "--out", str(tmp_path / "runs"), *extra]).run.examples for extra in ((), more))
    rows = {row["id"]: row["instruction"] for row in rows_in(tmp_path / "todo")}
    assert rows == {e.id: e.instruction for e in other if e.id in rows} != {e.id: e.instruction for e in own}
