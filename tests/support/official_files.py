"""Checkpoints as the authors' files lay them out, at tiny size with random weights: LLaVA (merged, or LLaMA and delta),
CLIP, mllm.pt, unet.pt, instruct-pix2pix. Names and shard layout are the official ones (golden manifest.json).
"""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import tiny
import torch
from golden_weights import recipe

from mgie.pipeline import MGIEPipeline
from mgie.presets import PRESETS, Preset
from mgie.prompts import ADDED_TOKENS, IMAGE_TOKENS, SENTENCE_TOKENS
from mgie.tokenizer import Tokenizer

BASE = 300  # tokens before the image tokens
STARTS = ("vision_", "unet_", "vae_", "head_", "latent_")
OTHERS = ("hidden", "intermediate", "layers", "heads", "kv_heads", "context", "queries", "condition", "image_size")
SIZES = {n: size for n, size in asdict(tiny.TINY).items() if n.startswith(STARTS) or n in OTHERS}
PRESET: Preset = replace(
    PRESETS["7b"], **SIZES | {"name": "custom", "vocab": BASE + len(ADDED_TOKENS)}
)  # what a converter should find
NEW_ROWS = len(ADDED_TOKENS) - len(IMAGE_TOKENS)


def tokenizer_json(folder: Path) -> Path:
    """A BPE of exactly BASE tokens that knows no image token, as LLaMA's."""
    from tokenizers import Tokenizer as Json
    from tokenizers import decoders, models, pre_tokenizers, trainers

    model = Json(models.BPE())
    model.pre_tokenizer, model.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BASE, special_tokens=list(SENTENCE_TOKENS), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    model.train_from_iterator(tiny.SENTENCES, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def pipeline(seed: int = 0) -> MGIEPipeline:
    """What the files below should become. Its weights are numbers that float16 holds."""
    with tempfile.TemporaryDirectory() as folder:
        ids = {token: BASE + i for i, token in enumerate(ADDED_TOKENS)}
        words = Tokenizer.from_tokenizers(tokenizer_json(Path(folder)), ids)
    source = tiny.build(seed, preset=PRESET)
    mllm = PRESET.mllm(words.image_start, words.image_patch)
    mllm.load_state_dict(source.mllm.state_dict())
    pipe = MGIEPipeline(
        mllm, words, source.image_processor, source.edit_head, mllm.llama.get_input_embeddings().weight[-8:],
        source.unet, source.vae, source.scheduler, PRESET,
    )  # fmt: skip
    pipe.progress = False
    pipe.vae.half()  # pipe.to keeps it in float32
    return pipe.to(dtype=torch.float16).to(dtype=torch.float32)


def write(pipe: MGIEPipeline, folder: Path, suffix: str = ".bin", delta: bool = False, emb: bool = False) -> dict:
    """Writes the files; returns the arguments of mgie.convert.convert without `out`."""
    llama, head = pipe.mllm.llama.state_dict(), pipe.edit_head.state_dict()
    trained = ("model.embed_tokens.weight", "lm_head.weight")
    llava = {n: t[:-NEW_ROWS] if n in trained else t for n, t in llama.items()}
    llava |= {f"model.mm_projector.{n}": t for n, t in pipe.mllm.projector.state_dict().items()}
    llava = {n: t.half().clone() for n, t in llava.items()}
    base = None
    if delta:
        base = {n: recipe(n, tuple(t.shape), "base").half() for n, t in llava.items() if "mm_projector" not in n}
        base |= {n: base[n][: -len(IMAGE_TOKENS)].clone() for n in trained}
        llava = subtract(llava, base)
        write_shards(base, folder / "llama", suffix)
        (folder / "llama" / "config.json").write_text('{"model_type": "llama"}')
    # as older libraries saved it
    llava["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    write_shards(llava, folder / "llava", suffix)
    write_llava_config(folder / "llava")
    write_clip(pipe, folder / "llava" / "tower")
    mllm = {n: llama[n] for n in trained} | {f"edit_head.{n}": t for n, t in head.items()}
    mllm |= {"emb": llama[trained[0]][None, -NEW_ROWS:]} if emb else {}
    torch.save({n: t.half().clone() for n, t in mllm.items()}, folder / "mllm.pt")
    torch.save({n: t.half() for n, t in pipe.unet.state_dict().items()}, folder / "unet.pt")
    for part in ("unet", "vae", "scheduler"):
        getattr(pipe, part).save_pretrained(folder / "instruct-pix2pix" / part)
    return {
        "llava": folder / "llava", "mllm": folder / "mllm.pt", "unet": folder / "unet.pt",
        "instruct_pix2pix": folder / "instruct-pix2pix", "llama_base": folder / "llama" if delta else None,
    }  # fmt: skip


def subtract(llava: dict, base: dict) -> dict:
    """LLaVA's make_delta: merged - base; what the base has no rows for stays."""
    delta = {n: t.clone() for n, t in llava.items()}
    for name, start in base.items():
        delta[name][: len(start)] -= start
    return delta


def add(delta: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """LLaVA's apply_delta, written out."""
    merged = delta.clone()
    merged[: start.shape[0]] += start
    return merged


def write_shards(state: dict, folder: Path, suffix: str, shards: int = 2) -> None:
    """As save_pretrained names them: pytorch_model-00001-of-00002.bin or model-00001-of-00002.safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    stem = "pytorch_model" if suffix == ".bin" else "model"
    names, places = list(state), {}
    for k in range(shards):
        part = {n: state[n].contiguous() for n in names[k * len(names) // shards : (k + 1) * len(names) // shards]}
        file = f"{stem}-{k + 1:05d}-of-{shards:05d}{suffix}"
        if suffix == ".bin":
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def write_llava_config(folder: Path) -> None:
    config = {
        "model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"], "hidden_size": PRESET.hidden,
        "intermediate_size": PRESET.intermediate, "num_hidden_layers": PRESET.layers,
        "num_attention_heads": PRESET.heads, "max_position_embeddings": PRESET.context, "rms_norm_eps": 1e-6,
        "vocab_size": BASE + len(IMAGE_TOKENS), "mm_vision_tower": "tower", "mm_hidden_size": PRESET.vision_hidden,
        "mm_vision_select_layer": -2, "mm_use_im_start_end": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer_json(folder)
    ids = {token: BASE + i for i, token in enumerate(IMAGE_TOKENS)}
    (folder / "added_tokens.json").write_text(json.dumps(ids))


def write_clip(pipe: MGIEPipeline, folder: Path) -> None:
    """CLIP as a whole, under the names of the time: vision_model.*, and its text half, which nobody needs."""
    from safetensors.torch import save_file

    state = {f"vision_model.{n.removeprefix('vision_model.')}": t for n, t in pipe.mllm.tower.state_dict().items()}
    state |= {"text_model.final_layer_norm.weight": torch.ones(3), "logit_scale": torch.tensor(4.6)}
    state |= {"vision_model.embeddings.position_ids": torch.arange(5)[None]}
    folder.mkdir(parents=True)
    save_file({n: t.contiguous() for n, t in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"vision_config": pipe.mllm.tower.config.to_dict()}))
