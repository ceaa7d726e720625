"""IPr2Pr from the Hub's parquet files: the pairs of the folder form, its ids and splits where they can be known."""

import json
import pickle
import shutil

import pytest
from drawn import draw_ipr2pr
from drawn_hub import draw_ipr2pr_hub
from PIL import ImageChops

from bench.datasets.ipr2pr import IPr2Pr
from bench.settings import DataSettings
from mgie.train import ipr2pr_hub
from mgie.train.data import READERS, FilePairs, examples_of, read_pairs, recognise
from mgie.train.ipr2pr_hub import HubPairs, listed
from mgie.train.loop import Order

assert READERS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder form with one seed a folder, so that every row has its counterpart."""
    root = draw_ipr2pr(tmp_path_factory.mktemp("folders") / "ipr2pr")
    seeds = [[name, numbers[:1]] for name, numbers in json.loads((root / "seeds.json").read_text())]
    (root / "seeds.json").write_text(json.dumps(seeds))
    for _, path in ((p.name, p) for p in root.glob("*/9*_?.jpg")):
        path.unlink()
    return root


@pytest.fixture
def hub(folders, tmp_path):
    """The same pairs as rows, beside them seeds.json and the texts of the folders, without images."""
    root = draw_ipr2pr_hub(tmp_path / "ipr2pr", folders)
    shutil.copyfile(folders / "seeds.json", root / "seeds.json")
    for path in folders.glob("*/prompt.json"):
        (root / path.parent.name).mkdir()
        shutil.copyfile(path, root / path.parent.name / "prompt.json")
    return root


def read(root, split):
    return IPr2Pr(root, DataSettings(split=split)).examples()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_pairs_ids_and_splits_are_those_of_the_folder_form(folders, hub, split):
    expected, found = ({e.id: e for e in read(root, split)} for root in (folders, hub))
    assert found.keys() == expected.keys() and expected
    for name, example in found.items():
        other = expected[name]
        assert (example.instruction, example.group) == (other.instruction, other.group)
        assert (example.input_caption, example.goal_caption) == (other.input_caption, other.goal_caption)
        assert example.input_image.read_bytes() == other.input_image.read_bytes()
        assert example.goal_image.read_bytes() == other.goal_image.read_bytes()


def test_the_prompts_file_names_the_folders_as_well(hub):
    """Line n is folder n in seven digits."""
    before = [row.id for row in listed(hub)]
    lines = {int(path.parent.name): path.read_text() for path in hub.glob("*/prompt.json")}
    for path in hub.glob("*/prompt.json"):
        path.unlink()
    assert not any(row.id in before for row in listed(hub))
    (hub / "gpt-generated-prompts.jsonl").write_text(
        "".join(json.dumps(json.loads(lines.get(n, '{"edit": "another"}'))) + "\n" for n in range(max(lines) + 1))
    )
    assert [row.id for row in listed(hub)] == before


def test_of_several_seeds_none_is_guessed_at_and_of_one_text_in_two_folders_neither(hub):
    seeds = json.loads((hub / "seeds.json").read_text())
    seeds[0][1].append("77")
    (hub / "seeds.json").write_text(json.dumps(seeds))
    shutil.copyfile(hub / seeds[1][0] / "prompt.json", hub / seeds[2][0] / "prompt.json")
    ids = [row.id for row in listed(hub)]
    assert ids[0] == f"ipr2pr/train/{seeds[0][0]}"
    assert ids[1] == "ipr2pr/train/hub-00000-00001" and len(set(ids)) == len(ids)


@pytest.fixture
def alone(tmp_path):
    return draw_ipr2pr_hub(tmp_path / "alone", rows=40, shards=4)


def test_rows_alone_are_called_after_file_and_row_and_split_by_their_place(alone):
    rows = listed(alone)
    assert [row.id for row in rows[9:12]] == [
        f"ipr2pr/train/hub-{n}" for n in ("00000-00009", "00001-00000", "00001-00001")
    ]
    assert [sum(row.split == split for row in rows) for split in ("train", "val", "test")] == [36, 2, 2]
    (alone / "data" / sorted(p.name for p in (alone / "data").iterdir())[1]).unlink()  # not all files are here
    assert {row.id for row in listed(alone)} == {row.id for row in rows if "hub-00001" not in row.id}


def test_training_streams_the_rows_and_copies_nothing(alone):
    assert recognise(alone) == "ipr2pr"
    pairs = read_pairs(alone, "ipr2pr", None, needs_expressive=False)
    assert isinstance(pairs, HubPairs) and len(pairs) == 36
    by_file = FilePairs(read(alone, "train"))
    for i in (0, 35, 3, 12, 11):
        ours, theirs = pairs[i], by_file[i]
        assert (ours.id, ours.instruction, ours.expressive) == (theirs.id, theirs.instruction, theirs.expressive)
        assert not ImageChops.difference(ours.input_image, theirs.input_image).getbbox()
        assert not ImageChops.difference(ours.goal_image, theirs.goal_image).getbbox()
    assert pickle.loads(pickle.dumps(pairs))[5].id == pairs[5].id
    assert [e.id for e in examples_of(alone, "ipr2pr", "train")] == [row.id for row in pairs.rows]


def test_expressive_instructions_are_found_by_the_rows_ids(alone):
    known = {row.id: f"expressive {row.row}" for row in listed(alone)}
    (alone / "expressive.jsonl").write_text(
        "".join(json.dumps({"id": i, "instruction": "x", "expressive": text}) + "\n" for i, text in known.items())
    )
    pairs = read_pairs(alone, "ipr2pr", None, needs_expressive=True)
    assert pairs[4].expressive == "expressive 4" and len(pairs) == 36


def test_an_epoch_reads_each_file_once_from_front_to_back_and_meets_every_pair(alone, monkeypatch):
    opened = []
    real = ipr2pr_hub.stream
    monkeypatch.setattr(
        ipr2pr_hub, "stream", lambda file, start: opened.append((file.name, start)) or real(file, start)
    )
    monkeypatch.setattr(ipr2pr_hub, "WINDOW", 4)
    pairs = read_pairs(alone, "ipr2pr", None, needs_expressive=False)
    order = Order(len(pairs), 1, pairs.windows)
    first, second = order.at(0, 36), order.at(36, 72)
    assert sorted(first) == sorted(second) == list(range(36)) and first != second and first != sorted(first)
    assert [pairs[i].id for i in first] == [pairs.rows[i].id for i in first]
    assert len(opened) == len(set(opened)) == 4 and {start for _, start in opened} == {0}


def test_a_file_that_is_cut_short_is_named_with_the_command_that_gets_it(alone):
    path = sorted((alone / "data").iterdir())[2]
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=f"{path.name}: cannot be read(.|\n)*bench.fetch ipr2pr"):
        listed(alone)


def test_a_limit_lays_out_only_what_it_takes(alone):
    assert len(IPr2Pr(alone, DataSettings(split="train", limit=3)).examples()) == 3
    assert len(list((alone / "from-hub").rglob("*.jpg"))) == 6
