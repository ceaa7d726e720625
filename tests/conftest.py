"""Options and the two fixtures that more than one file needs. Markers are declared in pyproject.toml."""

from pathlib import Path

import pytest
import torch
from golden_weights import Golden


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden", type=Path, default=None,
        help="folder of golden data of the official code; default: ../shared/golden if there, else tests/golden",
    )


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden.of(request.config)


@pytest.fixture
def generator() -> torch.Generator:
    """The one seed of the tests."""
    return torch.Generator("cpu").manual_seed(0)
