"""Options and the few fixtures that more than one file needs. Markers are declared in pyproject.toml."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # without a network the Hub is asked for 23 seconds before it is given up

from pathlib import Path

import pytest
import torch
from golden_weights import Golden


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=None,
        help="folder of golden data of the official code; default: ../shared/golden if there, else tests/golden",
    )
    parser.addoption(
        "--screens",
        type=Path,
        default=None,
        help="folder for screenshots of the pages (1280 and 390 px, light and dark); default: none are kept",
    )


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden.of(request.config)


@pytest.fixture
def generator() -> torch.Generator:
    """The one seed of the tests."""
    return torch.Generator("cpu").manual_seed(0)


@pytest.fixture
def screens(request: pytest.FixtureRequest) -> Path | None:
    return request.config.getoption("--screens")
