"""The numbers that papers and their repositories print (results/paper/published.csv): one line a number.

A number is worth what its protocol is: the pairs, the captions, what the system was given. PROTOCOLS names each, and
why numbers of another one do not stand in the same table.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "paper" / "published.csv"
COLUMNS = ("system", "checkpoint", "trained_on_magicbrush", "dataset", "turns", "protocol", "caption", "metric",
           "value", "higher_is_better", "reported_by", "seen", "note")  # fmt: skip
SCRIPT = "mb"  # MagicBrush's own script: the protocol that runs of this project can have

PROTOCOLS = {  # id: title, why its numbers are in a block of their own
    SCRIPT: ("MagicBrush's own script, goal image as the reference", ""),
    "mb-region": ("the mask was given", "the system was told where to edit, which the others had to find out"),
    "mb-mask-unknown": ("whether the mask was given is not stated", "the source has rows with and without the mask in "
                        "one table and does not say which these are"),
    "mb-masked": ("scored within the mask", "the mask was given, and L1, L2 and CLIP-T are over its pixels alone, L1 "
                  "and L2 not on the scale of 0 to 1"),
    "mb-hints": ("hints drawn from the goal image were given", "the system was shown strokes derived from the answer"),
    "ee": ("Emu Edit's pairs, input image as the reference", "CLIPim, L1 and DINO compare the output with the input, "
           "so that a copy of the input is perfect; sources differ in backbones and in the items they leave out"),
    "other": ("another protocol", ""),  # its source is in the title, the reason in the note
}  # fmt: skip
NOT_STATED = "the source does not say whether these are single-turn or multi-turn numbers"

METRICS = {  # as the sources print them; the name that this project has for the same thing
    "l1": ("L1", "l1"), "l2": ("L2", "l2"), "clip_i": ("CLIP-I", "cvs"), "dino": ("DINO", "dino"),
    "clip_t": ("CLIP-T", "cts"), "clip_im": ("CLIPim", ""), "clip_out": ("CLIPout", ""), "clip_dir": ("CLIPdir", ""),
}  # fmt: skip
LOWER = ("l1", "l2", "lpips", "cmmd")  # all others: higher is better
OF_TEXTS = ("clip_t", "clip_out", "clip_dir")
COPY, GOAL = "Input copy", "Goal image"  # systems that are none
SOURCE = re.compile(r"arXiv \d{4}\.\d{5}|github\.com/[\w.-]+/[\w.-]+|repository README")


class Published(NamedTuple):
    """One printed number. value: as text, with the digits that the source prints."""

    system: str
    checkpoint: str
    trained_on_magicbrush: str  # yes, no, unknown
    dataset: str
    turns: str  # single, multi; -: the source does not say, or the dataset has none
    protocol: str
    caption: str  # local, global, unknown; -: the metric reads none
    metric: str
    value: str
    higher_is_better: str  # 1, 0
    reported_by: str
    seen: str  # seen: read in the source itself; secondary: in somebody's notes on it
    note: str


def read(path: Path = PUBLISHED) -> list[Published]:
    """Raises FileNotFoundError, and ValueError with the line for one that is not of the form."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the published numbers are missing; they are in the repository: check it out")
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.reader(file, strict=True)
        if tuple(head := next(lines, [])) != COLUMNS:
            raise ValueError(f"{path}: the columns are {','.join(head)}; expected {','.join(COLUMNS)}")
        rows, seen = [], set()
        for line in lines:
            where = f"{path}, line {lines.line_num}"
            if len(line) != len(COLUMNS):
                raise ValueError(f"{where}: {len(line)} fields; expected {len(COLUMNS)}: {', '.join(COLUMNS)}")
            row = Published(*line)
            if wrong := faults(row):
                raise ValueError(f"{where}: {wrong[0]}; CONTRIBUTING.md says how a published number is added")
            key = (*row[:8], row.reported_by)
            if key in seen:
                raise ValueError(f"{where}: {row.metric} of {row.system} by {row.reported_by} is there twice")
            seen.add(key)
            rows.append(row)
    return rows


def faults(row: Published) -> list[str]:
    """What is wrong with a row, in words; empty for a good one."""
    base = row.metric.partition(":")[0]
    choices = {
        "trained_on_magicbrush": ("yes", "no", "unknown"), "turns": ("single", "multi", "-"), "protocol": PROTOCOLS,
        "caption": ("local", "global", "unknown", "-"), "higher_is_better": ("0", "1"), "seen": ("seen", "secondary"),
    }  # fmt: skip
    found = [
        f"{name} is {getattr(row, name)!r}, expected {' or '.join(known)}"
        for name, known in choices.items() if getattr(row, name) not in known
    ]  # fmt: skip
    found += [f"{name} is empty" for name in COLUMNS[:11] if not getattr(row, name)]
    if not re.fullmatch(r"-?\d+(\.\d+)?", row.value):
        return [*found, f"value is {row.value!r}, expected a number as the source prints it, like 0.0625"]
    value = float(row.value)
    if (base in ("l1", "l2") and row.protocol != "mb-masked" and not 0 <= value <= 1) or (
        base in ("clip_i", "clip_im", "dino", *OF_TEXTS) and not -1 <= value <= 1
    ):
        found.append(f"{row.metric} is {row.value}: stored on the scale of 0 to 1, not x100")
    if row.dataset.startswith("magicbrush") and (row.caption != "-") != (base in OF_TEXTS):
        found.append(f"caption is {row.caption!r} for {row.metric}; {', '.join(OF_TEXTS)} have one, the others '-'")
    if row.higher_is_better != ("0" if base in LOWER or base.startswith("lpips") else "1"):
        found.append(f"higher_is_better is {row.higher_is_better} for {row.metric}")
    if not SOURCE.search(row.reported_by) and not (row.seen == "secondary" and " through " in row.reported_by):
        found.append(
            f"reported_by is {row.reported_by!r}: it names no source; expected an arXiv number with its table, or "
            "github.com/OWNER/REPOSITORY"
        )
    if row.seen == "seen" and " through " in row.reported_by:
        found.append("seen is 'seen' for a number read through somebody's notes; expected 'secondary'")
    if row.protocol == "other" and not row.note:
        found.append("protocol is 'other' and the note does not say which")
    return found


def family(dataset: str) -> str:
    """magicbrush of magicbrush-test:144-additions: what --dataset calls it."""
    name = dataset.partition(":")[0]
    for ending in ("-test", "-extended", "-original", "-diverse"):
        name = name.removesuffix(ending)
    return name


def families(rows: Iterable[Published]) -> list[str]:
    return list(dict.fromkeys(family(row.dataset) for row in rows))


def printed(metric: str) -> str:
    return METRICS[metric][0] if metric in METRICS else metric


def lower(metric: str) -> bool:
    base = metric.partition(":")[0]
    return base in LOWER or base.startswith("lpips")
