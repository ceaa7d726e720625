"""The ml-mgie repack of IPr2Pr: ipr2pr.tsv (a line = base64 JPEG before, tab, base64 JPEG after) and its JSON.

Convention: apple/ml-mgie process_data.ipynb at 835af37. Its index ipr2pr.pkl is never unpickled: the lines of the .tsv
are in the order of the entries of ipr2pr_expressive.json, and their byte offsets are found by one scan.
"""

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from bench.images import BROKEN, ImageError, refuse_bomb, to_rgb
from mgie.jsonfile import read_json
from mgie.training_data import Pair

TSV, EXPRESSIVE = "ipr2pr.tsv", "ipr2pr_expressive.json"


@dataclass(frozen=True)
class RepackPairs:
    tsv: Path
    offsets: tuple[int, ...]
    names: tuple[str, ...]  # "ipr2pr/train/0000132_127380018"
    text: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, root: Path) -> "RepackPairs":
        """Raises FileNotFoundError or ValueError that names the file and how it does not fit."""
        tsv, expressive = root / TSV, root / EXPRESSIVE
        if not expressive.is_file():
            raise FileNotFoundError(
                f"{expressive}: no such file; the repack's instructions are in it (from the ml-mgie README: _data)")
        try:
            entries = read_json(expressive)
            text = tuple((entry["instruction"].strip(), entry["expressive"].strip()) for entry in entries.values())
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{expressive}: expected {{"0000132_127380018_0": {{"instruction": ..., "expressive": '
                             f'...}}}}: {error!r}') from error
        offsets = line_offsets(tsv)
        if len(offsets) != len(text):
            raise ValueError(f"{tsv} has {len(offsets)} lines, {expressive} {len(text)} entries; they are matched in "
                             "order, so one of them is incomplete")
        names = tuple(f"ipr2pr/train/{key.removesuffix('_0')}" for key in entries)
        return cls(tsv, offsets, names, text)

    def plain(self) -> "RepackPairs":
        """The same pairs for a model that trains on the instruction."""
        return replace(self, text=tuple((instruction, instruction) for instruction, _ in self.text))

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> Pair:
        with open(self.tsv, "rb") as file:
            file.seek(self.offsets[index])
            columns = file.readline().split(b"\t")
        if len(columns) != 2:
            raise ImageError(f"{self.tsv}, byte {self.offsets[index]}: {len(columns)} columns, expected 2")
        return Pair(self.names[index], *(self._decode(column, index) for column in columns), *self.text[index])

    def texts(self) -> list[tuple[str, str]]:
        return list(self.text)

    def _decode(self, column: bytes, index: int) -> Image.Image:
        try:
            with Image.open(io.BytesIO(base64.b64decode(column.strip(), validate=True))) as image:
                refuse_bomb(image, f"{self.tsv}, byte {self.offsets[index]}")
                image.load()
                return to_rgb(image)
        except ImageError:
            raise
        except BROKEN as error:
            raise ImageError(f"{self.tsv}, byte {self.offsets[index]}: not a base64 JPEG: {error}") from error


def line_offsets(path: Path) -> tuple[int, ...]:
    offsets, at = [], 0
    with open(path, "rb") as file:
        for line in file:
            if line.strip():
                offsets.append(at)
            at += len(line)
    return tuple(offsets)
