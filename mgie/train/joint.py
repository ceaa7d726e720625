"""The modules that train, each with one forward that gives the sums of the two losses.

JointModel: MGIE (and LGIE, without eyes) end to end. TextModel: InsPix2Pix, on instructions or expressive instructions.
Convention: forward of apple/ml-mgie mgie_llava.py at 835af37; L_edit as in its quirks 17 to 19, see mgie.train.losses.
Shapes: B batch, L tokens, D hidden size, n visual tokens, q d the conditioning, C latent channels, h w latent size.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mgie.mllm import MLLM, positions
from mgie.train import losses
from mgie.train.losses import Draws

# what trains: (model, form) -> parts of a parameter's name; all else is frozen
# quirk: whole matrices of embed_tokens and lm_head, old rows too, and not the projector (apple/ml-mgie, README 16)
TRAINED = {
    ("mgie", "e2e"): ("embed_tokens", "lm_head", "edit_head", "unet"),
    ("lgie", "e2e"): ("embed_tokens", "lm_head", "edit_head", "unet"),
    ("mgie", "ft"): ("unet",),  # InsPix2Pix on MGIE's expressive instructions as text
    ("lgie", "ft"): ("unet",),  # InsPix2Pix on LGIE's
    ("inspix2pix", "e2e"): ("unet",),  # InsPix2Pix on instructions; --form means nothing to it
}


class Batch(NamedTuple):
    """One micro-batch. Images as pixels or, precomputed, as latents and patch features; unused fields are None."""

    input_ids: Tensor  # (B, L)
    attention_mask: Tensor | None = None  # (B, L)
    labels: Tensor | None = None  # (B, L), losses.IGNORED where nothing is scored
    pixel_values: Tensor | None = None  # (B, 3, s, s), input images for the tower
    features: Tensor | None = None  # (B, P, D), instead of pixel_values
    text_states: Tensor | None = None  # (B, q, d), instead of running the text encoder on input_ids
    input_pixels: Tensor | None = None  # (B, 3, H, W) in [-1, 1], for the VAE
    goal_pixels: Tensor | None = None
    latents: tuple[Tensor, Tensor, Tensor] | None = None  # instead: input's mode, goal's mean, goal's std

    def to(self, device: torch.device) -> "Batch":
        def moved(field: Any) -> Any:
            if isinstance(field, tuple):
                return tuple(map(moved, field))
            return None if field is None else field.to(device, non_blocking=True)

        return Batch(*map(moved, self))


class Sums(NamedTuple):
    """Not yet divided by the whole batch's counts, which one process and one micro-batch cannot know."""

    ins: Tensor | None  # over scored tokens; None: this model has no L_ins
    edit: Tensor  # over examples


class Conditioning(NamedTuple):
    states: Tensor  # (B, L, D), the MLLM's last
    edit: Tensor  # (B, q, d)
    null: Tensor  # (1, q, d)


class Denoiser(nn.Module):
    """VAE (frozen) and UNet: L_edit, given the conditioning."""

    def __init__(self, unet: nn.Module, vae: nn.Module, scheduler: Any, min_snr_gamma: float | None = None) -> None:
        """scheduler: the pipeline's; only its noise and prediction type matter here."""
        super().__init__()
        from diffusers import DDPMScheduler

        self.unet, self.vae, self.min_snr_gamma = unet, vae, min_snr_gamma
        self.noise_scheduler = DDPMScheduler.from_config(scheduler.config)

    @torch.no_grad()
    def encode(self, input_pixels: Tensor, goal_pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1] twice -> input's posterior mode, goal's posterior mean and std: (B, C, h, w) each."""
        with torch.autocast(input_pixels.device.type, enabled=False):
            dtype = self.vae.dtype
            goal = self.vae.encode(goal_pixels.to(dtype)).latent_dist
            mode = self.vae.encode(input_pixels.to(dtype)).latent_dist.mode()
        return mode.float(), goal.mean.float(), goal.std.float()

    def unet_input(self, latents: tuple[Tensor, Tensor, Tensor], draws: Draws) -> tuple[Tensor, Tensor]:
        """The noisy goal latent, (B, C, h, w), and what the UNet shall answer."""
        _, mean, std = latents
        # quirk: the goal's latent is a sample, scaled; the condition is the mode, not scaled (in the pipeline as well)
        latent = (mean + std * draws.posterior_noise) * self.vae.config.scaling_factor
        noisy = self.noise_scheduler.add_noise(latent, draws.noise, draws.timesteps)
        return noisy, losses.edit_target(self.noise_scheduler, latent, draws.noise, draws.timesteps)

    def forward(self, batch: Batch, text: Tensor, null: Tensor, draws: Draws) -> Tensor:
        """The sum of L_edit over the batch."""
        latents = batch.latents or self.encode(batch.input_pixels, batch.goal_pixels)
        noisy, target = self.unet_input(latents, draws)
        text, image = losses.drop_conditions(text, null, latents[0], draws.probability)
        prediction = self.unet(torch.cat([noisy, image], dim=1), draws.timesteps, text).sample  # in: (B, 2C, h, w)
        weight = None
        if self.min_snr_gamma is not None:
            weight = losses.min_snr_weight(self.noise_scheduler, draws.timesteps, self.min_snr_gamma)
        return losses.edit_loss(prediction, target, weight)


class JointModel(nn.Module):
    """MLLM, edit head and UNet."""

    def __init__(self, mllm: MLLM, edit_head: nn.Module, denoiser: Denoiser, visual_ids: list[int], pad: int) -> None:
        """visual_ids: the ids of [IMG0], [IMG1], ... in order. pad: the id of the padding."""
        super().__init__()
        # quirk: the row of the padding, which is <unk>'s, has no gradient (LLaMA's config at the official commit)
        mllm.llama.get_input_embeddings().padding_idx = pad
        self.mllm, self.edit_head, self.denoiser = mllm, edit_head, denoiser
        self.visual_ids = tuple(visual_ids)

    def forward(self, batch: Batch, draws: Draws) -> Sums:
        conditioning = self.condition(batch)
        scored, targets = losses.scored_places(batch.labels)
        logits = self.mllm.llama.lm_head(conditioning.states[:, :-1][scored])
        edit = self.denoiser(batch, conditioning.edit, conditioning.null, draws)
        return Sums(losses.instruction_loss(logits, targets), edit)

    def condition(self, batch: Batch) -> Conditioning:
        states = self.mllm.llama.model(
            inputs_embeds=self.embed(batch),
            attention_mask=batch.attention_mask,
            position_ids=positions(batch.attention_mask),
            use_cache=False,
        ).last_hidden_state
        starts = losses.visual_token_starts(batch.labels, self.visual_ids[0], len(self.visual_ids))
        visual = losses.visual_token_states(states, starts, len(self.visual_ids))
        embeddings = self.visual_embeddings()
        return Conditioning(states, self.edit_head(visual, embeddings), self.edit_head.null(embeddings))

    def embed(self, batch: Batch) -> Tensor:
        """(B, L, D): the tokens' embeddings, patch features in the places of <im_patch>."""
        if batch.features is None:
            return self.mllm.embed(batch.input_ids, batch.pixel_values)
        embeddings = self.mllm.llama.get_input_embeddings()(batch.input_ids)
        places = batch.input_ids == self.mllm.image_patch
        features = batch.features.to(embeddings.dtype)[places.any(dim=1)]
        return embeddings.masked_scatter(places[:, :, None], features)

    def visual_embeddings(self) -> Tensor:
        """(n, D): the trained rows of embed_tokens (quirk: golden README 7)."""
        return self.mllm.llama.get_input_embeddings().weight[list(self.visual_ids)]


class TextModel(nn.Module):
    """UNet under CLIP's text states."""

    def __init__(self, text_encoder: nn.Module, null_ids: Tensor, denoiser: Denoiser) -> None:
        """null_ids: (1, q), the tokens of the empty text."""
        super().__init__()
        self.text_encoder, self.denoiser = text_encoder, denoiser
        self.register_buffer("null_ids", null_ids, persistent=False)

    def forward(self, batch: Batch, draws: Draws) -> Sums:
        text = self.encode_text(batch.input_ids) if batch.text_states is None else batch.text_states
        return Sums(None, self.denoiser(batch, text, self.encode_text(self.null_ids), draws))

    @torch.no_grad()
    def encode_text(self, ids: Tensor) -> Tensor:
        """(B, q) -> (B, q, d)."""
        return self.text_encoder(ids)[0].float()


def choose_trained(model: nn.Module, kind: tuple[str, str]) -> list[str]:
    """Freezes all but what TRAINED names; returns the names that train. The trained parameters become float32."""
    model.requires_grad_(False).eval()
    chosen = []
    for name, parameter in model.named_parameters():
        if any(part in name for part in TRAINED[kind]):
            parameter.requires_grad_(True)
            parameter.data = parameter.data.float()
            chosen.append(name)
    return chosen


def is_diffusion(name: str) -> bool:
    """Which of the two learning rates a trained parameter has."""
    return "unet" in name
