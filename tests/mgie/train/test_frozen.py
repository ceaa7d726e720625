"""What does not train: one copy in memory, links on the disk, one dtype in the folder that a run writes."""

import os

import pytest
import tiny
import tiny_diffusers
import torch
from safetensors.torch import load_file, save_file
from training_runs import draw_pairs, numbers, settings, tiny_start, train

from mgie.io.files import write_json
from mgie.pipeline import MGIEPipeline
from mgie.train import starts
from mgie.train.batches import TrainingSet
from mgie.train.checkpoint import checkpoints
from mgie.train.data import read_pairs
from mgie.train.losses import draw

TRAINED = ("model.embed_tokens.weight", "lm_head.weight")
FIRST, REST = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_pairs(tmp_path_factory.mktemp("data") / "ipr2pr")


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A start as mgie.convert writes it: float16, the trained matrices of the LLM in a file of their own."""
    folder = tmp_path_factory.mktemp("start") / "mgie"
    pipe = tiny.build().to(torch.float16)
    pipe.vae.half()
    pipe.save_pretrained(folder)
    whole = load_file(folder / "llama/model.safetensors")
    parts = {FIRST: {n: whole[n] for n in TRAINED}, REST: {n: t for n, t in whole.items() if n not in TRAINED}}
    for name, part in parts.items():
        save_file(part, folder / "llama" / name, metadata={"format": "pt"})
    (folder / "llama/model.safetensors").unlink()
    places = {n: name for name, part in parts.items() for n in part}
    write_json(folder / "llama/model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return folder


def copies_of(frozen: list[torch.Tensor], kept: list[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors that hold a frozen matrix's numbers, or its transpose's, and are not the matrix itself."""
    own = {p.untyped_storage().data_ptr() for p in frozen}
    matrices = [p.bfloat16() for p in frozen if p.dim() == 2]
    others = [t for t in kept if t.dim() == 2 and t.untyped_storage().data_ptr() not in own]
    return [t for t in others if any(same(t, m) or same(t.T, m) for m in matrices)]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.bfloat16(), b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_bf16_no_frozen_matrix_is_kept_a_second_time(half, data, dtype):
    """float16, as it was: to show that a copy would be found."""
    trainee = starts.load(half, ("mgie", "e2e"), None, keep_half=True)
    frozen = [p for p in trainee.model.mllm.llama.parameters() if not p.requires_grad]
    assert {p.dtype for p in frozen} == {torch.bfloat16}
    assert {p.dtype for p in trainee.model.parameters() if p.requires_grad} == {torch.float32}
    batch = TrainingSet(read_pairs(data, "ipr2pr", None, True), trainee.rows, trainee.sizes, trainee.image_processor)
    for weight in frozen:
        weight.data = weight.data.to(dtype)
    kept: list[torch.Tensor] = []
    draws = draw(0, 0, (2, *trainee.sizes.latents), 1000)
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
        torch.autocast("cpu", torch.bfloat16),
    ):
        trainee.model(batch[[0, 1]], draws)
    assert bool(copies_of(frozen, kept)) == (dtype == torch.float16)


def test_checkpoints_link_what_is_frozen_to_the_start_and_write_one_dtype(tmp_path, half, data):
    out = train(tmp_path / "out", half, data, precision="bf16", steps=2, checkpoint_every=1, keep_half=True)
    frozen = [f"llama/{REST}", "tower/model.safetensors", "projector/model.safetensors",
              "vae/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json"]  # fmt: skip
    folders = [folder for _, folder in checkpoints(out)]
    assert len(folders) == 2
    for name in frozen:
        assert all(os.path.samefile(folder / name, half / name) for folder in (*folders, out)), name
    trained = load_file(out / "llama" / FIRST)
    assert {t.dtype for t in trained.values()} == {torch.float16}
    assert not torch.equal(trained[TRAINED[1]], load_file(half / "llama" / FIRST)[TRAINED[1]])
    pipe = MGIEPipeline.from_pretrained(out)
    assert {p.dtype for p in pipe.mllm.parameters()} == {torch.float16}
    pipe.save_pretrained(out)  # in place: the start's files are not written through the links
    assert not os.path.samefile(out / "tower/model.safetensors", half / "tower/model.safetensors")


def test_a_checkpoint_edits_as_what_was_trained(tmp_path, data):
    start = tiny_start(tmp_path / "start")
    out = train(tmp_path / "out", start, data, steps=2)
    assert os.path.samefile(out / "vae/diffusion_pytorch_model.safetensors",
                            start / "vae/diffusion_pytorch_model.safetensors")  # fmt: skip
    trained = load_file(out / ".checkpoints/step-000002/trainer/trained.safetensors")
    saved = load_file(out / "llama/model.safetensors")
    for name in TRAINED:
        assert torch.equal(saved[name], trained[f"mllm.llama.{name}"])
    again = train(tmp_path / "again", out, data, steps=1)  # a folder that the trainer wrote is a start
    assert len(numbers(again, "loss")) == 1


def test_inspix2pix_checkpoints_link_its_vae_and_text_encoder(tmp_path, data):
    start = tiny_diffusers.instruct_pix2pix(tmp_path / "start")
    out = train(tmp_path / "out", start, data, ("inspix2pix", "e2e"), steps=1)
    for name in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert os.path.samefile(out / name, start / name)
    unet = "unet/diffusion_pytorch_model.safetensors"
    assert not os.path.samefile(out / unet, start / unet)
    from mgie.train.starts import inspix2pix_from

    assert inspix2pix_from(out).unet.config.in_channels == 8


def test_values_that_the_starts_dtype_cannot_hold_are_refused(tmp_path, half):
    from mgie.train.checkpoint import write_llm

    trainee = starts.load(half, ("mgie", "e2e"), None, keep_half=True)
    with torch.no_grad():
        trainee.model.mllm.llama.lm_head.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"lm_head.weight has values too large for torch.float16"):
        write_llm(trainee.model.mllm.llama, half / "llama", tmp_path / "llama")


def test_the_default_decodes_off_the_main_thread_and_stored_values_need_no_decoder(monkeypatch):
    from mgie.train.run import decoders

    for cores, wanted in ((1, 1), (2, 1), (4, 3), (64, 8)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: range(cores))
        assert decoders() == wanted
    assert settings().workers == 0  # of a loop that is asked for none
