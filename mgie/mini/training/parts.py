"""What the stages of the miniature hand on to each other: tokenizer, tower, Llama, codec; from checkpoints and weights.

Every part says how to make it when it is missing. Not covered: how the parts are trained (the stages' own modules).
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.io.weights import read_safetensors
from mgie.tokenizer import TOKENIZERS, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Parts:
    work: Path  # checkpoints of the stages, a folder each
    weights: Path  # what was shipped: tower/, vae/
    vocab: int

    @property
    def tokenizer(self) -> Tokenizer:
        file = self.work / f"tokenizer-{self.vocab}" / TOKENIZERS
        if not file.exists():
            raise FileNotFoundError(f"no {file}: python -m mgie.mini.make --stage text --again learns the vocabulary")
        return Tokenizer.from_tokenizers(file)

    def load_tower(self) -> "nn.Module":
        from transformers import CLIPVisionModel

        return self.frozen(CLIPVisionModel, "tower", "clip")

    def load_vae(self) -> "nn.Module":
        from diffusers import AutoencoderKL

        return self.frozen(AutoencoderKL, "vae", "vae")

    def frozen(self, cls: type, part: str, stage: str) -> "nn.Module":
        """In float32."""
        import torch

        from mgie.io.weights import load_library_model

        folder = self.weights / part
        if not (folder / "config.json").exists():
            raise FileNotFoundError(f"no {folder}: python -m mgie.mini.make --stage {stage} --again makes it")
        return load_library_model(cls, folder, torch.float32).requires_grad_(False)

    def stage_state(self, stage: str) -> "dict[str, Tensor]":
        """The running mean of a stage's weights, from its checkpoint."""
        path = self.work / stage / "checkpoint.safetensors"
        if not path.exists():
            raise FileNotFoundError(f"no {path}: python -m mgie.mini.make --stage {stage} --again makes it")
        return running_mean(path)

    def restored(self, module: "nn.Module", stage: str, prefix: str = "") -> "nn.Module":
        """module with the stage's weights (those under prefix), frozen, in eval mode."""
        from mgie.io.weights import load_exactly

        state = self.stage_state(stage)
        load_exactly(module, {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        return module.eval().requires_grad_(False)

    def trained_unet(self, stage: str) -> "nn.Module":
        """Of an editor's stage that is done."""
        import torch
        from diffusers import UNet2DConditionModel

        from mgie.io.weights import load_library_model

        folder = self.work / stage
        if not (folder / "model_index.json").exists():
            raise FileNotFoundError(f"no {folder}: python -m mgie.mini.make --stage {stage} --again makes it")
        return load_library_model(UNet2DConditionModel, folder / "unet", torch.float32)

    def hash_of(self, part: str) -> str:
        """SHA-256 of a shipped part's weights."""
        files = sorted((self.weights / part).glob("*.safetensors"))
        return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def running_mean(checkpoint: Path) -> "dict[str, Tensor]":
    """Of the weights in a stage's checkpoint: what is scored and handed on."""
    state = read_safetensors(checkpoint)
    return {name.removeprefix("mean."): value for name, value in state.items() if name.startswith("mean.")}


def state_hash(module: "nn.Module") -> str:
    """SHA-256 over a module's weights."""
    total = sha256()
    for name, value in module.state_dict().items():
        total.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
