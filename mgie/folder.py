"""A pipeline as one folder of safetensors, in diffusers' manner: a subfolder a component, model_index.json on top.

    llama/ tower/ projector/ tokenizer/ image_processor/ edit_head/ unet/ vae/ scheduler/ preset.json model_index.json
tower/, projector/ and image_processor/ are missing where the LLM has no eyes (LGIE). model_index.json is written last.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgie.io.components import OWN_PARTS
from mgie.io.devices import vae_dtype
from mgie.io.files import naming, read_json, write_json
from mgie.presets import PRESETS, SAMPLING, Preset

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mgie.tokenizer import Tokenizer

INDEX, PRESET, EMBEDDINGS = "model_index.json", "preset.json", "visual_embeddings.safetensors"
RECORD = "conversion.json"  # mgie.convert writes it: where the weights come from
EYES = ("tower", "projector", "image_processor")  # of OWN_PARTS, those that an LLM without eyes has not
SAMPLED = ("guidance_scale", "image_guidance_scale", "num_inference_steps")  # what sampling.json says
MINI = Path(__file__).parent / "mini" / "weights"  # <model>[-<form>]/ each


def save(pipe: Any, path: Path) -> None:
    """pipe: an MGIEPipeline, or what has its parts by the same names."""
    path.mkdir(parents=True, exist_ok=True)
    (path / INDEX).unlink(missing_ok=True)
    for file in path.glob("*/*.safetensors"):
        if file.stat().st_nlink > 1:  # a training's folder shares its frozen files with its start: not to write through
            file.unlink()
    pipe.mllm.save_pretrained(path)
    pipe.tokenizer.save_pretrained(path / "tokenizer")
    if pipe.image_processor is not None:
        pipe.image_processor.save_pretrained(path / "image_processor")
    save_trained(pipe.edit_head, pipe.visual_embeddings, pipe.unet, path)
    for name in ("vae", "scheduler"):
        getattr(pipe, name).save_pretrained(path / name)
    write_json(path / PRESET, pipe.preset.to_json())
    index = {"_class_name": "MGIEPipeline", "preset": pipe.preset.name, "scheduler": type(pipe.scheduler).__name__}
    write_json(path / INDEX, index | {"eyes": pipe.mllm.tower is not None})


def save_trained(edit_head: Any, visual_embeddings: "torch.Tensor", unet: Any, path: Path) -> None:
    """The components that training changes as a whole: edit_head/ and unet/."""
    from safetensors.torch import save_file

    edit_head.save_pretrained(path / "edit_head")
    embeddings = visual_embeddings.detach().cpu().contiguous()
    save_file({"visual_embeddings": embeddings}, path / "edit_head" / EMBEDDINGS)
    unet.save_pretrained(path / "unet")


def save_inspix2pix(
    unet: "nn.Module", vae: "nn.Module", text_encoder: "nn.Module", tokenizer: object, preset: Preset, folder: Path
) -> None:
    """A StableDiffusionInstructPix2PixPipeline in folder, with sampling.json."""
    from diffusers import StableDiffusionInstructPix2PixPipeline

    StableDiffusionInstructPix2PixPipeline(
        vae, text_encoder, tokenizer, unet, preset.sampler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    write_sampling(preset, folder)


def write_sampling(preset: Preset, folder: Path) -> None:
    write_json(folder / "sampling.json", {name: getattr(preset, name) for name in SAMPLED})


def load(name: str | Path, expected: str | None, dtype: "torch.dtype | None", device: str | None = None) -> dict:
    """The arguments of MGIEPipeline. expected: name of the preset that the weights must have; device: where they go.

    dtype: of all parts but the VAE, which stays in float32 beside 16 bit; None: the weights' own.
    """
    import diffusers
    import torch

    from mgie.edit_head import EditHead
    from mgie.io.components import load_reader
    from mgie.io.devices import all_cores
    from mgie.io.weights import load_library_model, refuse_nan
    from mgie.mllm import MLLM
    from mgie.preprocess import ClipProcessor
    from mgie.tokenizer import Tokenizer

    path = find(name)
    if str(name) == "mini" and dtype is None:
        dtype = torch.float32  # shipped in half to be small, run where half is slow or missing
    index = read_json(path / INDEX)
    if index.get("_class_name") != "MGIEPipeline":
        raise ValueError(f"{path} holds a {index.get('_class_name')}, not an MGIEPipeline")
    scheduler = scheduler_class(index.get("scheduler"), path)
    eyes = check_parts(path, index, OWN_PARTS)
    preset = read_preset(path, expected)
    tokenizer = Tokenizer.from_pretrained(path / "tokenizer")
    with all_cores():
        parts = {
            "mllm": MLLM.from_pretrained(path, tokenizer.image_start, tokenizer.image_patch, dtype, device, eyes),
            "edit_head": EditHead.from_pretrained(path / "edit_head", dtype).to(device),
            "unet": load_library_model(diffusers.UNet2DConditionModel, path / "unet", dtype, device),
            "vae": load_library_model(diffusers.AutoencoderKL, path / "vae", vae_dtype(dtype), device),
        }
        for part, module in parts.items():  # on the device, where it takes no time
            refuse_nan(module, f"{path}: {part}")
    check_ids(tokenizer, parts["mllm"].llama, path / "tokenizer")
    return parts | {
        "tokenizer": tokenizer,
        "image_processor": ClipProcessor.from_pretrained(path / "image_processor") if eyes else None,
        "visual_embeddings": visual_embeddings(path / "edit_head" / EMBEDDINGS).to(device=device, dtype=dtype),
        "scheduler": load_reader(scheduler, path / "scheduler"),
        "preset": preset,
    }


def check_parts(path: Path, index: dict, names: tuple[str, ...]) -> bool:
    """Whether an MGIE folder's LLM has eyes, as its index says. FileNotFoundError for one of `names` that is missing.

    Without this an MGIE whose tower/ was lost would edit as an LLM without eyes.
    """
    eyes = bool(index.get("eyes", True))
    for name in names:
        if (eyes or name not in EYES) and not (path / name).is_dir():
            raise FileNotFoundError(f"{path / name} is missing: {INDEX} says that this model has it; get it again")
    return eyes


def check_ids(tokenizer: "Tokenizer", llama: "nn.Module", folder: Path) -> None:
    """Raises ValueError for a tokenizer with special tokens that the LLM does not know."""
    rows = llama.get_input_embeddings().num_embeddings
    token, last = max(tokenizer.special.items(), key=lambda item: item[1])
    if last >= rows:
        raise ValueError(
            f"{folder}: the id of {token} is {last}, the LLM has {rows} tokens: another model's; get it again"
        )


WRITERS = ("llama", "tower", "projector")
PARTS = (*WRITERS, "edit_head", "unet", "vae")  # subfolders with weights


def parts_of(folder: Path, dtype: "torch.dtype") -> dict[Path, float]:
    """By component's folder the bytes of a value once it is loaded in dtype; of those that are there."""
    full = max(4, dtype.itemsize)  # the VAE's: see mgie.io.devices.vae_dtype
    widths = {name: full if name == "vae" else dtype.itemsize for name in PARTS}
    return {folder / name: width for name, width in widths.items() if (folder / name).is_dir()}


def scheduler_class(name: object, path: Path) -> type:
    """diffusers' scheduler of that name; any other name in a file from elsewhere is refused, not looked up."""
    import diffusers

    found = getattr(diffusers, name, None) if isinstance(name, str) and name.endswith("Scheduler") else None
    if not (isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)):
        raise ValueError(f"{path / INDEX}: scheduler is {name!r:.60}; expected one of diffusers, as DDIMScheduler")
    return found


def visual_embeddings(path: Path) -> "torch.Tensor":
    from mgie.io.weights import read_safetensors

    tensors = read_safetensors(path)
    if list(tensors) != ["visual_embeddings"]:
        raise ValueError(f"{path} holds {', '.join(tensors)[:80] or 'nothing'}; expected visual_embeddings")
    return tensors["visual_embeddings"]


def find(name: str | Path) -> Path:
    """The folder behind a name. Raises FileNotFoundError that says how to get it."""
    path = MINI / "mgie-e2e" if str(name) == "mini" else Path(name)
    if (path / INDEX).exists():
        return path
    if str(name) == "mini":
        raise FileNotFoundError(f"the miniature's weights are not in {path}; make them with: make mini")
    state = f"{path} has no {INDEX}" if path.is_dir() else f"there is no folder {path}"
    raise FileNotFoundError(
        f"{state}: not a folder of MGIE weights. The official ones are converted with `python -m mgie.convert`"
        " (its --help says where they come from); `mini` needs none"
    )


def read_preset(path: Path, expected: str | None) -> Preset:
    """Raises ValueError for a checkpoint of another preset, with the first size that differs."""
    with naming(path / PRESET):
        preset = Preset.from_json(read_json(path / PRESET))
    if expected is None:
        return preset
    if expected not in PRESETS:
        raise ValueError(f"unknown preset '{expected}'; known: {', '.join(PRESETS)}")
    ours, theirs = PRESETS[expected].to_json(), preset.to_json()
    sizes = sorted(name for name in ours.keys() - SAMPLING if ours[name] != theirs[name])
    if sizes:
        raise ValueError(
            f"{path} is a checkpoint of preset '{preset.name}', not of '{expected}': "
            f"{sizes[0]} is {theirs[sizes[0]]}, not {ours[sizes[0]]}"
        )
    return preset
