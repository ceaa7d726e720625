"""What make removes: named before it goes, and never what nobody can make again."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MADE = ("runs/mini", "runs/features", "runs/paper", "data/mini-0", "results/mini", "build", ".ruff_cache")
KEPT = ("data/magicbrush", "weights/mgie", "votes", "runs/human", "results/reference")


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in (*MADE, *KEPT):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def left(folder: Path, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if (folder / name).exists()]


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True)


def test_all_that_would_be_removed_is_named_and_nothing_goes_before_it_is_confirmed(folder):
    done = make(folder, "clean-all")
    assert done.returncode == 2 and "make clean-all CONFIRM=yes removes these" in done.stdout
    assert all(name in done.stdout for name in MADE) and left(folder, MADE) == list(MADE)
    assert make(folder, "clean-all", "CONFIRM=yes").returncode == 0
    assert left(folder, MADE) == [] and left(folder, KEPT) == list(KEPT)


def test_a_name_with_a_blank_is_one_name_and_takes_no_other_folder_with_it(folder):
    for name in ("runs/old", "runs/old votes"):
        (folder / name).mkdir()
    (folder / "runs" / "study.sqlite").touch()  # make human VOTES=
    assert make(folder, "clean-all", "CONFIRM=yes").returncode == 0
    assert left(folder, ("runs/old", "runs/old votes")) == []
    assert left(folder, (*KEPT, "runs/study.sqlite")) == [*KEPT, "runs/study.sqlite"]
