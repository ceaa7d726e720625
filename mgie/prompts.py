"""Prompts and their token ids, the labels of a training row, and the clean-up of what the MLLM writes.

Convention: apple/ml-mgie at 835af37 in LLaVA's vicuna_v1_1 template, tokenised as LLaMA's slow tokenizer (training) or
its fast one (demo) did in transformers 4.31. Tokenizers are only asked for the ids of plain pieces of text.
"""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from mgie.visual_tokens import VISUAL_TOKENS

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
SENTENCE_TOKENS = ("<unk>", "<s>", "</s>")
IMAGE_TOKENS = ("<im_patch>", "<im_start>", "<im_end>")
ADDED_TOKENS = (*IMAGE_TOKENS, *VISUAL_TOKENS)
IGNORED = -100  # a label outside the loss
Rule = Literal["fast", "slow"]


def longest(text: str, fits: Callable[[str], bool]) -> str:
    """text, or as much of its beginning as fits; possibly none of it."""
    if fits(text):
        return text
    fitting, over = 0, len(text)
    while over - fitting > 1:
        middle = (fitting + over) // 2
        fitting, over = (middle, over) if fits(text[:middle]) else (fitting, middle)
    return text[:fitting]


def build_prompt(instruction: str, patches: int, paragraph: bool = False) -> str:
    """The question in its template, ready for the answer. patches: 0 for an LLM without eyes (LGIE).

    paragraph: the form that derives expressive instructions (process_data.ipynb); two blanks, as there.
    LGIE's form, the same template without the image tokens, is an assumption: the paper does not print it.
    """
    question = f"what will this image be like if '{instruction}'" + ("  (in a short paragraph)" if paragraph else "")
    image = "\n<im_start>" + "<im_patch>" * patches + "<im_end>" if patches else ""
    return f"{SYSTEM} USER: {question}{image} ASSISTANT:"


def build_answer(expressive_instruction: str, visual: int = len(VISUAL_TOKENS)) -> str:
    """What the MLLM is trained to write, and how an answer given from outside is continued. visual: how many tokens."""
    return f" {expressive_instruction} {' '.join(VISUAL_TOKENS[:visual])}</s>"


def encode_pieces(
    text: str, encode_piece: Callable[[str], list[int]], special: dict[str, int], rule: Rule = "fast"
) -> list[int]:
    """Ids of text, <s> first. encode_piece: ids of a text without special tokens. special: token -> id.

    quirk: the slow tokenizer strips white space beside the added tokens (not beside <s>, </s>, <unk>), the fast one
    keeps it: training and demo of ml-mgie do not see the same prompt.
    """
    split = re.compile("(" + "|".join(re.escape(t) for t in sorted(special, key=len, reverse=True)) + ")")
    pieces = split.split(text)  # text, token, text, token, ..., text
    ids = [special["<s>"]]
    for i, piece in enumerate(pieces):
        if i % 2 == 1:
            ids.append(special[piece])
            continue
        if rule == "slow":
            piece = piece.lstrip() if i > 0 and pieces[i - 1] not in SENTENCE_TOKENS else piece
            piece = piece.rstrip() if i + 1 < len(pieces) and pieces[i + 1] not in SENTENCE_TOKENS else piece
        if piece:
            ids += encode_piece(piece)
    return ids


class TrainingRow(NamedTuple):
    ids: list[int]
    labels: list[int]


def training_row(text: str, encode: Callable[[str], list[int]], pad: int, max_length: int = 512) -> TrainingRow:
    """text: build_prompt + build_answer. encode: text -> ids, <s> first, by the slow rule. pad: the id of <unk>.

    The loss covers what follows "ASSISTANT:" up to </s>; the rest is IGNORED. Convention: LLaVA preprocess_v1.
    quirk: a longer row is cut in silence and loses its visual tokens; the loss on the text stays.
    quirk: where the parts do not add up to the whole (an <unk>, a " ASSISTANT: " of the user's), the whole row is
    IGNORED.
    """
    ids = encode(text)[:max_length]
    labels = list(ids)
    labels[0] = IGNORED
    at = 1
    for round_ in text.split("</s>"):
        parts = round_.split(" ASSISTANT: ")
        if round_ == "" or len(parts) != 2:
            break
        asked = len(encode(parts[0] + " ASSISTANT: ")) - 2
        labels[at : at + asked] = [IGNORED] * len(labels[at : at + asked])
        at += len(encode(round_))
    labels[at:] = [IGNORED] * len(labels[at:])
    if at < max_length and at != sum(i != pad for i in ids):
        labels = [IGNORED] * len(labels)
    return TrainingRow(ids, labels)


def remove_alter(text: str) -> str:
    """The official clean-up: what follows ASSISTANT:, up to </s>, "alternative" or [IMG0], its first two sentences.

    quirk: an empty result raises IndexError; the two sentences are joined without a blank; "3.5" ends a sentence.
    """
    text = _cut(text)
    return (text if text[-1] == "." else text + ".").strip()


def tidy(text: str) -> str:
    """remove_alter for our users: an empty answer is an empty expressive instruction."""
    return remove_alter(text) if _cut(text) else ""


def _cut(text: str) -> str:
    if "ASSISTANT:" in text:
        text = text[text.index("ASSISTANT:") + len("ASSISTANT:") :].strip()
    if "</s>" in text:
        text = text[: text.index("</s>")].strip()
    if "alternative" in text.lower():
        text = text[: text.lower().index("alternative")]
    if "[IMG0]" in text:
        text = text[: text.index("[IMG0]")]
    return ".".join(sentence.strip() for sentence in text.split(".")[:2])
