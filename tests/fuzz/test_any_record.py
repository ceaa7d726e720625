"""Any JSON at all in the place of a record: it is read, or refused in an error that names the file (hypothesis)."""

import json
from pathlib import Path

import drawn
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baselines.precomputed import read_index
from bench.datasets.masks import load_mask
from bench.records import Mask
from bench.registry import DATASETS, load
from bench.settings import DataSettings
from mgie.io.images import ImageError
from mgie.train.data import read_expressive

FILES = {
    "evr": "dataset/adobe/test.json", "gier": "splits/test_sess_3.json", "ma5k": "annotations/test_sess_1.json",
    "magicbrush": "test/edit_turns.json", "ipr2pr": "seeds.json",
}  # fmt: skip
NAMES = st.sampled_from(["a.png", "100-output1.png", "../x.png", "0000007", "", "\0", "\ud800", "é" * 40]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8,
)  # fmt: skip
FIELDS = {
    "evr": ("img0", "img1", "uid", "sents"), "ma5k": ("input", "output", "request"),
    "gier": ("input", "output", "expert_summary", "amateur_summary", "operator"),
    "magicbrush": ("input", "output", "mask", "instruction"),
    "ipr2pr": ("x",),
}  # fmt: skip
OFTEN = settings(max_examples=30, deadline=None, derandomize=True, database=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_any_record_of_a_dataset_is_read_or_refused_by_file(tmp_path, name):
    root = getattr(drawn, f"draw_{name}")(tmp_path / name)
    path = root / FILES[name]

    @OFTEN
    @given(st.lists(VALUES | st.fixed_dictionaries({key: VALUES for key in FIELDS[name]}), max_size=3))
    def check(records: list) -> None:
        path.write_text(json.dumps(records))
        try:
            for example in load(DATASETS, name, "dataset")(root, DataSettings()).examples():
                assert root in example.input_image.parents and example.instruction.encode()
        except (ValueError, FileNotFoundError) as error:
            assert str(root) in str(error), error

    check()


@pytest.mark.parametrize("end", ["csv", "jsonl"])
def test_any_index_of_images_is_read_or_refused_by_file(tmp_path, end):
    path = tmp_path / f"index.{end}"

    @OFTEN
    @given(st.lists(st.fixed_dictionaries({"id": VALUES, "path": VALUES}), max_size=3))
    def check(rows: list) -> None:
        lines = [json.dumps(row) if end == "jsonl" else f"{row['id']},{row['path']}" for row in rows]
        text = "\n".join((["id,path"] if end == "csv" else []) + lines)
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            assert all(isinstance(found, Path) for found in read_index(path).values())
        except ValueError as error:
            assert str(path) in str(error), error

    check()


def test_any_mask_and_any_expressive_file_are_read_or_refused_by_file(tmp_path):
    path = tmp_path / "any.json"

    @OFTEN
    @given(VALUES | st.lists(st.fixed_dictionaries({"size": VALUES, "counts": VALUES}), max_size=2))
    def check(value: object) -> None:
        path.write_text(json.dumps(value))
        for read in (lambda: load_mask(Mask(path, (0,)), (8, 8)), lambda: read_expressive(path)):
            try:
                read()
            except (ValueError, ImageError) as error:
                assert str(path) in str(error), error

    check()
