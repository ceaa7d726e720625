"""Outputs that authors made public, as models of suite published: MagicBrush's in both orders, Emu Edit's by hash."""

import json
import os
from pathlib import Path

import pytest
from drawn import draw_magicbrush, picture
from drawn_hub import draw_emu_edit, draw_emu_outputs, draw_magicbrush_outputs
from PIL import Image, ImageChops

from bench import run, tables
from bench.datasets import outputs
from bench.datasets.outputs import BY_FOLDER, EmuEditOutputs, MagicBrushOutputs
from bench.registry import open_dataset
from bench.settings import DataSettings


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    draw_magicbrush(root / "magicbrush")
    draw_magicbrush_outputs(root / "magicbrush-outputs", root / "magicbrush", off=51)
    draw_emu_edit(root / "emu-edit")
    draw_emu_outputs(root / "emu-edit-outputs")
    return root


def opened(root, dataset="magicbrush", split="test", **settings):
    return open_dataset("published", dataset, root, DataSettings(split=split, **settings))


def in_order(names):
    """A disk that lists these names first, in this order."""

    def listed(folder: Path) -> list[str]:
        there = sorted(os.listdir(folder))
        return sorted(
            there, key=lambda name: next((k for k, end in enumerate(names) if name.endswith(end)), len(names))
        )

    return listed


def test_by_turn_each_output_belongs_to_its_own_goal(root):
    data = opened(root)
    assert data.models == ("epoch-168",)
    found = data.outputs("epoch-168")
    assert found.keys() == {e.id for e in data.examples()} and len(found) == 19
    assert found["magicbrush/test/101-1"].name == "101_1.png"
    assert found["magicbrush/test/102-3"].name == "102_inde_3.png"
    multi = opened(root, turns="multi")
    iterative = multi.outputs("epoch-168")
    assert iterative["magicbrush/test/102-3@multi"].name == "102_iter_3.png"
    assert iterative["magicbrush/test/102-1@multi"].name == "102_1.png"
    assert sum(e.scored for e in multi.examples()) == 10


def test_by_folder_pairs_follow_the_listing_as_the_script_of_that_time_did(root):
    """Goals listed 3, 1, 2; outputs _1 first, whatever the listing, then inde_3 before inde_2."""
    listed = in_order(["output3.png", "output1.png", "output2.png", "inde_3.png", "iter_2.png", "iter_3.png"])
    data = MagicBrushOutputs(root, DataSettings(split=BY_FOLDER), listed)
    goals = {e.id: e.goal_image.name for e in data.examples()}
    found = {name: path.name for name, path in data.outputs("epoch-168").items()}
    pairs = [(found[f"magicbrush/test/102-{k}@folder"], goals[f"magicbrush/test/102-{k}@folder"]) for k in (1, 2, 3)]
    assert pairs == [
        ("102_1.png", "102-output3.png"), ("102_inde_3.png", "102-output1.png"), ("102_inde_2.png", "102-output2.png"),
    ]  # fmt: skip
    assert len(goals) == len(found) == 19
    multi = MagicBrushOutputs(root, DataSettings(split=BY_FOLDER, turns="multi"), listed)
    by_session = {e.group: (multi.outputs("epoch-168")[e.id].name, e.goal_image.name) for e in multi.examples()}
    assert by_session["102"] == ("102_iter_3.png", "102-output2.png")  # the last that is listed of each
    assert by_session["100"] == ("100_1.png", "100-output1.png") and len(by_session) == 10
    captions = {e.goal_image.name: e.goal_caption for e in data.examples()}
    assert captions["102-output3.png"] == "a global caption of 102-output3.png"  # the goal's own, as in the script


def test_a_disk_that_lists_by_turn_gives_the_same_pairs_in_both_orders(root):
    for turns in ("single", "multi"):
        by_folder = MagicBrushOutputs(
            root, DataSettings(split=BY_FOLDER, turns=turns), lambda place: sorted(os.listdir(place))
        )
        by_turn = opened(root, turns=turns)
        pairs = [
            {(data.outputs("epoch-168")[e.id], e.goal_image, e.goal_caption) for e in data.examples() if e.scored}
            for data in (by_folder, by_turn)
        ]
        assert pairs[0] == pairs[1]


def test_emu_edits_outputs_are_joined_by_hash_whatever_their_files_split_is_called(root):
    data = opened(root, "emu-edit")
    assert data.models == ("InstructPix2Pix", "emu-edit")
    found = data.outputs("emu-edit")
    assert found.keys() == {f"emu-edit/test/{i}" for i in range(12) if i != 3}  # of 3 there is none
    with Image.open(found["emu-edit/test/5"]) as image:
        assert not ImageChops.difference(image, picture(50 + 4 + 1000 + 5, (40, 40))).getbbox()
    assert opened(root, "emu-edit", "validation").outputs("emu-edit").keys() == {
        f"emu-edit/validation/{i}" for i in range(5)
    }


def test_two_items_of_one_hash_are_told_apart_by_their_number_and_two_outputs_of_one_are_refused(root, tmp_path):
    folder = tmp_path / "emu-edit-outputs"
    data = EmuEditOutputs(root, DataSettings(split="test"))
    first, second = sorted(data.outputs("emu-edit").items())[:2]
    data.__dict__["_made"] = {"m": {data._data.hashes[first[0]]: {0: first[1], 99: second[1]}}}
    assert data.outputs("m") == {"emu-edit/test/0": first[1]}
    draw_emu_outputs(folder)
    read = EmuEditOutputs(tmp_path, DataSettings(split="test"))
    assert read.models
    items = json.loads((folder / "from-hub" / "items.json").read_text())
    items.append(items[0] | {"image": items[2]["image"]})
    (folder / "from-hub" / "items.json").write_text(json.dumps(items))
    with pytest.raises(ValueError, match="a second output of"):
        _ = EmuEditOutputs(tmp_path, DataSettings(split="test")).models


def scored(root, tmp_path, *more):
    argv = ["--suite", "published", "--data-root", str(root), "--out", str(tmp_path / "runs"), *more]
    assert run.main([*argv, "--json"]) == 0


def test_a_run_needs_no_model_and_its_numbers_are_those_of_the_drawn_outputs(root, tmp_path, capsys):
    scored(root, tmp_path, "--split", "test", "--dataset", "magicbrush", "--model", "epoch-168", "--metrics", "l1,l2")
    said = capsys.readouterr()
    summary = json.loads(said.out)
    assert summary["metrics"]["l1"]["mean"] == pytest.approx(51 / 255, abs=1e-6)
    assert summary["metrics"]["l2"]["mean"] == pytest.approx((51 / 255) ** 2, abs=1e-6)
    assert "that their authors made public" in said.err and "hand-picked" not in said.err
    scored(root, tmp_path, "--split", "test", "--dataset", "emu-edit", "--model", "emu-edit", "--metrics", "l1",
           "--max-failures", "0.2")  # fmt: skip
    assert json.loads(capsys.readouterr().out)["n"] == 11


@pytest.mark.slow
def test_they_stand_in_a_table_beside_the_input_copy(root, tmp_path, capsys):
    places = ["--data-root", str(root), "--out", str(tmp_path / "runs"), "--results", str(tmp_path / "r")]
    argv = ["1", "--suite", "published", "--split", "test", "--datasets", "magicbrush", "--metrics", "l1", *places]
    argv += ["--models", "identity,epoch-168"]
    assert tables.main([*argv, "--plan", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert {cell["model"]: cell["missing"] for cell in cells} == {"identity": [], "epoch-168": [], "oracle": []}
    assert tables.main([*argv, "--plan", "--json", "--data-root", str(tmp_path / "nowhere")]) == 1
    lacks = json.loads(capsys.readouterr().out)["missing"]
    assert all("bench.fetch magicbrush" in lack["command"] and "(" not in lack["command"] for lack in lacks)
    assert tables.main(argv) == 0
    text = next((tmp_path / "r" / "published").glob("table1*.md")).read_text()
    assert "epoch-168" in text and "0.200" in text and "and-picked" not in text
    capsys.readouterr()


def test_what_is_not_there_is_named_with_the_command_that_gets_it(root, tmp_path):
    draw_magicbrush(tmp_path / "magicbrush")
    with pytest.raises(FileNotFoundError, match="no folder .*magicbrush-outputs(.|\n)*bench.fetch magicbrush-outputs"):
        _ = opened(tmp_path).models
    with pytest.raises(ValueError, match=f"no split 'test' of evr.*test, {BY_FOLDER} of magicbrush"):
        opened(root, "evr")
    with pytest.raises(ValueError, match="no split 'validation' of magicbrush"):
        outputs.published("magicbrush", root / "published", DataSettings(split="validation"))
