"""The Hub's MagicBrush (osunlp/MagicBrush, parquet or arrow, six columns) laid out once like the authors' zip.

For turn 2 and later source_img is the previous turn's goal image, so it is stored once. Not covered: the first
revisions, which had input_img and output_img and no masks.
"""

import re
from pathlib import Path
from typing import NamedTuple

from bench.datasets.hub_rows import Columns, is_of, lay_out_now, made_from, rows, stored, write_json
from mgie.io.files import write_whole

COLUMNS = Columns(
    "MagicBrush", "magicbrush", ("img_id", "turn_index", "source_img", "mask_img", "instruction", "target_img"),
    ("source_img", "mask_img", "target_img"),
)  # fmt: skip
LAYOUT = {"images": "own bytes"}  # in source.json; a folder without it was written when JPEGs became PNGs


def lay_out(files: list[Path], folder: Path) -> Path:
    """folder, holding the files' turns in the zip's layout. Written when it is not there, or made from other files."""
    source = made_from(files, **LAYOUT)
    if is_of(folder, source):
        return folder
    lay_out_now(files, folder)
    turns: list[dict] = []
    sessions: dict[str, list[tuple[int, dict]]] = {}
    goals: dict[str, Goal] = {}
    for row in rows(files, COLUMNS, folder / ".datasets"):
        turn = write_turn(row, folder / "images", goals)
        turns.append(turn)
        sessions.setdefault(row["img_id"], []).append((row["turn_index"], turn))
    ordered = {img_id: [turn for _, turn in sorted(s, key=lambda pair: pair[0])] for img_id, s in sessions.items()}
    write_json(folder, edit_turns=turns, edit_sessions=ordered, source=source)
    return folder


class Goal(NamedTuple):
    """A goal image that was written, which the next turn may start from."""

    digest: bytes
    name: str


def write_turn(row: dict, images: Path, goals: dict[str, Goal]) -> dict:
    """Writes a turn's images; returns its record in edit_turns.json. goals: those of the turns seen so far."""
    img_id, number = row["img_id"], row["turn_index"]
    if not isinstance(img_id, str) or not re.fullmatch(r"\w+", img_id) or type(number) is not int or number < 1:
        raise ValueError(f"MagicBrush: a row has img_id {img_id!r}, turn_index {number!r}; expected an id and 1, 2")
    where = f"MagicBrush: {img_id} turn {number}"
    source, mask, goal = (stored(row, column, where) for column in ("source_img", "mask_img", "target_img"))
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
