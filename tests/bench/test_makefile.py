"""The Makefile: every variable that a target takes reaches its command, and any other stops it. Nothing is run."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


# as from a shell: pytest itself may have been started by make
ENV = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


def make(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "-n", *words], cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=60)


def taken(target: str) -> list[str]:
    """By what it says when it is given something else."""
    strange = "COUNT" if target != "fuzz" else "CONFIRM"
    said = make(target, f"{strange}=1")
    assert said.returncode == 2 and f"make {target} takes no {strange}; it takes: " in said.stderr
    return said.stderr.partition("it takes: ")[2].partition(".")[0].split()


@pytest.mark.parametrize("target", TARGETS)
def test_every_variable_that_a_target_takes_reaches_its_command(target):
    names = [name for name in taken(target) if name != "PYTHON"]
    done = make(target, *(f"{name}=given-{name}" for name in names))
    assert done.returncode == 0, done.stderr
    for name in names:
        flag = f"--{name.lower()} " if name in ("FULL", "STRICT", "VERBOSE", "AGAIN", "YES") else f"given-{name}"
        assert flag in done.stdout, f"make {target} drops {name}"


def test_every_target_with_a_command_of_its_own_takes_any_flag_of_it():
    assert {target for target in TARGETS if "ARGS" not in taken(target)} == {
        "help", "setup", "lint", "clean", "clean-all",
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    ["rewrite WITH=mine", "rewrite VERBOSE=1", "controls WITH=mine", "human WITH=mine", "tradeoff METRICS=l1",
     "gallery SEEDS=3", "table4 SUITE=mini", "check FULL=1", "figures METRICS=l1", "clean ARGS=--all"],
)  # fmt: skip
def test_a_variable_that_the_target_does_not_take_stops_it(words):
    target, _, given = words.partition(" ")
    done = make(target, given)
    assert done.returncode == 2 and f"make {target} takes no {given.partition('=')[0]}; it takes: " in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_of_several_targets_a_variable_serves_those_that_take_it():
    done = make("table1", "gallery", "SEEDS=3")
    assert done.returncode == 0
    assert [("--seeds 3" in line) for line in done.stdout.splitlines() if "-m bench." in line] == [True, False]


@pytest.mark.parametrize(
    ("target", "word", "meant"),
    [("table1", "modls=mgie", "MODELS"), ("table1", "DATASET=evr", "DATASETS"), ("table1", "SEED=3", "SEEDS"),
     ("fuzz", "SEEDS=3", "SEED")],
)  # fmt: skip
def test_a_variable_that_is_a_slip_is_told_which_was_meant(target, word, meant):
    assert f"did you mean {meant}? it takes: " in make(target, word).stderr


def test_the_flags_of_one_make_are_not_those_of_a_make_within_it(tmp_path):
    outer = tmp_path / "outer"
    outer.write_text(f'include {ROOT / "Makefile"}\nprobe:\n\t@echo "given: $$ARGS"\n')
    env = ENV | {"ARGS": "--of-the-environment"}
    for words in (["ARGS=--of-the-command"], []):
        said = subprocess.run(["make", "-f", outer, "probe", *words], cwd=ROOT, env=env, capture_output=True, text=True)
        assert said.stdout == "given: \n", said.stderr


def test_an_unknown_target_is_told_before_its_variables():
    done = make("tabel1", "SEEDS=3")
    assert "get_close_matches" in done.stdout and "takes no" not in done.stderr


def test_make_plan_is_of_table_1_of_suite_paper():
    said = make("plan", "MODELS=mgie", "ARGS=--for h200")
    assert "-m bench.tables 1 --plan --suite paper --models mgie --for h200" in " ".join(said.stdout.split())
    assert "--plan --suite mini" in " ".join(make("plan", "SUITE=mini").stdout.split())
