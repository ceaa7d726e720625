"""The decode loop: one batched greedy pass that writes expressive instructions and keeps the last layer's states.

Convention: demo.ipynb of apple/ml-mgie at 835af37 (greedy, no_repeat_ngram_size 3, max_new_tokens 96), one sequence at
a time there, any number here.  B batch, L padded prompt length, D hidden size, V vocabulary.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mgie.mllm import positions
from mgie.visual_tokens import NUM_VISUAL_TOKENS, StateSlice, slice_is_settled, visual_slice

if TYPE_CHECKING:
    from mgie.graphs.decoding import StaticDecoding
    from mgie.mllm import MLLM
    from mgie.tokenizer import Tokenizer


class Answer(NamedTuple):
    sequence: list[int]  # prompt and answer; it ends where its slice was settled
    prompt_length: int
    all_states: Tensor  # (len(sequence) - 1, D), last layer; the last token is never run
    start: int  # index of the first of the eight states
    written: bool  # whether [IMG0] was written
    count: int = NUM_VISUAL_TOKENS  # type: ignore[assignment]  # tuple.count, which nobody calls here

    @property
    def states(self) -> Tensor:
        """(8, D): what the edit head reads."""
        return self.all_states[self.start : self.start + self.count]

    @property
    def ids(self) -> list[int]:
        return self.sequence[self.prompt_length :]

    def kept(self) -> "Answer":
        """The same in main memory, without the states that nothing reads."""
        return self._replace(all_states=self.states.to("cpu", copy=True), start=0)


@torch.no_grad()
def decode(
    mllm: "MLLM",
    tokenizer: "Tokenizer",
    prompts: list[list[int]],
    pixel_values: Tensor | None,
    device: torch.device,
    max_new_tokens: int = 96,
    no_repeat_ngram_size: int = 3,
    static: "StaticDecoding | None" = None,
) -> list[Answer]:
    """prompts: ids of each row, unpadded. pixel_values: (B, 3, s, s), or None for an LLM without eyes. static: decodes
    in a cache of fixed length.

    A row ends at </s>, after max_new_tokens, or once its slice is settled as the whole decode would settle it.
    """
    from transformers import DynamicCache

    count = len(tokenizer.visual)
    rows = [_Row(prompt, max_new_tokens, no_repeat_ngram_size, count) for prompt in prompts]
    ids, mask = pad_left(prompts, tokenizer.pad, device)  # (B, L) each
    place, img0 = positions(mask), tokenizer.visual[0]
    embeddings, cache, kept = mllm.embed(ids, pixel_values), DynamicCache(config=mllm.llama.config), []
    states = mllm.llama.model(
        inputs_embeds=embeddings, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True
    ).last_hidden_state  # (B, L, D)
    scores = mllm.llama.lm_head(states[:, -1]).float()  # (B, V)
    fixed = static.begin(mllm, cache, mask, max_new_tokens) if static else None
    while True:
        kept.append(states)
        next_ids = _without_repeats(scores, rows).argmax(dim=-1)  # (B,)
        for row, token in zip(rows, next_ids.tolist(), strict=True):
            row.take(token, img0, tokenizer.eos)
        if all(row.slice for row in rows):
            break
        embeddings = mllm.llama.get_input_embeddings()(next_ids[:, None])  # no splice: the image is in the cache
        place = place[:, -1:] + 1
        if fixed:
            states, scores = fixed(embeddings, place)
            continue
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        states = mllm.llama.model(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True
        ).last_hidden_state  # (B, 1, D)
        scores = mllm.llama.lm_head(states[:, -1]).float()
    states = torch.cat(kept, dim=1)  # (B, L + steps, D)
    return [
        _answer(row.sequence, len(prompt), row.slice, one[ids.shape[1] - len(prompt) :], count)
        for row, prompt, one in zip(rows, prompts, states, strict=True)
        if row.slice is not None  # all are settled
    ]


@torch.no_grad()
def read(
    mllm: "MLLM",
    tokenizer: "Tokenizer",
    prompts: list[list[int]],
    answers: list[list[int]],
    pixel_values: Tensor | None,
    device: torch.device,
) -> list[Answer]:
    """The states of answers that are given (ids, with the visual tokens and </s>): one forward, nothing is decoded."""
    sequences = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    ids, mask = pad_left([sequence[:-1] for sequence in sequences], tokenizer.pad, device)
    states, (img0, *_) = mllm(ids, mask, pixel_values).states, tokenizer.visual  # (B, longest, D)
    count = len(tokenizer.visual)
    return [
        _answer(whole, len(prompt), visual_slice(whole, img0, count), one[ids.shape[1] + 1 - len(whole) :], count)
        for whole, prompt, one in zip(sequences, prompts, states, strict=True)
    ]


def pad_left(rows: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, L) ids and mask. The mask knows padding by its place: a real <unk>, whose id pads, is attended to."""
    longest = max(map(len, rows))
    ids = [[pad] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


class _Row:
    """One sequence as it grows, and which tokens would repeat one of its n-grams."""

    def __init__(self, prompt: list[int], max_new_tokens: int, no_repeat: int, visual: int) -> None:
        """no_repeat: n, or 0 to allow all repeats. visual: how many visual tokens an answer ends with."""
        self.visual = visual
        self.sequence, self.limit, self.no_repeat = list(prompt), len(prompt) + max_new_tokens, no_repeat
        self.slice: StateSlice | None = None  # None: not settled
        self._followers: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for end in range(no_repeat, len(prompt) + 1) if no_repeat else ():
            self._note(end)

    def _note(self, end: int) -> None:
        *first, last = self.sequence[end - self.no_repeat : end]
        self._followers[tuple(first)].append(last)

    @property
    def forbidden(self) -> list[int]:
        """quirk: over prompt and answer together, patch tokens included, as transformers' own rule does."""
        if not self.no_repeat or len(self.sequence) + 1 < self.no_repeat:
            return []
        return self._followers.get(tuple(self.sequence[len(self.sequence) + 1 - self.no_repeat :]), [])

    def take(self, token: int, img0: int, eos: int) -> None:
        if self.slice:  # the other rows go on
            return
        self.sequence.append(token)
        if self.no_repeat and len(self.sequence) >= self.no_repeat:
            self._note(len(self.sequence))
        over = token == eos or len(self.sequence) >= self.limit
        if slice_is_settled(self.sequence, img0, over, self.visual):
            certain = self.sequence if over else [*self.sequence, eos]  # one more token would have come, any one
            self.slice = visual_slice(certain, img0, self.visual)


def _without_repeats(scores: Tensor, rows: list[_Row]) -> Tensor:
    pairs = [(i, token) for i, row in enumerate(rows) if not row.slice for token in row.forbidden]
    if pairs:
        where, tokens = torch.tensor(pairs, device=scores.device).T
        scores[where, tokens] = float("-inf")
    return scores


def _answer(sequence: list[int], prompt_length: int, found: StateSlice, states: Tensor, count: int) -> Answer:
    """states: (at least len(sequence) - 1, D), without padding on the left."""
    return Answer(sequence, prompt_length, states[: len(sequence) - 1], *found, count)
