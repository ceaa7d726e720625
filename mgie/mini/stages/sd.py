"""Stage sd: the miniature's Stable Diffusion, a UNet and its CLIP text encoder learned together.

An eighth of the rows is text to image (goal captions); the rest also shows the input image, conv_in being widened from
the start, so that the words of instructions get a meaning: no text encoder comes ready made at this size. Its states
must also tell which words the text holds (a linear read-out that is thrown away), else nearly all texts come to look
alike to the UNet. The UNet starts as one that hands its input image on (mgie.mini.stages.sd). Stage base goes on from
here with the text encoder frozen. v-prediction with zero terminal SNR on the codec's latents.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgie.mini.stages.latents import LATENTS, encoded
from mgie.mini.stages.vae import to_range
from mgie.mini.training.pairs import WorldPairs
from mgie.mini.training.parts import Parts
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import seeded
from mgie.presets import PRESETS, Preset
from mgie.train import losses
from mgie.train.batches import clip_ids
from mgie.train.from_scratch import text_tokenizer

TEXT_LENGTH = 40  # tokens of the text encoder: an expressive instruction has up to 35


@dataclass(frozen=True)
class DiffusionSettings:
    captions: float = 0.12  # share of rows: the goal's caption and no input image
    expressive: float = 0.44  # share of rows: the expressive instruction; the others have the instruction
    no_text: float = 0.1
    words: float = 0.01  # weight of the words' read-out
    text_layers: int = 3


class Painter(nn.Module):
    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self.words = nn.Linear(text_encoder.config.hidden_size, text_encoder.config.vocab_size)


class Diffusion:
    """The stage."""

    def __init__(self, recipe: StageRecipe, train: WorldPairs, used: int, test: WorldPairs, parts: Parts,
                 preset: Preset = PRESETS["mini"],
                 diffusion: DiffusionSettings = DiffusionSettings()) -> None:  # fmt: skip
        """used: of the training pairs; their latents are encoded once."""
        self.recipe, self.train, self.used, self.test = recipe, train, used, test
        self.preset, self.diffusion, self.vae, self.vae_hash = preset, diffusion, parts.load_vae(), parts.hash_of("vae")
        self.scheduler = preset.sampler("DDPMScheduler")
        self.work = parts.work
        self.stored: dict[str, np.ndarray] = {}  # encoded at the first step
        self.tokenizer = vocabulary(train, preset)
        self.texts = [(w.goal_caption, w.expressive, w.instruction) for w in train.words]
        self.ids: dict[str, Tensor] = {}

    def settings(self) -> dict:
        return {"diffusion": asdict(self.diffusion), "unet": self.preset.unet_config(), "vae": self.vae_hash,
                "pairs": self.used, "prediction": self.preset.prediction_type,
                "scale": self.preset.latent_scale}  # fmt: skip

    def data_hash(self) -> str:
        return self.train.content_hash()

    def network(self) -> nn.Module:
        def new() -> nn.Module:
            unet = quick(self.preset.unet())
            start_as_copy(unet, self.preset.latent_scale)
            return Painter(unet, text_encoder(self.tokenizer, self.preset, self.diffusion))

        return seeded(new, self.recipe.seed)

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        size, device = self.recipe.batch_size, network.unet.device
        self.stored = self.stored or encoded(self.train, self.used, self.vae, self.work, device)
        picks = torch.randint(0, self.used, (size,), generator=draw).tolist()
        image, mean, std = (torch.from_numpy(self.stored[name][picks]).float().to(device) for name in LATENTS)
        kind, dropped = torch.rand(2, size, generator=draw)
        latent = (mean + std * torch.randn(mean.shape, generator=draw).to(device)) * self.preset.latent_scale
        noise = torch.randn(latent.shape, generator=draw).to(device)
        times = torch.randint(0, self.scheduler.config.num_train_timesteps, (size,), generator=draw).to(device)
        noisy = self.scheduler.add_noise(latent, noise, times)
        painted = kind < self.diffusion.captions  # text to image
        which = torch.where(painted, 0, torch.where(kind > 1 - self.diffusion.expressive, 1, 2)).tolist()
        texts = [self.texts[i][k] for i, k in zip(picks, which, strict=True)]
        told = (dropped >= self.diffusion.no_text).tolist()
        ids = self.tokens([t if known else "" for t, known in zip(texts, told, strict=True)])
        ids = ids[:, : int(self.ends(ids).max()) + 1].to(device)  # padding behind the longest text only costs time
        painted = painted.to(device)
        text = network.text_encoder(ids)[0]
        image = image * ~painted[:, None, None, None]
        answer = network.unet(torch.cat([noisy, image], dim=1), times, text).sample
        target = losses.edit_target(self.scheduler, latent, noise, times)
        error = (answer.float() - target).square().flatten(1).mean(dim=1)
        words = self.word_loss(network, text, ids)
        return {"loss": error.mean() + self.diffusion.words * words, "text_to_image": mean_of(error, painted),
                "edit": mean_of(error, ~painted), "words": words}  # fmt: skip

    def word_loss(self, network: nn.Module, states: Tensor, ids: Tensor) -> Tensor:
        """Nats a text: which tokens it holds, read from the state at its end. states: (B, L, F). ids: (B, L)."""
        read = network.words(states[torch.arange(len(ids), device=ids.device), self.ends(ids)]).float()  # (B, V)
        held = torch.zeros_like(read).scatter_(1, ids, 1.0)
        return F.binary_cross_entropy_with_logits(read, held, reduction="sum") / len(ids)

    def tokens(self, texts: list[str]) -> Tensor:
        """(B, TEXT_LENGTH)"""
        for text in texts:
            if text not in self.ids:
                self.ids[text] = clip_ids(self.tokenizer, text)
        return torch.cat([self.ids[text] for text in texts])

    def ends(self, ids: Tensor) -> Tensor:
        """(B,): where each text's first end token stands."""
        return (ids == self.tokenizer.eos_token_id).int().argmax(dim=1)

    def encode(self, network: nn.Module, texts: list[str]) -> Tensor:
        return network.text_encoder(self.tokens(texts).to(network.text_encoder.device))[0]

    def scores(self, network: nn.Module) -> dict[str, float]:
        """Held-out edits at the preset's sampling: L1 of output and of input against the goal."""
        outputs = self.edit(network, 64)
        goals, inputs = (self.test.pixels[:64, side].astype(np.float32) / 255 for side in (1, 0))
        outputs = outputs.astype(np.float32) / 255
        return {"rows": 64, "l1": float(np.abs(outputs - goals).mean()),
                "identity_l1": float(np.abs(inputs - goals).mean())}  # fmt: skip

    @torch.no_grad()
    def edit(self, network: nn.Module, many: int, text: Tensor | None = None, null: Tensor | None = None) -> np.ndarray:
        """Output images (many, H, W, 3) uint8 for the first held-out pairs. text: instead of their instructions."""
        from mgie import diffusion
        from mgie.preprocess import to_images

        network.eval()
        outputs = []
        for start in range(0, many, 32):
            rows = list(range(start, min(start + 32, many)))
            pixels = to_range(self.test.pixels[rows, 0])
            told = self.encode(network, [self.test.words[i].instruction for i in rows]) if text is None else text[rows]
            nothing = self.encode(network, [""]) if null is None else null
            condition = diffusion.encode_condition(self.vae, pixels)
            generators = [torch.Generator().manual_seed(i) for i in rows]
            p = self.preset
            latents = diffusion.denoise(network.unet, p.sampler(), condition, told, nothing, p.guidance_scale,
                                        p.image_guidance_scale, p.num_inference_steps, generators)  # fmt: skip
            outputs += [np.asarray(image) for image in to_images(diffusion.decode_latents(self.vae, latents))]
        return np.stack(outputs)

    def sheet(self, network: nn.Module, path: Path) -> None:
        from mgie.mini.training.contact_sheet import save_sheet

        outputs = self.edit(network, 24)
        rows = [[self.test.pixels[i, 0], outputs[i], self.test.pixels[i, 1]] for i in range(24)]
        texts = [w.instruction[:62] for w in self.test.words[:24]]
        save_sheet(rows, path, ("input", "output", "goal"), texts, columns=3)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        """Nothing by itself: the editors start from the checkpoint; InsPix2Pix ships the text encoder."""


def mean_of(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp(min=1)


def vocabulary(train: WorldPairs, preset: Preset) -> Any:
    """Learned from the training texts."""
    texts = sorted({text for w in train.words for text in (w.instruction, w.expressive, w.goal_caption)})
    tokenizer = text_tokenizer(texts, preset.vocab)
    tokenizer.model_max_length = TEXT_LENGTH
    return tokenizer


def text_encoder(tokenizer: Any, preset: Preset, settings: DiffusionSettings) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=preset.vocab,
            hidden_size=preset.condition,
            intermediate_size=4 * preset.condition,
            num_hidden_layers=settings.text_layers,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    encoder.set_attn_implementation("eager")  # as quick() says
    return encoder


def quick(unet: nn.Module) -> nn.Module:
    """Plain attention: in bfloat16 on a CPU the fused one spends a third of a training step in its backward pass."""
    from diffusers.models.attention_processor import AttnProcessor

    unet.set_attn_processor(AttnProcessor())
    return unet


KEPT = 0.1  # of the library's own random start on the channels that carry something
LATER = 0.3  # and on the way out


@torch.no_grad()
def start_as_copy(unet: nn.Module, latent_scale: float) -> None:
    """Sets conv_in, the last shortcut and conv_out of a UNet2DConditionModel that is told [noisy | input image].

    Each latent channel x travels as a pair (x, -x), since silu(x) - silu(-x) = x: first the input image's, then the
    noisy ones as far as the first level is wide enough. What comes out is v = noisy / 2 - input image: the target of
    v-prediction at a middle timestep where nothing is to be changed. Raises ValueError for a first level too narrow.
    """
    channels, latents = unet.conv_in.out_channels, unet.conv_out.out_channels
    if channels < 2 * latents:
        raise ValueError(f"{channels} channels cannot carry {latents} latent channels as pairs; at least {2 * latents}")
    taken = [(latents + i, latent_scale) for i in range(latents)] + [(i, 1.0) for i in range(latents)]
    unet.conv_in.weight.mul_(KEPT)
    unet.conv_in.bias.zero_()
    for pair, (source, scale) in enumerate(taken[: channels // 2]):
        for place, sign in ((2 * pair, 1), (2 * pair + 1, -1)):
            unet.conv_in.weight[place, source, 1, 1] += sign * scale
    shortcut = unet.up_blocks[-1].resnets[-1].conv_shortcut  # of [what came up | what conv_in made]
    shortcut.weight.mul_(LATER)
    shortcut.weight[:, -channels:, 0, 0] += torch.eye(channels)
    shortcut.bias.zero_()
    unet.conv_out.weight.mul_(LATER)
    unet.conv_out.bias.zero_()
    for pair in range(channels // 2):
        weight = -1.0 if pair < latents else 0.5
        for place, sign in ((2 * pair, 1), (2 * pair + 1, -1)):
            unet.conv_out.weight[pair % latents, place, 1, 1] += sign * weight
