"""Training equals the official code: recorded draws -> slices, conditioning, UNet in and out, losses, gradients, AdamW.

Reference: e_train and f_grads of the golden data (apple/ml-mgie at 835af37). float32 on the CPU; max|a - b| / max|b| at
most 1e-4 for forward tensors, 1e-3 for gradient norms.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden_weights import close, edit_head_of, fill, mllm_of, official_mllm_name, preset_of

from mgie.train import losses
from mgie.train.joint import Batch, Denoiser, JointModel, choose_trained
from mgie.train.losses import Draws

FORWARD, GRADIENT = 1e-4, 1e-3
IMAGES = ("images", "p2p_inp", "p2p_ans")


def official_name(name: str) -> str:
    """Our parameter names -> the official ones of the training layout."""
    name = name.removeprefix("denoiser.")
    return official_mllm_name(name.removeprefix("mllm.")) if name.startswith("mllm.") else name


def official_model(config: dict) -> JointModel:
    """Our classes at the golden set's sizes, with the recipe's weights."""
    preset, salt = preset_of(config), config["salt"]
    unet = fill(preset.unet(), "unet.{}".format, salt)
    vae = fill(preset.vae(), "vae.{}".format, salt)
    visual = list(range(config["vocab"]["IMG0"], config["vocab"]["IMG7"] + 1))
    # the official training adds SD's own noise; of the sampler only betas and prediction type matter
    denoiser = Denoiser(unet, vae, preset.sampler())
    # a fresh copy: edit_head_of keeps its heads, and here they train
    head = preset.edit_head()
    head.load_state_dict(edit_head_of(config).state_dict())
    return JointModel(mllm_of(config), head, denoiser, visual, config["vocab"]["pad"])


def with_images(arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The subset in tests/golden has the images' seeds instead: standard normal, the pictures through tanh."""
    for name in IMAGES:
        if name not in arrays:
            drawn = np.random.RandomState(int(arrays[f"{name}_seed"])).standard_normal(shapes[name])
            arrays[name] = (drawn if name == "images" else np.tanh(drawn)).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def recorded(golden):
    torch.set_num_threads(1)
    config, arrays = golden.config, golden.arrays("e_train")
    tower, picture = ((len(arrays["ts"]), 3, s, s) for s in (config["clip"]["image_size"], config["img"]))
    return SimpleNamespace(
        config=config,
        arrays=with_images(arrays, dict(zip(IMAGES, (tower, picture, picture), strict=True))),
        facts=golden.json("e_train"),
        grads=golden.json("f_grads"),
        full=golden.arrays("f_grads"),
    )


@pytest.fixture(scope="module")
def model(recorded):
    model = official_model(recorded.config)
    choose_trained(model, ("mgie", "e2e"))
    return model.train()


def batch_of(arrays: dict) -> Batch:
    take = {
        name: torch.from_numpy(arrays[name])
        for name in ("input_ids", "attention_mask", "labels", "images", "p2p_inp", "p2p_ans")
    }
    return Batch(
        take["input_ids"],
        take["attention_mask"].long(),
        take["labels"],
        take["images"],
        input_pixels=take["p2p_inp"],
        goal_pixels=take["p2p_ans"],
    )


def draws_of(arrays: dict) -> Draws:
    return Draws(*(torch.from_numpy(arrays[name]) for name in ("vae_eps", "noise", "ts", "prob")))


def joint_losses(model: JointModel, recorded: SimpleNamespace) -> tuple[torch.Tensor, torch.Tensor]:
    batch = batch_of(recorded.arrays)
    sums = model(batch, draws_of(recorded.arrays))
    return sums.ins / (batch.labels[:, 1:] != losses.IGNORED).sum(), sums.edit / len(batch.labels)


def test_the_slices_start_where_the_official_rule_says(recorded):
    labels = torch.from_numpy(recorded.arrays["labels"])
    vocab = recorded.config["vocab"]
    starts = losses.visual_token_starts(labels, vocab["IMG0"], vocab["IMG7"] - vocab["IMG0"] + 1)
    assert starts.tolist() == recorded.facts["slice_p"]


def test_states_conditioning_and_null_equal_the_official_ones(recorded, model):
    batch, arrays = batch_of(recorded.arrays), recorded.arrays
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


def test_latents_unet_input_and_output_equal_the_official_ones(recorded, model):
    arrays, denoiser = recorded.arrays, model.denoiser
    batch, draws = batch_of(arrays), draws_of(arrays)
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


def test_conditions_are_dropped_as_recorded_on_the_boundaries_too(recorded):
    text, image = losses.dropped_conditions(torch.from_numpy(recorded.arrays["prob"]))
    rows = recorded.facts["dropout"]
    assert text.tolist() == [row["text_replaced_by_null"] for row in rows]
    assert image.tolist() == [row["image_latent_zeroed"] for row in rows]


def test_both_losses_equal_the_official_ones(recorded, model):
    with torch.no_grad():
        ins, edit = joint_losses(model, recorded)
    assert float(ins) == pytest.approx(recorded.facts["loss_ce"], rel=FORWARD)
    assert float(edit) == pytest.approx(recorded.facts["loss_edit"], rel=FORWARD)
    assert float(ins + losses.EDIT_WEIGHT * edit) == pytest.approx(recorded.facts["loss"], rel=FORWARD)


def test_precomputed_latents_and_features_give_the_same_losses(recorded, model):
    batch, draws = batch_of(recorded.arrays), draws_of(recorded.arrays)
    with torch.no_grad():
        stored = batch._replace(
            latents=model.denoiser.encode(batch.input_pixels, batch.goal_pixels),
            input_pixels=None,
            goal_pixels=None,
            features=model.mllm.patch_features(batch.pixel_values),
            pixel_values=None,
        )
        for ours, theirs in zip(model(stored, draws), model(batch, draws), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_the_official_parameters_train_with_the_official_gradients(recorded):
    model = official_model(recorded.config)
    trained = {official_name(name) for name in choose_trained(model, ("mgie", "e2e"))}
    params = recorded.grads["params"]
    assert trained == {name for name, facts in params.items() if facts["requires_grad"]}
    assert len(trained) == recorded.grads["n_trainable"]
    for kind, weights in (
        ("grad_norm", (1, losses.EDIT_WEIGHT)),
        ("grad_norm_from_loss_ce", (1, 0)),
        ("grad_norm_from_loss_edit_unscaled", (0, 1)),
    ):
        model.zero_grad()
        ins, edit = joint_losses(model, recorded)
        (weights[0] * ins + weights[1] * edit).backward()
        norms = {official_name(n): float(p.grad.norm()) for n, p in model.named_parameters() if p.requires_grad}
        wanted = {name: params[name][kind] or 0.0 for name in norms}
        assert norms == pytest.approx(wanted, rel=GRADIENT, abs=1e-6)
        if kind == "grad_norm":
            total = float(np.sqrt(sum(norm**2 for norm in norms.values())))
            assert total == pytest.approx(recorded.grads["total_grad_norm"], rel=GRADIENT)
            grads = {official_name(n): p.grad for n, p in model.named_parameters()}
            for name, full in recorded.full.items():
                if name.startswith("grad:"):
                    close(grads[name.removeprefix("grad:")], full, GRADIENT)


def test_four_steps_of_adamw_follow_the_official_ones(recorded):
    model = official_model(recorded.config)
    choose_trained(model, ("mgie", "e2e"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4, weight_decay=0.0)
    for step in recorded.grads["adamw"]["trajectory"]:
        ins, edit = joint_losses(model, recorded)
        loss = ins + losses.EDIT_WEIGHT * edit
        optimizer.zero_grad()
        loss.backward()
        ours = {"loss": loss, "loss_ce": ins, "loss_edit": edit}
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for name, value in ours.items():
            assert value.item() == pytest.approx(step[name], rel=FORWARD), (step["step"], name)
        assert float(norm) == pytest.approx(step["grad_norm_before_clip"], rel=GRADIENT)
        optimizer.step()
