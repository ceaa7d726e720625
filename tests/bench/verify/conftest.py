"""One run that is handed in, made once."""

from pathlib import Path

import pytest
from seen_runs import draw_runs

from bench.bundle.__main__ import main as bundle


@pytest.fixture(scope="package")
def world(tmp_path_factory) -> Path:
    """data/, runs/ and one bundle of "near": seven outputs, l1 and ssim."""
    root = tmp_path_factory.mktemp("somebodys home")
    folders = draw_runs(root, ("near",), write=False)
    assert bundle([str(folders["near"]), "-o", str(root / "near.zip")]) == 0
    assert bundle([str(folders["near"]), "--digests-only", "-o", str(root / "digests.zip")]) == 0
    return root
