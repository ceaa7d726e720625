"""MagicBrush: turns and sessions, captions, masks, the authors' zip and the Hub's files."""

import io
import json

import numpy as np
import pytest
from drawn import draw_magicbrush, draw_magicbrush_hub, picture, png, write_json
from PIL import Image

from bench.datasets.magicbrush import MagicBrush
from bench.datasets.masks import load_mask
from bench.settings import DataSettings
from mgie.io.images import load


def examples(root, **settings):
    return MagicBrush(root, DataSettings(**settings)).examples()


def test_single_turn_edits_every_turn_on_its_true_input(tmp_path):
    found = examples(draw_magicbrush(tmp_path, count=4))
    assert [e.id for e in found] == [
        f"magicbrush/test/{t}" for t in ("100-1", "101-1", "101-2", "102-1", "102-2", "102-3", "103-1")
    ]
    assert [e.input_image.name for e in found[3:6]] == ["102-input.png", "102-output1.png", "102-output2.png"]
    assert all(e.scored and e.previous is None for e in found)
    assert [(e.turn, e.group) for e in found[3:6]] == [(1, "102"), (2, "102"), (3, "102")]
    assert all(path.is_file() for e in found for path in (e.input_image, e.goal_image, e.mask.path))


def test_multi_turn_has_all_first_turns_then_all_second_and_scores_the_last_of_a_session(tmp_path):
    found = examples(draw_magicbrush(tmp_path, count=3), turns="multi")
    assert [(e.id, e.previous, e.scored) for e in found] == [
        ("magicbrush/test/100-1@multi", None, True),
        ("magicbrush/test/101-1@multi", None, False),
        ("magicbrush/test/102-1@multi", None, False),
        ("magicbrush/test/101-2@multi", "magicbrush/test/101-1@multi", True),
        ("magicbrush/test/102-2@multi", "magicbrush/test/102-1@multi", False),
        ("magicbrush/test/102-3@multi", "magicbrush/test/102-2@multi", True),
    ]
    assert all(e.input_image.name.endswith("-input.png") for e in found[:3])


def test_every_previous_turn_comes_before_and_each_session_is_scored_once(tmp_path):
    found = examples(draw_magicbrush(tmp_path, count=10), turns="multi")
    place = {e.id: i for i, e in enumerate(found)}
    assert all(e.previous is None or place[e.previous] < place[e.id] for e in found)
    assert sorted(e.group for e in found if e.scored) == [str(100 + i) for i in range(10)]


def test_a_limit_on_multi_turn_takes_whole_sessions(tmp_path):
    found = examples(draw_magicbrush(tmp_path, count=6), turns="multi", limit=3)
    assert len(found) == 6 and {e.group for e in found} == {"100", "101", "102"}
    assert len(examples(tmp_path, limit=3)) == 3


@pytest.mark.parametrize("kind", ["global", "local"])
def test_the_goal_caption_is_the_global_or_the_local_one_of_the_goal_image(tmp_path, kind):
    found = examples(draw_magicbrush(tmp_path, count=3), caption=kind)
    assert [e.goal_caption for e in found[1:3]] == [f"a {kind} caption of 101-output{n}.png" for n in (1, 2)]
    # local_descriptions.json has output images only, so a first turn's input has no caption there
    assert found[1].input_caption == ("a seat, 101" if kind == "global" else None)
    assert found[2].input_caption == f"a {kind} caption of 101-output1.png"


def test_a_missing_caption_file_is_an_error_that_names_it_and_the_other_choice(tmp_path):
    (draw_magicbrush(tmp_path) / "test" / "global_descriptions.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"global_descriptions\.json.*--caption local"):
        examples(tmp_path)
    assert examples(tmp_path, caption="local")[0].goal_caption


def test_a_caption_that_is_missing_for_one_image_is_none_and_counted(tmp_path):
    path = draw_magicbrush(tmp_path, count=3) / "test" / "global_descriptions.json"
    captions = json.loads(path.read_text())
    del captions["101"]["101-output2.png"], captions["100"]
    write_json(path, captions)
    data = MagicBrush(tmp_path, DataSettings())
    without = [e.id for e in data.examples() if e.goal_caption is None]
    assert without == ["magicbrush/test/100-1", "magicbrush/test/101-2"]
    assert "2 examples without a global goal caption" in data.note


@pytest.mark.parametrize("captions", [{"100": "text"}, {"100": {"100-output1.png": None}}, {"100": {"x": ["y"]}}])
def test_captions_of_another_kind_are_refused(tmp_path, captions):
    write_json(draw_magicbrush(tmp_path) / "test" / "global_descriptions.json", captions)
    with pytest.raises(ValueError, match="captions? of"):
        examples(tmp_path)


def test_the_mask_marks_by_transparency_and_is_brought_to_the_images_size(tmp_path):
    example = examples(draw_magicbrush(tmp_path, count=1))[0]
    mask = load_mask(example.mask, load(example.input_image).size)
    expected = np.zeros((40, 40), bool)
    expected[:, :20] = True
    assert Image.open(example.mask.path).size == (20, 20) and (mask == expected).all()


def test_any_folder_in_the_zips_layout_is_a_split(tmp_path):
    draw_magicbrush(tmp_path, "train", count=2)
    draw_magicbrush(tmp_path, "val", count=3)
    assert examples(tmp_path, split="train")[0].id == "magicbrush/train/100-1"
    assert examples(tmp_path, split="dev") == examples(tmp_path, split="val")  # the authors' zip of dev is val.zip
    assert examples(tmp_path, split="val")[0].id == "magicbrush/dev/100-1"


def test_a_session_with_an_empty_instruction_is_left_out_whole_and_counted(tmp_path):
    path = draw_magicbrush(tmp_path, count=3) / "test" / "edit_sessions.json"
    sessions = json.loads(path.read_text())
    sessions["102"][1]["instruction"] = " "
    write_json(path, sessions)
    data = MagicBrush(tmp_path, DataSettings(turns="multi"))
    assert {e.group for e in data.examples()} == {"100", "101"} and "1 sessions left out" in data.note


def test_a_session_that_holds_another_images_turn_is_refused(tmp_path):
    path = draw_magicbrush(tmp_path, count=3) / "test" / "edit_sessions.json"
    sessions = json.loads(path.read_text())
    sessions["101"].append(sessions["102"][0])
    write_json(path, sessions)
    with pytest.raises(ValueError, match="session 101: holds turns of 102"):
        examples(tmp_path, turns="multi")


def test_test_is_never_taken_from_the_hub(tmp_path):
    draw_magicbrush_hub(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"test\.zip"):
        examples(tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_the_hubs_files_give_the_same_examples_and_pixels_as_the_zip(tmp_path, kind):
    hub = examples(draw_magicbrush_hub(tmp_path / "hub", kind=kind), split="dev")
    zipped = examples(draw_magicbrush(tmp_path / "zip", "dev", count=4), split="dev")
    assert [(e.id, e.instruction, e.turn, e.group) for e in hub] == [
        (e.id, e.instruction, e.turn, e.group) for e in zipped
    ]
    for ours, theirs in zip(hub, zipped, strict=True):
        for a, b in ((ours.input_image, theirs.input_image), (ours.goal_image, theirs.goal_image)):
            assert (np.asarray(load(a)) == np.asarray(load(b))).all()
        assert load_mask(ours.mask, (40, 40))[:, :20].all() and not load_mask(ours.mask, (40, 40))[:, 20:].any()
    data = MagicBrush(tmp_path / "hub", DataSettings(split="dev"))
    assert "no goal captions" in data.note and all(e.goal_caption is None for e in data.examples())
    assert len(examples(tmp_path / "hub", split="dev", turns="multi")) == len(hub)


def test_the_hubs_images_are_written_once_and_again_when_the_files_change(tmp_path):
    examples(draw_magicbrush_hub(tmp_path), split="dev")
    image = examples(tmp_path, split="dev")[0].goal_image
    image.write_bytes(b"kept")
    assert examples(tmp_path, split="dev")[0].goal_image.read_bytes() == b"kept"
    (tmp_path / "from-hub" / "dev" / "source.json").write_text('{"another.parquet": 5}')
    assert examples(tmp_path, split="dev")[0].goal_image.read_bytes() != b"kept"


def test_a_killed_writing_of_the_hubs_images_is_finished_by_the_next_run(tmp_path):
    expected = examples(draw_magicbrush_hub(tmp_path), split="dev")
    folder = tmp_path / "from-hub" / "dev"
    for name in ("source.json", "edit_sessions.json"):  # what is written last is not there yet
        (folder / name).unlink()
    expected[0].goal_image.unlink()
    assert examples(tmp_path, split="dev") == expected and expected[0].goal_image.is_file()


def test_broken_hub_files_name_the_file_and_how_to_get_them(tmp_path):
    draw_magicbrush_hub(tmp_path)
    for path in (tmp_path / "data").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"dev-00000.*bench.fetch magicbrush"):
        examples(tmp_path, split="dev")


def hub_rows(root, source: bytes, goal: bytes, turns: int = 1):
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def column(*data: bytes) -> pa.Array:
        return pa.array([{"bytes": one, "path": None} for one in data], image)

    mask = png(Image.new("RGBA", (24, 16)))["bytes"]
    table = {
        "img_id": ["1"] * turns, "turn_index": pa.array(range(1, turns + 1), pa.int32()),
        "source_img": column(*[source, goal][:turns]), "mask_img": column(*[mask] * turns),
        "instruction": ["x"] * turns, "target_img": column(*[goal] * turns),
    }  # fmt: skip
    (root / "data").mkdir(parents=True)
    pq.write_table(pa.table(table), root / "data" / "dev-00000-of-00001.parquet")
    return root


def jpeg(image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=97, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_row_keeps_its_bytes_and_its_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(picture(1, (24, 16)), exif=exif)
    (example,) = examples(hub_rows(tmp_path / "hub", data, png(picture(2, (24, 16)))["bytes"]), split="dev")
    assert example.input_image.read_bytes() == data and example.input_image.suffix == ".jpg"
    (tmp_path / "same.jpg").write_bytes(data)
    assert (np.asarray(load(example.input_image)) == np.asarray(load(tmp_path / "same.jpg"))).all()
    assert load(example.input_image).size == ((24, 16) if orientation < 5 else (16, 24))


def test_a_row_of_inks_is_read_as_the_same_jpeg_on_disk(tmp_path):
    data = jpeg(picture(1, (24, 16)).convert("CMYK"))
    (example,) = examples(hub_rows(tmp_path / "hub", data, data), split="dev")
    assert np.abs(np.asarray(load(example.input_image)).astype(int) - np.asarray(picture(1, (24, 16)))).mean() < 3


def test_the_next_turn_starts_from_the_goal_image_under_its_own_ending(tmp_path):
    first, goal = jpeg(picture(1, (24, 16))), jpeg(picture(2, (24, 16)))
    found = examples(hub_rows(tmp_path / "hub", first, goal, turns=2), split="dev")
    assert [e.input_image.name for e in found] == ["1-input.jpg", "1-output1.jpg"]
    assert found[1].goal_image.name == "1-output2.jpg" and found[1].input_image == found[0].goal_image
    assert load_mask(found[0].mask, (24, 16)).all()


def test_a_folder_laid_out_when_jpegs_became_pngs_is_laid_out_anew(tmp_path):
    root = hub_rows(tmp_path / "hub", jpeg(picture(1, (24, 16))), png(picture(2, (24, 16)))["bytes"])
    (example,) = examples(root, split="dev")
    stamp = root / "from-hub" / "dev" / "source.json"
    made_from = json.loads(stamp.read_text())
    del made_from["images"]
    stamp.write_text(json.dumps(made_from))
    example.input_image.unlink()
    assert examples(root, split="dev")[0].input_image.is_file()
