"""The pairs of a run are found on the disk once."""

from pathlib import Path

from training_runs import draw_pairs

from mgie.train.data import read_pairs


def stats_of(monkeypatch) -> list[Path]:
    asked: list[Path] = []
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: asked.append(self) or exists(self))
    return asked


def images(asked: list[Path]) -> list[Path]:
    return [path for path in asked if path.suffix == ".jpg"]


def test_a_run_that_goes_on_looks_at_no_image_again(tmp_path, monkeypatch):
    data = draw_pairs(tmp_path / "ipr2pr")
    asked = stats_of(monkeypatch)
    first = read_pairs(data, "ipr2pr", None, True, tmp_path / "out" / ".pairs.jsonl")
    assert len(images(asked)) == 2 * len(first) == 12
    asked.clear()
    second = read_pairs(data, "ipr2pr", None, True, tmp_path / "out" / ".pairs.jsonl")
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
