"""The fuzzer sees what it is there for, and a few damaged inputs of each format pass; `make fuzz` tries thousands."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # its modules are a script's, not a package's

import mutations
from limits import Watch, private_bytes
from targets import TARGETS, Drawn

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    return Watch(tmp_path_factory.getbasetemp())


def greedy():
    return bytearray(3 * 2**30)


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda folder: {}["x"], "KeyError"),
        (lambda folder: int("x"), "ValueError"),  # of no file's name: a reader could not mend it
        (lambda folder: (folder / "a").read_text(encoding="ascii"), ""),
        (lambda folder: open(folder.parent.parent.parent / "outside", "w").close(), "wrote outside"),
        (lambda folder: greedy(), "more than 2 GB"),
    ],
)
def test_what_no_input_may_do_is_noticed(watch, tmp_path, use, says):
    if says == "wrote outside":
        watch.folders = (str(tmp_path),)
    said = watch.call(lambda: use(tmp_path), str(tmp_path))
    assert said.startswith(says) and bool(said) == bool(says)


def test_a_hang_is_noticed(watch, tmp_path, monkeypatch):
    monkeypatch.setattr("limits.SECONDS", 0.2)
    assert watch.call(lambda: time.sleep(5), str(tmp_path)).startswith("no end within")


def test_damage_follows_from_the_seed_alone(tmp_path):
    found = []
    for _ in range(2):
        path = tmp_path / "a.json"
        path.write_text('[{"a": [1, 2, {"b": "c"}]}]')
        kinds = [mutations.mutate(path, random.Random(7)) if path.is_file() else "" for _ in range(3)]
        found.append((kinds, path.read_bytes() if path.is_file() else b""))
    assert found[0] == found[1]


@pytest.mark.parametrize("target", [t for t in TARGETS if t.weight > 3], ids=lambda t: t.name)
def test_a_few_damaged_inputs_of_each_common_format_end_as_they_should(watch, target, tmp_path):
    from fuzz import one

    watch.folders = (str(tmp_path),)
    drawn = Drawn(target, tmp_path)
    said = {i: one(drawn, f"test/{target.name}/{i}", watch) for i in range(5)}
    assert not any(said.values()), said


def test_the_command_prints_count_and_seed_and_repeats_one_input():
    argv = [sys.executable, str(HERE / "fuzz.py"), "--seed", "5", "--only", "stored-scores:3"]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "fuzz: 1 inputs in 1 formats, seed 5" in result.stdout, result.stdout
    assert private_bytes() > 0
