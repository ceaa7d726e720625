"""How long an edit takes here, from what was measured on this device: finished or begun runs, else Table 4's timings.

What was measured on another device, in another dtype or with other steps says nothing, and is not scaled.
"""

import json
import statistics
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bench.grid.paper import reported_cells
from bench.planning.device import Device
from bench.planning.look import Look
from bench.registry import PAPER_MODELS
from bench.runs.folder import RunFolder
from bench.runs.plan import Plan
from bench.stats import timings
from mgie.io.devices import dtype_name
from mgie.io.files import looking
from mgie.presets import PRESETS

CALLS = 7  # of Table 4 for one of its rows: one is counted, one warms up, five are timed
BATCHES = (1, 4, 8)  # of Table 4
LEAST = 3  # timings, before a run says anything


class Measured(NamedTuple):
    seconds: float  # an edit
    by: str  # what it was measured by


def measured(look: Look, device: Device) -> Measured | None:
    """None: nothing was measured on this device that is alike."""
    if device.named:
        return None
    runs = of_runs(look.plan, look, device) if isinstance(look.plan, Plan) else None
    return runs or of_table4(look, device)


def of_runs(plan: Plan, look: Look, device: Device) -> Measured | None:
    """Runs of the same model, form, rewriter, dtype, steps and size rule on this device; of this dataset rather than
    another."""
    run, found = plan.run, []
    for other in timed_runs(Path(look.asked.args.out) / run.suite):
        alike = (other.model, other.form, other.dtype) == (run.model, run.form, run.fingerprint.get("dtype", ""))
        alike = alike and other.rewriter == run.rewriter
        edit = other.edit.get("num_inference_steps"), other.edit.get("size"), other.edit.get("batch_size")
        same = edit == (run.edit.num_inference_steps, run.edit.size, run.edit.batch_size)
        if alike and same and other.devices == (device.name,):
            found.append((other.dataset == run.dataset, len(other.seconds), other))
    if not found:
        return None
    *_, best = max(found, key=lambda one: one[:2])
    return Measured(statistics.median(best.seconds), f"the run {best.name}")


class Timed(NamedTuple):
    """A run folder whose edits were timed."""

    name: str
    dataset: str
    model: str
    form: str
    rewriter: str  # whose seconds are among those of an edit
    dtype: str
    edit: dict
    devices: tuple[str, ...]
    seconds: list[float]


def timed_runs(suite: Path) -> tuple[Timed, ...]:
    stamp = tuple((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(suite.glob("*/edits.jsonl")))
    return read_timed(stamp)


@lru_cache(maxsize=4)
def read_timed(stamp: tuple[tuple[str, int, int], ...]) -> tuple[Timed, ...]:
    """stamp: of every file of edits, so that sixteen cells read them once."""
    return tuple(timed for path, _, _ in stamp for timed in one_timed(Path(path).parent))


def one_timed(path: Path) -> Iterator[Timed]:
    folder = RunFolder(path)
    try:
        with looking():
            run, edits = folder.run(), folder.edits()
            devices = tuple(dict.fromkeys(s["device"] for s in folder.sessions() if "device" in s))
    except (ValueError, OSError):  # damaged: the run itself says so
        return
    seconds = timings(edits.values(), run["edit"].get("batch_size", 1))
    if len(seconds) >= LEAST and "images" not in run["fingerprint"]:
        dtype = run["fingerprint"].get("dtype", "")
        said = run["dataset"], run["model"], run["form"], run.get("rewriter", "")
        yield Timed(path.name, *said, dtype, run["edit"], devices, seconds)


def of_table4(look: Look, device: Device) -> Measured | None:
    """The row of the same model on this device, at this batch size or the nearest; it needs neither data nor weights.

    Where those are not here, dtype and steps are what the run will take once they are.
    """
    asked, plan = look.asked, look.plan
    if isinstance(plan, Plan):
        dtype, steps = plan.run.fingerprint.get("dtype", "").partition(";")[0], plan.run.edit.num_inference_steps
        rewritten = bool(plan.run.rewriter)
    else:
        preset = PRESETS["mini" if asked.suite == "mini" else "7b"]
        dtype, steps = dtype_name(asked.spec, device.kind), asked.edit.num_inference_steps or preset.num_inference_steps
        rewritten = asked.args.rewrite != "none"
    if asked.args.setting != "zero-shot" or asked.spec.form != "e2e" or rewritten:
        return None
    rows = []
    for path in sorted(Path(asked.args.out, asked.suite, "timing").glob(f"{asked.spec.name}--*.json")):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            alike = (row["model"], row["device"], row["dtype"]) == (asked.spec.name, device.name, dtype)
            alike = alike and row["steps"] == steps and not row["compiled"]
            if alike:
                rows.append((abs(row["batch"] - asked.edit.batch_size), row["batch"], row["seconds"]))
        except (OSError, ValueError, LookupError, TypeError):  # another version's, or cut: it tells nothing
            continue
    if not rows:
        return None
    _, batch, seconds = min(rows)
    return Measured(seconds / batch, f"Table 4, batch {batch}")


def unknown(suite: str, device: Device) -> str:
    """What to say where nothing is known."""
    if device.named:
        return "not told for another device than this one"
    if suite == "mini":
        return f"not known: make table4 measures it in about {minutes(small_calls())}"
    if device.kind == "cpu":
        return (
            "not known: nothing of the true size was run on this CPU; make table4 times the miniature here, the true "
            f"sizes on a GPU, in about {minutes(true_calls())} on an A100"
        )
    return f"not known: make table4 measures it in about {minutes(true_calls())} (an A100's time)"


def minutes(seconds: float) -> str:
    count = max(1, round(CALLS * seconds / 60))
    return f"{count} minute{'s' * (count > 1)}"


def paper_seconds(model: str, batch: int) -> float:
    """Of one call on the paper's A100, at the batch size it prints or the nearest; LGIE, which it does not, as MGIE."""
    name, printed = "mgie" if model == "lgie" else model, {}
    for (table, setting, _, other, _), cell in reported_cells().items():
        if table == "table4" and other == name and cell.value is not None:
            printed[int(setting.rpartition(" ")[2])] = cell.value
    near = min(printed, key=lambda size: abs(size - batch))
    return printed[near] * max(batch / near, 1.0)


def true_calls() -> float:
    """Seconds of one call of each row of Table 4."""
    return sum(paper_seconds(model, batch) for model in PAPER_MODELS for batch in BATCHES)


def small_calls() -> float:
    """The same of the miniature, by the accepted table."""
    import csv

    path = Path(__file__).parents[2] / "results" / "reference" / "mini" / "table4.csv"
    if not path.is_file():
        return 0.0
    with open(path, encoding="utf-8", newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))
