"""Each component of an official checkpoint, written as our folder of safetensors (float16).

Convention: the layout of mgie.folder. The LLM is streamed tensor by tensor into shards that transformers reads, so that
13 GB never lie in memory; the other parts are small and go through their own classes. NaN is refused everywhere.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.convert.manifest import EMBEDDINGS, NUM_VISUAL_TOKENS, TOWER, TRAINED, bare
from mgie.convert.shards import INDEX, Shards
from mgie.io.files import read_json, write_json
from mgie.io.weights import open_tensors
from mgie.prompts import IMAGE_TOKENS
from mgie.visual_tokens import VISUAL_TOKENS

if TYPE_CHECKING:
    from torch import Tensor

    from mgie.convert.official import Official
    from mgie.presets import Preset
    from mgie.tokenizer import Tokenizer

SHARD_BYTES = 2 * 2**30  # the writer of safetensors holds about two shards in memory
VAE_FILES = tuple(f"diffusion_pytorch_model{end}" for end in (".safetensors", ".bin", ".fp16.safetensors"))
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json")


def half(name: str, tensor: "Tensor", where: Path) -> "Tensor":
    """float16, contiguous. ValueError for what is not a number, or too large to be one in float16."""
    import torch

    result = tensor.to(torch.float16).contiguous()
    if not result.isfinite().all():
        bad = int((~result.isfinite()).sum())
        raise ValueError(f"{where}: {bad} of {result.numel()} values of {name} are NaN or too large for float16")
    return result


def write_llama(files: "Official", preset: "Preset", folder: Path) -> None:
    """LLaVA's LLM (merged with its base, where it is a delta) under mllm.pt's embeddings and head."""
    from mgie.convert import delta

    config = preset.llama_config()
    config.architectures, config.dtype = ["LlamaForCausalLM"], "float16"
    config.save_pretrained(folder)
    names = [name for name in files.llava.shapes if name.startswith("model.layers.") or name == delta.FINAL_NORM]
    names = [name for name in names if not name.endswith("rotary_emb.inv_freq")]
    writer = ShardWriter(folder)
    for name in TRAINED:
        writer.add(name, half(name, files.mllm[name], files.paths["mllm"]))
    writer.flush()  # in a file of their own: a checkpoint of training writes these anew, and links the others
    for i, name in enumerate(names):
        writer.add(name, half(name, delta.merged(name, files.llava, files.base), files.llava.where))
        if sys.stderr.isatty():
            print(f"\rllama: tensor {i + 1} of {len(names)}", end="" if i + 1 < len(names) else "\n", file=sys.stderr)
    writer.close()


class ShardWriter:
    """Tensors -> model-00001-of-0000N.safetensors and their index, as transformers names them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bytes = folder, 0
        self.pending: dict[str, Tensor] = {}
        self.shards: list[list[str]] = []
        self.total = 0

    def add(self, name: str, tensor: "Tensor") -> None:
        size = tensor.numel() * tensor.element_size()
        if self.pending and self.bytes + size > SHARD_BYTES:
            self.flush()
        self.pending[name] = tensor
        self.bytes += size
        self.total += size

    def flush(self) -> None:
        from safetensors.torch import save_file

        self.shards.append(list(self.pending))
        save_file(self.pending, self.folder / f"part-{len(self.shards)}", metadata={"format": "pt"})
        self.pending, self.bytes = {}, 0

    def close(self) -> None:
        self.flush()
        count = len(self.shards)
        places: dict[str, str] = {}
        for number, names in enumerate(self.shards, start=1):
            final = "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
            (self.folder / f"part-{number}").rename(self.folder / final)
            places |= dict.fromkeys(names, final)
        if count > 1:
            index = {"metadata": {"total_size": self.total}, "weight_map": places}
            write_json(self.folder / INDEX[0], index)


def write_eyes(files: "Official", preset: "Preset", folder: Path) -> None:
    """tower/, projector/, image_processor/"""
    from safetensors.torch import save_file
    from transformers import CLIPVisionModel

    from mgie.io.weights import load_exactly
    from mgie.preprocess import ClipProcessor

    inside = files.clip is files.llava
    source = {bare(name): name for name in files.clip.shapes if not inside or name.startswith(TOWER)}
    tower = CLIPVisionModel(preset.vision_config()).half()
    names = {name: source[bare(name)] for name in tower.state_dict() if bare(name) in source}
    load_exactly(tower, {name: half(n, files.clip.get(n), files.clip.where) for name, n in names.items()})
    tower.save_pretrained(folder / "tower")
    (folder / "projector").mkdir()
    both = ("weight", "bias")
    projector = {n: half(n, files.llava.get(f"model.mm_projector.{n}"), files.llava.where) for n in both}
    save_file(projector, folder / "projector" / "model.safetensors")
    ClipProcessor(preset.vision_size).save_pretrained(folder / "image_processor")


def write_head(files: "Official", preset: "Preset", folder: Path) -> None:
    """The edit head, and the embeddings of the visual tokens that it adds to their states."""
    from safetensors.torch import save_file

    from mgie.folder import EMBEDDINGS as EMBEDDINGS_FILE
    from mgie.io.weights import load_exactly

    where, prefix = files.paths["mllm"], "edit_head."
    head = preset.edit_head().half()
    state = {n.removeprefix(prefix): half(n, t, where) for n, t in files.mllm.items() if n.startswith(prefix)}
    load_exactly(head, state)
    head.save_pretrained(folder)
    # quirk: demo.ipynb at 835af37 reads emb, which extract_ckpt.ipynb does not write; training used these rows
    rows = files.mllm.get(EMBEDDINGS, files.mllm[TRAINED[0]][None, -NUM_VISUAL_TOKENS:])[0]
    save_file({"visual_embeddings": half("emb", rows, where).clone()}, folder / EMBEDDINGS_FILE)


def write_diffusion(files: "Official", preset: "Preset", folder: Path) -> str:
    """unet/, vae/, scheduler/. Returns the scheduler's class name."""
    import diffusers

    from mgie.io.weights import load_exactly

    place = files.instruct_pix2pix
    unet = diffusers.UNet2DConditionModel.from_config(read_json(place / "unet" / "config.json")).half()
    load_exactly(unet, {name: half(name, tensor, files.paths["unet"]) for name, tensor in files.unet.items()})
    unet.save_pretrained(folder / "unet")
    vae = diffusers.AutoencoderKL.from_config(read_json(place / "vae" / "config.json")).half()
    path = next((place / "vae" / name for name in VAE_FILES if (place / "vae" / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{place / 'vae'} has none of {', '.join(VAE_FILES)}; get it again")
    state = {modern(name): half(name, tensor, path) for name, tensor in open_tensors(path).items()}
    load_exactly(vae, state)
    vae.save_pretrained(folder / "vae")
    name = read_json(place / "scheduler" / "scheduler_config.json")["_class_name"]
    getattr(diffusers, name).from_pretrained(place / "scheduler").save_pretrained(folder / "scheduler")
    return name


def modern(name: str) -> str:
    """A tensor of the VAE's attention under today's name; files made with older diffusers have others."""
    head, _, kind = name.rpartition(".")
    parent, _, part = head.rpartition(".")
    return f"{parent}.{OLD_ATTENTION[part]}.{kind}" if part in OLD_ATTENTION and ".attentions." in name else name


def write_tokenizer(files: "Official", preset: "Preset", folder: Path) -> None:
    """LLaVA's tokenizer with the visual tokens behind it, whose ids must be the last rows of the embeddings."""
    from mgie.tokenizer import Tokenizer

    source = tokenizer_file(files.llava, files.base)
    tokenizer = official_tokenizer(source, preset.vocab)
    shown = {token: tokenizer.special.get(token) for token in (*IMAGE_TOKENS, *VISUAL_TOKENS)}
    wanted = {t: preset.vocab - len(shown) + i for i, t in enumerate(shown)}
    if shown != wanted:
        odd = next(token for token in shown if shown[token] != wanted[token])
        raise ValueError(f"{source}: {odd} has id {shown[odd]}, expected {wanted[odd]} of {preset.vocab} embeddings")
    Tokenizer.save_pretrained(tokenizer, folder)


def tokenizer_file(llava: Shards, base: Shards | None) -> Path:
    places = [llava.where] + ([base.where] if base else [])
    source = next((place / name for place in places for name in TOKENIZER_FILES if (place / name).is_file()), None)
    if source is None:
        raise FileNotFoundError(f"{places[0]} has no {' and no '.join(TOKENIZER_FILES)}; get LLaVA's folder again")
    return source


def official_tokenizer(
    source: Path, vocab: int, tokens: tuple[str, ...] = (*IMAGE_TOKENS, *VISUAL_TOKENS)
) -> "Tokenizer":
    """source: its file. tokens: what has the last ids of the vocabulary, where added_tokens.json says nothing else."""
    from mgie.tokenizer import Tokenizer

    ids = {token: vocab - len(tokens) + i for i, token in enumerate(tokens)}
    path = source.with_name("added_tokens.json")
    ids |= {token: i for token, i in (read_json(path) if path.is_file() else {}).items() if token in tokens}
    if source.suffix == ".model":
        from sentencepiece import SentencePieceProcessor

        pieces = SentencePieceProcessor(model_file=str(source)).get_piece_size()
        if pieces > min(ids.values()):
            raise ValueError(
                f"{source} has {pieces} pieces, but of {vocab} embeddings only {min(ids.values())} are before the "
                f"added tokens; is it this model's tokenizer?"
            )
        return Tokenizer.from_sentencepiece(source, ids)
    known = Tokenizer.from_tokenizers(source).special
    return Tokenizer.from_tokenizers(source, {token: i for token, i in ids.items() if token not in known})
