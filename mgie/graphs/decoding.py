"""Decoding in a cache of fixed length.  B batch, L prompt length, D hidden size, V vocabulary."""

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from mgie.graphs.captured import WARM_UP, Captured, Notice

if TYPE_CHECKING:
    from torch import nn
    from transformers import DynamicCache

ROUND = 128  # tokens: a cache's length is a multiple of it, so that few lengths are captured


class Decoder(Protocol):
    """An MLLM, of which a step asks for its LLM alone."""

    llama: "nn.Module"


class StaticDecoding:
    """Decoding in a cache of fixed length, a step captured once for all batches of the same size and length."""

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        self.kept: _Fixed | None = None  # only the last: at 7B a cache takes gigabytes

    def begin(self, mllm: Decoder, cache: "DynamicCache", mask: Tensor, new_tokens: int) -> "_Fixed":
        """cache, mask: of the prompt, (B, L). new_tokens: so many steps at most follow."""
        batch, prompt = mask.shape
        length = -(-(prompt + new_tokens + WARM_UP) // ROUND) * ROUND
        if self.kept is None or not self.kept.serves(mllm, batch, length):
            self.kept = None  # let go before the next is made
            self.kept = _Fixed(mllm, batch, length, cache, self.notice)
        self.kept.fill(cache, mask)
        return self.kept


class _Fixed:
    def __init__(self, mllm: Decoder, batch: int, length: int, like: "DynamicCache", notice: Notice) -> None:
        from transformers import StaticCache

        self.mllm, self.batch, self.length = mllm, batch, length
        keys = like.layers[0].keys  # (B, heads, L, head size)
        self.cache = StaticCache(config=mllm.llama.config, max_cache_len=length)
        self.cache.early_initialization(batch, keys.shape[1], keys.shape[3], keys.dtype, keys.device)
        self.least = torch.finfo(keys.dtype).min
        self.mask = torch.full((batch, 1, 1, length), self.least, dtype=keys.dtype, device=keys.device)
        self.prompt = self.at = 0
        self.step = Captured(self.run, keys.device, notice, self.rewind)

    def serves(self, mllm: Decoder, batch: int, length: int) -> bool:
        return (self.mllm, self.batch, self.length) == (mllm, batch, length)

    def fill(self, cache: "DynamicCache", mask: Tensor) -> None:
        """Begin after the prompt."""
        self.prompt = self.at = mask.shape[1]
        for own, given in zip(self.cache.layers, cache.layers, strict=True):
            own.keys[:, :, : self.prompt].copy_(given.keys)
            own.values[:, :, : self.prompt].copy_(given.values)
        self.rewind()
        self.mask.fill_(self.least)
        self.mask[:, 0, 0, : self.prompt].masked_fill_(mask.bool(), 0)

    def rewind(self) -> None:
        """The cache ends where the next token goes."""
        for layer in self.cache.layers:
            layer.cumulative_length.fill_(self.at)

    def __call__(self, embeddings: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """embeddings: (B, 1, D) of the next tokens; place: (B, 1). Returns states (B, 1, D) and scores (B, V)."""
        self.mask[..., self.at] = 0
        states, scores = self.step(embeddings, place)
        self.at += 1
        return states.clone(), scores

    def run(self, embeddings: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        states = self.mllm.llama.model(
            inputs_embeds=embeddings, attention_mask=self.mask, position_ids=place, past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state  # fmt: skip
        return states, self.mllm.llama.lm_head(states[:, -1]).float()
