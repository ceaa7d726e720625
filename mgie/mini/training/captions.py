"""A small byte-level BPE for the miniature's captions, trained on captions; any text can be written with it.

Ids: 0 <pad>, 1 <s>, 2 </s>. Convention of the folder: HF fast tokenizers, as open_clip's HFTokenizer reads it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from mgie.io.files import write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

PAD, START, END = 0, 1, 2
SPECIAL = ("<pad>", "<s>", "</s>")


def train_tokenizer(texts: list[str], vocabulary: int) -> "Tokenizer":
    """Deterministic: ties are broken by the trainer's order of merges."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)])  # fmt: skip
    return tokenizer


def encode(tokenizer: "Tokenizer", texts: list[str], length: int) -> "Tensor":
    """(n, length) ids, padded; the end is kept when a text is cut."""
    import torch

    ids = torch.full((len(texts), length), PAD)
    for row, encoding in zip(ids, tokenizer.encode_batch(texts), strict=True):
        own = encoding.ids if len(encoding.ids) <= length else [*encoding.ids[: length - 1], END]
        row[: len(own)] = torch.tensor(own)
    return ids


def save_tokenizer(tokenizer: "Tokenizer", folder: Path, length: int) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "bos_token": "<s>",
              "eos_token": "</s>", "model_max_length": length, "clean_up_tokenization_spaces": False}  # fmt: skip
    write_json(folder / "tokenizer_config.json", config)
