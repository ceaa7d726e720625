"""The MLLM: CLIP vision tower -> one linear projector -> Llama, wired as LLaVA v1; without the first two, LGIE's LLM.

Convention: LLaVA at 7ace501 as used by apple/ml-mgie at 835af37. Not covered: several images in one row.
B batch, L tokens, P patches of an image, D hidden size, V vocabulary.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mgie.io.files import naming
from mgie.io.weights import load_exactly, load_library_model, read_safetensors


class MLLMOutput(NamedTuple):
    logits: Tensor  # (B, L, V)
    states: Tensor  # (B, L, D), last layer


class MLLM(nn.Module):
    def __init__(
        self,
        llama: nn.Module,
        tower: nn.Module | None = None,
        projector: nn.Linear | None = None,
        image_start: int | None = None,
        image_patch: int | None = None,
    ) -> None:
        """llama: LlamaForCausalLM. tower: CLIPVisionModel, or None for an LLM without eyes (LGIE).

        image_start, image_patch: the ids of <im_start> and <im_patch>, from the tokenizer; None without eyes.
        """
        super().__init__()
        if len({part is None for part in (tower, projector, image_start, image_patch)}) > 1:
            raise ValueError("MLLM: tower, projector, image_start and image_patch are given together or not at all")
        self.llama, self.tower, self.projector = llama, tower, projector
        self.image_start, self.image_patch = image_start, image_patch

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor | None = None) -> MLLMOutput:
        """input_ids, attention_mask: (B, L), padded on either side. pixel_values: (B, 3, s, s), one image a row."""
        outputs = self.llama.model(
            inputs_embeds=self.embed(input_ids, pixel_values),
            attention_mask=attention_mask,
            position_ids=positions(attention_mask),
            use_cache=False,
        )
        # quirk: the "last hidden state" of LLaMA is the one AFTER the final RMSNorm (transformers; golden README 5)
        states = outputs.last_hidden_state
        return MLLMOutput(self.llama.lm_head(states), states)

    def patch_features(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, s, s) -> (B, P, D): hidden layer -2 without CLS and without the post-layernorm, projected."""
        assert self.tower is not None and self.projector is not None  # asked of an MLLM with eyes alone
        with torch.no_grad():  # the tower is frozen in the official code
            hidden = self.tower(pixel_values.to(self.tower.dtype), output_hidden_states=True).hidden_states[-2][:, 1:]
        return self.projector(hidden.to(self.projector.weight.dtype))

    def embed(self, input_ids: Tensor, pixel_values: Tensor | None = None) -> Tensor:
        """(B, L, D): token embeddings; in rows with <im_patch> the patch features replace what follows <im_start>."""
        embeddings = self.llama.get_input_embeddings()(input_ids)  # (B, L, D)
        if self.tower is None or not (input_ids == self.image_patch).any():
            return embeddings
        if pixel_values is None or len(pixel_values) != len(input_ids):
            given = "none" if pixel_values is None else str(len(pixel_values))
            # quirk: a row without <im_patch> ignores its image but still has one (LLaVA at 7ace501)
            raise ValueError(f"MLLM: {len(input_ids)} rows of tokens need {len(input_ids)} images; got {given}")
        features = self.patch_features(pixel_values).to(embeddings.dtype)  # (B, P, D)
        return torch.stack([self._splice(*row) for row in zip(input_ids, embeddings, features, strict=True)])

    def _splice(self, ids: Tensor, embeddings: Tensor, features: Tensor) -> Tensor:
        """ids: (L,), embeddings: (L, D), features: (P, D). Returns (L, D)."""
        patches = int((ids == self.image_patch).sum())
        if patches == 0:
            return embeddings
        starts = (ids == self.image_start).nonzero().flatten().tolist()
        if len(starts) != 1 or patches != len(features):
            raise ValueError(
                f"MLLM: a row holds {len(starts)} <im_start> and {patches} <im_patch>; "
                f"one image is 1 <im_start> followed by {len(features)} <im_patch>"
            )
        first = starts[0] + 1
        return torch.cat([embeddings[:first], features, embeddings[first + len(features) :]])

    def save_pretrained(self, folder: Path) -> None:
        """llama/, and with eyes tower/ and projector/, as safetensors."""
        folder = Path(folder)
        self.llama.save_pretrained(folder / "llama")
        if self.tower is not None:
            from safetensors.torch import save_model

            self.tower.save_pretrained(folder / "tower")
            (folder / "projector").mkdir(exist_ok=True)
            save_model(self.projector, str(folder / "projector" / "model.safetensors"))

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        image_start: int | None,
        image_patch: int | None,
        dtype: torch.dtype | None = None,
        device: str | None = None,
        eyes: bool = True,
    ) -> "MLLM":
        """Reads what save_pretrained wrote. eyes: whether that had a tower; it is not guessed from what is there."""
        from transformers import CLIPVisionModel, LlamaForCausalLM

        folder = Path(folder)
        llama = load_library_model(LlamaForCausalLM, folder / "llama", dtype, device)
        if not eyes:
            return cls(llama, None, None, None, None).eval()
        tower = load_library_model(CLIPVisionModel, folder / "tower", dtype, device)
        state = read_safetensors(folder / "projector" / "model.safetensors")
        size = tower.config.hidden_size, llama.config.hidden_size
        projector = nn.Linear(*size, dtype=dtype or llama.dtype, device=device)
        with naming(folder / "projector"):
            load_exactly(projector, state)
        return cls(llama, tower, projector, image_start, image_patch).eval()


def positions(attention_mask: Tensor) -> Tensor:
    """(B, L) -> (B, L): places counted from each row's first token, so that left padding changes nothing.

    quirk: a masked token inside a row still takes a place, as in the official code, which numbers all tokens.
    """
    first = attention_mask.long().argmax(dim=1, keepdim=True)
    return (torch.arange(attention_mask.shape[1], device=attention_mask.device) - first).clamp(min=0)
