"""A tiny MGIE pipeline with random weights and a small BPE, for tests: the same classes, nothing trained or read."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from golden_weights import fill, official_mllm_name
from PIL import Image

from mgie.pipeline import MGIEPipeline
from mgie.preprocess import ClipProcessor
from mgie.presets import PRESETS, Preset
from mgie.prompts import ADDED_TOKENS, IMAGE_TOKENS, SENTENCE_TOKENS, build_prompt
from mgie.tokenizer import Tokenizer

SENTENCES = [build_prompt("make it night", 0), "the sky is dark, the lamps are lit.", "a red hat on the white dog"]


def tokenizer(eyes: bool = True, words: int = 96) -> Tokenizer:
    """A byte-level BPE of about `words` merges, trained on a few sentences."""
    from tokenizers import Tokenizer as Json
    from tokenizers import decoders, models, pre_tokenizers, trainers

    added = [token for token in ADDED_TOKENS if eyes or token not in IMAGE_TOKENS]
    model = Json(models.BPE())
    model.pre_tokenizer, model.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [*SENTENCE_TOKENS, *added]
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + len(special) + words, special_tokens=special, initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    model.train_from_iterator(SENTENCES, trainer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        model.save(str(path))
        return Tokenizer.from_tokenizers(path)


TINY = replace(
    PRESETS["mini"], name="tiny", vocab=384, hidden=32, intermediate=48, layers=2, heads=4, kv_heads=4, context=320,
    vision_hidden=16, vision_intermediate=32, vision_layers=3, vision_heads=2, vision_size=16, vision_patch=8,
    head_dim=16, head_ff=32, queries=5, condition=16, unet_channels=(8, 16), unet_heads=2, unet_groups=4,
    unet_attention=(False, True), vae_channels=(8, 8, 8), vae_groups=4, latent_channels=4, latent_scale=0.3,
    image_size=32, num_inference_steps=3, max_new_tokens=24,
)  # fmt: skip


def build(seed: int = 0, eyes: bool = True, preset: Preset = TINY) -> MGIEPipeline:
    """Weights depend on the seed alone. eyes=False: LGIE's."""
    words, salt = tokenizer(eyes), str(seed)
    mllm = preset.mllm(words.image_start, words.image_patch, eyes)
    fill(mllm, official_mllm_name, salt)
    parts = {name: fill(getattr(preset, name)(), (name + ".{}").format, salt) for name in ("edit_head", "unet", "vae")}
    pipe = MGIEPipeline(
        mllm, words, ClipProcessor(preset.vision_size) if eyes else None, parts["edit_head"],
        mllm.llama.get_input_embeddings().weight[words.visual], parts["unet"], parts["vae"], preset.sampler(), preset,
    )  # fmt: skip
    pipe.progress = False
    return pipe


def picture(seed: int = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Random smooth colours, (width, height)."""
    generator = torch.Generator("cpu").manual_seed(seed)
    values = torch.randint(0, 256, (4, 4, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(values.numpy()).resize(size, Image.Resampling.BICUBIC)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
