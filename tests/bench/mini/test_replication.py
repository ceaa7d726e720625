"""bench.mini.replication: a second training is compared figure by figure, and only with what it can be compared."""

import csv
import json
import sys
from pathlib import Path

import pytest

from bench.mini import replication


def stage(folder: Path, **changes: object) -> Path:
    facts = {"stage": "mgie", "data": "a", "steps": "20", "seed": "1", "precision": "bf16", "device": "here",
             "scores": {"l1": 0.25}}  # fmt: skip
    (folder / "mgie").mkdir(parents=True)
    (folder / "mgie" / "scores.json").write_text(json.dumps(facts | changes))
    return folder


def table(path: Path, mean: float | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("dataset", "model", "metric", "mean", "low", "high"))
        writer.writerow(("ma5k", "identity", "l1", 0.5, 0.4, 0.6))
        writer.writerow(("ma5k", "mgie", "l1", mean, *((mean - 0.01, mean + 0.01) if mean else ("", ""))))
        writer.writerow(("ma5k", "mgie", "seconds", 1, 1, 1))
    return path


def test_stages_are_compared_score_by_score(tmp_path):
    shipped = stage(tmp_path / "shipped")
    [row] = replication.of_stages(shipped, stage(tmp_path / "again", scores={"l1": 0.24}, device="there"))
    assert row == replication.Again("mgie", "l1", 0.25, 0.24, None, "here", "there")


OTHERS = [{"data": "b"}, {"steps": "40"}, {"seed": "2"}, {"precision": "fp32"}, {"scores": {}}]


@pytest.mark.parametrize("other", OTHERS)
def test_a_stage_on_other_pictures_or_with_other_steps_is_refused(tmp_path, other):
    with pytest.raises(ValueError, match="scores.json: not the pictures, steps, seed, precision and scores of"):
        replication.of_stages(stage(tmp_path / "shipped"), stage(tmp_path / "again", **other))


def test_a_cell_of_the_editors_lies_within_the_first_interval_or_not(tmp_path):
    first, near, far = (table(tmp_path / f"{mean}.csv", mean) for mean in (0.1, 0.109, 0.111))
    assert [(r.what, r.within) for r in replication.of_tables(first, near)] == [("mgie l1", True)]
    assert [(r.what, r.within) for r in replication.of_tables(first, far)] == [("mgie l1", False)]


def test_a_cell_that_was_not_run_is_named(tmp_path):
    first, second = table(tmp_path / "a.csv", 0.1), table(tmp_path / "b.csv", "")
    with pytest.raises(ValueError, match=r"b\.csv: mgie on ma5k was not run"):
        replication.of_tables(first, second)


def test_a_folder_without_a_training_is_wrong_use(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["replication.py", str(tmp_path), str(tmp_path)])
    assert replication.main() == 2 and "holds no <stage>/scores.json" in capsys.readouterr().err
