"""The losses, the draws and the learning rates: closed forms, laws, and the libraries' own answers."""

import math

import pytest
import torch

from mgie.train import losses
from mgie.train.recipes import PAPER, RECIPES, factor_at


def scheduler(prediction_type: str = "epsilon", zero_snr: bool = False):
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr,
    )


def test_l_ins_of_equal_logits_is_the_log_of_the_vocabulary():
    labels = torch.tensor([[losses.IGNORED, 1, 2, losses.IGNORED], [losses.IGNORED, losses.IGNORED, 3, 4]])
    scored, targets = losses.scored_places(labels)
    assert targets.tolist() == [1, 2, 3, 4]
    assert scored.tolist() == [[True, True, False], [False, True, True]]
    total = losses.instruction_loss(torch.zeros(4, 7), targets)
    assert total.item() == pytest.approx(4 * math.log(7))


def test_a_batch_without_a_scored_token_has_l_ins_zero_and_a_gradient():
    logits = torch.zeros(2, 3, 7, requires_grad=True)
    scored, targets = losses.scored_places(torch.full((2, 4), losses.IGNORED))
    total = losses.instruction_loss(logits[scored], targets)
    total.backward()
    assert total.item() == 0 and logits.grad.eq(0).all()


def test_the_visual_tokens_start_one_before_img0_clamped_to_the_padded_row():
    row = [losses.IGNORED] * 20
    rows = [[*row[:5], 90, *row[6:]], [*row[:11], 90, *row[12:]], [*row[:15], 90, *row[16:]], row]
    assert losses.visual_token_starts(torch.tensor(rows), img0=90, count=8).tolist() == [4, 10, 11, 11]
    states = torch.arange(20.0).expand(2, 20)[:, :, None]
    assert losses.visual_token_states(states, torch.tensor([4, 11]), 8)[:, :, 0].tolist() == [
        list(range(4, 12)),
        list(range(11, 19)),
    ]


def test_conditions_are_dropped_in_the_shares_of_the_paper():
    probability = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    text, image = losses.dropped_conditions(probability)
    for dropped, share in ((text, 0.10), (image, 0.10), (text & image, 0.05)):
        assert dropped.float().mean().item() == pytest.approx(share, abs=0.003)


def test_dropping_puts_null_for_the_text_and_zero_for_the_image():
    text, image = torch.ones(4, 2, 3), torch.ones(4, 1, 2, 2)
    got = losses.drop_conditions(text, torch.full((1, 2, 3), 7.0), image, torch.tensor([0.0, 0.07, 0.12, 0.5]))
    assert got[0][:, 0, 0].tolist() == [7, 7, 1, 1]
    assert got[1][:, 0, 0, 0].tolist() == [1, 0, 0, 1]


def test_the_draws_follow_from_seed_and_step_alone():
    shape = (6, 4, 2, 2)
    first, again = losses.draw(1, 5, shape, 1000), losses.draw(1, 5, shape, 1000)
    torch.manual_seed(99)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (losses.draw(1, 6, shape, 1000), losses.draw(2, 5, shape, 1000)):
        assert not torch.equal(first.noise, other.noise)
    assert torch.equal(first.rows(2, 4).noise, first.noise[2:4])
    assert first.timesteps.dtype == torch.int64 and int(first.timesteps.min()) >= 0


def test_over_many_draws_timesteps_cover_the_schedule_and_noise_is_standard():
    drawn = losses.draw(0, 0, (20_000, 1, 1, 1), 1000)
    assert int(drawn.timesteps.min()) == 0 and int(drawn.timesteps.max()) == 999
    assert drawn.noise.mean().item() == pytest.approx(0, abs=0.03)
    assert drawn.noise.std().item() == pytest.approx(1, abs=0.03)
    correlation = torch.corrcoef(torch.stack([drawn.noise.flatten(), drawn.posterior_noise.flatten()]))
    assert correlation[0, 1].abs() < 0.03


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_target_is_what_turns_the_noisy_latent_back_into_the_latent(kind):
    noise_scheduler = scheduler(kind)
    latent, noise, t = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.tensor([10, 400, 900])
    noisy, target = noise_scheduler.add_noise(latent, noise, t), losses.edit_target(noise_scheduler, latent, noise, t)
    a = noise_scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    if kind == "epsilon":
        back = (noisy - (1 - a).sqrt() * target) / a.sqrt()
    else:
        back = a.sqrt() * noisy - (1 - a).sqrt() * target
    torch.testing.assert_close(back, latent, rtol=1e-3, atol=1e-3)


def test_an_unknown_prediction_type_is_refused():
    with pytest.raises(ValueError, match="prediction_type 'sample'"):
        losses.edit_target(scheduler("sample"), *torch.zeros(3, 1, 1, 1, 1))


def test_l_edit_is_the_sum_of_each_examples_mean_squared_error():
    prediction, target = torch.zeros(3, 2, 2, 2), torch.zeros(3, 2, 2, 2)
    prediction[1], prediction[2] = 2.0, 1.0
    assert losses.edit_loss(prediction, target).item() == 5.0
    assert losses.edit_loss(prediction, target, torch.tensor([1.0, 0.5, 0.0])).item() == 2.0


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weights_equal_the_formula_on_diffusers_snr(kind):
    from diffusers.training_utils import compute_snr

    noise_scheduler, t = scheduler(kind), torch.arange(0, 1000, 37)
    snr = compute_snr(noise_scheduler, t)
    expected = snr.clamp(max=5) / (snr if kind == "epsilon" else snr + 1)
    torch.testing.assert_close(losses.min_snr_weight(noise_scheduler, t, 5.0), expected)


def test_min_snr_is_finite_where_the_schedule_ends_in_pure_noise():
    for kind in ("epsilon", "v_prediction"):
        assert losses.min_snr_weight(scheduler(kind, zero_snr=True), torch.tensor([999]), 5.0).isfinite().all()


def test_the_cosine_schedule_is_that_of_transformers():
    from transformers import get_cosine_schedule_with_warmup

    steps, warmup = 67, math.ceil(67 * 0.03)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    for step in range(steps):
        assert factor_at(step, steps, "cosine", 0.03) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_hold_then_linear_falls_over_the_second_half():
    assert [factor_at(step, 8, "hold-then-linear", 0.0) for step in range(8)] == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert factor_at(0, 8, "constant", 0.25) == 0.0 and factor_at(1, 8, "constant", 0.25) == 0.5
    with pytest.raises(ValueError, match="unknown schedule 'step'"):
        factor_at(3, 8, "step", 0.0)


def test_the_recipes_are_the_papers_and_the_scripts():
    assert (PAPER.batch_size, PAPER.lr_mllm, PAPER.lr_diffusion, PAPER.epochs) == (128, 5e-4, 1e-4, 26)
    script = RECIPES["released-script"]
    assert (script.batch_size, script.lr_mllm, script.lr_diffusion, script.epochs) == (32, 5e-4, 5e-4, 40)
    assert (script.schedule, script.warmup, script.weight_decay) == ("cosine", 0.03, 0.0)
