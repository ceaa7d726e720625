"""A plan on a terminal (80 columns are enough) and as one JSON object."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench.grid.display import spelled
from bench.planning.cells import CellPlan
from bench.planning.device import Device
from bench.planning.missing import Fetch, Missing, by_hand, to_fetch
from bench.planning.seconds import unknown
from bench.planning.words import gb, number, of_device
from bench.registry import PAPER_MODELS
from mgie.io.files import existing

WIDEST = 100
NOT_IN_TABLE_4 = "not known: no row of Table 4 tells it; the first edits of their runs do"
ORDER = ("setting", "data", "images", "weights", "network", "GPU", "memory", "disk")


class Whole(NamedTuple):
    """All cells of a command."""

    title: str
    suite: str
    device: Device
    cells: list[CellPlan]
    beside: tuple[Missing, ...]  # what is missing beside the cells
    data_root: Path
    weights: Path
    out: Path

    @property
    def missing(self) -> list[Missing]:
        return [*self.lacks, *of_memory(self), *of_disk(self)]

    @property
    def lacks(self) -> list[Missing]:
        """Of the cells and beside them, each thing once."""
        every = [lack for cell in self.cells for lack in cell.missing]
        return sorted(dict.fromkeys([*every, *self.beside]), key=lambda lack: ORDER.index(lack.kind))

    @property
    def edits(self) -> int | None:
        return total(cell.edits for cell in self.cells)

    @property
    def disk(self) -> int | None:
        return total(cell.disk for cell in self.cells)

    @property
    def seconds(self) -> float | None:
        return total(cell.seconds for cell in self.cells)

    @property
    def memory(self) -> int | None:
        """Of the largest that is still to edit; one model is held at a time."""
        return max((cell.memory.bytes for cell in self.cells if cell.memory and cell.edits != 0), default=None)

    @property
    def fits(self) -> bool | None:
        if self.memory is None or self.device.memory is None:
            return None
        return self.memory <= self.device.memory

    @property
    def free_disk(self) -> int:
        return shutil.disk_usage(existing(self.out)).free

    @property
    def fetch(self) -> Fetch:
        return to_fetch(self.lacks, self.data_root, self.weights)

    def to_json(self) -> dict:
        fetch = self.fetch
        return {
            "plan": self.title, "suite": self.suite, "device": self.device._asdict(),
            "cells": [cell.to_json() for cell in self.cells], "edits": self.edits, "disk": self.disk,
            "disk_free": self.free_disk, "to_fetch": fetch.bytes, "to_convert": fetch.converted, "memory": self.memory,
            "fits": self.fits, "seconds": self.seconds, "missing": [lack._asdict() for lack in self.missing],
            "complete": not self.missing,
        }  # fmt: skip


def of_memory(whole: Whole) -> Iterator[Missing]:
    if whole.fits is False:
        less = "--dtype bfloat16" if whole.device.kind == "cpu" else "--dtype bfloat16 or --offload"
        why = f"about {gb(whole.memory)} are wanted, {gb(whole.device.memory)} are there"
        yield Missing("memory", f"of {whole.device.name}", f"{why}; try {less}, or a smaller --batch-size", "")


def of_disk(whole: Whole) -> Iterator[Missing]:
    """What is to come, for each file system that it goes to."""
    fetch, runs = whole.fetch, sum(cell.disk or 0 for cell in whole.cells)
    wanted: dict[int, list[tuple[Path, int]]] = {}
    for place, size in (
        (whole.out, runs), (whole.data_root, fetch.data), (whole.weights, fetch.weights + fetch.converted),
    ):  # fmt: skip
        if size:
            wanted.setdefault(existing(place).stat().st_dev, []).append((place, size))
    for parts in wanted.values():
        size, free = sum(size for _, size in parts), shutil.disk_usage(existing(parts[0][0])).free
        if size > free:
            why = f"about {gb(size)} are wanted, {gb(free)} are free"
            way = "make room, or name another --out, --data-root or --weights"
            yield Missing("disk", f"below {', '.join(str(place) for place, _ in parts)}", f"{why}; {way}", "")


Number = TypeVar("Number", int, float)


def total(values: Iterable[Number | None]) -> Number | None:
    """Their sum; None where one is not known."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def shown(whole: Whole) -> list[str]:
    width = max(60, min(shutil.get_terminal_size((80, 24)).columns, WIDEST))
    lines = [f"plan of {whole.title}, suite {whole.suite}: nothing was loaded, edited or written",
             *of_device(whole.device), f"all cells: {same(whole.cells)}", ""]  # fmt: skip
    lines = [part for line in lines for part in fitted(line, width)] + table(whole.cells)
    after: list[str] = []
    kinds = [kind for kind in ORDER if any(m.kind == kind for cell in whole.cells for m in cell.missing)]
    after += [f"lacks: {', '.join(f'{kind[0]} {kind}' for kind in kinds)}", ""] if kinds else [""]
    after += [f"written below {whole.out / whole.suite}/:", *(f"  {Path(c.folder).name}" for c in whole.cells), ""]
    after += [*sums(whole), *of_missing(whole)]
    seen = dict.fromkeys(note for cell in whole.cells for note in cell.notes)
    after += ["", *(f"note: {note}" for note in seen)] if seen else []
    return lines + [part for line in after for part in fitted(line, width)]


def fitted(line: str, width: int) -> list[str]:
    """Broken at blanks alone: a command or a path is left whole, so that it can be copied."""
    indent = " " * (len(line) - len(line.lstrip()))
    if len(line) <= width or line.lstrip().startswith("python -m"):
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False)


def same(cells: Sequence[CellPlan]) -> str:
    """The size rule and the batch, which a command sets for all its cells."""
    return "; ".join(dict.fromkeys(f"size {cell.size}, batch {cell.batch}" for cell in cells))


def table(cells: Sequence[CellPlan]) -> list[str]:
    """A line a cell; what one lacks is a letter, so that it fits."""
    rows = [("CELL", "EXAMPLES", "SEEDS", "EDITS", "DISK", "MEMORY", "TIME", ""), *map(row, cells)]
    widths = [max(len(line[i]) for line in rows) for i in range(7)]
    return ["  ".join([line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, 7)), line[7]]).rstrip()
            for line in rows]  # fmt: skip


def row(cell: CellPlan) -> tuple[str, ...]:
    return (
        cell.label, number(cell.examples, cell.counted), str(cell.seeds), number(cell.edits, cell.counted),
        gb(cell.disk), gb(cell.memory.bytes) if cell.memory else "-", time(cell),
        " ".join(kind[0] for kind in ORDER if any(m.kind == kind for m in cell.missing))
        or ("done" if cell.edits == 0 else ""),
    )  # fmt: skip


def time(cell: CellPlan) -> str:
    if not cell.edits:
        return "?" if cell.edits is None else "-"
    return "?" if cell.seconds is None else spelled(cell.seconds)


def sums(whole: Whole) -> Iterator[str]:
    lacking = sum(cell.edits is None for cell in whole.cells)
    here = sum(cell.edits or 0 for cell in whole.cells)
    more = f", and those of {lacking} cells whose data is not here" if lacking else ""
    released = not all(cell.counted or cell.edits is None for cell in whole.cells)
    yield f"edits to make: {here:,}{more}{' (~: the data is not here yet)' * released}"
    fetch = whole.fetch
    disk = f"disk: about {gb(sum(cell.disk or 0 for cell in whole.cells))} for the runs{more and ' that are known'}"
    disk += f", {gb(fetch.bytes)}{' or more' * fetch.partly} to fetch" if fetch.bytes else ""
    disk += f", {gb(fetch.converted)} for MGIE once converted" if fetch.converted else ""
    yield f"{disk}; {gb(whole.free_disk)} are free"
    if whole.memory is not None:
        assumed = any(cell.memory and cell.memory.assumed for cell in whole.cells)
        open_end = any(cell.memory and cell.memory.working is None for cell in whole.cells)
        there = "" if whole.device.memory is None else f", {gb(whole.device.memory)} there: "
        fits = {True: "fits", False: "does not fit", None: ""}
        yield (f"memory: about {gb(whole.memory)} at most{' by the sizes as published' * assumed}"
               f"{', without what a batch takes' * open_end}{there}{fits[whole.fits]}")  # fmt: skip
    measured = list(dict.fromkeys(cell.measured.by for cell in whole.cells if cell.measured and cell.edits))
    unmeasured = sum(cell.seconds is None for cell in whole.cells)
    if measured or not unmeasured:
        by = f" (measured by {', '.join(measured)})" if measured else ""
        seconds = sum(cell.seconds or 0.0 for cell in whole.cells)
        yield f"time: about {spelled(seconds)} for the edits, one after another{by}"
    if unmeasured:
        timed = any(map(to_time, whole.cells)) or whole.device.named
        why = unknown(whole.suite, whole.device) if timed else NOT_IN_TABLE_4
        yield f"time{f' of {unmeasured} cells' if measured else ''}: {why}"


def to_time(cell: CellPlan) -> bool:
    """Whether a Table 4 of this device, which is not there yet, would tell the cell's time."""
    end_to_end = cell.setting == "zero-shot" and cell.form in ("none", "e2e")
    return cell.measured is None and cell.edits != 0 and cell.model in PAPER_MODELS and end_to_end


def of_missing(whole: Whole) -> Iterator[str]:
    missing = whole.missing
    if not missing:
        yield "nothing is missing: all can run"
        return
    yield ""
    yield "missing:"
    ways: dict[str, list[Missing]] = {}
    for lack in missing:
        ways.setdefault(lack.command, []).append(lack)
    for command, lacks in ways.items():
        yield from dict.fromkeys(f"  {lack.kind} {lack.name}: {lack.why}" for lack in lacks)
        yield from [f"    {command}"] if command else []
        if hand := by_hand(lacks[0]):
            yield f"    (by hand, as that says: {', '.join(hand)})"
    fetched = [lack.fetched.partition(":")[0] for lack in missing if lack.fetched]
    if whole.suite == "paper" and len(set(fetched)) > 1:
        roots = (("DATA", whole.data_root, "data"), ("WEIGHTS", whole.weights, "weights"))
        given = "".join(f" {name}={root}" for name, root, usual in roots if str(root) != usual)
        yield f"what bench.fetch brings, in one: make data weights{given}"
