"""Tiny pipelines of diffusers' real classes, saved once for all tests of editors; no test writes into them."""

import pytest
import tiny_editors
import torch


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    torch.set_num_threads(1)
    root, made = tmp_path_factory.mktemp("editors"), {}

    def folder(name: str):
        if name not in made:
            made[name] = tiny_editors.save(name, root / name)
        return made[name]

    return folder
