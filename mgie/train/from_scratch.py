"""New weights and a new vocabulary for small presets: what `--preset mini` starts from when it has no --from.

Drawn from the seed; the vocabulary is learned from the training texts. The frozen parts stay as they were drawn, so
this shows that training works and no more; the miniature's own stages train each part (mgie.mini).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mgie.folder import save_inspix2pix
from mgie.pipeline import MGIEPipeline
from mgie.preprocess import ClipProcessor
from mgie.presets import Preset
from mgie.prompts import ADDED_TOKENS, IMAGE_TOKENS, SENTENCE_TOKENS, build_prompt
from mgie.tokenizer import TOKENIZERS, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ENDS = "<|startoftext|>", "<|endoftext|>"
CLIP_LENGTH = 77


def mgie(preset: Preset, texts: list[tuple[str, str]], eyes: bool, seed: int, folder: Path) -> None:
    """An MGIEPipeline (LGIE's without eyes) in folder. texts: (instruction, expressive instruction) of the pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [build_prompt("", 0), *sorted({text for pair in texts for text in pair})]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = mllm_tokenizer(words, preset.vocab, eyes, folder)
        mllm = preset.mllm(tokenizer.image_start, tokenizer.image_patch, eyes)
        embeddings = mllm.llama.get_input_embeddings().weight
        head, unet, vae = preset.edit_head(), preset.unet(), preset.vae()
    processor = ClipProcessor(preset.vision_size) if eyes else None
    MGIEPipeline(
        mllm,
        tokenizer,
        processor,
        head,
        embeddings[tokenizer.visual],
        unet,
        vae,
        preset.sampler(),
        preset,
    ).save_pretrained(folder)
    (folder / TOKENIZERS).unlink()


def mllm_tokenizer(texts: list[str], size: int, eyes: bool, folder: Path) -> Tokenizer:
    """A byte-level BPE of at most `size` tokens; its file lies in folder."""
    from tokenizers import Tokenizer as Json
    from tokenizers import decoders, models, pre_tokenizers, trainers

    model = Json(models.BPE())
    model.pre_tokenizer, model.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    special = [*SENTENCE_TOKENS, *(token for token in ADDED_TOKENS if eyes or token not in IMAGE_TOKENS)]
    model.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=special,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    model.save(str(folder / TOKENIZERS))
    return Tokenizer.from_tokenizers(folder / TOKENIZERS)


def inspix2pix(preset: Preset, texts: list[tuple[str, str]], seed: int, folder: Path) -> None:
    """A StableDiffusionInstructPix2PixPipeline in folder, with sampling.json."""
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = text_tokenizer(sorted({text for pair in texts for text in pair}), preset.vocab)
    config = CLIPTextConfig(
        vocab_size=preset.vocab,
        hidden_size=preset.condition,
        intermediate_size=4 * preset.condition,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=CLIP_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, unet, vae = CLIPTextModel(config), preset.unet(), preset.vae()
    save_inspix2pix(unet, vae, encoder, tokenizer, preset, folder)


def text_tokenizer(texts: list[str], size: int) -> "PreTrainedTokenizerFast":
    """A byte-level BPE behind the interface of CLIP's tokenizer.

    Not CLIP's own kind: with its </w> the `tokenizers` trainer breaks ties at random, and a run could not be repeated.
    """
    from tokenizers import Tokenizer as Json
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    model = Json(models.BPE())
    model.normalizer = normalizers.Lowercase()
    model.pre_tokenizer, model.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    model.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=list(ENDS),
            show_progress=False,
        ),
    )
    ids = [(token, model.token_to_id(token)) for token in ENDS]
    model.post_processor = processors.TemplateProcessing(single=f"{ENDS[0]} $A {ENDS[1]}", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        bos_token=ENDS[0],
        eos_token=ENDS[1],
        pad_token=ENDS[1],
        unk_token=ENDS[1],
        model_max_length=CLIP_LENGTH,
    )
