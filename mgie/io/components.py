"""A diffusers pipeline's folder: the files it is made of, and its parts, loaded exactly or refused by name.

Libraries fill a missing tensor with noise, make an empty vocabulary where its files are gone, and go on; a benchmark
must not. A component is what model_index.json names with a library and a class; anything else in the folder (a second
format, a single-file copy) is none of the pipeline.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mgie.io.files import check_json, naming

if TYPE_CHECKING:
    import torch
    from torch import nn

INDEX = "model_index.json"
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # diffusers, transformers, transformers' .bin
NAME = re.compile(rf"(?:{'|'.join(STEMS)})(?:\.(\w+))?\.(safetensors|bin)(?:\.index(?:\.(\w+))?\.json)?")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".onnx_data", ".pb")
TABLES = ("position_ids", "rotary_emb.inv_freq")  # older files hold them; they follow from the config
ARCHIVE_END = 22 + 65_535  # bytes: an archive's last record with the longest comment
AGAIN = "get it again"
ALL = "tokenizer.json"  # holds the vocabulary and the merges
CONFIG = "tokenizer_config.json"  # the special tokens and the longest text; without it there is no limit and no end
UNMADE = 0.05  # of a vocabulary's words at most: special tokens, which no merge makes
MOST = 1.1  # tokens an embedding row: models have spare rows, tokenizers a few tokens that are not used


class Weights(NamedTuple):
    """The files that hold one model's weights."""

    files: list[Path]  # the shards, or the only file; the index of the shards first
    variant: str | None  # fp16 in model.fp16.safetensors; None: the plain files


def weights_of(folder: Path) -> Weights:
    """The files that a model's folder is loaded from: plain before variants, fp16 first, safetensors before .bin.

    Raises FileNotFoundError where there are none, or where the index names a shard that is not there.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := NAME.fullmatch(path.name):
            variant, single = match[1] or match[3], not path.name.endswith(".json")
            order = (variant is not None, variant != "fp16", variant or "", match[2] == "bin", single)
            found.append((order, path, variant, single))
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no weights; expected {' or '.join(f'{s}.safetensors' for s in STEMS[:2])}; {AGAIN}"
        )
    _, path, variant, single = min(found)
    return Weights([path] if single else [path, *shards(path)], variant)


def shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of weights ({error}); {AGAIN}") from None
    paths = [index.with_name(Path(str(name)).name) for name in names]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise FileNotFoundError(f"{index.parent / missing[0]} is missing ({len(missing)} of {len(paths)}); {AGAIN}")
    return paths


def check_whole(path: Path) -> None:
    """Raises ValueError, one line with the file's name, for a file that was cut or is no file of weights."""
    if not path.is_file():
        raise ValueError(f"{path} is no plain file; {AGAIN}")
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        if path.suffix == ".json":
            return
        if start == b"version ":  # of the Git LFS pointer's first line
            raise ValueError(f"{path} is a Git LFS pointer of {size} bytes, not the weights; {AGAIN}")
        if path.suffix == ".bin":
            file.seek(max(0, size - ARCHIVE_END))
            whole = start.startswith(b"PK") and b"PK\x05\x06" in file.read()  # torch's archive, to its directory's end
            if not whole and not start.startswith(b"\x80\x02"):  # or a pickle of torch before 1.6
                raise ValueError(f"{path} is cut or no PyTorch file ({size} bytes); {AGAIN}")
            return
        length = int.from_bytes(start, "little")
        try:
            header: Any = json.loads(file.read(length)) if 2 <= length <= size - 8 else []
            ends = [value["data_offsets"][1] for name, value in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise ValueError(f"{path} is cut or no safetensors file ({size} bytes); {AGAIN}") from None
    if 8 + length + max(ends, default=0) != size:
        expected = 8 + length + max(ends, default=0)
        raise ValueError(f"{path} is cut or damaged: {size} bytes, expected {expected}; {AGAIN}")


def components(index: dict) -> dict[str, tuple[str, str]]:
    """Library and class by name, of what a model_index.json names and this project loads.

    The safety checker is not loaded (it paints images black), nor the feature extractor that only feeds it.
    """
    named = {
        name: (value[0], value[1])
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)
    }
    return {name: value for name, value in named.items() if name not in switched_off(index, named)}


def switched_off(index: dict, named: Collection[str]) -> set[str]:
    if "safety_checker" not in index:
        return set()
    return {"safety_checker"} | (set() if "image_encoder" in named else {"feature_extractor"})


# of an MGIEPipeline's folder (mgie.folder), whose index names the class alone
OWN_PARTS = (
    "llama", "tower", "projector", "tokenizer", "image_processor", "edit_head", "unet", "vae", "scheduler",
)  # fmt: skip
OWN_FILES = ("preset.json",)


def pipeline_files(folder: Path) -> list[Path] | None:
    """What of a pipeline's folder can change a pixel; None: it is neither a diffusers pipeline nor an MGIEPipeline.

    A clean download and a full clone, with its .bin copies, its fp16 variants and its single-file checkpoint, have the
    same files; so have two conversions of the same weights from files of two kinds. Components that lack their weights
    are left to the loader, which names them.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
    except (OSError, ValueError):
        return None
    own = isinstance(index, dict) and index.get("_class_name") == "MGIEPipeline"
    named = OWN_PARTS if own else tuple(components(index)) if isinstance(index, dict) else ()
    if not named:
        return None
    files = [folder / name for name in (INDEX, "sampling.json", *OWN_FILES) if (folder / name).is_file()]
    for name in named:
        part = folder / name
        loose = [path for path in sorted(part.rglob("*")) if path.is_file()] if part.is_dir() else []
        files += [path for path in loose if not is_weights(path)]
        if own and name == "edit_head":
            files += [path for path in loose if path.suffix == ".safetensors"]
        elif any(NAME.fullmatch(path.name) for path in loose):
            files += weights_of(part).files
    return files


def is_weights(path: Path) -> bool:
    return path.suffix in WEIGHT_SUFFIXES or bool(NAME.fullmatch(path.name)) or ".index." in path.name


def component_class(library: str, name: str, where: Path) -> type:
    """Raises ValueError for what the installed libraries do not have; code that lies in the folder is never run."""
    import diffusers
    import transformers

    module: object = {"diffusers": diffusers, "transformers": transformers}.get(library)
    if module is None and library.isidentifier():
        try:
            module = import_module(f"diffusers.pipelines.{library}")
        except ImportError:
            module = None
    found = getattr(module, name, None) if module is not None else None
    if not isinstance(found, type):
        raise ValueError(
            f"{where / INDEX} names {library}.{name}, which neither diffusers {diffusers.__version__} nor "
            f"transformers {transformers.__version__} has; code of a folder's own is not run"
        )
    return found


def load_parts(
    folder: Path,
    index: dict,
    dtype_of: "Callable[[str], torch.dtype | None]",
    quantization_of: Callable[[str, str], object | None] = lambda name, library: None,
    device: str | None = None,
) -> dict[str, Any]:
    """All that the index names, by name; models last, since they take longest.

    dtype_of: a model's dtype by its name; quantization_of: its configuration by its name and library. device: as of
    load_component. Raises as load_reader, load_component and check_fit.
    """
    from torch import nn

    found = {name: component_class(*named, folder) for name, named in components(index).items()}
    with quiet():
        readers = {
            name: load_reader(cls, folder / name) for name, cls in found.items() if not issubclass(cls, nn.Module)
        }
    models = {
        name: load_component(found[name], folder / name, dtype_of(name), quantization_of(name, index[name][0]), device)
        for name in found
        if name not in readers
    }
    for name, reader in readers.items():
        own = models.get(name.replace("tokenizer", "text_encoder"))
        check_fit(folder / name, reader, models.values() if own is None else [own])
    return readers | models


def load_component(
    cls: Any,
    folder: Path,
    dtype: "torch.dtype | None",
    quantization: object | None = None,
    device: str | None = None,
) -> "nn.Module":
    """A diffusers or transformers model from its folder, whole or not at all, in eval mode.

    dtype: None keeps the weights' own. quantization: a configuration of cls's own library, which then places it.
    device: where the weights go as they are read; None: the CPU. Raises FileNotFoundError or ValueError, one line with
    the file's or the tensors' names.
    """
    import torch

    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json for {cls.__name__}; {AGAIN}")
    check_json(folder)
    weights = weights_of(folder)
    for path in weights.files:
        check_whole(path)
    of_transformers = cls.__module__.startswith("transformers")
    name = "dtype" if of_transformers else "torch_dtype"
    safe = any(path.suffix == ".safetensors" for path in weights.files)
    options = {name: dtype, "variant": weights.variant, "use_safetensors": safe, "output_loading_info": True}
    if of_transformers:
        options["ignore_mismatched_sizes"] = True  # told below, by name; its own error names none
    if quantization is not None:
        options["quantization_config"] = quantization
    elif device not in (None, "cpu"):
        options["device_map"] = {"": device}
    try:
        with quiet():
            model, info = cls.from_pretrained(str(folder), **options)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a damaged config.json makes the libraries raise anything
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder}: weights and config.json do not fit {cls.__name__}: {said}") from error
    refuse_unfit(info, folder, type(model).__name__)
    return model.eval()


def refuse_unfit(info: dict, folder: Path, name: str) -> None:
    """info: what from_pretrained says with output_loading_info. Raises ValueError with the tensors' names."""
    faults = []
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        names = sorted(key if isinstance(key, str) else " ".join(map(str, key)) for key in info.get(kind) or ())
        names = [key for key in names if not key.endswith(TABLES)]
        if names:
            faults.append(f"{len(names)} {kind.removesuffix('_keys')} (first: {', '.join(names[:3])})")
    if faults:
        raise ValueError(
            f"{folder}: its tensors are not {name}'s: {'; '.join(faults)}; is this the right checkpoint? else {AGAIN}"
        )


def load_reader(cls: Any, folder: Path) -> Any:
    """What is no model, by cls.from_pretrained. Raises FileNotFoundError or ValueError, one line with a file's or the
    folder's name."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; {AGAIN}")
    check_json(folder)
    with naming(folder):
        reader = cls.from_pretrained(str(folder))
    if (names := vocabulary_of(reader)) is not None:
        lacking = [name for name in names if not (folder / name).is_file()]
        if lacking and not (folder / ALL).is_file():
            raise FileNotFoundError(f"{folder / lacking[0]} is missing, and so is {ALL}; {AGAIN}")
        if not (folder / CONFIG).is_file():
            raise FileNotFoundError(f"{folder / CONFIG} is missing; {AGAIN}")
        if "merges.txt" in names and not (folder / ALL).is_file():
            check_merges(folder)
    return reader


def vocabulary_of(reader: Any) -> list[str] | None:
    """The files beside ALL that a tokenizer, or that of a processor, can be read from; None where there is none."""
    names = getattr(getattr(reader, "tokenizer", reader), "vocab_files_names", None)
    return None if names is None else [name for kind, name in names.items() if kind != "tokenizer_file"]


def check_merges(folder: Path) -> None:
    """Raises ValueError for a merges.txt that makes too few of the words: it is empty, or was cut between two lines."""
    merges = folder / "merges.txt"
    with naming(folder / "vocab.json"):
        words = list(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
        made = {line.replace(" ", "") for line in merges.read_text(encoding="utf-8").split("\n")}
        unmade = sum(word not in made and len(word.removesuffix("</w>")) > 1 for word in words)
    if unmade > UNMADE * len(words):
        raise ValueError(f"{merges} is cut: it does not make {unmade} of the {len(words)} words; {AGAIN}")


def check_fit(folder: Path, reader: Any, models: Iterable[Any]) -> None:
    """Raises ValueError for a tokenizer without words, or with more than any of the models that may read them knows."""
    rows = {count for model in models if (count := embedded(model))}
    if (names := vocabulary_of(reader)) is None or not rows:
        return
    tokenizer = getattr(reader, "tokenizer", reader)
    size = len(tokenizer)
    if not len(tokenizer.all_special_ids) < size <= MOST * max(rows):
        read = ALL if (folder / ALL).is_file() else " and ".join(names)
        raise ValueError(
            f"{folder}: {read} has {size} tokens, and the model that reads them {' or '.join(map(str, sorted(rows)))}: "
            f"cut, or another model's; {AGAIN}"
        )


def embedded(model: Any) -> int | None:
    """How many tokens a model knows; None where it reads none."""
    try:
        return model.get_input_embeddings().num_embeddings
    except (AttributeError, NotImplementedError):
        return None


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' load reports and progress bars: what they warn of is refused here, by name."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    before = of_diffusers.get_verbosity(), of_transformers.get_verbosity()
    bars = of_transformers.is_progress_bar_enabled()
    of_diffusers.set_verbosity_error()
    of_transformers.set_verbosity(50)
    of_transformers.disable_progress_bar()
    of_diffusers.disable_progress_bar()
    try:
        yield
    finally:
        of_diffusers.set_verbosity(before[0])
        of_transformers.set_verbosity(before[1])
        of_diffusers.enable_progress_bar()
        if bars:
            of_transformers.enable_progress_bar()
