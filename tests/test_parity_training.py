"""Training equals the official code: recorded draws -> slices, conditioning, UNet in and out, losses, gradients, AdamW.

Reference: e_train and f_grads of the golden data (apple/ml-mgie at 835af37). Sizes, salt and special ids come from its
config.json. float32 on the CPU; max|a - b| / max|b| at most 1e-4 for forward tensors, 1e-3 for gradient norms.
"""

import gzip
import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mgie import losses
from mgie.joint import Batch, Denoiser, JointModel, choose_trained
from mgie.losses import Draws
from mgie.mllm import MLLM

FORWARD, GRADIENT = 1e-4, 1e-3


def official_name(name: str) -> str:
    """Our parameter names -> the official ones of the training layout."""
    name = name.removeprefix("denoiser.")
    if name.startswith("mllm.tower."):
        return "model.vision_tower.vision_model." + name.removeprefix("mllm.tower.").removeprefix("vision_model.")
    for ours, theirs in (("mllm.projector.", "model.mm_projector."), ("mllm.llama.", "")):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def recipe_weight(name: str, shape: tuple[int, ...], salt: str) -> np.ndarray:
    """README of the golden data, "Weight recipe"."""
    drawn = np.random.RandomState(zlib.crc32((salt + name).encode()) & 0xFFFFFFFF).standard_normal(shape)
    if name.endswith(("embed_tokens.weight", "position_embedding.weight", "edit_head.query")):
        return 0.5 * drawn
    if len(shape) == 1 and name.endswith("weight"):
        return 1 + 0.1 * drawn
    return 0.1 * drawn if len(shape) <= 1 else drawn / np.sqrt(np.prod(shape[1:]))


def official_model(config: dict) -> JointModel:
    """Our classes at the golden set's sizes, with the recipe's weights."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from mgie.edit_head import EditHead

    vocab, llama, edit = config["vocab"], config["llama"], config["edit"]
    text = LlamaForCausalLM(LlamaConfig(
        vocab_size=vocab["total"], hidden_size=config["hidden"], intermediate_size=config["inter"],
        num_hidden_layers=config["layers"], num_attention_heads=config["heads"],
        num_key_value_heads=llama["kv_heads"], rms_norm_eps=llama["rms_norm_eps"], hidden_act=llama["hidden_act"],
        rope_parameters={"rope_type": "default", "rope_theta": llama["rope_theta"]},
        tie_word_embeddings=llama["tie_word_embeddings"], max_position_embeddings=2048, pad_token_id=None))
    extra = config["clip_extra"]
    tower = CLIPVisionModel(CLIPVisionConfig(
        **config["clip"], hidden_act=extra["hidden_act"], layer_norm_eps=extra["layer_norm_eps"]))
    projector = torch.nn.Linear(config["clip"]["hidden_size"], config["hidden"])
    mllm = MLLM(text, tower, projector, vocab["im_start"], vocab["im_patch"])
    head = EditHead(config["hidden"], edit["hid"], edit["ff"], edit["nq"], edit["feat"],
                    heads=config["edit_extra"]["nhead"], layers=config["edit_extra"]["enc_layers"])
    unet = UNet2DConditionModel(**{**config["unet_extra"], **config["unet"], "in_channels": 8})
    vae = AutoencoderKL(**{**config["vae_extra"], **config["vae"]})
    # the official training takes SD's own noise; only betas and prediction type matter
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    visual = list(range(vocab["IMG0"], vocab["IMG7"] + 1))
    model = JointModel(mllm, head, Denoiser(unet, vae, scheduler), visual, vocab["pad"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            weight = recipe_weight(official_name(name), tuple(parameter.shape), config["salt"])
            parameter.copy_(torch.from_numpy(np.asarray(weight, np.float32)))
    return model


def read_json(path: Path) -> dict:
    packed = path.with_name(path.name + ".gz")
    return json.loads(gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes())


@pytest.fixture(scope="module")
def golden(request):
    option = request.config.getoption("--golden", default=None)
    here = Path(__file__).parent
    for folder in filter(None, (option, here.parent.parent / "shared" / "golden", here / "golden")):
        if (Path(folder) / "e_train.npz").exists():
            folder = Path(folder)
            torch.set_num_threads(1)
            arrays = dict(np.load(folder / "e_train.npz"))
            return SimpleNamespace(
                config=read_json(folder / "config.json"), arrays=arrays, facts=read_json(folder / "e_train.json"),
                grads=read_json(folder / "f_grads.json"), full=dict(np.load(folder / "f_grads.npz")))
        if folder == option:
            pytest.skip(f"no e_train.npz in {folder}")
    pytest.skip("no golden data: e_train.npz is neither in ../shared/golden nor in tests/golden")


@pytest.fixture(scope="module")
def model(golden):
    model = official_model(golden.config)
    choose_trained(model, ("mgie", "e2e"))
    return model.train()


def batch_of(arrays: dict) -> Batch:
    take = {name: torch.from_numpy(arrays[name]) for name in (
        "input_ids", "attention_mask", "labels", "images", "p2p_inp", "p2p_ans")}
    return Batch(
        take["input_ids"], take["attention_mask"].long(), take["labels"], take["images"],
        input_pixels=take["p2p_inp"], goal_pixels=take["p2p_ans"])


def draws_of(arrays: dict) -> Draws:
    return Draws(*(torch.from_numpy(arrays[name]) for name in ("vae_eps", "noise", "ts", "prob")))


def close(ours: torch.Tensor, theirs: np.ndarray, bound: float = FORWARD) -> None:
    ours = ours.detach().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() <= bound


def joint_losses(model: JointModel, golden: SimpleNamespace) -> tuple[torch.Tensor, torch.Tensor]:
    batch = batch_of(golden.arrays)
    sums = model(batch, draws_of(golden.arrays))
    return sums.ins / (batch.labels[:, 1:] != losses.IGNORED).sum(), sums.edit / len(batch.labels)


def test_the_slices_start_where_the_official_rule_says(golden):
    labels = torch.from_numpy(golden.arrays["labels"])
    vocab = golden.config["vocab"]
    starts = losses.visual_token_starts(labels, vocab["IMG0"], vocab["IMG7"] - vocab["IMG0"] + 1)
    assert starts.tolist() == golden.facts["slice_p"]


def test_states_conditioning_and_null_equal_the_official_ones(golden, model):
    batch, arrays = batch_of(golden.arrays), golden.arrays
    with torch.no_grad():
        conditioning = model.condition(batch)
        starts = losses.visual_token_starts(batch.labels, model.visual_ids[0], len(model.visual_ids))
        slices = losses.visual_token_states(conditioning.states, starts, len(model.visual_ids))
        if "logits" in arrays:
            close(model.mllm.llama.lm_head(conditioning.states), arrays["logits"])
        close(slices, arrays["edit_llm_slice"])
        close(model.visual_embeddings(), arrays["edit_emb"])
        close(conditioning.edit, arrays["hid_edit"])
        close(conditioning.null.expand_as(conditioning.edit), arrays["hid_null"])


def test_latents_unet_input_and_output_equal_the_official_ones(golden, model):
    batch, draws, arrays, denoiser = batch_of(golden.arrays), draws_of(golden.arrays), golden.arrays, model.denoiser
    with torch.no_grad():
        latents = denoiser.encode(batch.input_pixels, batch.goal_pixels)
        for ours, theirs in zip(latents, ("vae_inp_mode", "vae_ans_mean", "vae_ans_std"), strict=True):
            close(ours, arrays[theirs])
        noisy, target = denoiser.unet_input(latents, draws)
        assert target is draws.noise
        text, null = torch.from_numpy(arrays["hid_edit"]), torch.from_numpy(arrays["hid_null"][:1])
        text, image = losses.drop_conditions(text, null, latents[0], draws.probability)
        unet_in = torch.cat([noisy, image], dim=1)
        close(unet_in, arrays["unet_in"])
        close(text, arrays["unet_cond"])
        close(denoiser.unet(unet_in, draws.timesteps, text).sample, arrays["unet_out"])


def test_conditions_are_dropped_as_recorded_on_the_boundaries_too(golden):
    text, image = losses.dropped_conditions(torch.from_numpy(golden.arrays["prob"]))
    recorded = golden.facts["dropout"]
    assert text.tolist() == [row["text_replaced_by_null"] for row in recorded]
    assert image.tolist() == [row["image_latent_zeroed"] for row in recorded]


def test_both_losses_equal_the_official_ones(golden, model):
    with torch.no_grad():
        ins, edit = joint_losses(model, golden)
    assert float(ins) == pytest.approx(golden.facts["loss_ce"], rel=FORWARD)
    assert float(edit) == pytest.approx(golden.facts["loss_edit"], rel=FORWARD)
    assert float(ins + losses.EDIT_WEIGHT * edit) == pytest.approx(golden.facts["loss"], rel=FORWARD)


def test_precomputed_latents_and_features_give_the_same_losses(golden, model):
    batch, draws = batch_of(golden.arrays), draws_of(golden.arrays)
    with torch.no_grad():
        stored = batch._replace(
            latents=model.denoiser.encode(batch.input_pixels, batch.goal_pixels), input_pixels=None, goal_pixels=None,
            features=model.mllm.patch_features(batch.pixel_values), pixel_values=None)
        for ours, theirs in zip(model(stored, draws), model(batch, draws), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_the_official_parameters_train_with_the_official_gradients(golden):
    model = official_model(golden.config)
    trained = {official_name(name) for name in choose_trained(model, ("mgie", "e2e"))}
    recorded = golden.grads["params"]
    assert trained == {name for name, facts in recorded.items() if facts["requires_grad"]}
    assert len(trained) == golden.grads["n_trainable"]
    for kind, weights in (("grad_norm", (1, losses.EDIT_WEIGHT)), ("grad_norm_from_loss_ce", (1, 0)),
                          ("grad_norm_from_loss_edit_unscaled", (0, 1))):
        model.zero_grad()
        ins, edit = joint_losses(model, golden)
        (weights[0] * ins + weights[1] * edit).backward()
        norms = {official_name(n): float(p.grad.norm()) for n, p in model.named_parameters() if p.requires_grad}
        wanted = {name: recorded[name][kind] or 0.0 for name in norms}
        assert norms == pytest.approx(wanted, rel=GRADIENT, abs=1e-6)
        if kind == "grad_norm":
            total = float(np.sqrt(sum(norm**2 for norm in norms.values())))
            assert total == pytest.approx(golden.grads["total_grad_norm"], rel=GRADIENT)
            grads = {official_name(n): p.grad for n, p in model.named_parameters()}
            for name, full in golden.full.items():
                if name.startswith("grad:"):
                    close(grads[name.removeprefix("grad:")], full, GRADIENT)


def test_four_steps_of_adamw_follow_the_official_ones(golden):
    model = official_model(golden.config)
    choose_trained(model, ("mgie", "e2e"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4, weight_decay=0.0)
    for recorded in golden.grads["adamw"]["trajectory"]:
        ins, edit = joint_losses(model, golden)
        loss = ins + losses.EDIT_WEIGHT * edit
        optimizer.zero_grad()
        loss.backward()
        ours = {"loss": loss, "loss_ce": ins, "loss_edit": edit}
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for name, value in ours.items():
            assert value.item() == pytest.approx(recorded[name], rel=FORWARD), (recorded["step"], name)
        assert float(norm) == pytest.approx(recorded["grad_norm_before_clip"], rel=GRADIENT)
        optimizer.step()
