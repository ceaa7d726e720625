"""Stage metric_clip: the judge's CLIP, an open_clip model of its own sizes for CVS, CTS and CLIP-S of suite mini.

Convention: open_clip 3.3's local-dir folder (open_clip_config.json, weights, HF tokenizer files; text pooled at the end
token: pool_type eos, eos_id). Trained on captions only, never on instructions, with other seed, width and pictures than
MGIE's tower. The read-outs of patches serve training only.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mgie.io.files import write_json
from mgie.mini.stages.tower import Captioned, label_sheet
from mgie.mini.training import captions
from mgie.mini.training.labels import (
    CLIP_MEAN,
    CLIP_STD,
    Heads,
    both_sides,
    contrast,
    label_scores,
    normal,
    retrieval,
    take,
)
from mgie.mini.training.pictures import CHUNK
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import seeded

STYLES = ("plain", "request", "crowd")  # the strengths of training and of the benchmarks


@dataclass(frozen=True)
class MetricClipSettings:
    size: int = 64
    patch: int = 8
    width: int = 112
    layers: int = 5
    heads: int = 4
    text_width: int = 96
    text_layers: int = 2
    text_heads: int = 4
    text_length: int = 48
    vocabulary: int = 600
    embed: int = 96
    objects: float = 1.0
    nouns: float = 0.3
    faults: float = 0.3
    local: float = 0.2

    def model(self) -> dict:
        """open_clip's model_cfg."""
        return {
            "embed_dim": self.embed,
            "quick_gelu": False,
            "vision_cfg": {"image_size": self.size, "layers": self.layers, "width": self.width,
                           "head_width": self.width // self.heads, "patch_size": self.patch},
            "text_cfg": {"context_length": self.text_length, "vocab_size": self.vocabulary, "width": self.text_width,
                         "heads": self.text_heads, "layers": self.text_layers, "hf_tokenizer_name": "mini-clip",
                         "pad_id": captions.PAD, "eos_id": captions.END, "pool_type": "eos"},
        }  # fmt: skip


class JudgeNetwork(nn.Module):
    def __init__(self, settings: MetricClipSettings) -> None:
        from open_clip.model import CLIP

        super().__init__()
        self.clip = CLIP(**settings.model())
        self.heads = Heads(settings.width)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """images: (B, 3, s, s) in [0, 1]. Returns image features and the read-outs of the last patch states."""
        visual = self.clip.visual
        visual.output_tokens = True
        features, patches = visual(normal(images))
        visual.output_tokens = False
        return features, self.heads(patches)


class MetricClip(Captioned):
    """The stage."""

    def __init__(self, recipe: StageRecipe, cache: Path | None, edits: int,
                 clip: MetricClipSettings = MetricClipSettings()) -> None:  # fmt: skip
        self.clip = clip
        super().__init__(recipe, cache, edits, clip.size, clip, STYLES)

    def settings(self) -> dict:
        return {"clip": asdict(self.clip), "edits": self.edits}

    def network(self) -> nn.Module:
        return seeded(lambda: JudgeNetwork(self.clip), self.recipe.seed)

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        batch, ids = self.batch(network, step, draw)
        images, logits = network(batch.images)
        texts = network.clip.encode_text(ids)
        return self.weighted(contrast(images, texts, network.clip.logit_scale, batch.captions), logits, batch)

    @torch.no_grad()
    def scores(self, network: nn.Module) -> dict[str, float]:
        """On held-out photographs: captions found among 500 goals, and the read-outs of patches."""
        network.eval().cpu()
        rows = self.test.rows(0, CHUNK)
        batch, goals = both_sides(rows), take(rows, None)
        logits = self.read(network, batch.images)
        images = torch.cat([network(part)[0] for part in goals.images.split(100)])
        texts = network.clip.encode_text(self.ids(goals))
        return retrieval(images, texts, goals.captions) | label_scores(logits, batch)

    @torch.no_grad()
    def read(self, network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        network.eval().cpu()
        return tuple(torch.cat(column) for column in zip(*(network(p)[1] for p in images.split(100)), strict=True))

    def sheet(self, network: nn.Module, path: Path) -> None:
        batch = both_sides(self.test.rows(40, 6))
        label_sheet(self.read(network, batch.images), batch, path)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        out = folder / "mini-clip"
        out.mkdir(parents=True, exist_ok=True)
        state = {k: v.half().contiguous() for k, v in network.clip.state_dict().items()}
        state = {k: v for k, v in state.items() if not k.endswith("attn_mask")}
        save_file(state, out / "open_clip_model.safetensors", {"format": "pt", **made_by})
        preprocess = {"mean": CLIP_MEAN, "std": CLIP_STD, "interpolation": "bicubic", "resize_mode": "shortest"}
        config = {"model_cfg": self.clip.model(), "preprocess_cfg": preprocess}
        write_json(out / "open_clip_config.json", config)
        captions.save_tokenizer(self.tokenizer, out, self.clip.text_length)
