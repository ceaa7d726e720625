"""Official checkpoint files, one tensor at a time: sharded folders, single files, .bin, .pt and .safetensors.

Files are mapped, not read, and no pickle runs code (weights_only). Layouts: transformers' save_pretrained, and what
extract_ckpt.ipynb of apple/ml-mgie at 835af37 writes. Not covered: Meta's consolidated.*.pth, which transformers turns
into its own layout.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.io.files import read_json
from mgie.io.hashes import file_digest
from mgie.io.weights import open_tensors

if TYPE_CHECKING:
    from torch import Tensor

SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<of>\d{5})(?P<suffix>\.safetensors|\.bin)")
REOPEN_AFTER = 2**30  # bytes read from a mapped file until it is mapped anew, so that its pages leave our memory


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
        self._path: Path | None = None
        self._open: dict[str, Tensor] = {}
        self._read = 0

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
        return {path.name: file_digest(path) for path in self.files}
