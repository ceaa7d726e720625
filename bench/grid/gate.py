"""Comparing fresh scores with stored ones, example by example: the part of the gate that runs nothing.

Two tolerances a metric, both from check.json: how far one example may move, and how far the mean of a model on a
dataset may drift (a share of the stored mean). The second sees a small drift that is the same everywhere.
"""

import csv
import json
import math
import re
from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from bench.grid.cells import Cell
from bench.grid.stored import read_scores, scores_name
from bench.records import Score
from bench.registry import TIMES, form_of, metrics_of
from bench.runs.description import by
from bench.stats import summarise

REWRITE = "rewrite"  # the table of bench.rewriting: its files begin so, and its scores lie in a folder of their own


@dataclass(frozen=True)
class Tolerance:
    example: float  # absolute, on the unscaled value
    mean: float  # share of the stored mean of one model on one dataset
    source: str  # where both come from


@dataclass(frozen=True)
class Check:
    """check.json: what is run again, what must be there, how far it may move."""

    suite: str
    split: str
    seeds: int
    limit: int  # examples a dataset, the first ones
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    example_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: dict[str, int]  # stored file -> how many scores it holds
    tolerances: dict[str, Tolerance]
    rewritten: tuple[str, ...] = ()  # "inspix2pix by mgie": editors behind a rewriter, which check.json need not name

    def cells(self) -> list[Cell]:
        pairs = [(model, "") for model in self.models] + [pair_of(said) for said in self.rewritten]
        return [
            Cell(self.suite, dataset, model, "zero-shot", form_of(model), rewriter)
            for model, rewriter in pairs for dataset in self.datasets
        ]  # fmt: skip

    def ids_of(self, dataset: str) -> list[str]:
        return [i for i in self.example_ids if i.split("/")[0] == dataset]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def pair_of(said: str) -> tuple[str, str]:
    """Model and rewriter of "inspix2pix by mgie"."""
    model, _, rewriter = said.partition(" by ")
    return model, rewriter


def pair_said(cell: Cell) -> str:
    """The other way round."""
    return f"{cell.model} by {cell.rewriter}" if cell.rewriter else cell.model


def stored_name(cell: Cell) -> str:
    """The file of a cell's stored scores."""
    return scores_name(cell.dataset, f"{cell.model}{by(cell.rewriter)}", cell.setting, cell.form)


class Move(NamedTuple):
    """One score, stored and fresh."""

    model: str  # with its rewriter
    metric: str
    example_id: str
    seed: int
    stored: float
    fresh: float
    tolerance: float

    @property
    def share(self) -> float:
        """Of the tolerance; over 1 is red."""
        moved = abs(self.fresh - self.stored)
        return 0.0 if moved == 0 else moved / self.tolerance if self.tolerance else math.inf


class Findings(NamedTuple):
    problems: list[str]  # anything here is red
    moves: list[Move]  # every score compared

    def joined(self, other: "Findings") -> "Findings":
        return Findings(self.problems + other.problems, self.moves + other.moves)

    @property
    def green(self) -> bool:
        """Nothing compared is never green."""
        return bool(self.moves) and not self.problems and all(m.share <= 1 for m in self.moves)


def read_check(path: Path) -> Check:
    """Raises FileNotFoundError and ValueError, so that an empty or damaged check.json is never green."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there; python -m bench.check --init writes it from the stored scores")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if isinstance(data, dict):
        data.setdefault("rewritten", [])
    if not isinstance(data, dict) or set(data) != {f.name for f in fields(Check)}:
        raise ValueError(f"{path}: expected exactly {', '.join(f.name for f in fields(Check))}")
    for name in ("models", "datasets", "example_ids", "metrics", "rewritten"):
        value = data[name]
        if not isinstance(value, list) or not (value or name == "rewritten") or len(set(map(str, value))) != len(value):
            raise ValueError(f"{path}: {name} is {str(value)[:60]}; expected a list of names, not empty, each once")
        data[name] = tuple(map(str, value))
    if odd := [said for said in data["rewritten"] if not all(pair_of(said))]:
        raise ValueError(f"{path}: rewritten holds '{odd[0]}'; expected for example 'inspix2pix by mgie'")
    for name in ("suite", "split"):
        if not isinstance(data[name], str):
            raise ValueError(f"{path}: {name} is {data[name]}; expected a name")
    for name in ("seeds", "limit"):
        if type(data[name]) is not int or data[name] < 1:
            raise ValueError(f"{path}: {name} is {data[name]}; expected a whole number of at least 1")
    data["tolerances"] = {metric: _tolerance(path, metric, data["tolerances"]) for metric in data["metrics"]}
    check = Check(**data)
    _consistent(path, check)
    return check


def _tolerance(path: Path, metric: str, tolerances: object) -> Tolerance:
    found: Any = tolerances.get(metric) if isinstance(tolerances, dict) else None
    try:
        tolerance = Tolerance(float(found["example"]), float(found["mean"]), str(found["source"]))
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"{path}: tolerance of {metric} is {found}; expected example, mean and source") from None
    for value in (tolerance.example, tolerance.mean):
        if not 0 <= value < math.inf:
            raise ValueError(f"{path}: tolerance of {metric} is {value}; expected a finite number of at least 0")
    return tolerance


def _consistent(path: Path, check: Check) -> None:
    """Every id belongs to a dataset that is run, every dataset has ids, every stored file has its count."""
    strangers = [i for i in check.example_ids if i.split("/")[0] not in check.datasets]
    if strangers:
        raise ValueError(f"{path}: {strangers[0]} is of none of the datasets {', '.join(check.datasets)}")
    for dataset in check.datasets:
        if not check.ids_of(dataset):
            raise ValueError(f"{path}: dataset {dataset} has no example_ids")
        if not set(metrics_of(check.suite, dataset)) & set(check.metrics):
            raise ValueError(f"{path}: none of the metrics {', '.join(check.metrics)} is scored on {dataset}")
    for cell in check.cells():
        name = stored_name(cell)
        if not isinstance(check.rows, dict) or type(check.rows.get(name)) is not int:
            raise ValueError(f"{path}: rows has no whole number for {name}")


def compare(check: Check, cell: Cell, stored: Sequence[Score], fresh: Sequence[Score]) -> Findings:
    """One model on one dataset. Every score that the check lists must be on both sides, and no other example fresh."""
    metrics = [m for m in metrics_of(check.suite, cell.dataset) if m in check.metrics]
    wanted = {(i, s, m) for i in check.ids_of(cell.dataset) for s in range(check.seeds) for m in metrics}
    before, after = _by_key(stored), _by_key(fresh)
    problems = _differences_in_kind(check, cell, wanted, before, after)
    if len(before) != len(stored) or len(after) != len(fresh):
        problems.append(f"{cell.label}: a score is there twice")
    moves = []
    for example_id, seed, metric in sorted(wanted & before.keys() & after.keys()):
        old, new = before[example_id, seed, metric], after[example_id, seed, metric]
        said = f"{cell.label}: {metric} of {example_id}, seed {seed}"
        if old.protocol != new.protocol:
            problems.append(f"{said}: protocol was '{old.protocol}', is '{new.protocol}'")
        elif (old.value is None) != (new.value is None):
            problems.append(f"{said}: stored {old.value}, fresh {new.value} ({old.reason or new.reason})")
        elif old.value is None or new.value is None:
            continue  # neither is defined
        elif not (math.isfinite(old.value) and math.isfinite(new.value)):
            problems.append(f"{said}: stored {old.value}, fresh {new.value}; expected finite numbers")
        else:
            limit = check.tolerances[metric].example
            moves.append(Move(pair_said(cell), metric, example_id, seed, old.value, new.value, limit))
    return Findings(problems + _drifts(check, cell, moves), moves)


def _by_key(scores: Sequence[Score]) -> dict[tuple[str, int, str], Score]:
    return {(s.example_id, s.seed, s.metric): s for s in scores}


def _differences_in_kind(check: Check, cell: Cell, wanted: set, before: dict, after: dict) -> list[str]:
    problems = []
    for side, have in (("stored", before), ("fresh", after)):
        missing = sorted(wanted - have.keys())
        if missing:
            example_id, seed, metric = missing[0]
            first = f"{metric} of {example_id}, seed {seed}"
            problems.append(f"{cell.label}: {len(missing)} of {len(wanted)} {side} scores are missing, first: {first}")
    known = {example_id for example_id, _, _ in wanted}
    extra = sorted({example_id for example_id, _, _ in after} - known)
    if extra:
        problems.append(f"{cell.label}: {len(extra)} examples are not in check.json, first: {extra[0]}")
    expected = check.rows.get(stored_name(cell))
    if expected is not None and expected != len(before):
        problems.append(f"{cell.label}: {len(before)} scores are stored, check.json says {expected}")
    return problems


def _drifts(check: Check, cell: Cell, moves: Sequence[Move]) -> list[str]:
    """Means that moved by more than their share: noise goes both ways, a drift does not."""
    problems = []
    for metric in dict.fromkeys(m.metric for m in moves):
        here = [m for m in moves if m.metric == metric]
        stored, moved = math.fsum(abs(m.stored) for m in here), math.fsum(m.fresh - m.stored for m in here)
        if abs(moved) > check.tolerances[metric].mean * stored + 1e-7 * len(here):
            share = f"{moved / stored:+.2%} of it" if stored else "from 0"
            problems.append(f"{cell.label}: the mean of {metric} moved by {moved / len(here):+.6f} ({share}) over "
                            f"{len(here)} scores; {check.tolerances[metric].mean:.2%} is allowed")  # fmt: skip
    return problems


def table_rows(path: Path) -> list[dict[str, str]]:
    """The cells of a table's CSV. Raises ValueError where a column is missing, a mean is no number, or the file is cut:
    every model has a row in every column, a cell that was not run too.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, restval=""))
    wanted = ("dataset", "model", "setting", "form", "metric", "mean")
    if rows and (lacking := [name for name in wanted if name not in rows[0]]):
        raise ValueError(f"no column {', '.join(lacking)}")
    rows = [r for r in rows if r["metric"] not in TIMES]
    models = {tuple(r.get(name, "") for name in ("model", "setting", "form", "rewriter")) for r in rows}
    columns = {tuple(r.get(name, "") for name in ("dataset", "metric", "subset")) for r in rows}
    if not rows or len(rows) != len(models) * len(columns):
        raise ValueError(f"it has {len(rows)} cells, of {len(models)} models in {len(columns)} columns")
    for r in rows:
        float(r["mean"] or 0)
    return rows


def stale_tables(folder: Path, listed: Container[Path] = ()) -> list[str]:
    """What of the accepted tables, of every split, is not what their stored scores give, or is not there.

    Cells whose mean is another or is gone, tables that are cut, scores that no table shows. listed: files of scores
    that check.json names, which need no table.
    """
    problems = missing_tables(folder)
    stored: dict[Path, list[Score]] = {}
    shown: set[tuple[Path, str]] = set()
    for path in sorted(path for kind in ("table[123]", REWRITE) for path in folder.glob(f"{kind}*.csv")):
        if path.stem.endswith("-tests"):
            continue
        scores = f"scores-{path.stem}" if path.stem.startswith(REWRITE) else f"scores{path.stem[len('table1') :]}"
        try:
            rows = table_rows(path)
        except (ValueError, OSError, csv.Error) as error:
            problems.append(f"{path}: no table of ours: {error}")
            continue
        for r in rows:
            name = scores_name(r["dataset"], f"{r['model']}{by(r.get('rewriter', ''))}", r["setting"], r["form"])
            place = folder / scores / name
            shown.add((place, r["metric"]))
            if r.get("subset", "all") != "all" or not (r["mean"] or place.exists()):
                continue  # a part of the stored scores, which say not which; or it was not run
            try:
                stored[place] = stored.get(place) or read_scores(place)
                mean = summarise(s for s in stored[place] if s.metric == r["metric"]).mean
            except (ValueError, OSError) as error:
                problems.append(f"{path.name}: {error}")
                continue
            alike = math.isclose(mean or 0, float(r["mean"] or 0), rel_tol=1e-9, abs_tol=1e-12)
            if (mean is None) != (not r["mean"]) or not alike:
                problems.append(f"{path.name}: {r['metric']} of {name} is {r['mean'] or 'empty'}, the stored scores "
                                f"give {mean}; make the table again (make accept)")  # fmt: skip
    return problems or unshown(folder, shown, stored, listed)


def links(folder: Path) -> list[str]:
    """What of a suite's accepted files is a link: what it leads to, any command may write."""
    paths = (folder.parent, folder, *sorted(folder.rglob("*")))
    return [f"{path}: a link; what is accepted lies here itself" for path in paths if path.is_symlink()]


def missing_tables(folder: Path) -> list[str]:
    """Tables that were accepted, as origin.json says, and are gone."""
    origin = folder / "origin.json"
    try:
        names = list(json.loads(origin.read_text("utf-8"))) if origin.exists() else []
    except (ValueError, RecursionError, OSError, TypeError) as error:
        return [f"{origin}: cannot be read: {error}"]
    return [f"{folder / name}.csv: not there; {origin.name} says that it was accepted" for name in names
            if re.match(f"table[123]|{REWRITE}", name) and not (folder / f"{name}.csv").exists()]  # fmt: skip


def unshown(
    folder: Path, shown: Set[tuple[Path, str]], stored: Mapping[Path, Sequence[Score]], listed: Container[Path]
) -> list[str]:
    """Files of stored scores beside those of a table, and metrics in these, that no table has a cell of."""
    problems = []
    places = {place.parent for place, _ in shown}
    for file in sorted(path for path in folder.glob("scores*/*") if path.parent in places):
        odd = [m for m in dict.fromkeys(s.metric for s in stored.get(file, ())) if (file, m) not in shown]
        if odd or (file not in stored and file not in listed):
            problems.append(f"{file}: {', '.join(odd) or 'it'} is in no table that was accepted; make accept with the "
                            "table that has it, or remove the file")  # fmt: skip
    return problems
