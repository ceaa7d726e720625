"""The loaders on small datasets drawn in the official layouts: ids, groups, order, splits, masks, what is left out."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_evr, draw_gier, draw_ipr2pr, draw_ma5k, rle, write_json

from bench.datasets.evr import EVR
from bench.datasets.gier import GIER
from bench.datasets.ipr2pr import IPr2Pr
from bench.datasets.ma5k import MA5k
from bench.datasets.masks import decode_masks, load_mask
from bench.records import Mask
from bench.settings import DataSettings
from mgie.io.images import ImageError
from mgie.train.ipr2pr_hub import positions

DRAW = {EVR: draw_evr, GIER: draw_gier, MA5k: draw_ma5k, IPr2Pr: draw_ipr2pr}


def examples(cls, root, **settings):
    return cls(root, DataSettings(**settings)).examples()


def change(path: Path, edit) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    write_json(path, data)


def test_evr_has_one_example_an_instruction_and_ids_of_uid_and_index(tmp_path):
    found = examples(EVR, draw_evr(tmp_path))
    assert [e.id for e in found[:4]] == [
        "evr/test/Reddit_1052#0",
        "evr/test/Reddit_1052#1",
        "evr/test/Reddit_1052#2",
        "evr/test/Reddit_30#0",
    ]
    assert len(found) == 18
    assert found[0].instruction == "take the people out "  # raw
    assert found[0].group == "4wfxf2"
    assert found[0].input_image == tmp_path / "images" / "Reddit.com_4wfxf2_4wfxf2.jpg"


@pytest.mark.parametrize(("expand", "train", "test"), [("instruction", 3, 18), ("pair", 2, 6), ("record", 3, 6)])
def test_evr_expands_by_instruction_pair_or_record(tmp_path, expand, train, test):
    draw_evr(tmp_path)
    assert len(examples(EVR, tmp_path, split="train", expand=expand)) == train
    assert len(examples(EVR, tmp_path, expand=expand)) == test


@pytest.mark.parametrize(("cls", "official"), [(EVR, "valid"), (GIER, "val"), (MA5k, "val"), (IPr2Pr, "val")])
def test_the_validation_split_has_one_id_under_either_name(tmp_path, cls, official):
    DRAW[cls](tmp_path)
    found = examples(cls, tmp_path, split="val")
    assert found == examples(cls, tmp_path, split="valid")
    assert found[0].id.split("/")[1] == official


def test_evr_images_are_looked_for_in_the_image_root(tmp_path):
    found = examples(EVR, draw_evr(tmp_path / "evr"), image_root=tmp_path / "posts")
    assert {e.goal_image.parent for e in found} == {tmp_path / "posts"}


def test_gier_takes_the_experts_instructions_before_the_amateurs(tmp_path):
    found = examples(GIER, draw_gier(tmp_path))
    assert [(e.id, e.instruction) for e in found[:5]] == [
        ("gier/test/aa1_b5#0", "contrast"),
        ("gier/test/aa1_b5#1", "more"),
        ("gier/test/aa1_b5#2", "a"),
        ("gier/test/aa1_b5#3", "b"),
        ("gier/test/aa4_b6#0", "remove the dog"),
    ]
    assert [e.group for e in found[:5]] == ["aa1"] * 4 + ["aa4"]


@pytest.mark.parametrize(
    ("split", "stems"),
    [
        ("test_global", ["aa1_b5", "aa5_b7", "aa7_b9"]),
        ("test:shapeAlign", ["aa1_b5", "aa4_b6", "aa5_b7", "aa7_b9"]),
        ("test:global+shapeAlign", ["aa1_b5", "aa5_b7", "aa7_b9"]),
        ("test_shapeAlign_global", ["aa1_b5", "aa5_b7", "aa7_b9"]),
        ("train_shapeAlign", ["aa1_b1", "aa2_b3"]),
    ],
)
def test_gier_subsets_are_splits_and_keep_the_ids_of_the_whole_split(tmp_path, split, stems):
    found = examples(GIER, draw_gier(tmp_path), split=split, expand="pair")
    assert [e.id for e in found] == [f"gier/{split[: 4 + split.startswith('train')]}/{s}#0" for s in stems]


def test_gier_has_a_mask_only_where_the_whole_edit_is_confined_to_it(tmp_path):
    masks = {e.id: e.mask for e in examples(GIER, draw_gier(tmp_path), expand="pair")}
    assert masks.pop("gier/test/aa4_b6#0") == Mask(tmp_path / "masks" / "aa4_aa4_mask.json", (1, 0))
    # global operators; local ones that do not say where; a global one beside a local one
    assert set(masks.values()) == {None}


def test_gier_masks_are_the_union_of_their_ids_and_are_brought_to_the_images_size(tmp_path):
    draw_gier(tmp_path)
    path = tmp_path / "masks" / "aa4_aa4_mask.json"
    small = decode_masks(path, (1, 0))
    expected = np.zeros((20, 24), bool)
    expected[:10, 12:], expected[:, :6] = True, True
    assert (small == expected).all()
    large = load_mask(Mask(path, (1, 0)), (48, 40))
    assert large.shape == (40, 48) and (large[::2, ::2] == expected).all()


@pytest.mark.parametrize("seed", range(6))
def test_any_mask_survives_both_forms_of_run_length_coding(tmp_path, seed):
    random = np.random.RandomState(seed)
    mask = random.rand(*random.randint(1, 60, 2)) < random.rand()
    flat = mask.T.reshape(-1)  # COCO's order: column by column, runs of 0 first
    changes = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    plain = {"size": list(mask.shape), "counts": ([0] if flat[0] else []) + runs}
    write_json(tmp_path / "m.json", [rle(mask), plain])
    assert (decode_masks(tmp_path / "m.json", (0,)) == mask).all()
    assert (decode_masks(tmp_path / "m.json", (1,)) == mask).all()


@pytest.mark.parametrize(
    ("entry", "ids"),
    [
        ({"size": [4, 4], "counts": [3, 99]}, (0,)),  # more pixels than there are
        ({"size": [4, 4], "counts": [3]}, (0,)),
        ({"size": [4, 4], "counts": "0"}, (0,)),
        ({"size": [4, 4], "counts": "zzzzz\x7f"}, (0,)),
        ({"size": [10**6, 10**6], "counts": [10**12]}, (0,)),
        ({"size": [-1, 4], "counts": []}, (0,)),
        ({"counts": [16]}, (0,)),
        ("mask", (0,)),
        ({"size": [4, 4], "counts": [16]}, (1,)),
        ({"size": [4, 4], "counts": [16]}, (-1,)),
    ],
)
def test_a_broken_mask_is_an_image_error_that_names_the_file(tmp_path, entry, ids):
    write_json(tmp_path / "m.json", [entry])
    with pytest.raises(ImageError, match=r"m\.json"):
        decode_masks(tmp_path / "m.json", ids)


def test_a_missing_or_cut_mask_file_is_an_image_error(tmp_path):
    with pytest.raises(ImageError, match="no such mask file"):
        decode_masks(tmp_path / "m.json", (0,))
    (tmp_path / "m.json").write_text('[{"size": [4, 4], "cou')
    with pytest.raises(ImageError, match="cannot be read"):
        decode_masks(tmp_path / "m.json", (0,))


def test_ma5k_ids_are_the_goal_images_and_its_groups_the_photographs(tmp_path):
    found = examples(MA5k, draw_ma5k(tmp_path))
    assert len(found) == 10 and len({e.group for e in found}) == 2
    first = found[0]
    assert first.id == f"ma5k/test/{first.group}_A" and first.input_image.name == f"{first.group}_O.jpg"
    assert first.instruction == "“brighter” please…" and found[1].instruction == "v"


def test_ipr2pr_has_each_seed_of_a_folder_and_counts_the_folders_that_are_absent(tmp_path):
    data = IPr2Pr(draw_ipr2pr(tmp_path), DataSettings(split="train"))
    found = data.examples()
    assert len(found) == 2 * (36 - 2) and data.missing_folders == ["0000084", "0000175"]
    assert "2 folders" in data.note
    assert [e.id for e in found[:2]] == ["ipr2pr/train/0000000_1000", "ipr2pr/train/0000000_900000"]
    assert found[0].group == "0000000" and found[0].goal_image == tmp_path / "0000000" / "1000_1.jpg"


def test_ipr2pr_reads_prompts_with_input_with_caption_and_with_the_edit_alone(tmp_path):
    found = {e.group: e for e in examples(IPr2Pr, draw_ipr2pr(tmp_path), split="train")}
    with_input, with_caption, bare = found["0000000"], found["0000007"], found["0000014"]
    assert (with_input.input_caption, with_input.goal_caption) == ("a photo 0", "a painting 0")
    assert (with_caption.input_caption, with_caption.goal_caption) == ("a photo 1", "a painting 1")
    assert (bare.input_caption, bare.goal_caption) == (None, None)
    assert bare.instruction == "make it look like painting 2"


@pytest.mark.parametrize("folders", [1, 7, 20, 313010])
def test_ipr2pr_splits_are_official_and_cover_every_folder_once(folders):
    parts = [positions(split, folders) for split in ("train", "val", "test")]
    assert [i for part in parts for i in part] == list(range(folders))
    if folders == 313010:
        assert [len(part) for part in parts] == [281709, 15650, 15651]


@pytest.mark.parametrize("cls", DRAW)
def test_the_limit_gives_the_first_examples(tmp_path, cls):
    DRAW[cls](tmp_path)
    assert examples(cls, tmp_path, limit=2) == examples(cls, tmp_path)[:2]
    with pytest.raises(ValueError, match="at least 1"):
        examples(cls, tmp_path, limit=0)


@pytest.mark.parametrize("cls", DRAW)
def test_ids_are_unique_and_images_lie_under_the_root(tmp_path, cls):
    found = examples(cls, DRAW[cls](tmp_path), split="train")
    assert found and len({e.id for e in found}) == len(found)
    assert all(path.is_relative_to(tmp_path) for e in found for path in (e.input_image, e.goal_image))


def test_blank_nan_and_null_instructions_are_left_out_counted_and_keep_their_index(tmp_path):
    draw_gier(tmp_path)
    path = tmp_path / "splits" / "test_sess_3.json"
    change(path, lambda records: records[0].update(expert_summary=["  ", float("nan"), None, "fourth"]))
    data = GIER(tmp_path, DataSettings())
    assert [e.id for e in data.examples()[:2]] == ["gier/test/aa1_b5#3", "gier/test/aa1_b5#4"]
    assert "3 empty instructions" in data.note
    first = GIER(tmp_path, DataSettings(expand="pair")).examples()[0]
    assert first.id == "gier/test/aa1_b5#3"
    draw_ma5k(tmp_path / "ma5k")
    change(tmp_path / "ma5k" / "annotations" / "test_sess_1.json", lambda rs: rs[0].update(request=float("nan")))
    data = MA5k(tmp_path / "ma5k", DataSettings())
    assert len(data.examples()) == 9 and "1 empty" in data.note


@pytest.mark.parametrize(
    ("cls", "name", "split", "official"),
    [
        (EVR, "dataset/adobe/test.json", "test", 495),
        (MA5k, "annotations/val_sess_1.json", "val", 2475),
    ],
)
@pytest.mark.parametrize("off", [-3, 0, 2])
def test_annotations_of_nearly_the_official_count_are_warned_about(tmp_path, cls, name, split, official, off):
    record = {"sents": ["go"], "request": "go"}
    write_json(
        tmp_path / name,
        [
            record
            | {
                "uid": f"R_{i}",
                "img0": f"R_{i}_{i}.jpg",
                "img1": f"R_{i}_b.jpg",
                "input": f"{i:04}_O.jpg",
                "output": f"{i:04}_A.jpg",
            }
            for i in range(official + off)
        ],
    )
    data = cls(tmp_path, DataSettings(split=split))
    if off:
        with pytest.warns(UserWarning, match=f"{official + off:,} records, the official file {official:,}"):
            data.examples()
        assert f"{official:,}" in data.note
    else:
        assert len(data.examples()) == official and data.note == ""


def test_twenty_thousand_records_load_fast(tmp_path):
    write_json(
        tmp_path / "annotations" / "train_sess_1.json",
        [
            {
                "input": f"{i // 5:05}_O.jpg",
                "output": f"{i // 5:05}_{'ABCDE'[i % 5]}.jpg",
                "request": "brighter " * 9,
                "request_idx": list(range(17)),
            }
            for i in range(20000)
        ],
    )
    start = time.process_time()
    with pytest.warns(UserWarning):
        assert len(examples(MA5k, tmp_path, split="train")) == 20000
    assert time.process_time() - start < 4  # 0.5 s on an idle core
