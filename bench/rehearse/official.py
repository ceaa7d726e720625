"""Random weights in the authors' own layout: LLaVA, CLIP's tower, mllm.pt, unet.pt, InsPix2Pix. For a rehearsal.

    python -m bench.rehearse.official --preset 7b --out OUT

OUT/official/ is what mgie.convert reads, OUT/weights/inspix2pix/ a pipeline of diffusers, as timbrooks/instruct-pix2pix
is. Names and shapes are the recorded ones (mgie.convert.manifest). All is float16: matrices of standard deviation 0.02,
gains of norms 1, biases 0, so that an edit stays a number. What is there is whole and is not written again.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.speed.models import INSTRUCTIONS
from mgie.io.files import whole_folder, write_json
from mgie.presets import PRESETS, Preset
from mgie.prompts import ADDED_TOKENS, IMAGE_TOKENS, SENTENCE_TOKENS

if TYPE_CHECKING:
    from torch import Tensor, nn

BLOCK = 2**24 + 1  # random numbers that are drawn; a larger tensor repeats them, another one begins elsewhere
SHARD_BYTES = 4 * 2**30  # of LLaVA; so much lies in memory while it is written
STD = 0.02


class Dice:
    """Random tensors at the speed of copying: 7 billion normal numbers would take minutes to draw."""

    def __init__(self) -> None:
        import torch

        generator = torch.Generator("cpu").manual_seed(0)
        self.block = (torch.randn(BLOCK, generator=generator) * STD).half()
        self.at = 0

    def tensor(self, name: str, shape: tuple[int, ...]) -> "Tensor":
        """float16, of this shape; a vector is a norm's gain (1) or a bias (0)."""
        import torch

        if len(shape) < 2:
            return torch.full(shape, float(name.endswith("weight")), dtype=torch.float16)
        found = torch.empty(shape, dtype=torch.float16)
        flat = found.view(-1)
        for start in range(0, len(flat), BLOCK):
            part = flat[start : start + BLOCK]
            first = self.at % (BLOCK - len(part) + 1)
            part.copy_(self.block[first : first + len(part)])
            self.at += 7919
        return found

    def fill(self, module: "nn.Module") -> "nn.Module":
        """A module of the meta device, with weights."""
        module = module.half().to_empty(device="cpu")
        for name, weight in (*module.named_parameters(), *module.named_buffers()):
            if weight.is_floating_point():
                weight.data = self.tensor(name, tuple(weight.shape))
        return module.eval()


def write(preset: Preset, out: Path) -> None:
    dice = Dice()
    if not (out / "weights" / "inspix2pix").is_dir():
        with whole_folder(out / "weights" / "inspix2pix") as folder:
            write_inspix2pix(preset, dice, folder)
    if not (out / "official").is_dir():
        with whole_folder(out / "official") as folder:
            write_official(preset, dice, folder)


def write_official(preset: Preset, dice: Dice, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from mgie.convert.manifest import expected

    wanted = expected(preset)
    for name in ("mllm.pt", "unet.pt"):
        torch.save({key: dice.tensor(key, shape) for key, shape in wanted[name].items()}, folder / name)
    places: dict[str, str] = {}
    llava = folder / "llava"
    llava.mkdir()
    parts = list(sharded(wanted["llava_7b_v1"]))
    for number, names in enumerate(parts, start=1):
        file = f"pytorch_model-{number:05d}-of-{len(parts):05d}.bin"
        torch.save({name: dice.tensor(name, wanted["llava_7b_v1"][name]) for name in names}, llava / file)
        places |= dict.fromkeys(names, file)
    write_json(llava / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": places})
    write_json(llava / "config.json", llava_config(preset))
    write_llama_tokenizer(preset, llava)
    tower = {key: dice.tensor(key, shape) for key, shape in wanted["clip_vit_large_patch14_vision"].items()}
    (llava / "clip").mkdir()
    save_file(tower, llava / "clip" / "model.safetensors", metadata={"format": "pt"})
    write_json(llava / "clip" / "config.json", {"vision_config": preset.vision_config().to_dict()})


def sharded(shapes: dict[str, tuple[int, ...]]) -> Iterator[list[str]]:
    import math

    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        more = 2 * math.prod(shape)
        if names and size + more > SHARD_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += more
    yield names


def llava_config(preset: Preset) -> dict:
    return {
        "model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"], "hidden_size": preset.hidden,
        "intermediate_size": preset.intermediate, "num_hidden_layers": preset.layers,
        "num_attention_heads": preset.heads, "num_key_value_heads": preset.kv_heads,
        "max_position_embeddings": preset.context, "rms_norm_eps": preset.rms_norm_eps,
        "vocab_size": preset.vocab - len(ADDED_TOKENS) + len(IMAGE_TOKENS), "mm_vision_tower": "clip",
        "mm_hidden_size": preset.vision_hidden, "mm_vision_select_layer": -2, "mm_use_im_start_end": True,
    }  # fmt: skip


def write_llama_tokenizer(preset: Preset, folder: Path) -> None:
    """A vocabulary of LLaMA's size, of which a few hundred tokens are ever written; image tokens behind it, as LLaVA's.

    Its words are those of the instructions, so that a prompt has about as many tokens as with LLaMA's own.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from mgie.prompts import build_prompt

    size = preset.vocab - len(ADDED_TOKENS)
    model = Tokenizer(models.BPE())
    model.pre_tokenizer, model.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model.train_from_iterator(
        [build_prompt(text, 0) for text in INSTRUCTIONS],
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(SENTENCE_TOKENS), initial_alphabet=alphabet, show_progress=False
        ),
    )
    data = json.loads(model.to_str())
    known = data["model"]["vocab"]
    known |= {f"<unused_{i}>": i for i in range(len(known), size)}
    write_json(folder / "tokenizer.json", data)
    write_json(folder / "added_tokens.json", {token: size + i for i, token in enumerate(IMAGE_TOKENS)})


def write_inspix2pix(preset: Preset, dice: Dice, folder: Path) -> None:
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    from mgie.folder import save_inspix2pix
    from mgie.train.from_scratch import CLIP_LENGTH, text_tokenizer

    tokenizer = text_tokenizer(list(INSTRUCTIONS), 1024)
    layers, heads = (12, 12) if preset.condition == 768 else (3, 4)  # CLIP ViT-L/14's text tower; the miniature's
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=preset.condition, intermediate_size=4 * preset.condition,
        num_hidden_layers=layers, num_attention_heads=heads, max_position_embeddings=CLIP_LENGTH,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.device("meta"):
        parts = preset.unet(), preset.vae(), CLIPTextModel(config)
    unet, vae, encoder = (dice.fill(part) for part in parts)
    save_inspix2pix(unet, vae, encoder, tokenizer, preset, folder)


def main() -> None:
    p = argparse.ArgumentParser("bench.rehearse.official", description=__doc__.splitlines()[0])
    p.add_argument("--preset", choices=tuple(PRESETS), required=True)
    p.add_argument("--out", type=Path, required=True)
    options = p.parse_args()
    write(PRESETS[options.preset], options.out)


if __name__ == "__main__":
    main()
