"""The Hub's MagicBrush (osunlp/MagicBrush, parquet or arrow, six columns) laid out once like the authors' zip.

For turn 2 and later source_img is the previous turn's goal image, so it is stored once. Images are written as the rows
hold them, byte for byte, with the ending of their format (a JPEG's orientation, profile and inks are read by
mgie.io.images as anywhere), each atomically; source.json comes last and names the files it was made from.
Not covered: the first revisions, which had input_img and output_img and no masks.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mgie.io.files import NotYet, is_looking, write_whole

FOLDER = "from-hub"
COLUMNS = ("img_id", "turn_index", "source_img", "mask_img", "instruction", "target_img")
PNG = b"\x89PNG\r\n\x1a\n"
ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}  # others: the format's own name
LAYOUT = {"images": "own bytes"}  # in source.json; a folder without it was written when JPEGs became PNGs


def hub_files(root: Path, split: str) -> list[Path]:
    """A split's parquet files, or else its arrow files, wherever the usual downloads put them."""
    for end in ("parquet", "arrow"):
        found = [
            path
            for pattern in (f"{split}*.{end}", f"*-{split}*.{end}", f"data/{split}*.{end}", f"{split}/*.{end}")
            for path in root.glob(pattern)
        ]
        if found:
            return sorted(set(found))
    return []


def lay_out(files: list[Path], folder: Path) -> Path:
    """folder, holding the files' turns in the zip's layout. Written when it is not there, or made from other files."""
    made_from = {path.name: path.stat().st_size for path in files} | LAYOUT
    stamp = folder / "source.json"
    if is_of(stamp, made_from):
        return folder
    if is_looking():
        raise NotYet(f"{len(files)} files of the Hub are laid out at first use, in minutes, into {folder}")
    turns: list[dict] = []
    sessions: dict[str, list[tuple[int, dict]]] = {}
    goals: dict[str, Goal] = {}
    for row in rows(files, folder / ".datasets"):
        turn = write_turn(row, folder / "images", goals)
        turns.append(turn)
        sessions.setdefault(row["img_id"], []).append((row["turn_index"], turn))
    ordered = {img_id: [turn for _, turn in sorted(s, key=lambda pair: pair[0])] for img_id, s in sessions.items()}
    for name, data in (("edit_turns", turns), ("edit_sessions", ordered), ("source", made_from)):
        write_whole(json.dumps(data, indent=1, ensure_ascii=False).encode(), folder / f"{name}.json")
    return folder


def is_of(stamp: Path, made_from: dict[str, int | str]) -> bool:
    """False where the stamp is absent or damaged: the folder is then written again."""
    try:
        return json.loads(stamp.read_text(encoding="utf-8")) == made_from
    except (OSError, ValueError, RecursionError):
        return False


def rows(files: list[Path], cache: Path) -> Iterator[dict]:
    """The rows with image columns as {bytes, path}. Streamed, with an own cache folder: the library then keeps no copy
    of the images, and nothing at all in the home folder."""
    from datasets import Image, load_dataset

    kind = files[0].suffix[1:]
    try:
        names = [str(path) for path in files]
        data = load_dataset(kind, data_files=names, split="train", streaming=True, cache_dir=str(cache))
        columns = data.column_names or list(next(iter(data), {}))
        missing = [column for column in COLUMNS if column not in columns]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}; it has {', '.join(columns) or 'none'}")
        for column in ("source_img", "mask_img", "target_img"):
            data = data.cast_column(column, Image(decode=False))
        yield from data
    except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors
        raise ValueError(
            f"{', '.join(map(str, files[:3]))}: cannot be read as MagicBrush's {kind} files: {error}. "
            "Get them again: python -m bench.fetch magicbrush"
        ) from error


class Stored(NamedTuple):
    """An image as a row holds it."""

    data: bytes
    ending: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.data).digest()


class Goal(NamedTuple):
    """A goal image that was written, which the next turn may start from."""

    digest: bytes
    name: str


def write_turn(row: dict, images: Path, goals: dict[str, Goal]) -> dict:
    """Writes a turn's images; returns its record in edit_turns.json. goals: those of the turns seen so far."""
    img_id, number = row["img_id"], row["turn_index"]
    if not isinstance(img_id, str) or not re.fullmatch(r"\w+", img_id) or type(number) is not int or number < 1:
        raise ValueError(f"MagicBrush: a row has img_id {img_id!r}, turn_index {number!r}; expected an id and 1, 2")
    source, mask, goal = (stored(row, column) for column in ("source_img", "mask_img", "target_img"))
    before = goals.get(f"{img_id}-{number - 1}")
    names = {
        "input": f"{img_id}-input{number if number > 1 else ''}{source.ending}",
        "mask": f"{img_id}-mask{number}{mask.ending}",
        "output": f"{img_id}-output{number}{goal.ending}",
    }
    if before is not None and before.digest == source.digest:
        names["input"] = before.name
    else:
        write_whole(source.data, images / img_id / names["input"])
    write_whole(mask.data, images / img_id / names["mask"])
    write_whole(goal.data, images / img_id / names["output"])
    goals[f"{img_id}-{number}"] = Goal(goal.digest, names["output"])
    return {**names, "instruction": row["instruction"]}


def stored(row: dict, column: str) -> Stored:
    """The image of a row. Raises ValueError where there is none, ImageError for one of too many pixels."""
    where = f"MagicBrush: {row['img_id']} turn {row['turn_index']}"
    data = (row[column] or {}).get("bytes")
    if not data:
        raise ValueError(f"{where} has no bytes in {column}")
    if data.startswith(PNG):
        return Stored(data, ".png")
    from PIL import Image

    from mgie.io.images import BROKEN, ImageError, refuse_bomb

    try:
        with Image.open(io.BytesIO(data)) as image:
            refuse_bomb(image, f"{where}, {column}")
            assert image.format is not None  # PIL names the format of each file it opens
            return Stored(data, ENDINGS.get(image.format, f".{image.format.lower()}"))
    except ImageError:
        raise
    except BROKEN as error:
        raise ValueError(f"{where}, {column} is no image ({error}); get the files again") from error
