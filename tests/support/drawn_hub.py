"""Small sets in the layouts that the Hub holds as parquet files: Emu Edit's test set and outputs, IPr2Pr.

Every oddity of the official files is in there once: see the comments.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from drawn import picture, png, save
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TASKS = ("text", "add", "remove", "color", "local", "style", "background", "global")
TEXT = pa.string()
EMU = [("instruction", TEXT), ("image", IMAGE), ("task", TEXT), ("split", TEXT), ("idx", pa.int64()), ("hash", TEXT),
       ("input_caption", TEXT), ("output_caption", TEXT)]  # fmt: skip
PLACEHOLDER = "a train station in city"


def emu_item(split: str, idx: int) -> dict:
    """Three items a photograph. Items 4 and 9 have one placeholder twice, item 7 on one side only."""
    instruction = f"make it look like number {idx} "  # exact, with blanks, as the hash is made of it
    before, after = f"a photo of seat {idx // 3}", f"a photo of seat {idx // 3}, number {idx}"
    if idx in (4, 9):
        before = after = PLACEHOLDER
    if idx == 7:
        before = PLACEHOLDER
    photograph = hashlib.sha256(f"{split} {idx // 3}".encode()).hexdigest()
    return {
        "instruction": instruction, "image": png(picture(50 * (idx // 3) + len(split), (40, 40))),
        "task": TASKS[idx % 8], "split": split, "idx": idx,
        "hash": f"{hashlib.md5(instruction.encode()).hexdigest()}_{photograph}",
        "input_caption": before, "output_caption": after,
    }  # fmt: skip


def write_shards(rows: list[dict], schema: list, folder: Path, begin: str, shards: int) -> None:
    """<begin>-0000n-of-0000N-<hash>.parquet, the first ones longer by a row where it does not divide."""
    folder.mkdir(parents=True, exist_ok=True)
    table, at = pa.Table.from_pylist(rows, schema=pa.schema(schema)), 0
    for n in range(shards):
        count = len(rows) // shards + (n < len(rows) % shards)
        name = f"{begin}-{n:05d}-of-{shards:05d}-{n:x}123456789abcde{n:x}.parquet"
        pq.write_table(table.slice(at, count), folder / name)
        at += count


def draw_emu_edit(root: Path) -> Path:
    for split, items, shards in (("test", 12, 3), ("validation", 5, 2)):
        write_shards([emu_item(split, i) for i in range(items)], EMU, root / "data", split, shards)
    return root


def draw_emu_outputs(root: Path, models: tuple[str, ...] = ("emu-edit", "InstructPix2Pix")) -> Path:
    """The outputs for draw_emu_edit's items: in files of the other split's name, in another order, item 3 with none."""
    schema = [*EMU, ("edited_image", IMAGE), ("model", TEXT)]
    for split, items, named in (("test", 12, "validation"), ("validation", 5, "test")):
        rows = []
        for i in reversed(range(items)):
            for m, model in enumerate(models):
                output = png(picture(50 * (i // 3) + len(split) + 1000 * (m + 1) + i, (40, 40)))
                rows.append(emu_item(split, i) | {"split": named, "edited_image": output, "model": model})
        rows = [row for row in rows if (row["idx"], named) != (3, "validation")]
        write_shards(rows, schema, root / "data", named, 1)
    return root


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    picture(seed, (32, 32)).save(file, format="JPEG", quality=95)
    return file.getvalue()


def draw_magicbrush_outputs(root: Path, data: Path, name: str = "epoch-168", off: int = 0) -> Path:
    """magicbrush-outputs/<name>/ for draw_magicbrush's test set below data, by the evaluation README's names.

    The output of turn k is its goal with every value `off` farther from it; the iterative ones twice as far.
    """
    folder = root / name
    sessions = json.loads((data / "test" / "edit_sessions.json").read_text())
    for img_id, turns in sessions.items():
        for k, turn in enumerate(turns, 1):
            with Image.open(data / "test" / "images" / img_id / turn["output"]) as goal:
                pixels = np.asarray(goal.convert("RGB")).astype(int)
            kinds = {"1": off} if k == 1 else {f"inde_{k}": off, f"iter_{k}": 2 * off}
            for kind, far in kinds.items():
                moved = np.where(pixels < 128, pixels + far, pixels - far).astype(np.uint8)
                save(folder / img_id / f"{img_id}_{kind}.png", Image.fromarray(moved))
    return folder


def draw_ipr2pr_hub(root: Path, folders: Path | None = None, rows: int = 40, shards: int = 4) -> Path:
    """The five columns of the Hub's IPr2Pr. folders: the first seed of each such folder; else pairs of its own."""
    schema = [("original_prompt", TEXT), ("original_image", IMAGE), ("edit_prompt", TEXT), ("edited_prompt", TEXT),
              ("edited_image", IMAGE)]  # fmt: skip
    found = []
    if folders is None:
        for n in range(rows):
            images = [{"bytes": jpeg(10 * n + side), "path": None} for side in (0, 1)]
            found.append((f"a photo {n}", images[0], f"make it look like painting {n}", f"a painting {n}", images[1]))
    else:
        for prompt in sorted(folders.glob("*/prompt.json")):
            texts, first = json.loads(prompt.read_text()), sorted(prompt.parent.glob("*_0.jpg"))[0]
            before, after = ({"bytes": path.read_bytes(), "path": path.name} for path in (
                first, first.with_name(first.name.replace("_0.jpg", "_1.jpg"))))  # fmt: skip
            source = texts.get("input", texts.get("caption"))
            found.append((source, before, texts["edit"], texts.get("output"), after))
    write_shards([dict(zip([name for name, _ in schema], row, strict=True)) for row in found], schema, root / "data",
                 "train", shards)  # fmt: skip
    return root
