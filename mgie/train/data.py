"""Training pairs from disk: IPr2Pr folders, the ml-mgie repack, any benchmark's train split, expressive instructions.

Convention: apple/ml-mgie process_data.ipynb and mgie_train.py at 835af37: each seed of an IPr2Pr folder is a pair, no
flip, no random crop. Its .pkl index is never opened. Expressive instructions: mgie.expressive's JSONL, or the official
ipr2pr_expressive.json. Plain IPr2Pr folders and the repack are read here, the Hub's parquet files by ipr2pr_hub.py, a
benchmark by who is installed for it (READERS). Not covered: preprocessing (mgie.train.batches).
"""

import base64
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, TypeGuard

from PIL import Image

from mgie.io.files import HALVES, read_json
from mgie.io.images import ImageError, from_bytes
from mgie.train import ipr2pr_hub
from mgie.train.index import Example, PlainExample, indexed, table_lines
from mgie.train.ipr2pr_hub import TrainingPair

# how --data is recognised when --dataset is not given: dataset -> a path that only its layout has
LAYOUTS = {
    "ipr2pr": ("seeds.json", "ipr2pr.tsv", "*/prompt.json"),
    "evr": ("dataset/*/train.json",),
    "gier": ("GIER.json",),
    "ma5k": ("annotations/train_sess_1.json",),
    "magicbrush": ("train/edit_turns.json", "edit_turns.json", "data/train-*.parquet"),
}
MAX_LACKING = 0.01  # of the examples; what has no expressive instruction is left out, up to this share
INSTRUCTION = "instruction"  # --expressive instruction: the instruction itself is the target text
READERS = "mgie.examples"  # group of entry points: (dataset, its own folder, split) -> the examples of that split


class Pairs(Protocol):
    """What the trainer reads. Pair i is the same each time it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TrainingPair: ...

    def texts(self) -> list[tuple[str, str]]:
        """(instruction, expressive instruction) of each pair; no image is opened."""
        ...


@dataclass(frozen=True)
class FilePairs:
    """Pairs whose images are files."""

    examples: Sequence[Example]
    expressive: dict[str, str] | None = None  # by example id; None: the instruction

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> TrainingPair:
        from mgie.io import images

        example = self.examples[index]
        assert example.goal_image is not None  # read_pairs leaves the others out
        before, after = images.load(example.input_image), images.load(example.goal_image)
        return TrainingPair(example.id, before, after, *self._text(example))

    def texts(self) -> list[tuple[str, str]]:
        return [self._text(example) for example in self.examples]

    def _text(self, example: Example) -> tuple[str, str]:
        instruction = example.instruction.strip()
        return instruction, self.expressive[example.id].strip() if self.expressive else instruction


def recognise(root: Path) -> str:
    """The dataset whose layout lies under root."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"--data {root}: no such folder. It is one dataset's own folder, e.g. data/ipr2pr: an IPr2Pr download "
            "(http://instruct-pix2pix.eecs.berkeley.edu/), an ml-mgie repack or a benchmark with its train split"
        )
    if ipr2pr_hub.is_hub(root):
        return "ipr2pr"
    for dataset, patterns in LAYOUTS.items():
        if any(next(root.glob(pattern), None) for pattern in patterns):
            return dataset
    expected = "; ".join(f"{dataset}: {' or '.join(patterns)}" for dataset, patterns in LAYOUTS.items())
    inside = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
    raise FileNotFoundError(
        f"--data {root}: no training data known here (it holds {inside}). Expected one of: {expected}. "
        "The parent of several datasets is too high: name one dataset's folder"
    )


def dataset_folder(root: Path, dataset: str | None) -> tuple[Path, str]:
    """(the dataset's own folder, its name). dataset: its name, then root may be the parent of several; None: look."""
    if dataset is not None and (root / dataset).is_dir():
        return root / dataset, dataset
    return root, dataset or recognise(root)


def read_pairs(
    root: Path, dataset: str, expressive: str | None, needs_expressive: bool, index: Path | None = None
) -> Pairs:
    """The pairs of root's train split. expressive: a file, INSTRUCTION, or None to look next to the data.

    index: a file that keeps what was found on the disk, so that a run that goes on need not look at each image again.
    """
    if dataset == "ipr2pr" and (root / "ipr2pr.tsv").exists():
        pairs = RepackPairs.read(root, index)
        if needs_expressive and expressive not in (None, INSTRUCTION):
            raise ValueError(f"--expressive {expressive}: the repack in {root} holds its own in ipr2pr_expressive.json")
        return pairs if needs_expressive and expressive != INSTRUCTION else pairs.plain()
    if dataset == "ipr2pr" and ipr2pr_hub.is_hub(root):
        return hub_pairs(root, expressive, needs_expressive)
    usable: Sequence[Example] = indexed(index, root, dataset, lambda: look(root, dataset))
    if not needs_expressive or expressive == INSTRUCTION:
        return FilePairs(usable)
    known = expressive_for([example.id for example in usable], root, dataset, expressive)
    told = [example for example in usable if example.id in known]
    left_out(len(usable), len(told), "no expressive instruction")
    return FilePairs(told, known)


def look(root: Path, dataset: str) -> list[Example]:
    """The train split's examples with both images on the disk."""
    plain = is_plain_ipr2pr(root, dataset)
    examples: Sequence[Example] = plain_folders(root) if plain else split_of(dataset, root, "train")
    usable = [e for e in examples if e.goal_image and e.input_image.exists() and e.goal_image.exists()]
    if not usable:
        missing = f", none with both images on disk (first: {examples[0].input_image})" if examples else ""
        raise FileNotFoundError(f"--data {root}: {len(examples)} {dataset} training examples{missing}")
    left_out(len(examples), len(usable), "an image is not there")
    return usable


def hub_pairs(root: Path, expressive: str | None, needs_expressive: bool) -> Pairs:
    """The train rows of the Hub's parquet files, streamed."""
    rows = [row for row in ipr2pr_hub.listed(root) if row.split == "train"]
    pairs = ipr2pr_hub.HubPairs(tuple(row for row in rows if row.instruction.strip()))
    left_out(len(rows), len(pairs), "the instruction is empty")
    if not pairs.rows:
        raise FileNotFoundError(f"--data {root}: no row of its parquet files belongs to split train")
    if not needs_expressive or expressive == INSTRUCTION:
        return pairs
    told = pairs.only(expressive_for([row.id for row in pairs.rows], root, "ipr2pr", expressive))
    left_out(len(pairs), len(told), "no expressive instruction")
    return told


def left_out(before: int, after: int, reason: str) -> None:
    if after < before:
        print(f"{before - after} of {before} training examples left out: {reason}", file=sys.stderr)


def is_plain_ipr2pr(root: Path, dataset: str) -> bool:
    return dataset == "ipr2pr" and not (root / "seeds.json").exists() and not ipr2pr_hub.is_hub(root)


def plain_folders(root: Path) -> list[PlainExample]:
    """Every pair under root/<folder>/<seed>_{0,1}.jpg with its prompt.json; no seeds.json, so no splits: all train."""
    examples = []
    for prompt in sorted(root.glob("*/prompt.json")):
        instruction = read_json(prompt).get("edit")
        if not is_text(instruction):
            raise ValueError(f'{prompt}: edit is {instruction!r:.60}; expected JSON like {{"edit": "make it blue"}}')
        for image in sorted(prompt.parent.glob("*_0.jpg")):
            seed = image.name.removesuffix("_0.jpg")
            name = f"ipr2pr/train/{prompt.parent.name}_{seed}"
            goal = image.with_name(f"{seed}_1.jpg")
            examples.append(PlainExample(name, image, goal, instruction))
    return examples


def is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and not HALVES.search(value)


def split_of(dataset: str, root: Path, split: str) -> list[Example]:
    """The examples of a benchmark's split, by whoever is installed to read it. root: the dataset's own folder.

    Raises ValueError where nobody is, and what the reader raises: ValueError for an unknown name or split,
    FileNotFoundError where the files are not.
    """
    reader = next(iter(entry_points(group=READERS)), None)
    if reader is None:
        raise ValueError(f"{root}: nobody who reads {dataset} is installed; in the repository run: pip install -e .")
    try:
        examples_of = reader.load()
    except (ImportError, AttributeError) as error:  # as after an update that moved it
        raise ValueError(
            f"{root}: who reads {dataset} is installed as {reader.value}, which cannot be imported "
            f"({error}); in the repository run: pip install -e ."
        ) from error
    return examples_of(dataset, root, split)


def expressive_for(ids: Sequence[str], root: Path, dataset: str, file: str | None) -> dict[str, str]:
    """Expressive instructions by id, none empty; all but MAX_LACKING of the examples have one."""
    looked = (
        [Path(file)]
        if file
        else [root / "expressive.jsonl", root / "ipr2pr_expressive.json", root.parent / f"{root.name}_expressive.jsonl"]
    )
    found = next((path for path in looked if path.is_file()), None)
    make = (
        f"python -m mgie.expressive --data {root} --dataset {dataset} --split train --llava DIR --summarizer DIR "
        f"--out {looked[0]}"
    )
    if found is None:
        raise FileNotFoundError(
            f"no expressive instructions: {' nor '.join(map(str, looked))} exists.\nMake them: {make}\n"
            f"or train on the plain instruction as its own target: --expressive {INSTRUCTION}"
        )
    known = {name: text for name, text in read_expressive(found).items() if text.strip()}
    lacking = [name for name in ids if name not in known]
    if len(lacking) > MAX_LACKING * len(ids):
        raise ValueError(
            f"{found}: no expressive instruction for {len(lacking)} of {len(ids)} training examples "
            f"(first: {lacking[0]}); the file holds {len(known)}.\nFinish it (it resumes): {make}"
        )
    return known


def read_expressive(path: Path) -> dict[str, str]:
    """Example id -> expressive instruction, from mgie.expressive's JSONL or the official JSON."""
    try:
        if path.suffix == ".json":  # official: {"0000132_127380018_0": {"instruction": ..., "expressive": ...}}
            entries = [(f"ipr2pr/train/{key.removesuffix('_0')}", entry) for key, entry in read_json(path).items()]
        else:  # a last line without its newline was cut by a kill
            text = path.read_text(encoding="utf-8")
            lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].split("\n") if line.strip()]
            entries = [(line["id"], line) for line in lines]
        found = {name: entry["expressive"] for name, entry in entries}
        odd = [text for text in (*found, *found.values()) if not is_text(text)]
        if odd:
            raise TypeError(f"{odd[0]!r:.60} is no text")
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f'{path}: expected lines like {{"id": ..., "instruction": ..., "expressive": ...}} (.jsonl) or the '
            f"official ipr2pr_expressive.json: {error!r}"
        ) from error


TSV, EXPRESSIVE = "ipr2pr.tsv", "ipr2pr_expressive.json"


@dataclass(frozen=True)
class RepackPairs:
    tsv: Path
    offsets: tuple[int, ...]
    names: tuple[str, ...]  # "ipr2pr/train/0000132_127380018"
    text: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, root: Path, index: Path | None = None) -> "RepackPairs":
        """index: as of read_pairs. Raises FileNotFoundError or ValueError: the file, and how it does not fit."""
        tsv, expressive = root / TSV, root / EXPRESSIVE
        if not expressive.is_file():
            raise FileNotFoundError(
                f"{expressive}: no such file; the repack's instructions are in it (from the ml-mgie README: _data)"
            )
        try:
            entries = read_json(expressive)
            text = tuple((entry["instruction"].strip(), entry["expressive"].strip()) for entry in entries.values())
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{expressive}: expected {{"0000132_127380018_0": {{"instruction": ..., "expressive": '
                f"...}}}}: {error!r}"
            ) from error
        offsets = table_lines(index, tsv, lambda: line_offsets(tsv))
        if len(offsets) != len(text):
            raise ValueError(
                f"{tsv} has {len(offsets)} lines, {expressive} {len(text)} entries; they are matched in "
                "order, so one of them is incomplete"
            )
        names = tuple(f"ipr2pr/train/{key.removesuffix('_0')}" for key in entries)
        return cls(tsv, offsets, names, text)

    def plain(self) -> "RepackPairs":
        """The same pairs for a model that trains on the instruction."""
        return replace(self, text=tuple((instruction, instruction) for instruction, _ in self.text))

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> TrainingPair:
        with open(self.tsv, "rb") as file:
            file.seek(self.offsets[index])
            columns = file.readline().split(b"\t")
        if len(columns) != 2:
            raise ImageError(f"{self.tsv}, byte {self.offsets[index]}: {len(columns)} columns, expected 2")
        before, after = (self._decode(column, index) for column in columns)
        return TrainingPair(self.names[index], before, after, *self.text[index])

    def texts(self) -> list[tuple[str, str]]:
        return list(self.text)

    def _decode(self, column: bytes, index: int) -> Image.Image:
        where = f"{self.tsv}, byte {self.offsets[index]}"
        try:
            data = base64.b64decode(column.strip(), validate=True)
        except ValueError as error:
            raise ImageError(f"{where}: not a base64 JPEG: {error}") from error
        return from_bytes(data, where)


def line_offsets(path: Path) -> tuple[int, ...]:
    offsets, at = [], 0
    with open(path, "rb") as file:
        for line in file:
            if line.strip():
                offsets.append(at)
            at += len(line)
    return tuple(offsets)


def examples_of(root: Path, dataset: str, split: str) -> Sequence[Example]:
    """root: the dataset's own folder, or the parent that holds it under the dataset's name."""
    root = root / dataset if (root / dataset).is_dir() else root
    plain = split == "train" and is_plain_ipr2pr(root, dataset)
    examples: Sequence[Example] = plain_folders(root) if plain else split_of(dataset, root, split)
    if not examples:
        raise FileNotFoundError(f"{root} holds no example of {dataset}, split {split}")
    return examples
