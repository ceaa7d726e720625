"""Weights go to their device as they are read: by the same way that a GPU takes, here on a CPU named so."""

import pytest
import tiny
import torch

from mgie.pipeline import MGIEPipeline


@pytest.mark.parametrize("eyes", [True, False])
def test_a_pipeline_loaded_onto_a_named_device_is_the_one_that_is_moved_there(tmp_path, eyes):
    tiny.build(eyes=eyes).save_pretrained(tmp_path / "pipe")
    moved = MGIEPipeline.from_pretrained(tmp_path / "pipe", dtype=torch.float32).to("cpu")
    there = MGIEPipeline.from_pretrained(tmp_path / "pipe", dtype=torch.float32, device="cpu:0")
    image, options = tiny.picture(0, (32, 24)), {"num_inference_steps": 1}
    one, other = (
        pipe(image, "make it night", generator=torch.Generator("cpu").manual_seed(0), **options)
        for pipe in (moved, there)
    )
    assert one.images[0].tobytes() == other.images[0].tobytes() and there.device == torch.device("cpu")
    half = MGIEPipeline.from_pretrained(tmp_path / "pipe", dtype=torch.bfloat16, device="cpu:0")
    kinds = {name: {weight.dtype for weight in part.parameters()} for name, part in half.components.items()}
    assert kinds.pop("vae") == {torch.float32}  # never in 16 bit
    assert set().union(*kinds.values()) == {torch.bfloat16}
    half.to(torch.float32)  # no hook stands in the way


def test_weights_that_are_no_numbers_are_refused_on_the_device_too(tmp_path):
    pipe = tiny.build(eyes=True)
    with torch.no_grad():
        next(pipe.unet.parameters()).view(-1)[0] = float("nan")
    pipe.save_pretrained(tmp_path / "pipe")
    with pytest.raises(ValueError, match="unet: 1 of .* values of .* are NaN"):
        MGIEPipeline.from_pretrained(tmp_path / "pipe", dtype=torch.float32, device="cpu:0")
