"""The run folders that are there: model, form, setting, dataset, how much is done, failures, size, last start.

    python -m bench.runs [--out runs] [--suite mini] [--json]

Nothing is changed. Exit codes: 0, 2 wrong use.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.registry import SUITES
from bench.runs.folder import RunFolder
from mgie.io.command import command
from mgie.io.files import looking


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("bench.runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("runs"), help="run folders lie below it (default: runs)")
    p.add_argument("--suite", choices=SUITES, help="only of this one")
    p.add_argument("--json", action="store_true", help="a list of objects on stdout")
    return p


def found(out: Path, suite: str | None) -> Iterator[dict]:
    """What is known of each run folder, in order of suite and name; of a damaged one its name and what is wrong.

    A run may be at work meanwhile: its files are only looked at.
    """
    for path in sorted(out.glob(f"{suite or '*'}/*/run.json")):
        try:
            with looking():
                known = described(path.parent)
            yield known
        except ValueError as error:
            yield {"run": str(path.parent), "damaged": str(error)}
        except OSError as error:
            yield {"run": str(path.parent), "damaged": f"cannot be read: {error}"}


def described(path: Path) -> dict:
    folder = RunFolder(path)
    run, done, sessions = folder.run(), folder.done(), folder.sessions()
    edits, last = folder.edits(), sessions[-1] if sessions else {}
    seeds = done["seeds"] if done else len({seed for seed, _ in edits}) or 1
    return {
        "suite": run["suite"], "dataset": run["dataset"], "model": run["model"], "form": run["form"],
        "setting": run["setting"], "split": run["data"].get("split", ""), "seeds": seeds, "edited": len(edits),
        "of": max(len(edits), run["n"] * seeds), "finished": done is not None, "failures": len(folder.failures()),
        "bytes": sum(map(size_of, path.rglob("*"))), "started": last.get("started", ""),
        "device": last.get("device", ""), "run": str(path),
    }  # fmt: skip


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # a run at work has renamed it
        return 0


def show(runs: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    console, table = Console(highlight=False), Table()
    for name in ("run", "split", "seeds", "edited", "", "failures", "size", "last start"):
        table.add_column(name, justify="right" if name in ("seeds", "edited", "failures", "size") else "left",
                         overflow="fold")  # fmt: skip
    for run in runs:
        name = "/".join(Path(run["run"]).parts[-2:])
        if "damaged" in run:
            table.add_row(name, "", "", "", "damaged", "", "", "")
            continue
        table.add_row(
            name, run["split"], str(run["seeds"]), f"{run['edited']:,} of {run['of']:,}",
            "finished" if run["finished"] else "to go on", str(run["failures"]), f"{run['bytes'] / 1e6:,.1f} MB",
            run["started"].replace("T", " ")[:16],
        )  # fmt: skip
    console.print(table)
    for run in runs:
        if "damaged" in run:
            console.print(f"damaged: {run['damaged']}", markup=False)
    size = sum(run.get("bytes", 0) for run in runs) / 1e6
    console.print(f"{len(runs)} runs, {size:,.1f} MB", markup=False)


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)

    def make() -> int:
        if not args.out.is_dir():
            raise ValueError(f"--out {args.out}: no such folder; python -m bench.run makes the first run")
        runs = list(found(args.out, args.suite))
        if args.json:
            print(json.dumps(runs, ensure_ascii=False))
        else:
            show(runs)
        return 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
