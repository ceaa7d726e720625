"""Emu Edit's test set from small parquet files of the Hub's layout."""

import json

import pytest
from drawn import picture
from drawn_hub import PLACEHOLDER, draw_emu_edit, emu_item
from PIL import Image, ImageChops
from tiny_networks import tiny_clip

from bench import run
from bench.datasets.emu_edit import EmuEdit, known_wrong
from bench.registry import examples_of
from bench.runs.folder import RunFolder
from bench.settings import DataSettings


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return draw_emu_edit(tmp_path_factory.mktemp("data") / "emu-edit")


def read(root, **settings):
    return EmuEdit(root, DataSettings(**settings))


def test_an_item_has_its_two_captions_its_photograph_as_group_and_no_goal(root):
    items = read(root).examples()
    assert [e.id for e in items] == [f"emu-edit/test/{i}" for i in range(12)]
    row, example = emu_item("test", 5), items[5]
    assert example.instruction == row["instruction"]
    assert (example.input_caption, example.goal_caption) == (row["input_caption"], row["output_caption"])
    assert example.goal_image is None and example.mask is None
    assert len({e.group for e in items}) == 4
    assert items[0].group == items[2].group == emu_item("test", 0)["hash"].partition("_")[2]
    with Image.open(example.input_image) as image:
        assert not ImageChops.difference(image.convert("RGB"), picture(54, (40, 40))).getbbox()


def test_a_photograph_lies_on_disk_once_and_is_not_written_again(root):
    items = read(root).examples()
    images = items[0].input_image.parent
    assert len(list(images.iterdir())) == 4
    before = {path: path.stat().st_mtime_ns for path in images.parent.rglob("*")}
    assert read(root).examples() == items
    assert {path: path.stat().st_mtime_ns for path in images.parent.rglob("*")} == before


@pytest.mark.parametrize("name", ["validation", "val", "dev"])
def test_the_validation_split_is_known_by_its_usual_names(root, name):
    assert [e.id for e in read(root, split=name).examples()] == [f"emu-edit/validation/{i}" for i in range(5)]
    assert examples_of("emu-edit", root, name) == read(root, split=name).examples()


def test_items_with_one_caption_for_both_images_are_kept_and_said_or_left_out(root):
    assert "2 items with one caption for both images are kept (--wrong-captions leave-out)" in read(root).note
    without = read(root, wrong_captions="leave-out")
    left = [e.id.rpartition("/")[2] for e in without.examples()]
    assert left == [str(i) for i in range(12) if i not in (4, 9)]  # 7 has a placeholder on one side only
    assert without.note == "2 items left out, whose captions are known to be wrong"


def test_a_published_list_may_name_them_by_hash_or_by_idx_in_json_or_in_lines(root, tmp_path):
    lists = {
        "as_the_sk_study.json": {"flux_excluded": [{"hash": emu_item("test", 7)["hash"], "reason": "x"}], "total": 3},
        "of_idx.json": [7, 9],
        "by_hash.json": {emu_item("test", 9)["hash"]: "wrong"},
    }
    found = {}
    for name, data in lists.items():
        (tmp_path / name).write_text(json.dumps(data))
    (tmp_path / "lines.txt").write_text(f"0\n{emu_item('test', 11)['hash']}\n")
    for name in (*lists, "lines.txt"):
        ids = {e.id.rpartition("/")[2] for e in read(root, wrong_captions=str(tmp_path / name)).examples()}
        found[name] = sorted(set(map(str, range(12))) - ids, key=int)
    assert found == {"as_the_sk_study.json": ["7"], "of_idx.json": ["7", "9"], "by_hash.json": ["9"],
                     "lines.txt": ["0", "11"]}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.json", "{}"), ("a.txt", " \n"), ("a.txt", "\xff")])
def test_a_list_that_names_nothing_is_refused(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="--wrong-captions"):
        known_wrong(str(tmp_path / name))


def test_a_run_scores_it_and_says_of_a_list_only_its_digest(root, tmp_path, capsys):
    (tmp_path / "list.json").write_text('["3"]')
    done = run.main([
        "--suite", "paper", "--dataset", "emu-edit", "--model", "identity", "--data-root", str(root.parent),
        "--wrong-captions", str(tmp_path / "list.json"), "--clip", str(tiny_clip(tmp_path / "clip")), "--device", "cpu",
        "--size", "native", "--out", str(tmp_path / "runs"), "--metrics", "cts,clip_direction,image_similarity,l1",
    ])  # fmt: skip
    assert done == 0, capsys.readouterr().err
    folder = next((tmp_path / "runs" / "paper").iterdir())
    scores = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    by_metric = {m: [s for s in scores if s["metric"] == m] for m in ("cts", "image_similarity", "l1")}
    assert {m: len(found) for m, found in by_metric.items()} == dict.fromkeys(by_metric, 11)
    assert all(-1 <= s["value"] <= 1 for s in by_metric["cts"])
    assert all(s["value"] == pytest.approx(1) for s in by_metric["image_similarity"])
    assert all(s["value"] is None and s["reason"] == "no goal image" for s in by_metric["l1"])
    assert RunFolder(folder).run()["data"]["wrong_captions"].startswith("list ")
    assert str(tmp_path) not in (folder / "run.json").read_text()


def test_what_is_missing_is_named_with_the_command_that_gets_it(root, tmp_path):
    (tmp_path / "emu-edit").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no test-\*.parquet(.|\n)*bench.fetch emu-edit"):
        read(tmp_path / "emu-edit").examples()
    with pytest.raises(FileNotFoundError, match="--wrong-captions none.json"):
        read(root, wrong_captions="none.json").examples()
    with pytest.raises(ValueError, match="known: test, validation"):
        read(root, split="train")


def test_other_parquet_files_are_refused_by_the_columns_that_they_lack(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "emu-edit" / "data"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"instruction": ["a"], "idx": [1]}), folder / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="no column image, task, hash, input_caption, output_caption"):
        read(tmp_path / "emu-edit").examples()


def test_the_drawn_files_hold_the_oddities_that_these_tests_are_about():
    assert emu_item("test", 4)["input_caption"] == emu_item("test", 4)["output_caption"] == PLACEHOLDER
    assert emu_item("test", 7)["input_caption"] == PLACEHOLDER != emu_item("test", 7)["output_caption"]
