"""IPr2Pr as the Hub has it (timbrooks/instructpix2pix-clip-filtered): 262 parquet files, a row a pair, no ids.

A row is matched with the folder form by its three texts: with <folder>/prompt.json, or with line n of
gpt-generated-prompts.jsonl, whose folder is n in seven digits; the folder must stand in seeds.json. The id of a folder
with one seed is the folder form's; of several seeds none is guessed at, and the id names the folder alone. What cannot
be matched is called after its file and row. Splits: of a matched folder by its place in seeds.json, else by the row's
place among the files. Texts are read at once, images streamed by `datasets`, a window of a file at a time.
Assumption: the row is one of the folder's pairs; which one is stated nowhere.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mgie.io.files import HALVES, inside, read_json
from mgie.io.images import ImageError, from_bytes

TEXTS = ("original_prompt", "edit_prompt", "edited_prompt")
IMAGES = ("original_image", "edited_image")
PROMPTS = "gpt-generated-prompts.jsonl"
WINDOW = 128  # rows of a file that are in memory together, some 50 MB; pairs are shuffled within one
SPLITS = (("train", 0.9), ("val", 0.95), ("test", 1.0))  # of rows that match no folder: up to which place of the whole


class TrainingPair(NamedTuple):
    """One training example, images decoded (RGB)."""

    id: str
    input_image: Image.Image
    goal_image: Image.Image
    instruction: str
    expressive: str  # equal to the instruction where a model trains without expressive instructions


class HubRow(NamedTuple):
    """One row, its texts alone."""

    id: str
    group: str  # the folder, or the row itself
    split: str
    file: Path
    row: int
    instruction: str
    before: str  # caption of the input image
    after: str


SHARES = (0.9, 0.05, 0.05)


def positions(split: str, folders: int) -> range:
    """The places in seeds.json that belong to a split. The sum is the official one, rounding included."""
    train, val, _ = SHARES
    low, high = {"train": (0.0, train), "val": (train, train + val), "test": (train + val, 1.0)}[split]
    return range(math.floor(low * folders), math.floor(high * folders))


def files(root: Path) -> list[Path]:
    """The parquet files of a folder in order; none where they hold something else."""
    found = sorted(path for pattern in ("train-*.parquet", "data/train-*.parquet") for path in root.glob(pattern))
    return found if found and set(TEXTS + IMAGES) <= set(columns(found[0])) else []


def columns(file: Path) -> list[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(file).names
    except (pyarrow.ArrowInvalid, OSError):
        return []


def is_hub(root: Path) -> bool:
    """Whether the rows of the parquet files are the pairs: they are there, and no folder with images is."""
    return bool(files(root)) and next(root.glob("*/*_0.jpg"), None) is None


def listed(root: Path) -> list[HubRow]:
    """Every row of every file, without an image. Raises ValueError for a file that cannot be read."""
    import pyarrow
    from pyarrow import parquet

    index, found = Index.read(root), []
    paths = files(root)
    for number, file in enumerate(paths):
        part = re.fullmatch(r"train-(\d+)-of-(\d+).*", file.stem)
        k, of = (int(part[1]), int(part[2])) if part else (number, len(paths))
        try:
            texts = parquet.read_table(file, columns=list(TEXTS)).to_pylist()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(f"{file}: cannot be read ({error}). Next: python -m bench.fetch ipr2pr") from None
        for row, values in enumerate(texts):
            before, edit, after = (values[name] or "" for name in TEXTS)
            if any(not isinstance(text, str) or HALVES.search(text) for text in (before, edit, after)):
                raise ValueError(f"{file}, row {row}: its texts are no texts")
            folder, place = index.find((before, edit, after)), (k + row / len(texts)) / max(of, 1)
            if folder is not None:
                group, split = folder.name, folder.split
                name = f"{group}_{folder.seeds[0]}" if len(folder.seeds) == 1 else group
            else:
                group = name = f"hub-{k:05d}-{row:05d}"
                split = next(split for split, end in SPLITS if place < end)
            found.append(HubRow(f"ipr2pr/{split}/{name}", group, split, file, row, edit, before, after))
    return unique(found)


def unique(rows: list[HubRow]) -> list[HubRow]:
    """Two rows of one folder are told apart by file and row: which of them is which nobody can say."""
    seen: dict[str, int] = {}
    for row in rows:
        seen[row.id] = seen.get(row.id, 0) + 1
    return [row if seen[row.id] == 1 else row._replace(id=f"{row.id}-{row.file.stem[6:11]}-{row.row:05d}")
            for row in rows]  # fmt: skip


class Known(NamedTuple):
    """A folder of seeds.json."""

    name: str
    split: str
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """Folders by their three texts. None: several folders have them."""

    by_texts: dict[tuple[str, str, str], Known | None] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> "Index":
        path = root / "seeds.json"
        if not path.is_file():
            return cls()
        try:
            entries, known = json.loads(path.read_text(encoding="utf-8")), {}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not valid JSON ({error}); get it again") from None
        if not isinstance(entries, list):
            raise ValueError(f"{path}: expected a list of [folder, [seed, ...]]")
        at = {name: positions(name, len(entries)) for name, _ in SPLITS}
        for i, entry in enumerate(entries):
            if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
                raise ValueError(f"{path}, entry {i}: {entry!r:.60} is not [folder, [seed, ...]]")
            split = next(name for name, places in at.items() if i in places)
            known[entry[0]] = Known(entry[0], split, tuple(map(str, entry[1])))
        found: dict[tuple[str, str, str], Known | None] = {}
        for name, texts in (*lines(root / PROMPTS), *prompts(root, known)):
            if name in known:
                other = found.get(texts)
                found[texts] = known[name] if texts not in found or other == known[name] else None
        return cls(found)

    def find(self, texts: tuple[str, str, str]) -> Known | None:
        return self.by_texts.get(texts)


def texts_of(record: Any) -> tuple[str, str, str] | None:
    if not isinstance(record, dict):
        return None
    before, edit, after = record.get("input", record.get("caption")), record.get("edit"), record.get("output")
    if isinstance(edit, str) and all(text is None or isinstance(text, str) for text in (before, after)):
        return before or "", edit, after or ""
    return None


def prompts(root: Path, known: dict[str, Known]) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for name in known:
        path = inside(root, name, str(root / "seeds.json")) / "prompt.json"
        if path.is_file() and (texts := texts_of(read_json(path))):
            yield name, texts


def lines(path: Path) -> Iterator[tuple[str, tuple[str, str, str]]]:
    if path.is_file():
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file):
                try:
                    texts = texts_of(json.loads(line))
                except (ValueError, RecursionError):
                    texts = None
                if texts:
                    yield f"{number:07d}", texts


def stream(file: Path, start: int) -> Iterator[dict]:
    """Rows of a file from `start` on, images as {bytes, path}, by `datasets`; nothing is copied to a cache."""
    from datasets import Image, load_dataset

    data = load_dataset("parquet", data_files=[str(file)], split="train", streaming=True)
    for name in IMAGES:
        data = data.cast_column(name, Image(decode=False))
    yield from data.skip(start) if start else data


def windows_of(rows: Sequence[HubRow]) -> list[list[range]]:
    """By file, indices that lie close together in it: WINDOW rows at most."""
    found: dict[Path, list[range]] = {}
    first = 0
    for i in range(1, len(rows) + 1):
        if i == len(rows) or rows[i].file != rows[first].file or rows[i].row - rows[first].row >= WINDOW:
            found.setdefault(rows[first].file, []).append(range(first, i))
            first = i
    return list(found.values()) if rows else []


def image_bytes(row: dict, name: str, where: str) -> bytes:
    value = row[name]
    data = value.get("bytes") if isinstance(value, dict) else None
    if not data:
        raise ImageError(f"{where} has no bytes in {name}")
    return data


class Window:
    """The rows of one window at a time: going on in the same file reads on, going elsewhere opens anew."""

    def __init__(self) -> None:
        self.file: Path | None = None
        self.next = 0
        self.rows: Iterator[dict] = iter(())
        self.held: dict[int, dict] = {}

    def get(self, wanted: Sequence[HubRow], row: HubRow) -> dict:
        """wanted: all rows of the window that `row` lies in."""
        if self.file != row.file or row.row not in self.held:
            if self.file != row.file or self.next > wanted[0].row:
                self.file, self.next, self.rows = row.file, wanted[0].row, stream(row.file, wanted[0].row)
            numbers, self.held = {other.row for other in wanted}, {}
            while self.next <= wanted[-1].row:
                data = next(self.rows)
                if self.next in numbers:
                    self.held[self.next] = data
                self.next += 1
        return self.held[row.row]


@dataclass
class HubPairs:
    """Training pairs that are rows of the Hub's files."""

    rows: tuple[HubRow, ...]
    expressive: dict[str, str] | None = None  # by id; None: the instruction
    window: Window = field(default_factory=Window)

    def __post_init__(self) -> None:
        self.windows = windows_of(self.rows)  # what mgie.train.loop shuffles within
        self.at = [window for file in self.windows for window in file for _ in window]

    def __getstate__(self) -> dict:
        return {"rows": self.rows, "expressive": self.expressive}  # a worker process opens its own files

    def __setstate__(self, state: dict) -> None:
        self.rows, self.expressive, self.window = state["rows"], state["expressive"], Window()
        self.__post_init__()

    def only(self, known: dict[str, str]) -> "HubPairs":
        return replace(self, rows=tuple(row for row in self.rows if row.id in known), expressive=known)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TrainingPair:
        row, near = self.rows[index], self.at[index]
        data, where = self.window.get(self.rows[near.start : near.stop], row), f"{row.file}, row {row.row}"
        before, after = (from_bytes(image_bytes(data, name, where), f"{where}, {name}") for name in IMAGES)
        return TrainingPair(row.id, before, after, *self._text(row))

    def texts(self) -> list[tuple[str, str]]:
        return [self._text(row) for row in self.rows]

    def _text(self, row: HubRow) -> tuple[str, str]:
        instruction = row.instruction.strip()
        return instruction, self.expressive[row.id].strip() if self.expressive else instruction
