"""Tiny random language models in transformers' own folders, for tests: LLaMA, LLaVA, T5; nothing is downloaded."""

from pathlib import Path

import tiny
import torch


def fast_tokenizer(extra: tuple[str, ...] = ()) -> object:
    """A byte-level BPE with <unk>, <s>, </s> first; begins with <s> as LLaMA's does."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    words = tiny.tokenizer(eyes=False)
    made = _json(words)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", words.bos)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>",
    )  # fmt: skip
    tokenizer.add_tokens(list(extra), special_tokens=True)
    return tokenizer


def _json(words: object) -> object:
    """The library's tokenizer behind ours: trained again, since ours keeps its own to itself."""
    from tokenizers import Tokenizer as Json
    from tokenizers import decoders, models, pre_tokenizers, trainers

    model = Json(models.BPE())
    model.pre_tokenizer, model.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    model.train_from_iterator(tiny.SENTENCES, trainer)
    return model


def llama_config(vocab: int) -> object:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocab, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip


def spread(model: object, seed: int) -> object:
    """Weights wide enough that a greedy answer depends on its prompt."""
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def llama(folder: Path, seed: int = 0) -> Path:
    from transformers import LlamaForCausalLM

    tokenizer = fast_tokenizer()
    spread(LlamaForCausalLM(llama_config(len(tokenizer))), seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def llava(folder: Path, seed: int = 0) -> Path:
    """LLaVA in transformers' layout, two projector layers."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = fast_tokenizer(("<image>",))
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=16, patch_size=8
    )
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=vision, text_config=llama_config(len(tokenizer)), image_token_index=image_id, image_seq_length=4
    )
    spread(LlavaForConditionalGeneration(config), seed).save_pretrained(folder)
    square = {"height": 16, "width": 16}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=square), tokenizer, patch_size=8,
        vision_feature_select_strategy="default", image_token="<image>", num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def t5(folder: Path, seed: int = 0) -> Path:
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_json(None), unk_token="<unk>", eos_token="</s>", pad_token="<unk>", model_max_length=512
    )
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=0,
        eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    spread(T5ForConditionalGeneration(config), seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
