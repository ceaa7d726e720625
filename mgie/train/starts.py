"""What a training run starts from, and how its pipeline is written: a checkpoint, Stable Diffusion, or new weights.

A start is always a folder, so that a resumed run reads the very same frozen weights: the one of --from, or OUT/.start,
which is written once. Convention: conv_in is widened as in timothybrooks/instruct-pix2pix at 0dffd1e (new channels
zero, bias kept). Not covered: training the VAE, the tower or the text encoder.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from mgie.convert import delta
from mgie.convert.components import write_eyes, write_head, write_llama, write_tokenizer
from mgie.convert.manifest import TRAINED, preset_of
from mgie.convert.official import TO_EDIT, Official, open_clip, to_download
from mgie.convert.shards import Shards
from mgie.folder import INDEX, PRESET, save_trained
from mgie.io.components import load_parts, quiet
from mgie.io.files import read_json, whole_folder, write_json
from mgie.io.weights import load_library_model
from mgie.pipeline import MGIEPipeline
from mgie.preprocess import ClipProcessor
from mgie.presets import PRESETS, SAMPLING, Preset
from mgie.prompts import ADDED_TOKENS
from mgie.train import starts
from mgie.train.batches import MLLMRows, Sizes, TextRows, clip_ids
from mgie.train.checkpoint import keeps_dtype, link, link_loadable, place, write_llm
from mgie.train.joint import Denoiser, JointModel, TextModel, choose_trained
from mgie.visual_tokens import NUM_VISUAL_TOKENS

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import Tensor


# components of an MGIEPipeline that never train; those that a model has not (LGIE's eyes) are missing in its start too
FROZEN = ("tower", "projector", "image_processor", "tokenizer", "vae", "scheduler")


class Trainee(NamedTuple):
    model: JointModel | TextModel  # its trained parameters chosen
    save: Callable[[nn.Module, Path], None]  # a model of this kind -> its pipeline's folder
    rows: MLLMRows | TextRows
    image_processor: ClipProcessor | None
    sizes: Sizes


def load(
    folder: Path,
    kind: tuple[str, str],
    preset: str | None,
    resolution: int | None = None,
    min_snr_gamma: float | None = None,
    keep_half: bool = False,
    one_dtype: bool | None = None,
) -> Trainee:
    """folder: a start. kind: (model, form), a key of joint.TRAINED. preset: its name, or None to accept any.

    resolution: pixels of the diffusion's training images, None for the preset's. keep_half: frozen weights of the LLM
    lie in memory as bfloat16, for a bf16 autocast: half the memory, and of other dtypes the autocast would keep a
    second copy of each matrix for the backward pass. one_dtype: the LLM is written in its start's dtype, trained
    tensors too, and its frozen files are links; None: with keep_half. Raises FileNotFoundError or ValueError for a
    folder that is no start of this kind.
    """
    if kind[1] == "e2e" and kind[0] != "inspix2pix":
        one = keep_half if one_dtype is None else one_dtype
        return load_joint(folder, kind, preset, resolution, min_snr_gamma, keep_half, one)
    return load_text(folder, kind, preset, resolution, min_snr_gamma)


def load_joint(
    folder: Path,
    kind: tuple[str, str],
    expected: str | None,
    resolution: int | None,
    min_snr_gamma: float | None,
    keep_half: bool,
    one_dtype: bool,
) -> Trainee:
    if class_of(folder) != "MGIEPipeline":
        raise ValueError(
            f"--from {folder} is a {class_of(folder)}; --model {kind[0]} --form e2e starts from an "
            "MGIEPipeline folder (python -m mgie.convert, or an earlier --out of this command)"
        )
    pipe = MGIEPipeline.from_pretrained(folder, expected, None if keep_half else torch.float32)
    for name, part in pipe.components.items():
        if name != "llama":
            part.float()
    eyes = pipe.mllm.tower is not None
    if eyes != (kind[0] == "mgie"):
        raise ValueError(
            f"--from {folder} is {'MGIE: its MLLM has' if eyes else 'LGIE: its LLM has no'} eyes; "
            f"--model {kind[0]} needs the other"
        )
    denoiser = Denoiser(pipe.unet, pipe.vae, pipe.scheduler, min_snr_gamma)
    model = JointModel(pipe.mllm, pipe.edit_head, denoiser, pipe.tokenizer.visual, pipe.tokenizer.pad)
    choose_trained(model, kind)
    if keep_half:  # after the trained ones have become float32 from what is stored
        for weight in pipe.mllm.llama.parameters():
            weight.data = weight.data if weight.requires_grad else weight.data.bfloat16()
    by_file = keeps_dtype(folder / "llama", None if one_dtype else torch.float32)

    def save(trained: JointModel, target: Path) -> None:
        """As pipeline.save_pretrained, but that the frozen parts are the start's own files."""
        for part in FROZEN:
            link(folder / part, target / part)
        if by_file:
            write_llm(trained.mllm.llama, folder / "llama", target / "llama")
        else:
            trained.mllm.llama.save_pretrained(target / "llama")
        save_trained(trained.edit_head, trained.visual_embeddings(), trained.denoiser.unet, target)
        for name in (PRESET, INDEX):
            place(folder / name, target / name)

    rows = MLLMRows(
        pipe.tokenizer, pipe.preset.patches if eyes else 0, min(pipe.preset.max_length, pipe.preset.context)
    )
    return Trainee(model, save, rows, pipe.image_processor, sizes_of(pipe.preset, pipe.vae, resolution))


def load_text(
    folder: Path, kind: tuple[str, str], expected: str | None, resolution: int | None, min_snr_gamma: float | None
) -> Trainee:
    folder = folder / "inspix2pix" if (folder / "inspix2pix" / INDEX).exists() else folder
    if class_of(folder) not in ("StableDiffusionInstructPix2PixPipeline", "StableDiffusionPipeline"):
        raise ValueError(
            f"--from {folder} is a {class_of(folder)}; --model {kind[0]} --form {kind[1]} tunes a "
            "StableDiffusionInstructPix2PixPipeline or a StableDiffusionPipeline, which it widens"
        )
    pipe = inspix2pix_from(folder)
    sampling = folder / "sampling.json"
    sampling_text = sampling.read_text() if sampling.exists() else None
    preset = PRESETS.get(expected) if expected else None
    if preset is not None:
        check_sizes(pipe, preset, folder)
    denoiser = Denoiser(pipe.unet, pipe.vae, pipe.scheduler, min_snr_gamma)
    model = TextModel(pipe.text_encoder, clip_ids(pipe.tokenizer, ""), denoiser)
    choose_trained(model, kind)

    def save(trained: TextModel, target: Path) -> None:
        pipe.register_modules(unet=trained.denoiser.unet, vae=trained.denoiser.vae, text_encoder=trained.text_encoder)
        # under "ft" the folder of the model holds it beside the writer of expressive instructions
        inside = target / "inspix2pix" if kind[1] == "ft" else target
        pipe.save_config(inside)
        for name, part in pipe.components.items():
            linked = name in ("vae", "text_encoder") and link_loadable(folder / name, inside / name)
            if part is not None and not linked:
                part.save_pretrained(inside / name)
        if sampling_text is not None:
            (inside / "sampling.json").write_text(sampling_text)

    sizes = sizes_of(preset, pipe.vae, resolution, pipe.unet)
    return Trainee(model, save, TextRows(pipe.tokenizer), None, sizes)


def class_of(folder: Path) -> str:
    index = folder / INDEX
    if not index.is_file():
        state = f"has no {INDEX}" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"--from {folder} {state}; expected a model's folder: python -m mgie.convert makes MGIE's, and "
            f"InsPix2Pix's is `{to_download('DIR', TO_EDIT)}`"
        )
    return str(read_json(index).get("_class_name"))


def sizes_of(preset: Preset | None, vae: nn.Module, resolution: int | None, unet: nn.Module | None = None) -> Sizes:
    """512 px, then 256 px for the VAE as in the official code; the mini preset and its like have one size."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    if preset is None:
        assert unet is not None  # one of the two says the size
        square = unet.config.sample_size * factor
    else:
        square = preset.image_size
    diffusion = resolution or (square // 2 if square == PRESETS["7b"].image_size else square)
    if diffusion % factor or diffusion < factor:
        raise ValueError(
            f"--resolution {diffusion} is not a multiple of the VAE's {factor} px; "
            f"nearest: {max(1, round(diffusion / factor)) * factor}"
        )
    return Sizes(max(square, diffusion), diffusion, (vae.config.latent_channels, *[diffusion // factor] * 2))


def check_sizes(pipe: "DiffusionPipeline", preset: Preset, folder: Path) -> None:
    wanted = preset.unet_config()
    for name in ("block_out_channels", "cross_attention_dim", "out_channels"):
        found = pipe.unet.config[name]
        found = tuple(found) if isinstance(found, list) else found
        if found != wanted[name]:
            raise ValueError(
                f"--from {folder}: its UNet's {name} is {found}, preset {preset.name} has {wanted[name]}; "
                f"name the preset that it was made with (--preset {' or '.join(PRESETS)})"
            )


def inspix2pix_from(folder: Path) -> "DiffusionPipeline":
    """The InsPix2Pix pipeline in folder, float32, every part exactly; a text-to-image one's UNet is widened."""
    from diffusers import DiffusionPipeline, StableDiffusionInstructPix2PixPipeline

    loaded = load_parts(folder, read_json(folder / INDEX), lambda name: torch.float32)
    off = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}
    with quiet():
        pipe = DiffusionPipeline.from_pretrained(folder, **(loaded | off))
    if not isinstance(pipe, StableDiffusionInstructPix2PixPipeline):
        widen(pipe.unet, 2 * pipe.vae.config.latent_channels)
        names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
        parts = {name: getattr(pipe, name) for name in names}
        pipe = StableDiffusionInstructPix2PixPipeline(**parts, **off)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def widen(unet: nn.Module, channels: int) -> None:
    """conv_in takes `channels`: the old ones first, as they were with their bias; the new ones start at zero."""
    old = unet.conv_in
    if old.in_channels >= channels:
        return
    new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)


def reset_unet(unet: nn.Module, edit_head: nn.Module | None, seed: int) -> None:
    """quirk: what fast initialisation does to pretrained weights in the released script (recipes.RELEASED_SCRIPT)."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in [m for part in (unet, edit_head) if part is not None for m in part.modules()]:
            if isinstance(module, nn.Linear):
                module.weight.normal_(0.0, 0.02)
                if module.bias is not None:
                    module.bias.zero_()
        fresh = nn.Conv2d(unet.conv_in.in_channels, unet.conv_in.out_channels, 3)
        unet.conv_in.bias.copy_(fresh.bias)


def write_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """make fills a folder, which then gets its name; nothing is done where it has it already."""
    if not (folder / INDEX).exists():
        with whole_folder(folder) as part:
            make(part)
            shutil.rmtree(folder, ignore_errors=True)
    return folder


NEW_ROW_STD = 0.02


def assemble(
    llava: Path, stable_diffusion: Path, preset: Preset, eyes: bool, seed: int, reset_seed: int | None, target: Path
) -> None:
    """An MGIEPipeline folder in target. reset_seed: None, or follow quirks 1 and 2 with this seed (mgie.train.recipes).

    Raises FileNotFoundError or ValueError for parts that are missing, unmerged or of other sizes than the preset's.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    shards, config = Shards(llava), read_json(llava / "config.json")
    delta.check(shards, None)
    unet = load_library_model(UNet2DConditionModel, stable_diffusion / "unet")
    vae = load_library_model(AutoencoderKL, stable_diffusion / "vae")
    starts.widen(unet, 2 * vae.config.latent_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = preset.edit_head()
        rows = {name: grown(shards.get(name).float(), eyes) for name in TRAINED}
    if reset_seed is not None:
        starts.reset_unet(unet, head, reset_seed)
    mllm = rows | {f"edit_head.{name}": tensor for name, tensor in head.state_dict().items()}
    clip, clip_config = open_clip(llava, config, shards, None) if eyes else (shards, {})
    check(llava, stable_diffusion, preset, sizes(config, clip_config, mllm, unet, vae, preset))
    files = Official(shards, None, clip, clip_config, mllm, {}, stable_diffusion, {"mllm": llava}, config)
    target.mkdir(parents=True, exist_ok=True)
    write_llama(files, preset, target / "llama")
    if eyes:
        write_eyes(files, preset, target)
    write_head(files, preset, target / "edit_head")
    write_tokenizer(files, preset, target / "tokenizer")
    for name, part in (("unet", unet), ("vae", vae), ("scheduler", preset.sampler())):
        part.save_pretrained(target / name)
    write_json(target / PRESET, preset.to_json())
    index = {"_class_name": "MGIEPipeline", "preset": preset.name, "scheduler": preset.scheduler, "eyes": eyes}
    write_json(target / INDEX, index)


def grown(weight: "Tensor", eyes: bool) -> "Tensor":
    """(V, D) with the new tokens' rows behind it; LLaVA's has the image tokens already."""
    new = NUM_VISUAL_TOKENS if eyes else len(ADDED_TOKENS)
    return torch.cat([weight, NEW_ROW_STD * torch.randn(new, weight.shape[1])])


def sizes(config: dict, clip: dict, mllm: dict, unet: torch.nn.Module, vae: torch.nn.Module, preset: Preset) -> Preset:
    """The parts' sizes; what no part says (vision without eyes, sampling) is the preset's."""
    shapes = {name: tuple(tensor.shape) for name, tensor in mllm.items()}
    if not clip:
        clip = {**preset.vision_config().to_dict(), "hidden_act": "quick_gelu"}
    scheduler = {"_class_name": preset.scheduler}
    found = preset_of(config, clip, shapes, dict(unet.config), dict(vae.config), scheduler)
    kept = ("name", "context", "image_size", "prediction_type", "timestep_spacing", "zero_snr", *SAMPLING)
    return replace(found, **{name: getattr(preset, name) for name in kept})


def check(llava: Path, stable_diffusion: Path, preset: Preset, found: Preset) -> None:
    ours, theirs = preset.to_json(), found.to_json()
    differs = [name for name in ours if ours[name] != theirs[name]]
    if differs:
        name = differs[0]
        raise ValueError(
            f"{llava} and {stable_diffusion} are not of preset {preset.name}: {name} is {theirs[name]}, "
            f"expected {ours[name]}"
        )
