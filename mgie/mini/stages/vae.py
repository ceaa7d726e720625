"""Stage vae: the miniature's AutoencoderKL (64 px, f 4, 12 latent channels), from pictures of the world.

Started as a linear code: encoder and latents are the principal components of 4x4 patches (28 dB by themselves), which
training then improves. GroupNorm before the last convolution would wipe out brightness and contrast; half of its
channels therefore start as constants, against which the others keep their scale.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mgie.io.files import read_json
from mgie.mini.training.contact_sheet import save_sheet
from mgie.mini.training.pictures import CHUNK, Pictures, PictureSet
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import seeded
from mgie.presets import PRESETS, Preset

CONSTANT = 3.0  # the constant channels before a last norm: large beside signals in [-1, 1]
FITTED_ON = 64  # pictures for the linear start


@dataclass(frozen=True)
class CodecSettings:
    crop: int = 32  # px: small crops first, four times as many a second
    crop_share: float = 0.7  # of the steps
    whole_batch: int = 4  # pictures a step afterwards, as many pixels as the crops
    mse: float = 0.5  # weight of the squared error beside the absolute one
    kl: float = 1e-6
    whiten: float = 0.5  # latents start with their standard deviations to the power of 1 - whiten
    logvar: float = -7.0  # latents start with this little noise


class CodecStage:
    """The stage."""

    def __init__(self, recipe: StageRecipe, cache: Path | None, edits: int, preset: Preset = PRESETS["mini"],
                 codec: CodecSettings = CodecSettings()) -> None:  # fmt: skip
        self.recipe, self.preset, self.codec, self.edits = recipe, preset, codec, edits
        self.train = Pictures(PictureSet("train", recipe.seed, preset.image_size), cache)
        self.test = Pictures(PictureSet("test", recipe.seed, preset.image_size), cache)

    def settings(self) -> dict:
        vae = {**self.preset.vae_config(), "scaling_factor": 1.0}  # measured on the result, so no part of its recipe
        return {"codec": asdict(self.codec), "vae": vae, "edits": self.edits}

    def data_hash(self) -> str:
        return self.train.content_hash()

    def network(self) -> nn.Module:
        vae = seeded(self.preset.vae, self.recipe.seed)
        start_linear(vae, pixels(self.train, 0, FITTED_ON // 2), self.codec)
        for part in (vae.encoder.conv_norm_out, vae.encoder.conv_out, vae.quant_conv, vae.post_quant_conv,
                     vae.decoder.conv_in, vae.decoder.conv_norm_out, vae.decoder.conv_out):  # fmt: skip
            in_float32(part)
        return vae

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        images = self.batch(step, draw).to(next(network.parameters()).device)
        posterior = network.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=draw).to(images.device)
        output = network.decode(posterior.mean + posterior.std * noise).sample.float()
        absolute, squared = (output - images).abs().mean(), (output - images).square().mean()
        kl = posterior.kl().mean()
        total = absolute + self.codec.mse * squared + self.codec.kl * kl
        return {"loss": total, "l1": absolute / 2, "mse": squared / 4, "kl": kl}

    def batch(self, step: int, draw: torch.Generator) -> Tensor:
        """(B, 3, side, side) in [-1, 1]: one side of each edit, flipped or not."""
        cropped = step < self.codec.crop_share * self.recipe.steps
        count = self.recipe.batch_size if cropped else self.codec.whole_batch
        rows = self.train.rows(step * self.recipe.batch_size % (self.edits - self.recipe.batch_size), count).pixels
        size, side = rows.shape[2], self.codec.crop if cropped else rows.shape[2]
        picks = torch.randint(0, 2**31, (count, 4), generator=draw).numpy()
        images = []
        for row, (which, x, y, flip) in zip(rows, picks, strict=True):
            x, y = x % (size - side + 1), y % (size - side + 1)
            image = row[which % 2, y : y + side, x : x + side]
            images.append(image[:, ::-1] if flip % 2 else image)
        return to_range(np.stack(images))

    def scores(self, network: nn.Module) -> dict[str, float]:
        """On both sides of held-out edits, in float32 and with the posterior's mode."""
        images = pixels(self.test, 0, CHUNK)
        latents, outputs = copy_through(network, images)
        error = (outputs.clamp(-1, 1) - images).flatten(1) / 2
        psnr = -10 * error.square().mean(dim=1).log10()
        return {"pictures": float(len(images)), "l1": error.abs().mean().item(), "psnr": psnr.mean().item(),
                "psnr_worst_tenth": psnr.quantile(0.1).item(), "latent_mean": latents.mean().item(),
                "latent_std": latents.std().item(),
                "latent_std_smallest": latents.std(dim=(0, 2, 3)).min().item(),
                "latent_std_largest": latents.std(dim=(0, 2, 3)).max().item()}  # fmt: skip

    def sheet(self, network: nn.Module, path: Path) -> None:
        images = pixels(self.test, 20, 6)
        outputs = copy_through(network, images)[1].clamp(-1, 1)
        difference = (4 * (outputs - images)).clamp(-1, 1)
        save_sheet([[to_bytes(t[i]) for t in (images, outputs, difference)] for i in range(len(images))], path,
                   ("input", "codec copy", "difference x 4"), columns=2)  # fmt: skip

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        out = folder / "vae"
        out.mkdir(parents=True, exist_ok=True)
        state = {k: v.half().contiguous() for k, v in network.state_dict().items()}
        save_file(state, out / "diffusion_pytorch_model.safetensors", {"format": "pt", **made_by})
        network.save_config(out)
        config = read_json(out / "config.json")
        config["scaling_factor"] = self.preset.latent_scale
        (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def copy_through(network: nn.Module, images: Tensor, batch: int = 50) -> tuple[Tensor, Tensor]:
    """(latents, outputs) of images (B, 3, H, W) in [-1, 1], float32, posterior's mode."""
    network.eval()
    latents, outputs = [], []
    for part in images.split(batch):
        latents.append(network.encode(part.to(network.device)).latent_dist.mode())
        outputs.append(network.decode(latents[-1]).sample.cpu())
    return torch.cat(latents).cpu(), torch.cat(outputs)


def pixels(pictures: Pictures, start: int, edits: int) -> Tensor:
    """(2 edits, 3, H, W) in [-1, 1]: both sides."""
    rows = pictures.rows(start, edits).pixels
    return to_range(rows.reshape(-1, *rows.shape[2:]))


def to_range(images: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(image: Tensor) -> np.ndarray:
    """(3, H, W) in [-1, 1] to (H, W, 3) uint8."""
    return ((image + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


@torch.no_grad()
def start_linear(vae: nn.Module, images: Tensor, settings: CodecSettings) -> None:
    """Weights such that encoding is a linear code of 4x4 patches and decoding a linear answer, level by level."""
    encoder, decoder = vae.encoder, vae.decoder
    if len(encoder.down_blocks) != 3:
        raise ValueError(f"the linear start is for three levels (f 4), this codec has {len(encoder.down_blocks)}")
    for module in vae.modules():
        if type(module).__name__ == "ResnetBlock2D":
            silence(module.conv2)
        if type(module).__name__ == "Attention":
            silence(module.to_out[0])
    for projection in (vae.quant_conv, vae.post_quant_conv):
        projection.weight.copy_(torch.eye(len(projection.weight))[..., None, None])
        projection.bias.zero_()
    channels = vae.config.latent_channels
    spread_pixels(encoder)
    anchor(encoder.down_blocks[-1].resnets[0].conv_shortcut, encoder.conv_norm_out)
    fit(encoder, encoder.conv_out, images, principal_components(images, channels, settings.whiten))
    encoder.conv_out.weight[channels:] = 0
    encoder.conv_out.bias[channels:] = settings.logvar
    gather_pixels(decoder, vae.encode(images).latent_dist.mode(), images)


@torch.no_grad()
def gather_pixels(decoder: nn.Module, latents: Tensor, images: Tensor) -> None:
    """Each level's convolution answers with that level's pixels as channels, as well as a linear map can, and passes on
    what it was given. (A convolution after nearest enlargement cannot tell the four new pixels apart; the residual
    blocks learn to.)"""
    first, middle, last = decoder.up_blocks
    anchor(last.resnets[0].conv_shortcut, decoder.conv_norm_out)
    fit(decoder, decoder.conv_in, latents, F.pixel_unshuffle(images, 4))
    up = first.upsamplers[0].conv
    straight(up, list(range(12, 60)))
    fit(decoder, up, latents, F.pixel_unshuffle(images, 2), inputs=48)
    straight(middle.resnets[0].conv_shortcut, list(range(60)))
    up = middle.upsamplers[0].conv
    straight(up, list(range(3, min(63, len(up.weight)))))
    fit(decoder, up, latents, images, inputs=60)
    norm = decoder.conv_norm_out
    signals = [c for c in range(norm.num_channels) if not is_constant(c, norm.num_channels // norm.num_groups)]
    straight(last.resnets[0].conv_shortcut, signals)
    fit(decoder, decoder.conv_out, latents, images)


def in_float32(module: nn.Module) -> None:
    """Left out of autocast: beside its constants, bfloat16 would round the signals to 1/64."""
    module.register_forward_pre_hook(leave_autocast)
    module.register_forward_hook(return_to_autocast)


def leave_autocast(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    kind = args[0].device.type
    module.was_cast = torch.is_autocast_enabled(kind)
    torch.set_autocast_enabled(kind, False)
    return (args[0].float(),)


def return_to_autocast(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
    torch.set_autocast_enabled(args[0].device.type, module.was_cast)


def silence(layer: nn.Module) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def spread_pixels(encoder: nn.Module) -> None:
    """Colour and place within the patch become channels, through the two halvings (each sees 2x2 and more)."""
    first = encoder.conv_in
    first.weight[:3], first.bias[:3] = 0, 0
    for k in range(3):
        first.weight[k, k, 1, 1] = 1
    for level, channels in ((0, 3), (1, 12)):
        conv = encoder.down_blocks[level].downsamplers[0].conv
        conv.weight[: 4 * channels], conv.bias[: 4 * channels] = 0, 0
        for k in range(channels):
            for dy in range(2):
                for dx in range(2):
                    conv.weight[4 * k + 2 * dy + dx, k, dy, dx] = 1
    straight(encoder.down_blocks[1].resnets[0].conv_shortcut, list(range(12)))
    groups, width = encoder.conv_norm_out.num_groups, encoder.conv_norm_out.num_channels
    signals = [c for c in range(width) if not is_constant(c, width // groups)]
    if len(signals) < 48:
        raise ValueError(f"the last level of the encoder needs 96 channels for a linear start, not {width}")
    straight(encoder.down_blocks[2].resnets[0].conv_shortcut, signals[:48])


def straight(conv: nn.Conv2d, places: list[int]) -> None:
    """Output channel places[k] is input channel k."""
    middle = conv.kernel_size[0] // 2
    for k, place in enumerate(places):
        conv.weight[place], conv.bias[place] = 0, 0
        conv.weight[place, k, middle, middle] = 1


def is_constant(channel: int, group: int) -> bool:
    """The second half of each group of a norm."""
    return channel % group >= group // 2


def anchor(shortcut: nn.Conv2d, norm: nn.GroupNorm) -> None:
    """Half of each group constant at +-CONSTANT; the norm then leaves the others alone, on SiLU's straight part."""
    group = norm.num_channels // norm.num_groups
    for c in range(norm.num_channels):
        if is_constant(c, group):
            shortcut.weight[c] = 0
            shortcut.bias[c] = CONSTANT if c % 2 else -CONSTANT
    norm.weight.fill_(CONSTANT / 2**0.5)
    norm.bias.fill_(CONSTANT)


def principal_components(images: Tensor, count: int, whiten: float) -> Tensor:
    """(B, count, H/4, W/4): the first components of 4x4 patches, scaled to a mean variance of 1."""
    patches = F.pixel_unshuffle(images, 4)  # (B, 48, H/4, W/4)
    rows = patches.permute(0, 2, 3, 1).flatten(0, 2).double()
    rows = rows - rows.mean(dim=0)
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    vectors = vectors * vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()  # libraries differ in sign
    scores = rows @ vectors * values ** (-whiten / 2)
    scores = (scores / scores.square().mean().sqrt()).float()
    return scores.unflatten(0, (len(images), *patches.shape[2:])).permute(0, 3, 1, 2).contiguous()


def fit(part: nn.Module, conv: nn.Conv2d, given: Tensor, targets: Tensor, inputs: int | None = None,
        ridge: float = 1e-4) -> None:  # fmt: skip
    """The first output channels of conv, a 3x3 convolution in part, by least squares: nearest to targets.

    inputs: only so many of its input channels are used.
    """
    seen: list[Tensor] = []
    hook = conv.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    used = inputs or conv.in_channels
    width, outputs = used * 9 + 1, targets.shape[1]
    moments, products = torch.zeros(width, width).double(), torch.zeros(width, outputs).double()
    for x, y in zip(given.split(8), targets.split(8), strict=True):
        part(x)
        columns = F.unfold(seen.pop()[:, :used], 3, padding=1).transpose(1, 2).flatten(0, 1)
        columns = torch.cat([columns, torch.ones(len(columns), 1)], dim=1)
        moments += columns.T @ columns
        products += columns.T @ y.flatten(2).transpose(1, 2).flatten(0, 1)
    hook.remove()
    moments += ridge * moments.diagonal().mean() * torch.eye(width)
    solution = torch.linalg.solve(moments, products).float()  # (width, outputs)
    conv.weight[:outputs], conv.bias[:outputs] = 0, solution[-1]
    conv.weight[:outputs, :used] = solution[:-1].T.unflatten(1, (used, 3, 3))
