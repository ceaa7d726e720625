"""What training starts from: new weights, public parts, a checkpoint; and starts that do not fit."""

import official_files
import pytest
import tiny_diffusers
import torch
from training_runs import draw_pairs, tiny_start

from mgie.pipeline import MGIEPipeline
from mgie.presets import PRESETS
from mgie.train import from_scratch as fresh
from mgie.train import starts
from mgie.train import starts as start_parts
from mgie.train.__main__ import main


@pytest.fixture
def parts(tmp_path):
    """(pipeline whose weights they hold, LLaVA's folder, Stable Diffusion's folder with four channels in)."""
    pipe = official_files.pipeline()
    files = official_files.write(pipe, tmp_path / "parts")
    narrow = narrowed(pipe.unet)
    narrow.save_pretrained(tmp_path / "sd/unet")
    pipe.vae.save_pretrained(tmp_path / "sd/vae")
    return pipe, files["llava"], tmp_path / "sd"


def narrowed(unet):
    """The UNet before InsPix2Pix widened it."""
    from diffusers import UNet2DConditionModel

    channels = unet.config.out_channels
    narrow = UNet2DConditionModel.from_config({**unet.config, "in_channels": channels})
    state = dict(unet.state_dict())
    state["conv_in.weight"] = state["conv_in.weight"][:, :channels].clone()
    narrow.load_state_dict(state)
    return narrow.eval()


def assemble(parts, tmp_path, eyes=True, reset_seed=None):
    folder = tmp_path / f"start-{eyes}"
    start_parts.assemble(parts[1], parts[2], official_files.PRESET, eyes, 0, reset_seed, folder)
    return folder


def test_a_widened_unet_answers_as_before_and_ignores_a_new_condition():
    unet = narrowed(official_files.pipeline().unet)
    latents, text = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 16)
    with torch.no_grad():
        before = unet(latents, 7, text).sample
        starts.widen(unet, 8)
        after = unet(torch.cat([latents, torch.randn_like(latents)], dim=1), 7, text).sample
    assert unet.config.in_channels == 8 and unet.conv_in.weight[:, 4:].eq(0).all()
    torch.testing.assert_close(after, before)


def test_llava_and_stable_diffusion_become_a_start_of_mgie(parts, tmp_path):
    source = parts[0]
    pipe = MGIEPipeline.from_pretrained(assemble(parts, tmp_path), dtype=torch.float32)
    ours, theirs = pipe.mllm.state_dict(), source.mllm.state_dict()
    grown = {"llama.model.embed_tokens.weight", "llama.lm_head.weight"}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() - grown)
    for name in grown:
        assert torch.equal(ours[name][:-8], theirs[name][:-8])
        assert 0.01 < ours[name][-8:].std() < 0.03
    assert torch.equal(pipe.visual_embeddings, ours["llama.model.embed_tokens.weight"][-8:])
    assert torch.equal(pipe.unet.conv_in.weight[:, :4], source.unet.conv_in.weight[:, :4])
    assert torch.equal(pipe.unet.conv_in.bias, source.unet.conv_in.bias)
    assert pipe.unet.conv_in.weight[:, 4:].eq(0).all()
    trainee = starts.load(tmp_path / "start-True", ("mgie", "e2e"), None)
    assert trainee.rows.patches == official_files.PRESET.patches


def test_lgie_starts_from_a_llama_and_has_no_eyes(parts, tmp_path):
    llama = tmp_path / "llama"
    state = parts[0].mllm.llama.state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = state[name][: official_files.BASE]
    official_files.write_shards({n: t.half() for n, t in state.items()}, llama, ".safetensors")
    official_files.write_llava_config(llama)
    (llama / "added_tokens.json").unlink()
    pipe = MGIEPipeline.from_pretrained(assemble((None, llama, parts[2]), tmp_path, eyes=False), dtype=torch.float32)
    assert pipe.mllm.tower is None and pipe.image_processor is None
    assert len(pipe.mllm.llama.lm_head.weight) == official_files.PRESET.vocab
    assert starts.load(tmp_path / "start-False", ("lgie", "e2e"), None).rows.patches == 0


def test_the_released_scripts_reset_redraws_linear_weights_and_nothing_else(parts, tmp_path):
    before = parts[0].unet
    after = MGIEPipeline.from_pretrained(assemble(parts, tmp_path, reset_seed=1), dtype=torch.float32).unet
    linear = {f"{name}.weight" for name, module in before.named_modules() if isinstance(module, torch.nn.Linear)}
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    changed = {name for name in old if name.endswith("weight") and not torch.equal(old[name], new[name])}
    assert changed == linear | {"conv_in.weight"}  # whose new channels are zero
    assert not torch.equal(old["conv_in.bias"], new["conv_in.bias"])
    weights = torch.cat([new[name].flatten() for name in linear])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)


def test_an_unmerged_delta_is_no_start(tmp_path):
    pipe = official_files.pipeline()
    files = official_files.write(pipe, tmp_path / "parts", delta=True)
    pipe.unet.save_pretrained(tmp_path / "sd/unet")
    pipe.vae.save_pretrained(tmp_path / "sd/vae")
    with pytest.raises(ValueError, match="delta that was not merged"):
        assemble((None, files["llava"], tmp_path / "sd"), tmp_path)


def test_parts_of_other_sizes_than_the_preset_are_refused(parts, tmp_path):
    from dataclasses import replace

    other = replace(official_files.PRESET, intermediate=64)
    with pytest.raises(ValueError, match="intermediate is 48, expected 64"):
        start_parts.assemble(parts[1], parts[2], other, True, 0, None, tmp_path / "start")


def test_new_weights_and_vocabularies_are_the_same_each_time(tmp_path):
    preset, texts = PRESETS["mini"], [("make it night", "lamps would be lit"), ("make it day", "the sun would rise")]
    for name in ("a", "b"):
        fresh.mgie(preset, texts, True, 3, tmp_path / name / "mgie")
        fresh.inspix2pix(preset, texts, 3, tmp_path / name / "inspix2pix")
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert len(files) > 20
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


# what the command refuses, in one line each


def refused(capsys, *arguments: str) -> str:
    assert main([*map(str, arguments)]) == 2
    return capsys.readouterr().err


@pytest.fixture
def run(tmp_path):
    """The arguments that every command has."""
    data = draw_pairs(tmp_path / "data")
    return ["--data", data, "--out", tmp_path / "out", "--steps", 2, "--batch-size", 2, "--device", "cpu"]


def test_7b_from_nothing_is_refused_with_the_ways_to_start(run, capsys):
    said = refused(capsys, "--preset", "7b", "--model", "mgie", *run)
    assert "not trained from nothing" in said and "--llava DIR --stable-diffusion DIR" in said
    assert "timbrooks/instruct-pix2pix" in refused(
        capsys, "--preset", "7b", "--model", "inspix2pix", *run[:3], run[3].with_name("other"), *run[4:]
    )


def test_a_checkpoint_of_another_preset_or_kind_is_refused(run, tmp_path, capsys):
    start = tiny_start(tmp_path / "start")
    out = iter(range(9))

    def said(*arguments):
        return refused(capsys, *arguments, "--from", start, *run[:3], tmp_path / f"out{next(out)}", *run[4:])

    assert "checkpoint of preset 'tiny', not of 'mini'" in said("--model", "mgie")
    assert "is a MGIEPipeline" in said("--model", "inspix2pix")
    start = tiny_diffusers.instruct_pix2pix(tmp_path / "inspix2pix")
    assert "starts from an MGIEPipeline folder" in said("--model", "mgie")
    assert "block_out_channels is (8, 16), preset mini has" in said("--model", "inspix2pix")
    start = tmp_path / "absent"
    assert "does not exist" in said("--model", "mgie")
    with pytest.raises(ValueError, match="needs the other"):
        starts.load(tiny_start(tmp_path / "start"), ("lgie", "e2e"), None)


def test_wrong_use_is_said_in_one_line(run, capsys):
    for arguments, reason in (
        (["--model", "mgie", "--form", "fz"], "fz trains nothing"),
        (["--model", "inspix2pix", "--form", "ft"], "--form means nothing to inspix2pix"),
        (["--model", "mgie", "--ema", "1.5"], "--ema is 1.5; expected 0 or more and below 1"),
        (["--model", "mgie", "--llava", "x"], "given together"),
        (["--model", "mgie", "--resolution", "30"], "--resolution 30 is not a multiple of the VAE's 4 px"),
    ):
        assert reason in refused(capsys, *arguments, *run)


def test_a_wrong_data_folder_and_missing_expressive_instructions_are_refused(run, tmp_path, capsys):
    (run[1] / "expressive.jsonl").unlink()
    assert "python -m mgie.expressive" in refused(capsys, "--model", "mgie", *run)
    assert "no such folder" in refused(capsys, "--model", "mgie", "--data", tmp_path / "absent", *run[2:])


def test_help_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; from mgie.train.__main__ import parser; parser().format_help(); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_start_with_a_part_of_another_model_is_refused_with_the_tensors_names(tmp_path):
    import tiny_diffusers
    from safetensors.torch import load_file, save_file

    from mgie.train.starts import inspix2pix_from

    folder = tiny_diffusers.instruct_pix2pix(tmp_path / "inspix2pix")
    path = folder / "text_encoder" / "model.safetensors"
    save_file({f"other.{name}": t for name, t in load_file(path).items()}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"text_encoder: its tensors are not CLIPTextModel's.*first: other\."):
        inspix2pix_from(folder)
