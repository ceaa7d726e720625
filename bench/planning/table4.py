"""--plan of Table 4: which of its rows are timed already, what weights they want, memory, and minutes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.planning.device import Device
from bench.planning.memory import of_case
from bench.planning.missing import COMMAND
from bench.planning.seconds import minutes, paper_seconds
from bench.planning.words import gb, of_device
from bench.registry import MODELS
from mgie.io.files import looking

if TYPE_CHECKING:
    from bench.speed.models import Case


class Row(NamedTuple):
    model: str
    batch: int
    calls: int  # that are still to be made
    memory: int | None


def of_cases(
    cases: "Sequence[Case]", places: Sequence[Callable[[], Path]], device: Device, again: bool, as_json: bool
) -> int:  # fmt: skip
    """places: where each row is kept once it is timed; none for a GPU that is elsewhere. 1: weights are missing."""
    rows: list[Row] = []
    lacks: dict[str, str] = {}
    for at, case in enumerate(cases):
        timed = False
        try:
            with looking():
                timed = bool(places) and not again and places[at]().exists()
        except FileNotFoundError as error:
            get = MODELS[case.model].get.format(folder=Path(case.weights, f"{case.model}-e2e"))
            found = COMMAND.search(get)
            lacks[str(error)] = found[0] if found else ""
        memory = of_case(case.model, case.batch, case.dtype).bytes if case.preset == "7b" else None
        rows.append(Row(case.model, case.batch, 0 if timed else case.runs + 2, memory))
    if as_json:
        missing = [{"why": why, "command": command} for why, command in lacks.items()]
        print(json.dumps({"plan": "Table 4", "device": device._asdict(), "cells": [row._asdict() for row in rows],
                          "missing": missing, "complete": not lacks}))  # fmt: skip
    else:
        first, weights = cases[0], "random" if cases[0].random else "trained"
        print("plan of Table 4: nothing was loaded, timed or written")
        print("\n".join(of_device(device)))
        print(f"preset {first.preset}, {weights} weights, {first.dtype}, {first.steps} steps")
        for row in rows:
            state = f"{row.calls} calls" if row.calls else "timed before"
            needed = gb(row.memory) if row.memory else ""
            print(f"  {row.model:<12}batch {row.batch:<4}{needed:>9}  {state}")
        left = {(row.model, row.batch): row.calls for row in rows}
        if first.preset == "7b" and any(left.values()):
            said = minutes(sum(paper_seconds(*key) * (calls > 0) for key, calls in left.items()))
            print(f"time: about {said} by the paper's A100")
        for why, command in lacks.items():
            print(f"missing: {why}\n  {command}")
    return 1 if lacks else 0
