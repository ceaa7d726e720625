"""A training run: it learns, it changes what it shall and nothing else, and how it is cut up does not matter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_diffusers
import torch
from safetensors.torch import load_file
from training_runs import curve, draw_pairs, numbers, tiny_start, train

from mgie.pipeline import MGIEPipeline
from mgie.train import starts
from mgie.train.checkpoint import checkpoints
from mgie.train.joint import TRAINED
from mgie.train.loop import Diverged

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_pairs(tmp_path_factory.mktemp("data") / "ipr2pr")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny_start(tmp_path_factory.mktemp("start") / "mgie")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, start, data):
    return train(tmp_path_factory.mktemp("run") / "unbroken", start, data, ema=0.9, checkpoint_every=3)


def close(ours: Path, theirs: Path, rel: float) -> None:
    for name in ("l_ins", "l_edit", "loss", "grad_norm"):
        assert numbers(ours, name) == pytest.approx(numbers(theirs, name), rel=rel), name


def test_both_losses_fall_on_two_pairs(tmp_path, start):
    out = train(
        tmp_path / "out",
        start,
        draw_pairs(tmp_path / "pairs", 2),
        steps=24,
        batch_size=8,
        micro_batch=8,
        stored=True,
        schedule="constant",
    )
    ins, edit = numbers(out, "l_ins"), numbers(out, "l_edit")
    assert ins[-1] < 0.5 * ins[0]
    assert sum(edit[-8:]) < 0.8 * sum(edit[:8])  # the timesteps differ from step to step: a mean


@pytest.mark.parametrize("kind", TRAINED)
def test_a_run_changes_the_parameters_of_its_form_and_no_other(tmp_path, data, kind):
    if kind[1] == "e2e" and kind[0] != "inspix2pix":
        folder = tiny_start(tmp_path / "start", eyes=kind[0] == "mgie")
    else:
        folder = tiny_diffusers.instruct_pix2pix(tmp_path / "start")
    out = train(tmp_path / "out", folder, data, kind, steps=2, schedule="constant", warmup=0.0)
    result = out / "inspix2pix" if kind[1] == "ft" else out
    before = dict(starts.load(folder, kind, None).model.named_parameters())
    after = dict(starts.load(result, kind, None).model.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if any(part in name for part in TRAINED[kind])}


def test_the_trained_folder_is_a_pipeline_that_edits(unbroken):
    import tiny

    pipe = MGIEPipeline.from_pretrained(unbroken)
    pipe.progress = False
    rows = pipe.mllm.llama.get_input_embeddings().weight[pipe.tokenizer.visual]
    assert torch.equal(pipe.visual_embeddings, rows)
    assert pipe(tiny.picture(1), "make it night", num_inference_steps=2).images[0].size == (32, 32)


def test_accumulated_micro_batches_equal_the_large_batch(tmp_path, start, data, unbroken):
    close(train(tmp_path / "out", start, data, micro_batch=1, ema=0.9), unbroken, 1e-4)


def test_precomputed_latents_and_features_give_the_same_curve(tmp_path, start, data, unbroken):
    close(train(tmp_path / "out", start, data, stored=True, ema=0.9), unbroken, 1e-4)


def test_recomputed_activations_give_the_same_curve(tmp_path, start, data, unbroken):
    close(train(tmp_path / "out", start, data, recompute=True, ema=0.9), unbroken, 1e-5)


def test_worker_processes_change_nothing(tmp_path, start, data, unbroken):
    assert curve(train(tmp_path / "out", start, data, workers=1, ema=0.9)) == curve(unbroken)


def test_bf16_stays_near_float32(tmp_path, start, data, unbroken):
    out = train(tmp_path / "out", start, data, precision="bf16", ema=0.9)
    assert numbers(out, "loss") == pytest.approx(numbers(unbroken, "loss"), rel=0.03)
    assert curve(out) != curve(unbroken)


@pytest.mark.slow
def test_frozen_weights_in_half_precision_train_as_in_float32_under_bf16(tmp_path, start, data):
    half = MGIEPipeline.from_pretrained(start, dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    whole = train(tmp_path / "whole", tmp_path / "half", data, precision="bf16", steps=3)
    kept = train(tmp_path / "kept", tmp_path / "half", data, precision="bf16", steps=3, keep_half=True)
    close(kept, whole, 1e-2)
    saved = load_file(kept / "llama/model.safetensors")
    assert saved["model.embed_tokens.weight"].dtype == torch.float16  # one dtype, the start's
    frozen = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(saved[frozen], load_file(tmp_path / "half/llama/model.safetensors")[frozen])
    assert saved[frozen].dtype == torch.float16
    assert torch.equal(load_file(whole / "llama/model.safetensors")[frozen], saved[frozen].float())


@pytest.mark.slow
def test_two_processes_continue_a_run_of_one_to_the_same_end(tmp_path, start, data, unbroken):
    out = tmp_path / "out"
    shutil.copytree(unbroken, out)
    shutil.rmtree(out / ".checkpoints/step-000006")
    arguments = [
        sys.executable,
        str(HERE.parents[1] / "support" / "training_runs.py"),
        str(out),
        str(start),
        str(data),
        '{"ema": 0.9, "micro_batch": 1}',
    ]
    port = str(20000 + os.getpid() % 20000)
    shared = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE.parents[2]),
    }
    runs = [
        subprocess.Popen(
            arguments,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [run.communicate(timeout=200)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said[0][-2000:] + said[1][-2000:]
    assert "continuing after step 3 of 6" in said[0]
    close(out, unbroken, 1e-4)
    ours, theirs = (load_file(folder / "unet/diffusion_pytorch_model.safetensors") for folder in (out, unbroken))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-2, atol=1e-3)


def test_the_saved_model_is_the_moving_average(tmp_path, start, data):
    out = train(tmp_path / "out", start, data, steps=4, checkpoint_every=1, keep=10, ema=0.5)
    average = None
    for step, folder in checkpoints(out):
        raw = load_file(folder / "trainer/trained.safetensors")
        decay = min(0.5, step / (9 + step)) if step > 1 else 0.0  # diffusers' EMAModel without warm-up
        average = raw if average is None else {name: decay * average[name] + (1 - decay) * raw[name] for name in raw}
        stored = load_file(folder / "trainer/ema.safetensors")
        for name in raw:
            torch.testing.assert_close(stored[name], average[name], rtol=1e-5, atol=1e-6)
    saved = load_file(out / "unet/diffusion_pytorch_model.safetensors")
    for name, tensor in saved.items():
        assert torch.equal(tensor, stored[f"denoiser.unet.{name}"]), name
    assert any(not torch.equal(raw[name], stored[name]) for name in raw)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path, start, data):
    with pytest.raises(Diverged, match=r"(?s)step [2-6] of 6: l_ins .* not all finite.*--lr-mllm"):
        train(tmp_path / "out", start, data, lr_mllm=1e30, lr_diffusion=1e30, warmup=0.0, checkpoint_every=1)
    _, last = checkpoints(tmp_path / "out")[-1]
    assert (last / "trainer/state.json").exists()


def test_without_l_ins_only_the_edit_trains(tmp_path, start, data):
    out = train(tmp_path / "out", start, data, ins_weight=0.0, steps=2)
    assert numbers(out, "loss") == pytest.approx([0.5 * value for value in numbers(out, "l_edit")])


def test_min_snr_weighs_high_noise_less(tmp_path, start, data):
    plain = train(tmp_path / "plain", start, data, steps=1)
    weighed = train(tmp_path / "weighed", start, data, steps=1, min_snr_gamma=5.0)
    assert numbers(weighed, "l_ins") == numbers(plain, "l_ins")
    assert numbers(weighed, "l_edit")[0] < numbers(plain, "l_edit")[0]
