"""The pairs of a run are found on the disk once."""

from pathlib import Path

from training_runs import draw_pairs

from mgie.train import data
from mgie.train.data import read_pairs
from tests.mgie.train.test_training_data import repack


def stats_of(monkeypatch) -> list[Path]:
    asked: list[Path] = []
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: asked.append(self) or exists(self))
    return asked


def images(asked: list[Path]) -> list[Path]:
    return [path for path in asked if path.suffix == ".jpg"]


def test_a_run_that_goes_on_looks_at_no_image_again(tmp_path, monkeypatch):
    pairs = draw_pairs(tmp_path / "ipr2pr")
    asked = stats_of(monkeypatch)
    first = read_pairs(pairs, "ipr2pr", None, True, tmp_path / "out" / ".pairs.jsonl")
    assert len(images(asked)) == 2 * len(first) == 12
    asked.clear()
    second = read_pairs(pairs, "ipr2pr", None, True, tmp_path / "out" / ".pairs.jsonl")
    assert not images(asked) and second.texts() == first.texts()
    for i in range(len(first)):
        assert (first[i].id, first[i].goal_image.tobytes()) == (second[i].id, second[i].goal_image.tobytes())


def test_an_index_of_other_data_or_a_damaged_one_is_made_anew(tmp_path):
    one, other = draw_pairs(tmp_path / "one", 2), draw_pairs(tmp_path / "other", 4)
    index = tmp_path / ".pairs.jsonl"
    assert len(read_pairs(one, "ipr2pr", None, True, index)) == 2
    assert len(read_pairs(other, "ipr2pr", None, True, index)) == 4
    index.write_text(index.read_text()[:-7])
    assert len(read_pairs(other, "ipr2pr", None, True, index)) == 4
    moved = other.rename(tmp_path / "one-more")
    assert len(read_pairs(moved, "ipr2pr", None, True, index)) == 4


def test_the_repack_s_table_is_read_through_once_and_again_where_it_changed(tmp_path, monkeypatch):
    root, index, read = repack(tmp_path / "repack"), tmp_path / ".pairs.jsonl", []
    find = data.line_offsets
    monkeypatch.setattr(data, "line_offsets", lambda path: read.append(path.name) or find(path))
    first, second = (read_pairs(root, "ipr2pr", None, True, index) for _ in range(2))
    assert read == ["ipr2pr.tsv"] and second.offsets == first.offsets and len(set(first.offsets)) == len(first)
    assert second[1].goal_image.tobytes() == first[1].goal_image.tobytes()
    index.write_text(index.read_text()[:-4])
    assert read_pairs(root, "ipr2pr", None, True, index).offsets == first.offsets and len(read) == 2
    (root / "ipr2pr.tsv").write_bytes(b"\n" + (root / "ipr2pr.tsv").read_bytes())
    moved = read_pairs(root, "ipr2pr", None, True, index)
    assert moved.offsets == tuple(at + 1 for at in first.offsets) and len(read) == 3
