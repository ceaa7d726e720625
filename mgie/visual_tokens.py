"""The visual tokens [IMG0]..[IMG7]: which eight states of an answer the edit head reads, and from when that is settled.

Convention: demo.ipynb of apple/ml-mgie at 835af37, whose rule is kept to the letter. Ids are looked up in the
tokenizer; the official code hard-codes 32003. The paper has eight; `count` is for the ablation with fewer, whose
tokenizer knows only the first ones.
"""

from typing import NamedTuple

NUM_VISUAL_TOKENS = 8
VISUAL_TOKENS = tuple(f"[IMG{i}]" for i in range(NUM_VISUAL_TOKENS))


class StateSlice(NamedTuple):
    start: int  # index of the first of the eight states
    written: bool  # whether [IMG0] was written at all


def visual_slice(sequence: list[int], img0: int, count: int = NUM_VISUAL_TOKENS) -> StateSlice:
    """sequence: ids of prompt and answer, to the last one generated. Its last id has no state: it was never run.

    quirk: the states are those that PREDICT [IMG0]..[IMG7], one before each; the state of [IMG7] is not used.
    quirk: without [IMG0], or with [IMG0] too near the end, the eight states before the very last one are used, which
    for a short answer reach into the prompt.
    """
    states = len(sequence) - 1
    latest = states - count - 1
    if latest < 0:
        raise ValueError(f"a sequence of {len(sequence)} tokens has no {count} states to edit with")
    if img0 not in sequence:
        return StateSlice(latest, False)
    return StateSlice(min(sequence.index(img0) - 1, latest), True)


def slice_is_settled(sequence: list[int], img0: int, over: bool, count: int = NUM_VISUAL_TOKENS) -> bool:
    """Whether no further token can move the slice. over: the answer has ended, by </s> or by its length.

    The rule looks for the first [IMG0], so more tokens only lift the clamp. An answer that is not over has at least
    one token to come, so the clamp of the sequence that is one longer holds already.
    """
    return over or (img0 in sequence and sequence.index(img0) + count <= len(sequence))
