"""float32 is float32: what a model under test finds switched on is what it was before, and is off while it edits."""

from pathlib import Path

import pytest
import tiny
import torch

from bench.records import Example, Output
from bench.runs.runner import edit_slice
from bench.settings import EditSettings
from mgie.io.devices import Wanted, dtype_name, full_float32, vae_dtype


@pytest.fixture
def tf32():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def state() -> tuple[str, bool, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_no_tf32_inside_and_all_as_it_was_behind_it(tf32):
    with pytest.raises(RuntimeError, match="in the middle"), full_float32():
        assert state() == ("highest", False, False)
        raise RuntimeError("in the middle")
    assert state() == ("high", True, True)


def test_a_model_edits_without_tf32(tf32):
    class Model:
        def edit(self, examples, settings, seeds):
            from PIL import Image

            seen.append(state())
            return [Output(Image.new("RGB", (8, 8))) for _ in examples]

    seen: list = []
    edit_slice([Example("a/b/1", "a", None, "x")], 0, EditSettings(), Model())
    assert seen == [("highest", False, False)] and state() == ("high", True, True)


def test_the_library_edits_and_writes_without_tf32_too(tf32, monkeypatch):
    pipe, seen = tiny.build(), []
    for part in (pipe.mllm, pipe.unet, pipe.vae.decoder):
        part.register_forward_pre_hook(lambda *_: seen.append(state()))
    answers = pipe.answer(tiny.picture(0), "add snow")
    pipe.express(tiny.picture(0), "add snow")
    pipe(tiny.picture(0), "add snow", num_inference_steps=2, answers=answers)
    assert set(seen) == {("highest", False, False)} and state() == ("high", True, True)


def test_the_vae_is_never_in_16_bit_unless_its_weights_are_taken_as_they_are():
    assert vae_dtype(torch.float16) == vae_dtype(torch.bfloat16) == vae_dtype(torch.float32) == torch.float32
    assert vae_dtype(None) is None and vae_dtype(torch.float64) == torch.float64


def test_the_librarys_example_on_a_gpu_takes_the_dtype_that_auto_takes_there():
    readme = (Path(__file__).parents[2] / "mgie" / "README.md").read_text(encoding="utf-8")
    (example,) = [line for line in readme.splitlines() if '.to("cuda")' in line]
    assert f"dtype=torch.{dtype_name(Wanted(), 'cuda')})" in example
