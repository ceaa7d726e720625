"""LLaVA v1 as published, or a LLaMA folder, as our MLLM: the same tensors under our names."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgie.io.files import read_json
from mgie.prompts import IMAGE_TOKENS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mgie.mllm import MLLM
    from mgie.preprocess import ClipProcessor
    from mgie.tokenizer import Tokenizer


def open_llava(folder: Path, base: Path | None, dtype: "torch.dtype") -> "tuple[MLLM, Tokenizer, ClipProcessor]":
    """LLaVA v1 as published: one projector, the tower elsewhere. Memory: the weights in dtype, and one tensor more."""
    from torch import nn
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from mgie.convert import delta
    from mgie.convert.components import official_tokenizer, tokenizer_file
    from mgie.convert.manifest import TOWER, bare, llama_sizes
    from mgie.convert.official import open_clip
    from mgie.convert.shards import Shards
    from mgie.io.weights import load_exactly
    from mgie.mllm import MLLM
    from mgie.preprocess import ClipProcessor

    shards, start = Shards(folder), None if base is None else Shards(base)
    delta.check(shards, start)
    config = read_json(Path(folder) / "config.json")
    sizes = llama_sizes(config, shards.shapes)
    llama_config = LlamaConfig(
        vocab_size=sizes["vocab"], hidden_size=sizes["hidden"], intermediate_size=sizes["intermediate"],
        num_hidden_layers=sizes["layers"], num_attention_heads=sizes["heads"], num_key_value_heads=sizes["kv_heads"],
        max_position_embeddings=sizes["context"], rms_norm_eps=sizes["rms_norm_eps"], tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": sizes["rope_theta"]}, pad_token_id=None,
    )  # fmt: skip
    own = [n for n in shards.shapes if not n.startswith((*TOWER, "model.mm_projector.")) and "rotary_emb" not in n]
    state = {name: delta.merged(name, shards, start).to(dtype) for name in own}
    llama = from_state(LlamaForCausalLM, llama_config, state, dtype, Path(folder))
    clip, clip_config = open_clip(Path(folder), config, shards, None)
    vision = CLIPVisionConfig(**clip_config.get("vision_config", clip_config))
    tower = CLIPVisionModel(vision).to(dtype)
    source = {bare(n): n for n in clip.shapes if clip is not shards or n.startswith(TOWER)}
    load_exactly(tower, {n: clip.get(source[bare(n)]) for n in tower.state_dict() if bare(n) in source})
    projector = nn.Linear(vision.hidden_size, llama_config.hidden_size).to(dtype)
    load_exactly(projector, {n: shards.get(f"model.mm_projector.{n}") for n in ("weight", "bias")})
    tokenizer = official_tokenizer(tokenizer_file(shards, start), sizes["vocab"], IMAGE_TOKENS)
    mllm = MLLM(llama, tower, projector, tokenizer.image_start, tokenizer.image_patch).eval()
    return mllm, tokenizer, ClipProcessor(vision.image_size)


def from_state(cls: Any, config: object, state: "dict[str, Tensor]", dtype: "torch.dtype", where: Path) -> Any:
    """A transformers model with exactly these weights; they are taken over, not copied."""
    model, info = cls.from_pretrained(None, config=config, state_dict=state, dtype=dtype, output_loading_info=True)
    faults = {kind: sorted(map(str, names))[:3] for kind, names in info.items() if names}
    if faults:
        raise ValueError(f"{where}: weights and config.json do not fit: {faults}; is this the right checkpoint?")
    return model
