"""The Hub's MagicBrush (osunlp/MagicBrush, parquet or arrow, six columns) laid out once like the authors' zip.

For turn 2 and later source_img is the previous turn's goal image, so it is stored once. Images are written as PNG, a
PNG's own bytes unchanged, each atomically; source.json comes last and names the files it was made from.
Not covered: the first revisions, which had input_img and output_img and no masks.
"""

import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = "from-hub"
COLUMNS = ("img_id", "turn_index", "source_img", "mask_img", "instruction", "target_img")
PNG = b"\x89PNG\r\n\x1a\n"


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
    made_from = {path.name: path.stat().st_size for path in files}
    stamp = folder / "source.json"
    if is_of(stamp, made_from):
        return folder
    turns, sessions, last_goal = [], {}, {}
    for row in rows(files, folder / ".datasets"):
        turn = write_turn(row, folder / "images", last_goal)
        turns.append(turn)
        sessions.setdefault(row["img_id"], []).append((row["turn_index"], turn))
    ordered = {img_id: [turn for _, turn in sorted(s, key=lambda pair: pair[0])] for img_id, s in sessions.items()}
    for name, data in (("edit_turns", turns), ("edit_sessions", ordered), ("source", made_from)):
        write(folder / f"{name}.json", json.dumps(data, indent=1, ensure_ascii=False).encode())
    return folder


def is_of(stamp: Path, made_from: dict[str, int]) -> bool:
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
            "Get them again: hf download osunlp/MagicBrush --repo-type dataset"
        ) from error


def write_turn(row: dict, images: Path, last_goal: dict[str, bytes]) -> dict:
    """Writes a turn's images; returns its record in edit_turns.json. last_goal: the goal image of turns seen so far."""
    img_id, number = row["img_id"], row["turn_index"]
    if not isinstance(img_id, str) or not re.fullmatch(r"\w+", img_id) or type(number) is not int or number < 1:
        raise ValueError(f"MagicBrush: a row has img_id {img_id!r}, turn_index {number!r}; expected an id and 1, 2")
    names = {"input": "-input.png", "mask": f"-mask{number}.png", "output": f"-output{number}.png"}
    names = {key: img_id + end for key, end in names.items()}
    source, goal = image_bytes(row, "source_img"), image_bytes(row, "target_img")
    if number > 1:
        same = last_goal.get(f"{img_id}-{number - 1}") == digest(source)
        names["input"] = f"{img_id}-output{number - 1}.png" if same else f"{img_id}-input{number}.png"
    if number == 1 or not same:
        write(images / img_id / names["input"], source)
    write(images / img_id / names["mask"], image_bytes(row, "mask_img"))
    write(images / img_id / names["output"], goal)
    last_goal[f"{img_id}-{number}"] = digest(goal)
    return {**names, "instruction": row["instruction"]}


def digest(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).digest()


def image_bytes(row: dict, column: str) -> bytes:
    """The image as a PNG file."""
    data = (row[column] or {}).get("bytes")
    if not data:
        raise ValueError(f"MagicBrush: {row['img_id']} turn {row['turn_index']} has no bytes in {column}")
    if data.startswith(PNG):
        return data
    from PIL import Image

    from mgie.io.images import BROKEN, ImageError, refuse_bomb

    where, file = f"MagicBrush: {row['img_id']} turn {row['turn_index']}, {column}", io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            refuse_bomb(image, where)
            image.save(file, format="PNG", compress_level=1)
    except ImageError:
        raise
    except BROKEN as error:
        raise ValueError(f"{where} is no image ({error}); get the files again") from error
    return file.getvalue()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
