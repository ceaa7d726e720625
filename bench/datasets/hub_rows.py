"""Rows of the Hub's parquet or arrow files, their images byte for byte as the rows hold them.

What is laid out from them is written atomically, `source.json` last: it names the files it was made from, so that a
layout of other files, or half a one, is made again. JPEG's orientation, profile and inks are read by mgie.io.images as
anywhere.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mgie.io.files import NotYet, is_looking, write_whole

FOLDER = "from-hub"  # below a dataset's folder: what was laid out
STAMP = "source.json"
PNG = b"\x89PNG\r\n\x1a\n"
ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}  # others: the format's own name


class Columns(NamedTuple):
    """What a set's rows must have, and which of it are images."""

    set: str  # as errors name it: MagicBrush
    key: str  # as bench.fetch knows it
    names: tuple[str, ...]
    images: tuple[str, ...]


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


def made_from(files: Sequence[Path], **more: str) -> dict[str, int | str]:
    """What source.json holds: the files with their sizes, and what else the layout depends on."""
    return {path.name: path.stat().st_size for path in files} | more


def is_of(folder: Path, source: Mapping[str, int | str]) -> bool:
    """False where the stamp is absent or damaged: the folder is then written again."""
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8")) == source
    except (OSError, ValueError, RecursionError):
        return False


def lay_out_now(files: Sequence[Path], folder: Path) -> None:
    """NotYet for a plan, which only looks."""
    if is_looking():
        raise NotYet(f"{len(files)} files of the Hub are laid out at first use, in minutes, into {folder}")


def write_json(folder: Path, **files: object) -> None:
    """<name>.json for each, in this order."""
    for name, data in files.items():
        write_whole(json.dumps(data, indent=1, ensure_ascii=False).encode(), folder / f"{name}.json")


def items_of(files: Sequence[Path], folder: Path, columns: Columns, keys: Sequence[str], image: str, what: str) -> Path:
    """items.json in folder: the keys of each row, and under "image" the name of the image in that column, which lies in
    images/ once, however many rows have it. Laid out where it is not. what: of whom the rows are, as errors say it."""
    source = made_from(files)
    if not is_of(folder, source):
        lay_out_now(files, folder)
        items = []
        for i, row in enumerate(rows(files, columns, folder / ".datasets")):
            found = stored(row, image, f"{what}, row {i}")
            path = folder / "images" / f"{found.digest.hex()[:32]}{found.ending}"
            if not path.is_file():
                write_whole(found.data, path)
            items.append({key: row[key] for key in keys} | {"image": path.name})
        write_json(folder, items=items, source=source)
    return folder / "items.json"


def rows(files: Sequence[Path], columns: Columns, cache: Path) -> Iterator[dict]:
    """The rows with image columns as {bytes, path}. Streamed, with an own cache folder: the library then keeps no copy
    of the images, and nothing at all in the home folder. Raises ValueError that names the files."""
    from datasets import Image, load_dataset

    kind = files[0].suffix[1:]
    try:
        names = [str(path) for path in files]
        data = load_dataset(kind, data_files=names, split="train", streaming=True, cache_dir=str(cache))
        there = data.column_names or list(next(iter(data), {}))
        missing = [column for column in columns.names if column not in there]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}; it has {', '.join(there) or 'none'}")
        for column in columns.images:
            data = data.cast_column(column, Image(decode=False))
        yield from data
    except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors
        raise ValueError(
            f"{', '.join(map(str, files[:3]))}: cannot be read as {columns.set}'s {kind} files: {error}. "
            f"Get them again: python -m bench.fetch {columns.key}"
        ) from error


class Stored(NamedTuple):
    """An image as a row holds it."""

    data: bytes
    ending: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.data).digest()


def stored(row: Mapping, column: str, where: str) -> Stored:
    """The image of a row. Raises ValueError where there is none, ImageError for one of too many pixels."""
    value = row[column]
    data = value.get("bytes") if isinstance(value, dict) else None
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
