"""Training pairs from disk: layouts, expressive instructions, rows, order; and what bad data is answered with."""

import base64
import io
import json
import shutil
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from training_runs import draw_pairs

from mgie.io.images import ImageError
from mgie.preprocess import training_pixels
from mgie.train import data as training_data
from mgie.train import losses
from mgie.train.batches import MLLMRows, Sizes, TrainingSet
from mgie.train.data import READERS, RepackPairs, dataset_folder, read_expressive, read_pairs, recognise, split_of
from mgie.train.loop import LoopSettings, Order, micro_batches

REAL = Path(__file__).parents[4] / "shared" / "data" / "ipr2pr"


@pytest.fixture
def data(tmp_path):
    return draw_pairs(tmp_path / "ipr2pr")


def repack(root: Path, pairs: int = 3) -> Path:
    """The three files of ml-mgie's _data, without the .pkl."""
    root.mkdir()
    entries = {}
    with open(root / "ipr2pr.tsv", "wb") as file:
        for i in range(pairs):
            columns = []
            for k in (0, 1):
                buffer = io.BytesIO()
                tiny.picture(10 * i + k).save(buffer, "JPEG", quality=75)
                columns.append(base64.b64encode(buffer.getvalue()))
            file.write(columns[0] + b"\t" + columns[1] + b"\n")
            entries[f"{i:07d}_12{i}_0"] = {"instruction": f"make it {i}", "expressive": f"it would be {i}"}
    (root / "ipr2pr_expressive.json").write_text(json.dumps(entries))
    return root


# what is read


def test_a_plain_folder_gives_every_seed_with_its_expressive_instruction(data):
    pairs = read_pairs(data, "ipr2pr", None, needs_expressive=True)
    assert len(pairs) == 6
    assert pairs[1].id == "ipr2pr/train/0000000_101"
    assert pairs.texts()[2] == ("make it night 1", "it is dim")
    assert pairs[1].input_image.size == (40, 36)


def test_the_two_real_pairs_are_found():
    if not REAL.exists():
        pytest.skip(f"no {REAL}")
    assert recognise(REAL) == "ipr2pr"
    pairs = read_pairs(REAL, "ipr2pr", "instruction", needs_expressive=True)
    assert [pair.id for pair in pairs] == ["ipr2pr/train/0000132_127380018", "ipr2pr/train/0000132_1818564940"]
    assert pairs.texts() == [("Make it look like a painting",) * 2] * 2


def test_the_train_split_of_seeds_json_is_read_and_absent_images_are_left_out(data):
    seeds = [[f"{i:07d}", [str(100 + 2 * i), str(101 + 2 * i)]] for i in range(3)]
    (data / "seeds.json").write_text(json.dumps(seeds))
    (data / "0000000/101_1.jpg").unlink()
    pairs = read_pairs(data, "ipr2pr", None, needs_expressive=False)
    assert [pair.id for pair in pairs] == [
        f"ipr2pr/train/{name}" for name in ("0000000_100", "0000001_102", "0000001_103")
    ]  # floor(.9 * 3) = 2 folders train


READER = """from mgie.train.data import PlainExample

def examples_of(dataset, root, split):
    return [PlainExample(f"{dataset}/{split}/1", root / "a.png", root / "b.png", "make it blue")]
"""


def installed(folder: Path, reader: str, monkeypatch) -> None:
    """A package that offers a reader, found before the one of the .venv."""
    about = folder / "a_reader-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: a-reader\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{READERS}]\nmine = {reader}\n")
    (folder / "a_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(folder)


def test_a_benchmark_s_split_is_read_by_who_is_installed_for_it(tmp_path, monkeypatch):
    installed(tmp_path, "a_reader:examples_of", monkeypatch)
    for name in "ab":
        tiny.picture(1).save(tmp_path / f"{name}.png")
    assert [example.id for example in split_of("evr", tmp_path, "val")] == ["evr/val/1"]
    pairs = read_pairs(tmp_path, "evr", "instruction", needs_expressive=True)
    assert [pair.id for pair in pairs] == ["evr/train/1"] and pairs.texts() == [("make it blue",) * 2]


def test_the_reader_that_pyproject_names_reads_a_train_split(data):
    (data / "seeds.json").write_text(json.dumps([["0000000", ["100", "101"]], ["0000001", ["102"]]]))
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    ((name, value),) = project["project"]["entry-points"][READERS].items()
    read = EntryPoint(name, value, READERS).load()
    assert [example.id for example in read("ipr2pr", data, "train")] == [f"ipr2pr/train/0000000_10{i}" for i in (0, 1)]
    with pytest.raises(ValueError, match="unknown dataset 'ipr3pr'; known: evr, "):
        read("ipr3pr", data, "train")


def test_with_its_name_a_dataset_is_found_below_the_parent_of_several(data):
    assert dataset_folder(data.parent, "ipr2pr") == (data, "ipr2pr")
    assert dataset_folder(data, "ipr2pr") == dataset_folder(data, None) == (data, "ipr2pr")


def test_a_rare_example_without_expressive_instruction_is_left_out_and_said(tmp_path, capsys):
    data = draw_pairs(tmp_path / "many", 101)
    lines = (data / "expressive.jsonl").read_text().splitlines(keepends=True)
    (data / "expressive.jsonl").write_text("".join(lines[1:]))
    assert len(read_pairs(data, "ipr2pr", None, needs_expressive=True)) == 100
    assert "1 of 101 training examples left out: no expressive instruction" in capsys.readouterr().err


def test_the_repack_gives_images_and_both_texts(tmp_path):
    root = repack(tmp_path / "repack")
    pairs = read_pairs(root, recognise(root), None, needs_expressive=True)
    assert isinstance(pairs, RepackPairs)
    assert pairs[2].id == "ipr2pr/train/0000002_122"
    assert pairs.texts()[2] == ("make it 2", "it would be 2")
    difference = np.asarray(pairs[2].goal_image, float) - np.asarray(tiny.picture(21), float)
    assert np.abs(difference).mean() < 8  # JPEG at quality 75
    assert read_pairs(root, "ipr2pr", None, needs_expressive=False).texts()[0] == ("make it 0", "make it 0")


def test_the_repacks_jpegs_are_turned_and_cut_ones_refused(tmp_path):
    root, exif, file = repack(tmp_path / "repack", pairs=1), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    tiny.picture(1, (48, 32)).save(file, "JPEG", exif=exif)
    for data in (file.getvalue(), file.getvalue()[:-200] + b"\xff\xd9"):
        (root / "ipr2pr.tsv").write_bytes(base64.b64encode(data) + b"\t" + base64.b64encode(data) + b"\n")
        if data == file.getvalue():
            assert RepackPairs.read(root)[0].input_image.size == (32, 48)
        else:
            with pytest.raises(ImageError, match="byte 0: cut short"):
                RepackPairs.read(root)[0]


def test_both_formats_of_expressive_instructions_say_the_same(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"7_1_0": {"instruction": "x", "expressive": "y"}}))
    line = json.dumps({"id": "ipr2pr/train/7_1", "instruction": "x", "expressive": "y"})
    (tmp_path / "a.jsonl").write_text(line + "\n" + line[:20])  # the last line was cut by a kill
    assert read_expressive(tmp_path / "a.json") == read_expressive(tmp_path / "a.jsonl") == {"ipr2pr/train/7_1": "y"}


# rows and batches


def rows(max_length: int = 512) -> MLLMRows:
    return MLLMRows(tiny.tokenizer(), tiny.TINY.patches, max_length)


def test_a_row_scores_the_expressive_instruction_the_visual_tokens_and_the_end():
    tokenizer = tiny.tokenizer()
    ids, labels = rows().row("make it night", "the lamps are lit")
    answer = tokenizer.encode("the lamps are lit")[1:] + tokenizer.visual + [tokenizer.eos]
    assert [i for i in labels if i != losses.IGNORED] == answer
    assert (ids == tokenizer.image_patch).sum() == tiny.TINY.patches
    assert (ids[labels != losses.IGNORED] == labels[labels != losses.IGNORED]).all()


def test_rows_are_padded_on_the_right_with_labels_that_do_not_count():
    made = rows()
    short, long = made.row("a", "b"), made.row("make it night now", "the lamps are lit, the sky is dark")
    batch = made.collate([short, long])
    n = len(short[0])
    assert batch["input_ids"][0, n:].eq(made.tokenizer.pad).all() and batch["labels"][0, n:].eq(losses.IGNORED).all()
    assert batch["attention_mask"].sum(dim=1).tolist() == [n, len(long[0])]


def test_a_row_that_is_too_long_is_cut_and_said_once(capsys):
    made = rows(max_length=100)
    for _ in range(2):
        ids, labels = made.row("make it night", "the lamps are lit " * 40)
    assert len(ids) == 100 and made.tokenizer.visual[0] not in ids
    assert (labels != losses.IGNORED).any()
    assert capsys.readouterr().err.count("longer than 100 tokens") == 1
    starts = losses.visual_token_starts(torch.from_numpy(labels)[None].long(), made.tokenizer.visual[0], 8)
    assert starts.tolist() == [100 - 9]


def test_images_are_cropped_to_a_square_and_scaled_to_minus_one_to_one(data):
    pairs = read_pairs(data, "ipr2pr", None, needs_expressive=True)
    pipe = tiny.build()
    batch = TrainingSet(pairs, rows(), Sizes(32, 16, (4, 4, 4)), pipe.image_processor)[[1, 3]]
    assert batch.goal_pixels.shape == (2, 3, 16, 16) and batch.pixel_values.shape == (2, 3, 16, 16)
    expected = training_pixels(pairs[3].goal_image, 16, 32)
    assert torch.equal(batch.goal_pixels[1], expected) and -1 <= float(expected.min()) < float(expected.max()) <= 1


def test_each_epoch_visits_each_pair_once_wherever_reading_starts():
    order = Order(7, seed=1)
    places = order.at(0, 21)
    assert [sorted(places[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert places[:7] != places[7:14]
    assert Order(7, seed=1).at(5, 16) == places[5:16]
    assert Order(7, seed=2).at(0, 7) != places[:7]


def test_processes_and_micro_batches_share_out_the_same_places():
    base = {"steps": 3, "batch_size": 12, "lr_mllm": 1, "lr_diffusion": 1}
    whole = list(micro_batches(LoopSettings(**base, micro_batch=12), 10, 0, 0, 1))
    parts = [list(micro_batches(LoopSettings(**base, micro_batch=4), 10, 1, rank, 2)) for rank in (0, 1)]
    assert [len(batch) for batch in parts[0]] == [4, 2, 4, 2]
    for step in (1, 2):
        mine = [i for part in parts for batch in part[2 * (step - 1) : 2 * step] for i in batch]
        assert mine == whole[step]


# what is refused


def test_a_folder_without_training_data_lists_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*data/ipr2pr"):
        recognise(tmp_path / "absent")
    (tmp_path / "evr").mkdir()
    with pytest.raises(FileNotFoundError, match=r"it holds evr.*ipr2pr: seeds.json or .*too high"):
        recognise(tmp_path)


def test_without_a_reader_a_benchmark_is_refused_in_a_line_that_says_how_to_install_one(data, monkeypatch):
    monkeypatch.setattr(training_data, "entry_points", lambda group: ())
    with pytest.raises(ValueError, match=r"^.*: nobody who reads evr is installed; .*: pip install -e \.$"):
        read_pairs(data, "evr", None, needs_expressive=False)
    assert len(read_pairs(data, "ipr2pr", None, needs_expressive=False)) == 6  # plain folders need nobody


def test_a_reader_that_moved_since_it_was_installed_is_named_with_the_command_that_mends_it(tmp_path, monkeypatch):
    installed(tmp_path, "a_reader.moved:examples_of", monkeypatch)
    with pytest.raises(ValueError, match=r"as a_reader.moved:examples_of, which cannot.*pip install -e \."):
        split_of("evr", tmp_path, "train")


def test_missing_expressive_instructions_name_the_command_that_makes_them(data):
    (data / "expressive.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=rf"python -m mgie.expressive --data {data} --dataset ipr2pr"):
        read_pairs(data, "ipr2pr", None, needs_expressive=True)
    assert len(read_pairs(data, "ipr2pr", None, needs_expressive=False)) == 6


def test_an_unfinished_file_of_expressive_instructions_is_refused_with_its_counts(data):
    lines = (data / "expressive.jsonl").read_text().splitlines(keepends=True)
    (data / "expressive.jsonl").write_text("".join(lines[:4]))
    with pytest.raises(ValueError, match=r"2 of 6 training examples \(first: ipr2pr/train/0000002_104\)"):
        read_pairs(data, "ipr2pr", None, needs_expressive=True)


def test_a_file_that_is_not_of_expressive_instructions_is_refused(data):
    (data / "expressive.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(ValueError, match="'expressive'"):
        read_pairs(data, "ipr2pr", None, needs_expressive=True)


def test_a_prompt_without_its_edit_is_refused_by_path(data):
    (data / "0000001/prompt.json").write_text('{"caption": "a"}')
    with pytest.raises(ValueError, match=r"0000001/prompt.json"):
        read_pairs(data, "ipr2pr", None, needs_expressive=False)


def test_an_unreadable_image_is_replaced_where_it_is_rare_and_stops_where_it_is_not(tmp_path, capsys):
    data = draw_pairs(tmp_path / "few", 4)
    (data / "0000000/100_0.jpg").write_bytes(b"no image")
    sizes, pipe = Sizes(32, 32, (4, 8, 8)), tiny.build()
    few = TrainingSet(read_pairs(data, "ipr2pr", None, True), rows(), sizes, pipe.image_processor)
    with pytest.raises(ValueError, match=r"1 of 4 training pairs cannot be read, the limit is 1%.*100_0.jpg"):
        few[[0]]

    class Many:
        """A hundred pairs of which the first cannot be read."""

        def __len__(self):
            return 100

        def __getitem__(self, index):
            if index == 0:
                raise ImageError("first.jpg: cannot be decoded")
            return read_pairs(data, "ipr2pr", None, True)[1]._replace(id=str(index))

        def texts(self):
            return [("a", "b")] * 100

    many = TrainingSet(Many(), rows(), sizes, pipe.image_processor)
    assert many.readable(0).id == "1"
    assert many[[0, 5]].goal_pixels.shape[0] == 2
    assert capsys.readouterr().err.count("pair 0 left out: first.jpg") == 1


def test_a_repack_whose_files_do_not_match_is_refused(tmp_path):
    root = repack(tmp_path / "repack")
    lines = (root / "ipr2pr.tsv").read_bytes().splitlines(keepends=True)
    (root / "ipr2pr.tsv").write_bytes(b"".join(lines[:2]))
    with pytest.raises(ValueError, match=r"2 lines.*3 entries"):
        RepackPairs.read(root)
    (root / "ipr2pr.tsv").write_bytes(lines[0] + b"not base64\talso not\n" + lines[2])
    with pytest.raises(ImageError, match="not a base64 JPEG"):
        RepackPairs.read(root)[1]
    shutil.copy(root / "ipr2pr.tsv", tmp_path / "ipr2pr.tsv")
    with pytest.raises(FileNotFoundError, match=r"ipr2pr_expressive.json"):
        RepackPairs.read(tmp_path)
