"""The decode loop stops early, pads, caches and batches; its slices are those of the plain whole decode, row by row.

Reference: a loop over one row without cache, padding or early stop, with transformers' own n-gram rule.
"""

from dataclasses import replace

import pytest
import tiny
import torch
from golden_weights import fill, official_mllm_name
from transformers import NoRepeatNGramLogitsProcessor

from mgie.generate import decode, pad_left, read
from mgie.tokenizer import Tokenizer
from mgie.visual_tokens import VISUAL_TOKENS, visual_slice

CPU, NEW, VOCAB = torch.device("cpu"), 30, 40
SPECIAL = {"<unk>": 0, "<s>": 1, "</s>": 2} | {token: VOCAB - 8 + i for i, token in enumerate(VISUAL_TOKENS)}
PRESET = replace(tiny.TINY, vocab=VOCAB, hidden=16, intermediate=24, layers=2, heads=2, kv_heads=2)


def tokenizer() -> Tokenizer:
    return Tokenizer(lambda text: [], lambda ids: "", SPECIAL)


def model(seed: int):
    return fill(PRESET.mllm(None, None, eyes=False), official_mllm_name, f"decode{seed}/")


def prompts(seed: int, rows: int = 5) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(10, 25, (rows,), generator=generator).tolist()
    return [[1, *torch.randint(0, VOCAB - 8, (n,), generator=generator).tolist()] for n in lengths]


@torch.no_grad()
def whole_decode(mllm, prompt: list[int], ngram: int) -> tuple[list[int], torch.Tensor]:
    sequence, rule = list(prompt), NoRepeatNGramLogitsProcessor(ngram)
    while len(sequence) < len(prompt) + NEW and (len(sequence) == len(prompt) or sequence[-1] != 2):
        ids = torch.tensor([sequence])
        states = mllm(ids, torch.ones_like(ids)).states
        sequence.append(int(rule(ids, mllm.llama.lm_head(states[:, -1])).argmax()))
    return sequence, states[0]


@pytest.mark.parametrize("ngram", [2, 3])
def test_slices_and_states_equal_those_of_the_whole_decode(ngram):
    kinds = set()
    for seed in range(7):
        mllm, rows = model(seed), prompts(seed)
        for answer, prompt in zip(decode(mllm, tokenizer(), rows, None, CPU, NEW, ngram), rows, strict=True):
            sequence, states = whole_decode(mllm, prompt, ngram)
            expected = visual_slice(sequence, SPECIAL["[IMG0]"])
            assert (answer.start, answer.written) == expected
            assert answer.sequence == sequence[: len(answer.sequence)]
            reference = states[expected.start : expected.start + 8]
            assert (answer.states - reference).abs().max() < 1e-4
            early, ended = len(answer.sequence) < len(sequence), sequence[-1] == 2
            clamped = expected.written and expected.start < sequence.index(SPECIAL["[IMG0]"]) - 1
            kinds |= {("early", early), ("ended", ended), ("clamped", clamped), ("written", expected.written)}
    assert len(kinds) == 8  # each of the four happened and did not happen


def test_reading_an_answer_gives_the_states_of_writing_it():
    mllm, rows = model(3), prompts(3)
    wholes = [whole_decode(mllm, prompt, 3) for prompt in rows]
    answers = read(mllm, tokenizer(), rows, [w[len(p) :] for (w, _), p in zip(wholes, rows, strict=True)], None, CPU)
    for answer, (sequence, states) in zip(answers, wholes, strict=True):
        assert answer.sequence == sequence
        assert (answer.states - states[answer.start : answer.start + 8]).abs().max() < 1e-4


def test_padding_is_on_the_left_and_a_real_unk_is_attended_to():
    ids, mask = pad_left([[1, 0, 5], [1, 0, 0, 0, 7]], 0, CPU)
    assert ids.tolist() == [[0, 0, 1, 0, 5], [1, 0, 0, 0, 7]]
    assert mask.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_a_row_without_its_image_or_with_a_broken_image_block_is_refused():
    pipe = tiny.build()
    start, patch = pipe.tokenizer.image_start, pipe.tokenizer.image_patch
    block = [1, start, *[patch] * 4, 5]
    pixels = pipe.image_processor([tiny.picture()])
    good = torch.tensor([block])
    assert pipe.mllm.embed(good, pixels).shape == (1, 7, 32)
    with pytest.raises(ValueError, match="1 rows of tokens need 1 images; got none"):
        pipe.mllm.embed(good)
    for broken in ([1, start, *[patch] * 3, 5], [1, start, start, *[patch] * 4], [1, *[patch] * 4, 5]):
        with pytest.raises(ValueError, match="<im_start>"):
            pipe.mllm.embed(torch.tensor([broken]), pixels)


def test_a_row_without_image_tokens_ignores_its_image():
    pipe = tiny.build()
    ids = torch.tensor([[1, 7, 8, 9]])
    pixels = pipe.image_processor([tiny.picture()])
    assert torch.equal(pipe.mllm.embed(ids, pixels), pipe.mllm.embed(ids))
