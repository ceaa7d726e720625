"""The summariser of expressive instructions: a paragraph -> about 32 words.

Convention: process_data.ipynb of apple/ml-mgie at 835af37: jordiclive/flan-t5-11b-summarizer-filtered through
transformers' summarization pipeline, which transformers 5 no longer has; written out here with the same arguments.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgie.io.components import check_fit, load_component, load_reader

if TYPE_CHECKING:
    import torch

PROMPT = "summarize the following paragraph in 32 words:\n\n%s"


class Summarizer:
    def __init__(self, folder: Path, device: str, dtype: "torch.dtype") -> None:
        """folder: an encoder-decoder of transformers (T5). Raises ValueError or FileNotFoundError by name."""
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.tokenizer = load_reader(AutoTokenizer, Path(folder))
        model: Any = load_component(AutoModelForSeq2SeqLM, Path(folder), dtype)
        check_fit(folder, self.tokenizer, [model])
        self.model, self.device = model.to(device), device
        self.tokenizer.padding_side = "right"

    def __call__(self, paragraphs: list[str]) -> list[str]:
        """One summary a paragraph; 5 beams, 5 to 64 tokens, no trigram twice."""
        import torch

        if not paragraphs:
            return []
        inputs = self.tokenizer(
            [PROMPT % paragraph for paragraph in paragraphs], return_tensors="pt", padding=True, truncation=True
        )
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            generated = self.model.generate(**inputs.to(self.device), generation_config=self.settings())
        texts = self.tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def settings(self) -> object:
        from transformers import GenerationConfig

        ids = {name: getattr(self.model.config, name) for name in ("eos_token_id", "pad_token_id")}
        return GenerationConfig(
            num_beams=5, min_length=5, max_length=64, no_repeat_ngram_size=3, do_sample=False,
            decoder_start_token_id=self.model.config.decoder_start_token_id, **ids,
        )  # fmt: skip
