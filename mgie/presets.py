"""Presets: every size and sampling default of MGIE in one dataclass, with two instances, `7b` and `mini`.

Convention: 7b is apple/ml-mgie at 835af37 on LLaVA-7B, CLIP ViT-L/14, Stable Diffusion 1.5 and the scheduler of
timbrooks/instruct-pix2pix; mini is the built-in miniature. `python -m mgie.presets` prints parameters and memory.
"""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionConfig, LlamaConfig

    from mgie.edit_head import EditHead
    from mgie.mllm import MLLM


# what a checkpoint may have of its own without being one of another preset
SAMPLING = {
    "name",
    "latent_scale",
    "guidance_scale",
    "image_guidance_scale",
    "num_inference_steps",
    "max_side",
    "token_rule",
    "max_new_tokens",
    "no_repeat_ngram_size",
    "max_length",
}


@dataclass(frozen=True)
class Preset:
    name: str
    # Llama
    vocab: int  # with <im_patch>, <im_start>, <im_end> and the visual tokens
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    context: int  # tokens of prompt and answer together
    # CLIP vision tower
    vision_hidden: int
    vision_intermediate: int
    vision_layers: int
    vision_heads: int
    vision_size: int  # px
    vision_patch: int  # px
    # edit head
    head_dim: int
    head_ff: int
    queries: int
    condition: int  # features of the conditioning: the UNet's cross_attention_dim
    # UNet
    unet_channels: tuple[int, ...]
    unet_blocks: int  # layers_per_block
    unet_heads: int
    unet_groups: int
    unet_attention: tuple[bool, ...]  # cross-attention on each level, from the highest resolution down
    # VAE
    vae_channels: tuple[int, ...]
    vae_blocks: int
    vae_groups: int
    latent_channels: int
    latent_scale: float  # what is diffused is the VAE's latent times this
    # diffusion
    image_size: int  # px, square, at which it was trained
    scheduler: str
    prediction_type: Literal["epsilon", "v_prediction"]
    timestep_spacing: Literal["linspace", "leading", "trailing"]
    zero_snr: bool
    # sampling defaults
    guidance_scale: float
    image_guidance_scale: float
    num_inference_steps: int
    max_side: int  # px; a larger input image is shrunk to it
    # decoding
    token_rule: Literal["fast", "slow"]  # how the prompt is split at inference, see mgie.prompts
    max_new_tokens: int = 96
    no_repeat_ngram_size: int = 3
    max_length: int = 512  # tokens of a training row
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    head_heads: int = 4
    head_layers: int = 4
    # the conditioning, pooled, also scales and shifts every block of the UNet (as in DeepFloyd IF, not in SD 1.5)
    unet_pooled: bool = False

    @property
    def patches(self) -> int:
        """Patch features an image becomes."""
        return (self.vision_size // self.vision_patch) ** 2

    @property
    def factor(self) -> int:
        """Pixels a latent spans in each direction."""
        return 2 ** (len(self.vae_channels) - 1)

    def llama_config(self) -> "LlamaConfig":
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocab,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=self.context,
            rms_norm_eps=self.rms_norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            tie_word_embeddings=False,
            pad_token_id=None,
        )

    def vision_config(self) -> "CLIPVisionConfig":
        from transformers import CLIPVisionConfig

        return CLIPVisionConfig(
            hidden_size=self.vision_hidden,
            intermediate_size=self.vision_intermediate,
            num_hidden_layers=self.vision_layers,
            num_attention_heads=self.vision_heads,
            image_size=self.vision_size,
            patch_size=self.vision_patch,
            hidden_act="quick_gelu",
        )

    def unet_config(self) -> dict:
        """Arguments of UNet2DConditionModel. The input is [noisy latents | condition latents]."""
        down = tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in self.unet_attention)
        up = tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(self.unet_attention))
        pooled = {"addition_embed_type": "text", "addition_embed_type_num_heads": self.unet_heads,
                  "resnet_time_scale_shift": "scale_shift"} if self.unet_pooled else {}  # fmt: skip
        return {
            "sample_size": self.image_size // self.factor,
            "in_channels": 2 * self.latent_channels,
            "out_channels": self.latent_channels,
            "block_out_channels": self.unet_channels,
            "down_block_types": down,
            "up_block_types": up,
            "layers_per_block": self.unet_blocks,
            "cross_attention_dim": self.condition,
            "norm_num_groups": self.unet_groups,
            "attention_head_dim": self.unet_heads,  # quirk: diffusers reads this as the number of heads (SD 1.5)
            **pooled,
        }

    def vae_config(self) -> dict:
        """Arguments of AutoencoderKL."""
        levels = len(self.vae_channels)
        return {
            "block_out_channels": self.vae_channels,
            "layers_per_block": self.vae_blocks,
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "latent_channels": self.latent_channels,
            "norm_num_groups": self.vae_groups,
            "sample_size": self.image_size,
            "scaling_factor": self.latent_scale,
        }

    def mllm(self, image_start: int | None, image_patch: int | None, eyes: bool = True) -> "MLLM":
        """With new weights; eyes=False is LGIE's LLM."""
        from torch import nn
        from transformers import CLIPVisionModel, LlamaForCausalLM

        from mgie.mllm import MLLM

        llama = LlamaForCausalLM(self.llama_config())
        if not eyes:
            return MLLM(llama).eval()
        projector = nn.Linear(self.vision_hidden, self.hidden)
        return MLLM(llama, CLIPVisionModel(self.vision_config()), projector, image_start, image_patch).eval()

    def edit_head(self) -> "EditHead":
        from mgie.edit_head import EditHead

        sizes = (self.hidden, self.head_dim, self.head_ff, self.queries, self.condition)
        return EditHead(*sizes, heads=self.head_heads, layers=self.head_layers).eval()

    def unet(self) -> "UNet2DConditionModel":
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel(**self.unet_config()).eval()

    def vae(self) -> "AutoencoderKL":
        from diffusers import AutoencoderKL

        return AutoencoderKL(**self.vae_config()).eval()

    def sampler(self, name: str | None = None) -> Any:
        """The scheduler of inference, or by name another of diffusers on the same noise (DDPMScheduler: training)."""
        import diffusers

        extra: dict[str, bool | int] = {}
        if (name or self.scheduler) in ("DDIMScheduler", "DDPMScheduler"):
            extra["clip_sample"] = False
        if self.zero_snr:
            extra["rescale_betas_zero_snr"] = True
        if self.timestep_spacing == "linspace":
            extra["steps_offset"] = 1
        return getattr(diffusers, name or self.scheduler)(
            num_train_timesteps=1000,
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            prediction_type=self.prediction_type,
            timestep_spacing=self.timestep_spacing,
            **extra,
        )

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict) -> "Preset":
        known = {f.name for f in fields(cls)}
        if data.keys() != known:
            raise ValueError(f"preset.json: entries missing or unknown: {', '.join(sorted(data.keys() ^ known))}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)


# fmt: off
PRESETS = {
    "7b": Preset(
        name="7b", vocab=32011, hidden=4096, intermediate=11008, layers=32, heads=32, kv_heads=32, context=2048,
        vision_hidden=1024, vision_intermediate=4096, vision_layers=24, vision_heads=16, vision_size=224,
        vision_patch=14, head_dim=512, head_ff=2048, queries=77, condition=768,
        unet_channels=(320, 640, 1280, 1280), unet_blocks=2, unet_heads=8, unet_groups=32,
        unet_attention=(True, True, True, False), vae_channels=(128, 256, 512, 512), vae_blocks=2, vae_groups=32,
        latent_channels=4, latent_scale=0.18215, image_size=512, scheduler="EulerAncestralDiscreteScheduler",
        prediction_type="epsilon", timestep_spacing="linspace", zero_snr=False, guidance_scale=7.5,
        image_guidance_scale=1.5, num_inference_steps=100, max_side=2048, token_rule="fast",
    ),
    # Sizes and guidance: what a prototype at 64 px learned best from (16 latent channels keep local
    # detail; v-prediction with zero SNR learns brightness; guidance like the paper's is worse than copying the input;
    # with unet_pooled the error of global edits after 24,000 samples fell from .85 to .71 of identity's).
    "mini": Preset(
        name="mini", vocab=1024, hidden=160, intermediate=432, layers=4, heads=5, kv_heads=5, context=512,
        vision_hidden=128, vision_intermediate=512, vision_layers=5, vision_heads=4, vision_size=64, vision_patch=8,
        head_dim=128, head_ff=256, head_layers=2, queries=16, condition=128,
        unet_channels=(64, 64, 64), unet_blocks=1, unet_heads=4, unet_groups=8, unet_pooled=True,
        unet_attention=(False, True, True), vae_channels=(32, 64, 96), vae_blocks=1, vae_groups=8,
        latent_channels=16, latent_scale=0.66, image_size=64, scheduler="DDIMScheduler",
        prediction_type="v_prediction", timestep_spacing="trailing", zero_snr=True, guidance_scale=1.3,
        image_guidance_scale=1.2, num_inference_steps=8, max_side=128, token_rule="slow", max_new_tokens=64,
        no_repeat_ngram_size=0,  # short answers name what the instruction names: "on the left" is no loop
    ),
}
# fmt: on


def parameters(preset: Preset) -> dict[str, int]:
    """Parameters by component, counted on the meta device: nothing is allocated."""
    import torch

    with torch.device("meta"):
        mllm = preset.mllm(image_start=0, image_patch=1)
        parts = {
            "llama": mllm.llama,
            "tower": mllm.tower,
            "projector": mllm.projector,
            "edit_head": preset.edit_head(),
            "unet": preset.unet(),
            "vae": preset.vae(),
        }
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def memory(preset: Preset, bytes_per_value: int, batch: int) -> dict[str, int]:
    """Bytes by component: weights, the cache of keys and values of one decode, the widest UNet activations.

    The last is an estimate (16 maps of the first level for 3 guided copies an image, no attention matrix is stored);
    bench.speed measures the peak where a GPU is at hand.
    """
    sizes = {name: n * bytes_per_value for name, n in parameters(preset).items()}
    tokens = preset.patches + 64 + preset.max_new_tokens  # 64: the template and a usual instruction
    cache = 2 * preset.layers * preset.hidden * preset.kv_heads // preset.heads * tokens * batch * bytes_per_value
    maps = 16 * 3 * batch * preset.unet_channels[0] * (preset.image_size // preset.factor) ** 2 * bytes_per_value
    return sizes | {"decode cache": cache, "unet activations": maps}


def main() -> int:
    for preset in PRESETS.values():
        counts = parameters(preset)
        print(f"preset {preset.name}: {sum(counts.values()):,} parameters; at {preset.image_size} px")
        columns = [(dtype, size, batch) for dtype, size in (("float32", 4), ("bfloat16", 2)) for batch in (1, 8)]
        print(f"  {'':18}{'parameters':>16}" + "".join(f"{f'{d} x{b}':>14}" for d, _, b in columns) + "  (MiB)")
        table = [memory(preset, size, batch) for _, size, batch in columns]
        for part in table[0]:
            print(f"  {part:18}{counts.get(part, 0):>16,}" + "".join(f"{row[part] / 2**20:>14,.1f}" for row in table))
        print(f"  {'sum':18}{sum(counts.values()):>16,}" + "".join(f"{sum(r.values()) / 2**20:>14,.1f}" for r in table))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
