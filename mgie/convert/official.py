"""The official files (LLaVA, mllm.pt, unet.pt, CLIP tower, InstructPix2Pix), opened and their tensors named."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mgie.convert.manifest import EMBEDDINGS, NUM_VISUAL_TOKENS, TOWER, TRAINED, bare, check, expected, preset_of
from mgie.convert.shards import Shards
from mgie.io.files import read_json
from mgie.io.hub import folder_from_hub
from mgie.io.weights import open_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from mgie.presets import Preset

TO_CONVERT = (  # of timbrooks/instruct-pix2pix; its UNet's weights are unet.pt's
    "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
)  # fmt: skip
TO_EDIT = (  # the pipeline without its safety checker, as diffusers loads it
    *TO_CONVERT, "model_index.json", "unet/diffusion_pytorch_model.safetensors", "text_encoder/config.json",
    "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/vocab.json",
    "tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json",
)  # fmt: skip
OTHER_CLIP = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")  # CLIP's parts beside its tower


def to_download(folder: "Path | str", files: tuple[str, ...] = TO_CONVERT) -> str:
    """The command that gets these files of InsPix2Pix and no others: the repository holds 30 GB of copies of them."""
    return f"hf download timbrooks/instruct-pix2pix {' '.join(files)} --local-dir {folder}"


class Official(NamedTuple):
    """The official files, opened."""

    llava: Shards
    base: Shards | None
    clip: Shards
    clip_config: dict
    mllm: "dict[str, Tensor]"
    unet: "dict[str, Tensor]"
    instruct_pix2pix: Path
    paths: dict[str, Path]  # of the single files
    config: dict  # LLaVA's


def open_official(
    llava: Path, base: Path | None, clip: Path | None, mllm: Path, unet: Path, instruct_pix2pix: Path
) -> Official:
    shards = Shards(llava)
    config = read_json(llava / "config.json")
    clip_shards, clip_config = open_clip(llava, config, shards, clip)
    for part in ("unet", "vae", "scheduler"):
        if not (instruct_pix2pix / part).is_dir():
            raise FileNotFoundError(
                f"{instruct_pix2pix} has no {part}/; expected the diffusers folder of timbrooks/instruct-pix2pix\n"
                f"get what is needed of it: {to_download(instruct_pix2pix)}"
            )
    return Official(
        shards, None if base is None else Shards(Path(base)), clip_shards, clip_config,
        open_tensors(mllm), open_tensors(unet), instruct_pix2pix, {"mllm": mllm, "unet": unet}, config,
    )  # fmt: skip


def open_clip(llava: Path, config: dict, shards: Shards, clip: Path | None) -> tuple[Shards, dict]:
    """The vision tower's tensors and config: --clip, or in LLaVA's own shards, or where its config points."""
    name = config.get("mm_vision_tower") or config.get("vision_tower") or "openai/clip-vit-large-patch14"
    if clip is None:
        places = [llava / "vision_tower", llava / "clip", llava / str(name), Path(str(name))]
        clip = next((place for place in places if (place / "config.json").is_file()), None)
    inside = any(tensor.startswith(TOWER) for tensor in shards.shapes)
    if inside and (clip is not None or "vision_config" in config):
        return shards, config if clip is None else read_json(Path(clip) / "config.json")
    if clip is None:
        clip = folder_from_hub(str(name))
    return shards if inside else Shards(Path(clip)), read_json(Path(clip) / "config.json")


def check_names(files: Official) -> "tuple[Preset, dict[str, list[str]]]":
    """The sizes, and the names that are left out on purpose, by file. ValueError for what is not as expected."""
    shapes = {name: tuple(tensor.shape) for name, tensor in files.mllm.items()}
    parts = {part: read_json(files.instruct_pix2pix / part / "config.json") for part in ("unet", "vae")}
    scheduler = read_json(files.instruct_pix2pix / "scheduler" / "scheduler_config.json")
    preset = preset_of(files.config, files.clip_config, shapes, parts["unet"], parts["vae"], scheduler)
    try:
        wanted = expected(preset)
    except Exception as error:  # whatever the libraries' classes say of such sizes
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"the config files give sizes that no model has: {said}") from error
    unet = {name: tuple(tensor.shape) for name, tensor in files.unet.items()}
    own = {n: s for n, s in files.llava.shapes.items() if not n.startswith(TOWER)}
    tower = {f"vision_model.{bare(n)}": s for n, s in files.clip.shapes.items() if not n.startswith(OTHER_CLIP)}
    if files.clip is files.llava:
        tower = {f"vision_model.{bare(n)}": s for n, s in files.llava.shapes.items() if n.startswith(TOWER)}
    dropped = {
        "mllm": check(str(files.paths["mllm"]), shapes, wanted["mllm.pt"], also=(EMBEDDINGS,)),
        "unet": check(str(files.paths["unet"]), unet, wanted["unet.pt"]),
        "llava": check(str(files.llava.where), own, wanted["llava_7b_v1"]),
        "clip": check(str(files.clip.where), tower, wanted["clip_vit_large_patch14_vision"]),
    }
    emb = shapes.get(EMBEDDINGS, (1, NUM_VISUAL_TOKENS, preset.hidden))
    if emb != (1, NUM_VISUAL_TOKENS, preset.hidden):
        raise ValueError(f"{files.paths['mllm']}: emb is {emb}; expected {(1, NUM_VISUAL_TOKENS, preset.hidden)}")
    dropped["llava"] += TRAINED  # of these mllm.pt has the trained ones
    dropped["mllm"] = [name for name in dropped["mllm"] if name != EMBEDDINGS]  # it is used: visual_embeddings
    return preset, dropped
