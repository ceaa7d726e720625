"""Official checkpoint files, one tensor at a time: sharded folders, single files, .bin, .pt and .safetensors.

Files are mapped, not read, and no pickle runs code (weights_only). Layouts: transformers' save_pretrained, and what
extract_ckpt.ipynb of apple/ml-mgie at 835af37 writes. Not covered: Meta's consolidated.*.pth, which transformers turns
into its own layout.
"""

import hashlib
import io
import pickle
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.jsonfile import read_json

if TYPE_CHECKING:
    from torch import Tensor

SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<of>\d{5})(?P<suffix>\.safetensors|\.bin)")
# what torch's own unpickler raises on a damaged file, from fuzzing it
DAMAGED = (
    RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError,
    ArithmeticError, struct.error,
)  # fmt: skip
REOPEN_AFTER = 2**30  # bytes read from a mapped file until it is mapped anew, so that its pages leave our memory


def open_tensors(path: Path) -> "dict[str, Tensor]":
    """name -> tensor on the CPU, mapped from the file. ValueError: damaged, no tensors, or a pickle that holds code."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a checkpoint file")
    tensors = open_safetensors(path) if path.suffix == ".safetensors" else open_pickle(path)
    odd = [name for name, value in tensors.items() if not hasattr(value, "dtype")]
    if odd or not tensors:
        found = f"'{odd[0]}' is a {type(tensors[odd[0]]).__name__}" if odd else "it is empty"
        raise ValueError(f"{path} is no table of tensors: {found}; expected name -> tensor")
    return tensors


def open_safetensors(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}); get it again") from error


def open_pickle(path: Path) -> "dict[str, Tensor]":
    import torch

    refuse_foreign(path)
    try:
        try:
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            with Whole(path) as file:  # older torch's format cannot be mapped
                data = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not re.search(r"WeightsUnpickler error|GLOBAL|[Uu]nsupported", str(error)):
            raise ValueError(f"{path} is cut short or damaged ({first_line(error)}); get it again") from error
        raise ValueError(
            f"{path} holds more than tensors, and loading it would run code from the file: refused. "
            f"Expected a plain state dict ({first_line(error)})"
        ) from error
    except DAMAGED as error:
        raise ValueError(f"{path} is cut short or damaged ({first_line(error)}); get it again") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}; expected a state dict, name -> tensor")
    return data


class Whole(io.BufferedReader):
    """A file that gives no more than it holds: Python makes room first for whatever number of bytes is asked for, and
    a damaged pickle asks for gigabytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def refuse_foreign(path: Path) -> None:
    """ValueError for a file that is no checkpoint at all: a web page, a git-lfs pointer, an empty file."""
    with open(path, "rb") as file:
        begin = file.read(40)
    if not begin.startswith((b"PK", b"\x80")):  # torch's zip, or the pickle of older torch
        shown = begin.decode("ascii", "replace").split("\n")[0]
        raise ValueError(
            f"{path} is damaged or no checkpoint: it begins with {shown!r} "
            "(an unfinished download, a web page, a git-lfs pointer?); get it again"
        )


def first_line(error: Exception) -> str:
    """The part of torch's page-long message that says what is wrong."""
    text = str(error)
    match = re.search(r"(GLOBAL [^\n]*? (?:was not an allowed global|is blocked)|Unsupported [^\n.]*)", text)
    return match[0] if match else (text.splitlines() or [type(error).__name__])[0][:160]


def checkpoint_files(where: Path) -> list[Path]:
    """The weight files of a folder (or the file itself), every one of which exists. FileNotFoundError names a gap."""
    if where.is_file():
        return [where]
    if not where.is_dir():
        raise FileNotFoundError(f"{where} does not exist; expected a checkpoint folder as transformers saves it")
    for index, single in zip(INDEX, SINGLE, strict=True):
        if (where / index).is_file():
            names = sorted(set(weight_map(where / index).values()))
        elif (where / single).is_file():
            names = [single]
        else:
            names = unindexed_shards(where, Path(single).suffix)
        if names:
            return complete(where, names)
    if list(where.glob("consolidated.*.pth")):
        raise ValueError(
            f"{where} is in Meta's own format (consolidated.*.pth); turn it into transformers' format first "
            "(transformers: convert_llama_weights_to_hf.py)"
        )
    raise FileNotFoundError(f"{where} holds no weights; expected one of {', '.join(SINGLE + INDEX)}")


def weight_map(index: Path) -> dict[str, str]:
    """tensor -> file name, of an index; a name that would lead out of its folder is refused, never opened."""
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{index} has no weight_map of tensors and files; get it again")
    for tensor, name in found.items():
        if not isinstance(name, str) or Path(name).name != name or name == ".." or "\0" in name:
            raise ValueError(f"{index}: {tensor} is said to be in {name!r:.60}; expected the name of a file beside it")
    return found


def unindexed_shards(where: Path, suffix: str) -> list[str]:
    """pytorch_model-00001-of-00002.bin says how many there must be, also without an index."""
    found = [m for m in (SHARD.fullmatch(p.name) for p in where.iterdir()) if m and m["suffix"] == suffix]
    if not found:
        return []
    stem, of = found[0]["stem"], found[0]["of"]
    return [f"{stem}-{number:05d}-of-{of}{suffix}" for number in range(1, int(of) + 1)]


def complete(where: Path, names: list[str]) -> list[Path]:
    missing = [name for name in names if not (where / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{where}: {len(missing)} of {len(names)} weight files missing (first: {missing[0]}); get them again"
        )
    return [where / name for name in names]


class Shards:
    """The tensors of a checkpoint by name, read when they are asked for; at most one file is open."""

    def __init__(self, where: Path) -> None:
        self.where = Path(where)
        self.files = checkpoint_files(self.where)
        self.place: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path in self.files:
            for name, tensor in open_tensors(path).items():
                if name in self.place:
                    raise ValueError(f"{where}: {name} is in both {self.place[name].name} and {path.name}")
                self.place[name], self.shapes[name] = path, tuple(tensor.shape)
        self._check_index()
        self._path, self._open, self._read = None, {}, 0

    def _check_index(self) -> None:
        """Every tensor that the index promises is in the files."""
        index = self.where / INDEX[self.files[0].suffix == ".bin"]
        if self.where.is_dir() and index.is_file():
            absent = sorted(weight_map(index).keys() - self.place.keys())
            if absent:
                raise ValueError(f"{index}: {len(absent)} of its tensors are in no file (first: {absent[0]})")

    def __contains__(self, name: str) -> bool:
        return name in self.place

    def get(self, name: str) -> "Tensor":
        """A copy of the tensor, as stored."""
        path = self.place[name]
        if path != self._path or self._read > REOPEN_AFTER:
            self._open = {}
            self._path, self._open, self._read = path, open_tensors(path), 0
        tensor = self._open[name].clone()
        self._read += tensor.numel() * tensor.element_size()
        return tensor

    def sha256(self) -> dict[str, str]:
        """file name -> SHA-256"""
        return {path.name: file_sha256(path) for path in self.files}


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
