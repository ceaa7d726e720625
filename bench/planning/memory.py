"""How much memory a run takes at its peak: the weights in their dtype, and what a batch of its images needs as well.

Weights that are there are measured by the headers of their files, those that are not by the sizes of the true model.
The rest is an estimate, on the side of too much: no attention matrix is stored; the stages come one after the other, so
that the largest counts; OVERHEAD is the process itself and the metrics' networks.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

from bench.planning.look import Look
from bench.registry import EDITORS, WITH_FORMS
from bench.runs.plan import Plan
from mgie.io.memory import folder_bytes
from mgie.io.sizes import cut_of, one_shape
from mgie.presets import PRESETS

OVERHEAD = 1_500_000_000
FULL, HALF = 4, 2  # bytes of a value
# Parameters of preset 7b by component, as mgie.presets counts them (a test compares), and of SD 1.5's text encoder.
TRUE_SIZES = {
    "llama": 6_738_505_728, "tower": 303_179_776, "projector": 4_198_400, "edit_head": 31_958_784, "unet": 859_532_484,
    "vae": 83_653_863, "text_encoder": 123_060_480,
}  # fmt: skip
EDITOR = ("unet", "vae", "text_encoder")
HEAD = ("edit_head", "unet", "vae")
SEEING = ("llama", "tower", "projector")
# Which of them a model is made of whose weights are not here; by name and form.
MADE_OF = {
    ("inspix2pix", "none"): EDITOR, ("codec", "none"): ("vae",), ("mgie", "e2e"): (*SEEING, *HEAD),
    ("lgie", "e2e"): ("llama", *HEAD),
    **{(name, form): (*writer, *EDITOR) for form in ("fz", "ft") for name, writer in
       (("mgie", SEEING), ("lgie", ("llama",)))},
}  # fmt: skip


class Memory(NamedTuple):
    weights: int  # bytes
    working: int | None  # bytes; None: nothing is known of this architecture
    assumed: bool = False  # the weights are not here

    @property
    def bytes(self) -> int:
        return self.weights + (self.working or 0) + OVERHEAD


class Sizes(NamedTuple):
    """What of an architecture decides how much a batch needs."""

    unet: int = 0  # channels of the UNet's first level
    vae: int = 0  # channels of the VAE's second level
    factor: int = 8  # pixels a latent spans
    cache: int = 0  # values of the LLM's cache a token


def memory_of(look: Look, kind: str) -> Memory | None:
    """Of the model or the rewriter before it, which come one after the other, the larger. None: neither computes, or
    nothing is known of the weights. kind: of the device."""
    spec = look.asked.spec
    value = FULL if (kind == "cpu" and spec.dtype == "auto") or spec.dtype == "float32" else HALF
    both = of_model(look, value), of_rewriter(look, value)
    return max((memory for memory in both if memory), key=lambda memory: memory.bytes, default=None)


def of_model(look: Look, value: int) -> Memory | None:
    """value: bytes of one, in the model's dtype."""
    model, spec = look.model, look.asked.spec
    if isinstance(model, Exception):
        if spec.name.startswith("diffusers:"):
            return of_the_list(spec.name.partition(":")[2])
        made_of = MADE_OF.get((spec.name, spec.form if spec.name in WITH_FORMS else "none"))
        if spec.suite != "paper" or spec.images or not made_of:
            return None
        kept_full = EDITOR[1:] if "text_encoder" in made_of else ("vae",)
        weights = {name: TRUE_SIZES[name] * (FULL if name in kept_full else value) for name in made_of}
        return Memory(at_once(weights, spec.offload), working(look, true_sizes(made_of), value), assumed=True)
    found = of_parts(model.parts() if hasattr(model, "parts") else {}, spec.offload)
    return Memory(found[0], working(look, found[1], value)) if found else None


def of_rewriter(look: Look, value: int) -> Memory | None:
    """None: there is none, its texts are given, or nothing is known of its weights."""
    name, spec = look.asked.args.rewrite, look.asked.spec
    if isinstance(look.plan, Plan):
        writer = look.plan.rewriting.model if look.plan.rewriting else None
        found = of_parts(writer.parts() if writer and hasattr(writer, "parts") else {}, spec.offload)
        return Memory(found[0], of_text(look, found[1], value)) if found and found[0] else None
    made_of = {"mgie": SEEING, "lgie": ("llama",)}.get(name)
    if spec.suite != "paper" or not made_of:
        return None
    weights = sum(TRUE_SIZES[part] for part in made_of) * value
    return Memory(weights, of_text(look, true_sizes(made_of), value), assumed=True)


def of_text(look: Look, sizes: Sizes, value: int) -> int | None:
    """Beside a writer's weights: the cache of a batch. None: its config is not read here."""
    return look.asked.edit.batch_size * TOKENS * sizes.cache * value if sizes.cache else None


def of_parts(parts: Mapping[Path, float], offload: bool) -> tuple[int, Sizes] | None:
    """Bytes of the weights on the device, and what of the architecture counts beside them; None: not known."""
    try:
        weights = {folder: folder_bytes(folder, width) for folder, width in parts.items()}
        return (at_once(weights, offload), sizes_of(parts)) if weights else None
    except (OSError, ValueError, LookupError, TypeError, struct.error):  # damaged files: the loader says so
        return None


def at_once(weights: Mapping[Any, int], offload: bool) -> int:
    """By part or its folder; of these on the device at a time: all, with --offload the largest. The LLM comes with its
    eyes (mgie.pipeline)."""
    if not offload:
        return sum(weights.values())
    writing = sum(size for part, size in weights.items() if Path(part).name in SEEING)
    return max([writing, *(size for part, size in weights.items() if Path(part).name not in SEEING)])


def of_the_list(target: str) -> Memory | None:
    """Of a pipeline that is not here, by the list of editors."""
    kinds = [kind for family in resolve_name(EDITORS) for kind in family.kinds if kind.hub == target.partition("@")[0]]
    return Memory(int(kinds[0].gigabytes * 1e9), None, assumed=True) if kinds else None


def true_sizes(made_of: tuple[str, ...]) -> Sizes:
    p = PRESETS["7b"]
    cache = 2 * p.layers * p.hidden * p.kv_heads // p.heads if "llama" in made_of else 0
    return Sizes(p.unet_channels[0] if "unet" in made_of else 0, p.vae_channels[1], p.factor, cache)


def sizes_of(parts: Mapping[Path, float]) -> Sizes:
    """Of the components' own config.json."""
    found = Sizes()
    for folder in parts:
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        channels = config.get("block_out_channels") or []
        if folder.name == "vae" and channels:
            found = found._replace(vae=channels[min(1, len(channels) - 1)], factor=2 ** (len(channels) - 1))
        elif folder.name == "unet" and channels:
            found = found._replace(unet=channels[0])
        elif "num_hidden_layers" in config and "hidden_size" in config and folder.name in ("llama", "writer"):
            heads = config.get("num_attention_heads") or 1
            shared = (config.get("num_key_value_heads") or heads) / heads
            found = found._replace(cache=int(2 * config["num_hidden_layers"] * config["hidden_size"] * shared))
    return found


TOKENS = 600  # of a prompt with its patches, and an answer
GUIDED = 3  # copies of each image in the UNet
MAPS = 16  # of the UNet's first level, as in mgie.presets
DECODED = 4  # maps of the VAE's second level at the image's size, in float32


def working(look: Look, sizes: Sizes, value: int) -> int | None:
    """Beside the weights, for one slice of the largest images. None: the denoiser is no UNet."""
    if not sizes.vae or (not sizes.unet and look.asked.spec.name.startswith("diffusers:")):
        return None
    return beside(sizes, look.asked.edit.batch_size, *largest(look), value)


def beside(sizes: Sizes, batch: int, width: int, height: int, value: int) -> int:
    """Of the stages, which come one after the other, the largest."""
    latents = (width // sizes.factor) * (height // sizes.factor)
    of_unet = MAPS * GUIDED * sizes.unet * latents * value
    of_vae = DECODED * sizes.vae * width * height * FULL
    return batch * max(of_unet, of_vae, TOKENS * sizes.cache * value)


def of_case(model: str, batch: int, dtype: str) -> Memory:
    """A row of Table 4 at the true sizes."""
    made_of, value = MADE_OF[model, "none" if model == "inspix2pix" else "e2e"], FULL if dtype == "float32" else HALF
    side = PRESETS["7b"].image_size
    weights = sum(TRUE_SIZES[name] for name in made_of) * value
    return Memory(weights, beside(true_sizes(made_of), batch, side, side, value), assumed=True)


def largest(look: Look) -> tuple[int, int]:
    """(width, height) of the largest input image, as it is edited; where there is none, what the rule makes of any."""
    from mgie.io.images import size_of

    edit = look.asked.edit
    usual = PRESETS["mini" if look.asked.suite == "mini" else "7b"].image_size
    if one_shape(edit.size) or isinstance(look.data, Exception):
        return cut_of((usual, usual), edit.size, edit.max_side).size
    found = [(usual, usual)] if not look.data.examples else []
    for path in dict.fromkeys(e.input_image for e in look.data.examples):
        if size := size_of(path, edit):
            found.append(cut_of(size, edit.size, edit.max_side).size)
    return max(found or [(usual, usual)], key=lambda size: size[0] * size[1])
