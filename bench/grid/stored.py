"""Stored scores: one gzipped CSV a model x dataset, the same bytes for the same scores, read back strictly.

results/<suite>/scores/<dataset>--<model>--<setting>--<form>.csv.gz, one row an example, seed, metric and protocol; raw
values, an empty value is None and has its reason. Cells that tables share are stored once. What tables publish, and in
results/reference/ what the gate (bench.check) compares with.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable
from pathlib import Path

from bench.records import Score
from mgie.io.files import write_whole

MAX_BYTES = 500_000_000  # of an unpacked file: a hundred times the largest there is (IPr2Pr, 5 seeds, 2 metrics)
COLUMNS = ("example_id", "group", "seed", "metric", "value", "reason", "protocol")


def scores_name(dataset: str, model: str, setting: str, form: str) -> str:
    from bench.runs.description import safe

    return f"{dataset}--{safe(model)}--{setting}--{form}.csv.gz"


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Atomic; no time stamp and no name inside, so that equal scores are equal files."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for s in scores:
        value = "" if s.value is None else repr(float(s.value))
        table.writerow((s.example_id, s.group, s.seed, s.metric, value, s.reason, s.protocol))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
        file.write(text.getvalue().encode("utf-8"))
    write_whole(packed.getvalue(), path)


def read_scores(path: Path) -> list[Score]:
    """Raises FileNotFoundError, and ValueError with the line for anything that is not exactly a file of scores."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no stored scores; make accept writes those of the reference")
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"it unpacks to more than the limit of {MAX_BYTES:,} bytes")
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be unpacked and read: {error}") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        found = ",".join(lines[0]) if lines else "missing"
        raise ValueError(f"{path}: columns are {found}; expected {','.join(COLUMNS)}")
    scores, seen = [], set()
    for number, line in enumerate(lines[1:], 2):
        score = _score(line, f"{path}, line {number}")
        key = score.example_id, score.seed, score.metric, score.protocol
        if key in seen:
            raise ValueError(f"{path}, line {number}: {key} is there twice")
        seen.add(key)
        scores.append(score)
    return scores


def _score(line: list[str], where: str) -> Score:
    if len(line) != len(COLUMNS):
        raise ValueError(f"{where}: {len(line)} columns; expected {len(COLUMNS)}")
    example_id, group, seed, metric, text, reason, protocol = line
    try:
        value, number = (float(text) if text else None), int(seed)
    except ValueError:
        raise ValueError(f"{where}: seed '{seed}' and value '{text}'; expected a whole number and a number") from None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{where}: value is {text}; expected a finite number, or nothing with a reason")
    if value is None and not reason:
        raise ValueError(f"{where}: neither value nor reason")
    return Score(example_id, group, number, metric, value, reason, protocol)
