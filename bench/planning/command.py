"""--plan of every command that edits: what it would take, told before anything is loaded, edited or written.

Exit codes: 0 all can run, 1 something is missing, 2 wrong use.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.grid.cells import Cell, Options
from bench.grid.options import Selection
from bench.planning import device as devices
from bench.planning.cells import cell_plan, run_plan
from bench.planning.device import Device
from bench.planning.missing import of_networks
from bench.planning.show import Whole, shown
from bench.settings import MetricSettings


def device_of(args: argparse.Namespace) -> Device:
    return devices.named(args.plan_for) if args.plan_for else devices.here(args.device)


def of_run(argv: Sequence[str] | None) -> int:
    """bench.run --plan."""
    from bench.planning.look import look

    argv = list(sys.argv[1:] if argv is None else argv)
    found = look(argv)
    args = found.asked.args
    for wrong in (found.data, found.model):
        if isinstance(wrong, ValueError):
            raise wrong
    device = device_of(args)
    cell = run_plan(argv, f"{found.asked.spec.dataset} {found.asked.called}", device)
    roots = args.data_root or Path("data"), args.weights or Path("weights")
    return tell(Whole("bench.run", found.asked.suite, device, [cell], (), *roots, args.out), args.json)


def of_cells(
    title: str, asked: Selection, args: argparse.Namespace, wanted: Sequence[tuple[Cell, Options]],
    labels: Sequence[str] = (), networks: tuple[tuple[str, ...], MetricSettings] | None = None, on_demand: bool = False,
) -> int:  # fmt: skip
    """A table or figure. networks: metrics that it scores with beside its runs; on_demand: as cell_plan."""
    device = device_of(args)
    labels = labels or [cell.label.removesuffix(f" {cell.setting}") for cell, _ in wanted]
    cells = [
        cell_plan(cell, options, label, device, on_demand)
        for (cell, options), label in zip(wanted, labels, strict=True)
    ]
    beside = tuple(of_networks(*networks)) if networks else ()
    roots = Path(asked.options.data_root or "data"), asked.options.weights or Path("weights")
    return tell(Whole(title, asked.suite, device, cells, beside, *roots, asked.options.out), args.json)


def tell(whole: Whole, as_json: bool) -> int:
    print(json.dumps(whole.to_json(), ensure_ascii=False) if as_json else "\n".join(shown(whole)))
    return 1 if whole.missing else 0
