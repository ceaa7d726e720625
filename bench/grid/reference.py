"""What is made here against what the project has accepted: results/<suite>/ and results/reference/<suite>/.

Every table and figure ends with this comparison. It decides nothing: the gate (bench.check) does, from fresh scores.
Only bench.check --update writes the reference.
"""

import argparse
import csv
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench.registry import SUITES, TIMES
from mgie.io.devices import device_name

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
KEYS = (
    "claim", "subset", "what", "who", "first", "second", "variant", "dataset", "model", "text", "image", "setting",
    "form", "rewriter", "image_guidance_scale", "axis", "metric", "rate",
)  # fmt: skip
VALUES = ("mean", "value", "first_mean", "second_mean")
SHARE = 0.002  # of the accepted value, where check.json states no tolerance: as much as the gate's smallest
NAMES = {"n": "n", "seeds": "number of seeds", "protocol": "protocol"}  # columns that say why a cell moves
LISTED = 12

Key = tuple[str, ...]


class Moved(NamedTuple):
    """One cell that does not agree."""

    name: str
    accepted: str  # in words where there is no value
    here: str
    why: str


class Compared(NamedTuple):
    agree: int
    moved: list[Moved]
    absent: int  # accepted, and not made here
    new: int  # made here, and not accepted


def made_here(text: str) -> Path:
    """The argument of --results. Whatever a command makes lies beside the reference and never in it."""
    path = Path(text)
    for place in (path, *(path / suite for suite in SUITES)):  # a suite's folder may be a link
        if REFERENCE.resolve() in (place.resolve(), *place.resolve().parents):
            raise argparse.ArgumentTypeError(f"{place} is what the project has accepted; only make accept writes there")
    return path


def accepted_name(stem: str) -> str:
    """Of a selection, or of one with rows added: the whole."""
    return re.split("-only-|-with-", stem)[0]


def against(made: Path, suite: str, root: Path | None = None) -> list[str]:
    """The last lines of a table or figure. made: its CSV. root: default results/reference."""
    folder = (root or REFERENCE) / suite
    exact = folder / made.name
    accepted = exact if exact.exists() else folder / f"{accepted_name(made.stem)}.csv"
    if not accepted.exists():
        return [f"Nothing to compare with: {shown(folder)} holds no {accepted.name}."]
    try:
        found = compared(rows_of(accepted), rows_of(made), tolerances_of(folder))
    except (ValueError, OSError, csv.Error) as error:
        return [f"Not compared with {shown(accepted)}: {error}"]
    total = found.agree + len(found.moved)
    if not total:
        return [f"Nothing to compare with: {shown(accepted)} holds no number of a cell made here."]
    where = origin_said(folder, accepted.stem)
    lines = [f"Compared with {shown(accepted)}: {found.agree} of {total} cells agree within tolerance{where}."]
    lines += [
        f"  {m.name}: here {m.here}, accepted {m.accepted}{m.why and f' ({m.why})'}" for m in found.moved[:LISTED]
    ]
    if len(found.moved) > LISTED:
        lines.append(f"  and {len(found.moved) - LISTED} more")
    if found.absent and accepted == exact:
        lines.append(f"  {found.absent} accepted cells were not made here")
    if found.new:
        lines.append(f"  {found.new} cells made here are not accepted")
    return lines


def shown(path: Path) -> str:
    """Below the repository, without the folder that it is checked out in."""
    root = REFERENCE.parents[1]
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def rows_of(path: Path) -> dict[Key, dict[str, str]]:
    """By what names a cell. Raises ValueError for a file that is no table of cells."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, restval=""))
    if not rows:
        return {}
    values = [name for name in VALUES if name in rows[0]]
    if not values:
        raise ValueError(f"{path}: no column {' or '.join(VALUES)}")
    found: dict[Key, dict[str, str]] = {}
    for row in rows:
        if row.get("metric") in TIMES:
            continue  # a time is of its machine
        for value in values:
            key = (*(row[name] for name in KEYS if row.get(name)), *((value,) if len(values) > 1 else ()))
            if key in found:
                raise ValueError(f"{path}: {' '.join(key)} is there twice")
            found[key] = row | {"": row[value]}
    return found


def tolerances_of(folder: Path) -> dict[str, float]:
    """By metric, the share of a mean that the gate allows; empty without a readable check.json."""
    try:
        found = json.loads((folder / "check.json").read_text("utf-8"))["tolerances"]
        return {metric: float(t["mean"]) for metric, t in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def compared(
    accepted: Mapping[Key, dict[str, str]], here: Mapping[Key, dict[str, str]], shares: Mapping[str, float],
    share: float = SHARE,
) -> Compared:  # fmt: skip
    """Every cell made here that is accepted too; a cell without a number on both sides is none.

    shares: of the accepted value, by metric, that a cell may differ by; share: of a metric that is not among them.
    """
    agree, moved, absent = 0, [], 0
    for key, old in accepted.items():
        new = here.get(key)
        if new is None:
            absent += 1
        elif old[""] or new[""]:
            found = _moved(" ".join(key), old, new, shares.get(old.get("metric", ""), share))
            moved += [found] if found else []
            agree += not found
    return Compared(agree, moved, absent, len(here.keys() - accepted.keys()))


def _moved(name: str, old: dict[str, str], new: dict[str, str], share: float) -> Moved | None:
    accepted, here = (row[""] or (row.get("reason") or "no value").partition("\n")[0] for row in (old, new))
    if not (old[""] and new[""]):
        return Moved(name, accepted, here, "")
    before, after = float(old[""]), float(new[""])
    allowed = share * abs(before) + 1e-7
    other = [column for column in NAMES if old.get(column, "") != new.get(column, "")]
    if not math.isclose(before, after, rel_tol=0, abs_tol=allowed):
        why = "".join(f", another {NAMES[column]}" for column in other)
        return Moved(name, f"{before:.6g}", f"{after:.6g}", f"{after - before:+.3g}, tolerance {allowed:.2g}{why}")
    for column in other[:1]:
        return Moved(name, old.get(column, "")[:60], new.get(column, "")[:60], f"another {NAMES[column]}")
    return None


def origin_said(folder: Path, stem: str) -> str:
    """ " (another processor: ...)", where origin.json says on which the accepted numbers were made."""
    try:
        origin = json.loads((folder / "origin.json").read_text("utf-8"))[stem]
        made_on = str(origin["processor"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    ours = device_name("cpu")
    return " (same processor)" if ours == made_on else f" (another processor: accepted on {made_on}, here {ours})"
