"""Runs to be taken as rows, and a copy of them that may be changed."""

import shutil
from pathlib import Path

import pytest
from seen_runs import draw_runs


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world")
    draw_runs(root)
    return root


@pytest.fixture
def mine(world, tmp_path) -> Path:
    """A copy of runs/ whose folders may be changed."""
    return Path(shutil.copytree(world / "runs", tmp_path / "runs"))
