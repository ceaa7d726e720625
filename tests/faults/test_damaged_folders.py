"""A folder of weights that lost a part: refused by name."""

import shutil

import pytest
import tiny
import torch

from mgie.expressive.writer import open_writer
from mgie.pipeline import MGIEPipeline


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "mgie"
    tiny.build().save_pretrained(folder)
    return folder


PARTS = ["llama", "tower", "projector", "tokenizer", "image_processor", "edit_head", "unet", "vae", "scheduler"]


@pytest.mark.parametrize("part", PARTS)
def test_a_lost_part_is_named_and_an_mgie_without_its_eyes_is_no_mgie(whole, tmp_path, part):
    folder = shutil.copytree(whole, tmp_path / "mgie")
    shutil.rmtree(folder / part)
    opened = [lambda: MGIEPipeline.from_pretrained(folder)]
    if part in PARTS[:5]:
        opened.append(lambda: open_writer(folder, "cpu", torch.float32))  # as a rewriter
    for one in opened:
        with pytest.raises(FileNotFoundError, match=f"{folder / part} is missing.*get it again"):
            one()
