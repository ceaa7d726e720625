"""Our pipeline gives the images of the official demo's way (bench.speed.inference), compiled or not."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from bench.speed.inference import Reference

WITHIN = 1  # of 255: batches, and graphs, add up in another order
TEXTS = ["add snow", "make it night", "turn the cat on the left into a dog"]


def apart(ours, theirs) -> int:
    pairs = zip(ours, theirs, strict=True)
    return max(int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max()) for a, b in pairs)


@pytest.mark.parametrize("scheduler, ngram", [("DDIMScheduler", 0), ("EulerAncestralDiscreteScheduler", 3)])
def test_a_batch_equals_the_demo_one_image_after_the_other(scheduler, ngram):
    zero_snr = scheduler == "DDIMScheduler"  # which epsilon cannot be divided by
    preset = replace(tiny.TINY, scheduler=scheduler, no_repeat_ngram_size=ngram, guidance_scale=2.0, zero_snr=zero_snr,
                     prediction_type="v_prediction" if zero_snr else "epsilon")  # fmt: skip
    pipe = tiny.build(preset=preset)
    images = [tiny.picture(i, size) for i, size in enumerate([(32, 32), (40, 32), (32, 32)])]
    ours = pipe(images, TEXTS, generator=tiny.generators(0, 1, 2), num_inference_steps=3)
    theirs = Reference(pipe).edit(images, TEXTS, 3, tiny.generators(0, 1, 2))
    assert apart(ours.images, theirs) <= WITHIN
    assert apart(ours.images, pipe(images, TEXTS, generator=tiny.generators(3, 4, 5)).images) > 10


@pytest.mark.slow
def test_a_compiled_pipeline_gives_the_same_images():
    edit = lambda p: p([tiny.picture(0), tiny.picture(1)], TEXTS[:2], generator=tiny.generators(0, 1)).images  # noqa: E731
    expected, pipe = edit(tiny.build()), tiny.build()
    pipe.compile(backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=False):
        assert apart(edit(pipe), expected) <= WITHIN


def test_a_compiled_run_is_a_run_of_its_own(tmp_path):
    from baselines.mgie import MGIE
    from bench.settings import ModelSettings

    tiny.build().save_pretrained(tmp_path / "mgie-e2e")
    plain, compiled = (
        MGIE(ModelSettings("mgie", "paper", "ma5k", weights=tmp_path, device="cpu", compile=c)) for c in (False, True)
    )
    assert "compiled" not in plain.fingerprint()
    assert compiled.fingerprint() == {"compiled": "UNet and VAE decoder"} | plain.fingerprint()


def test_compiling_what_is_not_compiled_is_refused(capsys):
    from bench.run import main

    for model in (["identity"], ["mgie", "--form", "fz"]):
        assert main(["--dataset", "ma5k", "--compile", "--model", *model]) == 2
        assert "--compile is for mgie and lgie, e2e" in capsys.readouterr().err
