"""A conversion or a training killed at any write ends, given again, in the files of an undisturbed one."""

import resource
import sys
from pathlib import Path

import official_files
import pytest
import torch
from training_runs import curve, draw_pairs, tiny_start, train

sys.path.insert(0, str(Path(__file__).parent))

from dying import files_below, in_a_child, said_by_a_child, spread

from mgie.convert.__main__ import convert, main

TRAINING = {"steps": 2, "checkpoint_every": 1, "ema": 0.9, "seed": 3, "batch_size": 2, "micro_batch": 2}


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    torch.set_num_threads(1)
    files = official_files.write(official_files.pipeline(), tmp_path_factory.mktemp("official"))
    out = tmp_path_factory.mktemp("converted") / "out"
    return files, in_a_child(lambda: convert(**files, out=out), out.parent), files_below(out)


def kill_conversion(official, folder: Path, points: int | None) -> None:
    files, writes, expected = official
    assert writes > 15 and "model_index.json" in expected
    for at in spread(points or writes, writes):
        out = folder / f"at{at}" / "out"
        out.parent.mkdir()
        assert in_a_child(lambda out=out: convert(**files, out=out), out.parent, at) == 0
        assert not (out / "model_index.json").exists(), f"killed at write {at}: half a model looks whole"
        convert(**files, out=out)
        assert files_below(out) == expected, f"killed at write {at} of {writes}"
        assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_conversion_killed_at_four_writes_ends_in_the_same_bytes(official, tmp_path):
    kill_conversion(official, tmp_path, 4)


@pytest.mark.slow
def test_a_conversion_killed_at_every_write_ends_in_the_same_bytes(official, tmp_path):
    kill_conversion(official, tmp_path, None)


def test_a_conversion_on_a_full_disk_says_so_and_leaves_nothing_half(official, tmp_path):
    files, _, expected = official
    argv = [f"--{name.replace('_', '-')}={value}" for name, value in files.items() if value]
    argv.append(f"--out={tmp_path / 'out'}")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # noqa: E731
    code, said = said_by_a_child(lambda: main(argv), limit)
    assert code in (1, 2) and "Traceback" not in said and "File too large" in said, said
    assert list(tmp_path.iterdir()) == []
    assert main(argv) == 0
    assert files_below(tmp_path / "out") == expected


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("trained")
    data, start = draw_pairs(root / "data"), tiny_start(root / "start")
    writes = in_a_child(lambda: train(root / "out", start, data, **TRAINING), root / "out")
    return data, start, writes, root / "out"


def weights(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in files_below(out).items() if name.endswith(".safetensors")}


def kill_training(trained, folder: Path, points: int) -> None:
    data, start, writes, unbroken = trained
    expected = weights(unbroken)
    assert writes > 30 and len(expected) > 10
    for at in spread(points, writes):
        out = folder / f"at{at}"
        assert in_a_child(lambda out=out: train(out, start, data, **TRAINING), out, at) == 0
        train(out, start, data, **TRAINING)
        assert curve(out) == curve(unbroken) and weights(out) == expected, f"killed at write {at} of {writes}"


@pytest.mark.slow
def test_a_training_killed_at_four_writes_ends_in_the_same_weights(trained, tmp_path):
    kill_training(trained, tmp_path, 4)


@pytest.mark.slow
def test_a_training_killed_at_twenty_writes_ends_in_the_same_weights(trained, tmp_path):
    kill_training(trained, tmp_path, 20)
