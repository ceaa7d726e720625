"""The gate: a slice of the benchmark is run again and compared with the stored scores, example by example.

    python -m bench.check                    exit 0: equal within tolerance, 1: anything else, 2: wrong use
    python -m bench.check --update --yes     everything accepted is made anew and written (make accept YES=1)
    python -m bench.check --init --models identity,mgie --limit 8    writes results/reference/<suite>/check.json

It reads results/reference/<suite>/ alone, which no other command writes, and fails closed: what is missing, extra,
unreadable, NaN, of another protocol, or not compared at all is red. The comparison itself is bench.grid.gate, what
--update makes is bench.grid.accept; tolerances stand in check.json, each with where it comes from.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from bench.grid.accept import CHECK, TRAINING, command_of, moves, names_of, run, take, training_logs, with_companions
from bench.grid.cells import Cell, Options, beside, read_run, run_cells
from bench.grid.gate import (
    REWRITE,
    Check,
    Findings,
    Tolerance,
    compare,
    links,
    pair_said,
    read_check,
    stale_tables,
    stored_name,
)
from bench.grid.reference import REFERENCE
from bench.grid.stored import read_scores, write_scores
from bench.records import Score
from bench.registry import BENCHMARKS, SUITES, split_of
from mgie.io.command import stoppable
from mgie.io.files import hold

# The stored scores are a CPU's: a GPU computes in float16 and would differ by more than any useful tolerance.
ON_CPU = ("--device", "cpu", "--metric-device", "cpu")
SCRATCH = Path("runs", "check")
FLOOR = Tolerance(0.001, 0.002, "")  # a quarter of a grey level; a fifth of the drift that must be noticed


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "bench.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--suite", choices=SUITES, default="mini")
    p.add_argument("--data-root", type=Path, help="as for bench.run")
    p.add_argument("--weights", type=Path, help="as for bench.run")
    p.add_argument("--reference", type=Path, default=REFERENCE, help="what is accepted; default: results/reference")
    p.add_argument("--runs-out", type=Path, help="where the slice is run; default: runs/check, always fresh")
    p.add_argument(
        "--update", action="store_true", help="run all that is accepted anew, on the CPU; show what would move"
    )
    p.add_argument("--names", help="--update: comma-separated, as table1,claims-fresh; default: all that is accepted")
    p.add_argument("--yes", action="store_true", help="--update: write it; else you are asked, or nothing is written")
    p.add_argument("--init", action="store_true", help="write check.json; tolerances by another batch size")
    p.add_argument("--models", default="identity,inspix2pix,lgie,mgie", help="--init: comma-separated")
    p.add_argument("--datasets", default=",".join(BENCHMARKS), help="--init: comma-separated")
    p.add_argument("--limit", type=int, default=8, help="--init: examples a dataset")
    return p


def stored_file(args: argparse.Namespace, check: Check, cell: Cell) -> Path:
    kind = f"-{REWRITE}" if cell.rewriter else ""  # the table of rewriters has stored scores of its own
    return args.reference / args.suite / f"scores{kind}{beside(args.suite, check.split)}" / stored_name(cell)


def options_of(args: argparse.Namespace, check: Check, out: Path, limit: bool = True, *extra: str) -> Options:
    extra = (*ON_CPU, *(("--limit", str(check.limit)) if limit else ()), *extra)
    return Options(check.split, check.seeds, (), args.data_root, args.weights, out, extra=extra)


def rerun(cells: Sequence[Cell], options: Options) -> dict[Cell, list[Score] | str]:
    """The fresh scores of each cell, or why there are none."""
    results = run_cells(cells, options)
    return {r.cell: r.reason or read_run(r.finished, options.seeds, r.protocols).scores for r in results}


def all_of(made: Mapping[Cell, list[Score] | str]) -> dict[Cell, list[Score]]:
    """The scores of every cell. Raises ValueError for one that could not be run."""
    found = {}
    for cell, scores in made.items():
        if isinstance(scores, str):
            raise ValueError(f"{cell.label} cannot be run: {scores}")
        found[cell] = scores
    return found


def examine(check: Check, stored: dict[Cell, Path], fresh: Mapping[Cell, list[Score] | str]) -> Findings:
    """Compare every cell of the check with what is stored; whatever cannot be read is a problem in the report."""
    report = Findings([], [])
    for cell in check.cells():
        try:
            before = read_scores(stored[cell])
        except (ValueError, OSError) as error:
            report.problems.append(str(error))
            continue
        after = fresh.get(cell, "it was not run")
        if isinstance(after, str):
            report.problems.append(f"{cell.label}: cannot be run again: {after}")
            continue
        report = report.joined(compare(check, cell, before, after))
    return report


def show(report: Findings, models: Sequence[str]) -> None:
    """What is wrong, what moved most, and the verdict in one line."""
    for problem in report.problems:
        print(f"red: {problem}")
    moved = sorted((m for m in report.moves if m.share > 0), key=lambda m: -m.share)[:5]
    if moved:
        print("what moved most:")
    for m in moved:
        print(f"  {m.model} {m.metric} {m.example_id} seed {m.seed}: stored {m.stored:.6f}, fresh {m.fresh:.6f}, "
              f"tolerance {m.tolerance:g}{', red' if m.share > 1 else ''}")  # fmt: skip
    over = sum(m.share > 1 for m in report.moves)
    if report.green:
        of = "1 model" if len(models) == 1 else f"{len(models)} models"
        print(f"check: {len(report.moves)} scores of {of} equal within tolerance")
    else:
        moved_over = f"{over} of {len(report.moves)} scores moved by more than their tolerance"
        print(f"check: FAILED: {len(report.problems)} problems, {moved_over}")


def check_slice(args: argparse.Namespace, out: Path) -> int:
    path = args.reference / args.suite / "check.json"
    try:
        check = read_check(path)
    except (ValueError, OSError) as error:
        print(f"red: {error}\ncheck: FAILED: nothing was compared")
        return 1
    cells = check.cells()
    stored = {cell: stored_file(args, check, cell) for cell in cells}
    fresh = rerun(cells, options_of(args, check, out))
    report = examine(check, stored, fresh)
    folder = args.reference / args.suite
    report.problems.extend([*links(folder), *stale_tables(folder, stored.values())])
    show(report, check.models)
    return 0 if report.green else 1


def accept(args: argparse.Namespace, out: Path) -> int:
    """Make what is accepted anew below `out`, show what would move, write it after a yes; a failure writes nothing."""
    accepted, fresh = args.reference / args.suite, out / "results" / args.suite
    names = with_companions(args.names.split(","), accepted) if args.names else names_of(accepted)
    if not names:
        raise ValueError(f"{accepted} holds nothing that can be made again; name it: --names table1")
    commands = {n: command_of(n, args.suite, accepted) for n in names if n not in (CHECK, TRAINING)}
    if CHECK in names:
        check = read_check(accepted / "check.json")
        if not check_cells(args, check, fresh, options_of(args, check, out / "runs", limit=False)):
            return 1
    if TRAINING in names:
        training_logs(Path("results") / args.suite / "training", fresh)
    shared = [part for flag, value in (("--data-root", args.data_root), ("--weights", args.weights)) if value
              for part in (flag, str(value))]  # fmt: skip
    for name, argv in commands.items():
        code = run(argv, out, shared)
        if code:
            print(f"red: {name}: exit code {code}\ncheck: nothing was stored")
            return 1
    print("\n".join(moves(accepted, fresh)))
    if CHECK in names:
        files = [stored_file(args, check, cell).relative_to(accepted) for cell in check.cells()]
        kept = {file.name: len(read_scores(fresh / file)) for file in files}
        (fresh / "check.json").write_text(replace(check, rows=kept).to_json(), encoding="utf-8")
    if not (args.yes or agreed()):
        print("check: nothing was stored; --yes (make accept YES=1) writes it")
        return 1
    count = take(fresh, accepted, origin(), names)
    print(f"stored {count} files below {accepted}")
    return 0


def check_cells(args: argparse.Namespace, check: Check, fresh: Path, options: Options) -> bool:
    """The gate's cells on all their examples, what moved, and their scores below `fresh`."""
    made = rerun(check.cells(), options)
    failed = [f"{cell.label}: {scores}" for cell, scores in made.items() if isinstance(scores, str)]
    if failed:
        print("\n".join([f"red: {line}" for line in failed] + ["check: nothing was stored"]))
        return False
    whole = all_of(made)
    ids = tuple(dict.fromkeys(s.example_id for scores in whole.values() for s in scores))
    stored = {cell: stored_file(args, check, cell) for cell in made}
    show(examine(replace(check, example_ids=ids), stored, made), check.models)
    for cell, scores in whole.items():
        write_scores(fresh / stored[cell].relative_to(args.reference / args.suite), scores)
    return True


def agreed() -> bool:
    return sys.stdin.isatty() and input("Write this to the reference? [y/N] ").strip().lower() == "y"


def origin() -> dict[str, str]:
    """On what the accepted numbers were made."""
    import torch

    from bench.runs.sessions import commit
    from mgie.io.devices import device_name

    return {"processor": device_name("cpu"), "torch": torch.__version__, "commit": commit()}


def init(args: argparse.Namespace, out: Path) -> int:
    """Write check.json from the stored scores: the slice, and tolerances from what another batch size moves."""
    models, datasets = (tuple(names.split(",")) for names in (args.models, args.datasets))
    path = args.reference / args.suite / "check.json"
    rewritten = read_check(path).rewritten if path.exists() else ()  # no flag names them: they stay
    check = Check(args.suite, split_of(args.suite, False), 1, args.limit, models, datasets, (), (), {}, {}, rewritten)
    cells = check.cells()
    stored = {cell: read_scores(stored_file(args, check, cell)) for cell in cells}
    fresh = rerun(cells, options_of(args, check, out / "as-stored"))
    threes = ("--batch-size", "3", "--metric-batch-size", "3")
    other = rerun(cells, options_of(args, check, out / "other-batch", True, *threes))
    one, two = all_of(fresh), all_of(other)
    ids = tuple(dict.fromkeys(s.example_id for cell in cells for s in one[cell]))
    metrics = tuple(dict.fromkeys(s.metric for cell in cells for s in one[cell]))
    rows = {stored_file(args, check, cell).name: len(stored[cell]) for cell in cells}
    check = replace(check, example_ids=ids, metrics=metrics, rows=rows)
    loose = {metric: Tolerance(float("inf"), float("inf"), "") for metric in metrics}
    noise = Findings([], [])
    for cell in cells:
        noise = noise.joined(compare(replace(check, rows={}, tolerances=loose), cell, one[cell], two[cell]))
    if noise.problems:
        raise ValueError("; ".join(noise.problems))
    check = replace(check, tolerances={metric: measured(noise, metric, cells) for metric in metrics})
    path.write_text(check.to_json(), encoding="utf-8")
    print(f"wrote {path}: {len(ids)} examples, {len(models) + len(rewritten)} models, {len(metrics)} metrics")
    return 0


def measured(noise: Findings, metric: str, cells: Sequence[Cell]) -> Tolerance:
    """Three times what another batch size moves, at least FLOOR; raises ValueError where that would hide 1 %."""
    moves = [m for m in noise.moves if m.metric == metric]
    largest = max(abs(m.fresh - m.stored) for m in moves)
    drifts = []
    for cell in cells:
        here = [m for m in moves if (m.model, m.example_id.split("/")[0]) == (pair_said(cell), cell.dataset)]
        size = sum(abs(m.stored) for m in here)
        drifts += [abs(sum(m.fresh - m.stored for m in here)) / size] if size else []
    drift = max(drifts, default=0.0)
    if 3 * drift > 0.005:
        raise ValueError(f"{metric}: another batch size moves its mean by {drift:.2%}; too much to see 1 %")
    source = (f"3 x the largest difference between batch size 8 and 3 ({largest:.2g} an example, {drift:.2g} of the "
              f"mean; {len(moves)} scores, one CPU thread), at least {FLOOR.example:g} and {FLOOR.mean:g}")  # fmt: skip
    return Tolerance(max(3 * largest, FLOOR.example), max(3 * drift, FLOOR.mean), source)


@contextmanager
def scratch() -> Iterator[Path]:
    """For the fresh runs, one check at a time; what a kill left of the one before is cleared first."""
    SCRATCH.parent.mkdir(exist_ok=True)
    with open(SCRATCH.with_name(f".{SCRATCH.name}.lock"), "w") as lock:
        hold(lock, f"another check is at work in {SCRATCH}; this one waits for it")
        shutil.rmtree(SCRATCH, ignore_errors=True)
        try:
            yield SCRATCH
        finally:
            shutil.rmtree(SCRATCH, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.init and args.update:
        print("error: --init and --update do not go together", file=sys.stderr)
        return 2
    if (args.names or args.yes) and not args.update:
        print("error: --names and --yes are for --update", file=sys.stderr)
        return 2
    if args.suite == "mini" and (args.data_root or args.weights):
        print("error: --data-root and --weights are for the other suites; add --suite", file=sys.stderr)
        return 2
    try:
        with stoppable(), nullcontext(args.runs_out) if args.runs_out else scratch() as out:
            return (init if args.init else accept if args.update else check_slice)(args, out)
    except KeyboardInterrupt:
        print("check: FAILED: stopped")
        return 1
    except (ValueError, OSError, json.JSONDecodeError) as error:
        print(f"red: {error}\ncheck: FAILED")
        return 1


if __name__ == "__main__":
    sys.exit(main())
