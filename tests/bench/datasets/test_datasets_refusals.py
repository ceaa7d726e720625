"""Broken, foreign or hostile files: each ends in one clear error that names the file and what to do next."""

import json
import shutil
from pathlib import Path

import pytest
from drawn import draw_evr, draw_gier, draw_ipr2pr, draw_ma5k, draw_magicbrush, write_json

from bench.registry import DATASETS, load
from bench.settings import DataSettings

DRAWN = {"evr": draw_evr, "gier": draw_gier, "ma5k": draw_ma5k, "magicbrush": draw_magicbrush, "ipr2pr": draw_ipr2pr}
FILES = {
    "evr": "dataset/adobe/test.json",
    "gier": "splits/test_sess_3.json",
    "ma5k": "annotations/test_sess_1.json",
    "magicbrush": "test/edit_turns.json",
    "ipr2pr": "seeds.json",
}
INPUT = {"evr": "img0", "gier": "input", "ma5k": "input", "magicbrush": "input"}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    for name, draw in DRAWN.items():
        draw(folder / name)
    return folder


@pytest.fixture
def draw(originals):
    """Lays a drawn dataset's annotations into a folder; the loaders open no images."""

    def lay(name, root):
        no_images = shutil.ignore_patterns("*.jpg", "*.JPG", "*.png", "*.gif")
        return Path(shutil.copytree(originals / name, root, ignore=no_images, dirs_exist_ok=True))

    return lay


def read(name, root, **settings):
    return load(DATASETS, name, "dataset")(root, DataSettings(**settings)).examples()


def change(root, name, edit):
    path = root / FILES[name]
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    write_json(path, data)


@pytest.mark.parametrize("name", DRAWN)
def test_a_missing_root_names_the_folder_the_source_the_terms_and_the_next_step(tmp_path, name):
    with pytest.raises(FileNotFoundError) as error:
        read(name, tmp_path / name)
    message = str(error.value)
    assert str(tmp_path / name) in message and "http" in message and "Terms:" in message
    assert "Next: " in message and "--data-root" in message and "--suite mini" in message


@pytest.mark.parametrize("name", DRAWN)
def test_a_folder_in_another_layout_names_the_file_that_is_not_there(tmp_path, name):
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=FILES[name].split("/")[-1]):
        read(name, tmp_path)


@pytest.mark.parametrize("name", DRAWN)
def test_an_unknown_split_lists_what_is_known(tmp_path, draw, name):
    with pytest.raises((ValueError, FileNotFoundError), match="test"):
        read(name, draw(name, tmp_path), split="tset")


@pytest.mark.parametrize("split", ["../test", "test/..", "/etc", "test_global+nothing", "test_", "."])
@pytest.mark.parametrize("name", DRAWN)
def test_a_split_is_a_name_and_never_a_path(tmp_path, draw, name, split):
    (tmp_path / "data").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=r"unknown split|split test_: no edit_turns"):
        read(name, draw(name, tmp_path / "data"), split=split)


@pytest.mark.parametrize("keep", [0, 1, 37])
@pytest.mark.parametrize("name", DRAWN)
def test_cut_off_json_names_the_file_and_how_to_get_it_again(tmp_path, draw, name, keep):
    path = draw(name, tmp_path) / FILES[name]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not valid JSON") as error:
        read(name, tmp_path)
    assert str(path) in str(error.value) and f"{keep} bytes" in str(error.value) and "get it again" in str(error.value)


@pytest.mark.parametrize("name", DRAWN)
def test_a_file_that_is_not_text_is_refused(tmp_path, draw, name):
    path = draw(name, tmp_path) / FILES[name]
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="not valid JSON"):
        read(name, tmp_path)


@pytest.mark.parametrize("data", [{"a": 1}, "text", 3, None])
@pytest.mark.parametrize("name", DRAWN)
def test_json_of_another_kind_is_refused(tmp_path, draw, name, data):
    write_json(draw(name, tmp_path) / FILES[name], data)
    with pytest.raises(ValueError, match="expected a JSON list"):
        read(name, tmp_path)


@pytest.mark.parametrize("record", [3, None, "x", [], {}])
@pytest.mark.parametrize("name", DRAWN)
def test_a_record_of_another_kind_is_named_by_its_place(tmp_path, draw, name, record):
    draw(name, tmp_path)
    change(tmp_path, name, lambda data: data.__setitem__(len(data) - 1, record))
    with pytest.raises(ValueError, match=r"record \d+|entry \d+"):
        read(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("evr", "sents", "a sentence"),
        ("evr", "sents", [{"raw": "x"}]),
        ("evr", "sents", [3]),
        ("evr", "uid", 7),
        ("evr", "img0", None),
        ("gier", "expert_summary", "x"),
        ("gier", "amateur_summary", None),
        ("gier", "operator", []),
        ("gier", "operator", {"hue": {"local": True, "ids": [-1]}}),
        ("gier", "operator", {"hue": {"local": "no", "ids": []}}),
        ("gier", "operator", {"hue": {"local": True, "ids": ["1"]}}),
        ("gier", "operator", {"hue": True}),
        ("ma5k", "request", ["x"]),
        ("ma5k", "output", float("nan")),
        ("magicbrush", "instruction", 5),
        ("magicbrush", "output", "100-result.png"),
        ("magicbrush", "mask", 1),
    ],
)
def test_a_field_of_another_kind_is_named(tmp_path, draw, name, field, value):
    draw(name, tmp_path)
    change(tmp_path, name, lambda data: data[0].__setitem__(field, value))
    with pytest.raises(ValueError, match=r"record 0"):
        read(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("evr", "sents"),
        ("gier", "expert_summary"),
        ("ma5k", "request"),
        ("magicbrush", "instruction"),
    ],
)
def test_a_record_without_its_instruction_is_refused(tmp_path, draw, name, field):
    draw(name, tmp_path)
    change(tmp_path, name, lambda data: data[1].pop(field))
    with pytest.raises(ValueError, match=f"no '{field}'"):
        read(name, tmp_path)


PATHS = ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg", "..", "", "C:/x.jpg", "..\\..\\x.jpg", "a\0b.jpg"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", INPUT)
def test_a_file_name_that_leaves_the_dataset_is_refused(tmp_path, draw, name, path):
    draw(name, tmp_path)
    change(tmp_path, name, lambda data: data[0].__setitem__(INPUT[name], path))
    with pytest.raises(ValueError, match="refused|expected"):
        read(name, tmp_path)


@pytest.mark.parametrize("path", [p for p in PATHS if p])
def test_a_goal_or_mask_name_that_leaves_the_dataset_is_refused(tmp_path, draw, path):
    draw("magicbrush", tmp_path / "m")
    for field in ("output", "mask"):
        change(tmp_path / "m", "magicbrush", lambda data, field=field: data[0].__setitem__(field, path))
        with pytest.raises(ValueError, match="refused|expected"):
            read("magicbrush", tmp_path / "m")
    draw("ipr2pr", tmp_path / "i")
    for entry in ([path, ["1"]], ["0000273", [path]]):
        change(tmp_path / "i", "ipr2pr", lambda data, entry=entry: data.__setitem__(len(data) - 1, entry))
        with pytest.raises(ValueError, match="refused"):
            read("ipr2pr", tmp_path / "i")


@pytest.mark.parametrize("name", ["evr", "gier", "ma5k", "magicbrush"])
def test_an_id_that_occurs_twice_is_refused_with_both_places(tmp_path, draw, name):
    draw(name, tmp_path)
    change(tmp_path, name, lambda data: data.append(data[0]))
    with pytest.raises(ValueError, match="occurs twice") as error:
        read(name, tmp_path)
    assert "record 0," in str(error.value) and str(error.value).count(FILES[name].split("/")[-1]) == 2


def test_a_folder_named_twice_in_seeds_json_is_refused(tmp_path, draw):
    draw("ipr2pr", tmp_path)
    change(tmp_path, "ipr2pr", lambda data: data.insert(1, data[0]))
    with pytest.raises(ValueError, match="occurs twice"):
        read("ipr2pr", tmp_path, split="train")


@pytest.mark.parametrize("prompt", ['{"edit": "x', "[]", '{"output": "x"}', '{"edit": 3}', '{"edit": "x", "input": 1}'])
def test_a_broken_prompt_of_ipr2pr_names_its_file(tmp_path, draw, prompt):
    (draw("ipr2pr", tmp_path) / "0000000" / "prompt.json").write_text(prompt)
    with pytest.raises(ValueError, match=r"0000000.prompt\.json"):
        read("ipr2pr", tmp_path, split="train")


@pytest.mark.parametrize("indices", [[99], [-1], ["0"], [True], [1.5]])
def test_a_gier_subset_of_another_release_is_refused(tmp_path, draw, indices):
    write_json(draw("gier", tmp_path) / "splits" / "test_global_sess_3.json", indices)
    with pytest.raises(ValueError, match="not an index into the 5 records"):
        read("gier", tmp_path, split="test_global")


def test_a_gier_subset_without_its_list_names_the_file(tmp_path, draw):
    with pytest.raises(FileNotFoundError, match=r"test_shapeAlignNonCrop_sess_3\.json"):
        read("gier", draw("gier", tmp_path), split="test_shapeAlignNonCrop")


@pytest.mark.parametrize("name", ["gier", "ma5k", "magicbrush", "ipr2pr"])
def test_an_image_root_is_refused_where_it_would_be_ignored(tmp_path, draw, name):
    with pytest.raises(ValueError, match="only EVR"):
        read(name, draw(name, tmp_path), image_root=tmp_path)


def test_json_nested_beyond_reason_is_refused(tmp_path, draw):
    path = draw("evr", tmp_path) / FILES["evr"]
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"test\.json"):
        read("evr", tmp_path)
