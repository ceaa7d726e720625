"""Somebody's own output images: every naming that is promised, and what is wrong is said with its place."""

import os

import pytest
from PIL import Image

from baselines.precomputed import Precomputed, magicbrush_key
from bench.records import Example
from bench.settings import EditSettings, ModelSettings


def model(images) -> Precomputed:
    return Precomputed(ModelSettings("mine", "paper", "magicbrush", images=images))


def example(name: str) -> Example:
    return Example(name, name, "unused.png", "do it")


def test_magicbrush_output_naming_is_found_for_single_and_multi_turn(tmp_path):
    (tmp_path / "77").mkdir()
    for k, name in enumerate(("77_1", "77_inde_2", "77_iter_2")):
        Image.new("RGB", (4, 4), (k, 0, 0)).save(tmp_path / "77" / f"{name}.png")
    ids = ["magicbrush/test/77-1", "magicbrush/test/77-2", "magicbrush/test/77-2@multi", "magicbrush/test/77-1@multi"]
    outputs = model(tmp_path).edit([example(i) for i in ids], EditSettings(), [0] * 4)
    assert [o.image.getpixel((0, 0))[0] for o in outputs] == [0, 1, 2, 0]


def test_magicbrush_naming_is_for_magicbrush_only():
    assert magicbrush_key("evr/test/Reddit_1#0") is None


def test_ids_are_never_paired_by_order(tmp_path):
    for name in ("10", "9", "2"):
        Image.new("RGB", (4, 4), (int(name), 0, 0)).save(tmp_path / f"ma5k__test__{name}.png")
    ids = [f"ma5k/test/{n}" for n in ("2", "9", "10")]
    outputs = model(tmp_path).edit([example(i) for i in ids], EditSettings(), [0] * 3)
    assert [o.image.getpixel((0, 0))[0] for o in outputs] == [2, 9, 10]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "link"])
def test_files_that_are_named_and_not_there_are_counted_at_once(tmp_path, kind):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "index.csv").write_text("id,path\na,a.png\nb,b.png\nc,c.png\n")
    (tmp_path / "index.jsonl").write_text("".join(f'{{"id": "{i}", "path": "{i}.png"}}\n' for i in "abc"))
    for name in "bc" if kind == "link" else "":
        (tmp_path / f"{name}.png").symlink_to("nowhere")
    mine = model(tmp_path if kind == "link" else tmp_path / f"index.{kind}")
    examples = [example(i) for i in "abc"]
    with pytest.raises(ValueError, match="2 of 3 examples have no image, first: b, c; 2 files that are named"):
        mine.check(examples, 0.5)
    assert "first: " + str(tmp_path / "b.png") in mine.check(examples, 0.9)


def test_the_fingerprint_follows_the_bytes_of_the_images(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    before = model(tmp_path).fingerprint()
    assert model(tmp_path).fingerprint() == before
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    assert model(tmp_path).fingerprint() != before


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("a.csv", "name,file\n1,2\n", "line 2: expected id and path"),
        ("a.csv", "id,path\na,b.png\na,c.png\n", "line 3: a is there twice"),
        ("a.csv", "", "no rows"),
        ("a.csv", "id,path,path\na,b.png,c.png\n", "path is there twice"),
        ("a.jsonl", '{"id": "a", "path": "b.png", "path": "c.png"}\n', "line 1: path is there twice"),
        ("a.jsonl", '{"id": "a", "path": "b.png"}\n\n{"id": "c", "path": "d.png"}\n', "line 2: not JSON"),
        ("a.jsonl", '{"id": "a", "path": "b.png"}\nnonsense\n', "line 2: not JSON"),
        ("a.jsonl", '["a", "b.png"]\n', "line 1: expected id and path"),
        ("a.txt", "a b.png\n", "expected a folder, a .csv or a .jsonl"),
    ],
)
def test_a_bad_index_is_refused_with_its_line(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        model(tmp_path / name)


def test_a_folder_without_images_and_two_images_of_one_name_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no .png"):
        model(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="two images for a"):
        model(tmp_path)


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x1c"])
def test_only_a_newline_ends_a_line_of_json(tmp_path, sign):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    said = f"a{sign}b" if sign != "\x1c" else "a b"  # JSON has U+001C escaped alone
    line = f'{{"id": "x/test/1", "path": "a.png", "said": "{said}"}}'
    (tmp_path / "a.jsonl").write_bytes(f"{line}\r\n{line.replace('test/1', 'test/2')}\n".encode())
    (tmp_path / "a.csv").write_bytes(f"id,path,said\nx/test/1,a.png,{said}\nx/test/2,a.png,\n".encode())
    for name in ("a.jsonl", "a.csv"):
        assert list(model(tmp_path / name).paths) == ["x/test/1", "x/test/2"]


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "own" / "evr").mkdir(parents=True)
    (tmp_path / "own" / "evr" / "test").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "own")
    assert model(tmp_path / "own").path("evr/test/1") is not None


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "evr__test__1.png")
    with pytest.raises(ValueError, match=r"evr__test__1\.png is no plain file"):
        model(tmp_path)
