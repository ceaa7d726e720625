"""The summary of one run: mean, interval and n of each metric, seconds an edit; for people or as JSON."""

import argparse
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from bench.records import REWRITING, Edit, Score
from bench.registry import in_order
from bench.runs.folder import RunFolder
from bench.runs.runner import Tick
from bench.runs.scoring import Wanted, cut_said
from bench.settings import NOT_READING, SUITES_OWN, DataSettings, EditSettings, MetricSettings, choices_of, from_flags
from bench.stats import summarise, summarise_seconds, timings

KINDS = 3  # of reasons, that are said in words


def summary(folder: RunFolder, seeds: range, wanted: Wanted) -> dict:
    """The object that --json prints. Values unscaled; n counts examples, of is how many the run has."""
    run, done = folder.run(), folder.done()
    assert done is not None  # a run is summed up when it is finished
    shown = wanted.protocols(done)
    scores = [s for s in folder.scores(shown).values() if s.seed in seeds and s.metric in shown]
    edits = [e for e in folder.edits().values() if e.seed in seeds]
    entries = {(entry["metric"], entry["protocol"]): entry for entry in done["scored"]}
    return {
        "suite": run["suite"], "dataset": run["dataset"], "model": run["model"], "run": str(folder.path),
        "n": done["n"], "of": run["n"], "groups": run["groups"], "seeds": len(seeds),
        "metrics": {
            n: metric_summary([s for s in scores if s.metric == n]) | {"cut": cut_said(entries[n, shown[n]])}
            for n in in_order(shown)
        },
        "not_run": {name: why for name, why in done["not_run"].items() if name in wanted.names},
        "seconds": seconds_summary(edits, run["edit"]["batch_size"], folder.sessions()),
        **rewriting_summary(run, edits), "failures": done["failures"],
        "halved": sum(h.seed in seeds for h in folder.halvings()), "note": run["note"],
        "profiles": done.get("profiles", {}),
    }  # fmt: skip


def metric_summary(scores: list[Score]) -> dict:
    s = summarise(scores)
    reasons = [counted(scores), s.reason]
    return {
        "mean": s.mean, "low": s.low, "high": s.high, "n": s.n, "groups": s.groups,
        "reason": "; ".join(filter(None, reasons)), "protocol": scores[0].protocol,
    }  # fmt: skip


def counted(scores: list[Score]) -> str:
    """Why values are missing, by kind, the most frequent first; empty where none is."""
    kinds: dict[str, list[str]] = {}
    for score in scores:
        if score.value is None:
            kinds.setdefault(score.reason, []).append(score.example_id)
    order = sorted(kinds, key=lambda reason: -len(kinds[reason]))
    said = [f"{len(kinds[r])} of {len(scores)} scores missing: {r} (first: {kinds[r][0]})" for r in order[:KINDS]]
    rest = sum(len(kinds[reason]) for reason in order[KINDS:])
    return "; ".join([*said, *([f"{rest} more for other reasons, see scores.jsonl"] if rest else [])])


def seconds_summary(edits: list[Edit], batch_size: int, sessions: list[dict]) -> dict:
    """n counts timings, of a batch each; 0 where images were given."""
    s = summarise_seconds(timings(edits, batch_size))
    devices = list(dict.fromkeys(line["device"] for line in sessions if "device" in line))
    return {"median": s.mean, "low": s.low, "high": s.high, "n": s.n, "device": " and ".join(devices)}


def rewriting_summary(run: dict, edits: list[Edit]) -> dict:
    """Of a run with a rewriter: who it is, and its seconds, which are part of those of an edit."""
    s = summarise_seconds(timings(edits, run["edit"]["batch_size"], REWRITING))
    if s.mean is None and "rewriter" not in run:
        return {}
    return {
        "rewriting": {"rewriter": run.get("rewriter", ""), "median": s.mean, "low": s.low, "high": s.high, "n": s.n}
    }


def show(summary: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(
        f"{summary['model']} on {summary['dataset']}: {summary['n']} of {summary['of']} examples in "
        f"{summary['groups']} groups, {summary['seeds']} seed{'s' * (summary['seeds'] > 1)}", markup=False,
    )  # fmt: skip
    table = Table()
    for column in ("metric", "mean", "95 % interval", "n"):
        table.add_column(column, justify="right" if column in ("mean", "n") else "left")
    for name, m in summary["metrics"].items():
        table.add_row(name, "none" if m["mean"] is None else f"{m['mean']:.4f}", interval(m), str(m["n"]))
    for name in summary["not_run"]:
        table.add_row(name, "not run", "", "0")
    s = summary["seconds"]
    if s["median"] is not None:
        table.add_row("seconds", f"{s['median']:.4f}", interval(s), str(s["n"]))
    r = summary.get("rewriting", {"median": None})
    if r["median"] is not None:
        table.add_row("of it rewriting", f"{r['median']:.4f}", interval(r), str(r["n"]))
    console.print(table)
    for m in summary["metrics"].values():
        console.print("; ".join(filter(None, (m["protocol"], m["cut"]))), markup=False)
    for reason in dict.fromkeys(m["reason"] for m in summary["metrics"].values() if m["reason"]):  # each once
        console.print(reason, markup=False)
    for name, why in summary["not_run"].items():
        console.print(f"{name} not run: {why}", markup=False)
    if s["median"] is not None:
        console.print(f"seconds: median an edit, n counts timed batches, on {s['device']}", markup=False)
    for line in profile_lines(summary["profiles"]):
        console.print(line, markup=False)
    for lines in summary.get("sets", {}).values():
        console.print("\n".join(lines), markup=False, soft_wrap=True)
    if summary["note"]:
        console.print(f"note: {summary['note']}", markup=False)
    if summary["failures"]:
        console.print(f"{summary['failures']} failures are listed in {summary['run']}/failures.jsonl", markup=False)
    if summary["halved"]:
        slices = f"slice{'s' * (summary['halved'] > 1)}"
        text = f"{summary['halved']} {slices} edited in smaller batches, listed in {summary['run']}/halvings.jsonl"
        console.print(text, markup=False)
    console.print(f"run: {summary['run']}", markup=False, soft_wrap=True)


def profile_lines(profiles: dict[str, int]) -> list[str]:
    """What was done about the images' colour profiles; nothing where all were sRGB."""
    said = {
        "converted": "images converted from their colour profile to sRGB",
        "broken": "images have a colour profile that cannot be followed; their pixels were taken as they are",
    }
    return [f"{profiles[k]} of {profiles['images']} {text}" for k, text in said.items() if profiles.get(k)]


def interval(part: dict) -> str:
    return "" if part["low"] is None else f"{part['low']:.4f} to {part['high']:.4f}"


@contextmanager
def bar(label: str, stage: str, total: int) -> Iterator[Tick]:
    """A progress bar with rate and time left on stderr; yields its tick. A bench.runs.execute.Progress."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(f"{label}: {stage}", total=total, rate="")

        def tick(n: int, failed: int = 0) -> None:
            shown.advance(task, n)
            speed = shown.tasks[task].speed
            shown.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield tick


def beside_others(args: argparse.Namespace, seeded: bool = False) -> str:
    """The command that shows this run in its table, as Python and make spell it. seeded: as many seeds as it has, for
    a table takes others by default."""
    given = {
        ("--suite", "SUITE"): args.suite or "", ("--data-root", "DATA"): args.data_root or "",
        # of given images the networks alone lie there; a checkpoint's are no other row's
        ("--weights", "WEIGHTS"): (args.images and args.weights) or "",
        ("--datasets", "DATASETS"): args.dataset, ("--with", "WITH"): args.as_name or args.model,
        ("--split", "SPLIT"): args.split, ("--metrics", "METRICS"): args.metrics or "",
        ("--seeds", "SEEDS"): args.seeds if seeded else "",
    }  # fmt: skip
    others = [
        *choices_of(DataSettings(), from_flags(DataSettings, args), ("split",)),
        *choices_of(EditSettings(), from_flags(EditSettings, args), NOT_READING),
        *choices_of(SUITES_OWN, from_flags(MetricSettings, args)),
    ]  # fmt: skip
    more = [part for choice in others for part in choice.argv()]
    more += ["--out", str(args.out)] if str(args.out) != "runs" else []
    more += ["--device", args.device] if args.device != "auto" else []
    named = {key: str(value) for key, value in given.items() if value}
    # what make's own shell would take apart, or make itself at a comma, goes where it may be quoted
    odd = [key for key, value in named.items() if shlex.quote(value) != value or (key[1] == "WITH" and "," in value)]
    flags = [part for (flag, _), value in named.items() for part in (flag, value)]
    variables = [f"{key[1]}={value}" for key, value in named.items() if key not in odd]
    quoted = shlex.join([*(part for key in odd for part in (key[0], named[key])), *more]).replace("$", "$$")
    variables += [f"ARGS={shlex.quote(quoted)}"] if quoted else []
    table = 2 if args.setting == "fine-tuned" else 1
    return (f"beside the others: python -m bench.tables {table} {shlex.join([*flags, *more])}\n"
            f"or: make table{table} {' '.join(variables)}")  # fmt: skip
