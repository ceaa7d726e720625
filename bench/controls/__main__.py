"""Controls that a metric must tell apart: goal image, input copy, black image, a model's outputs for other examples.

    python -m bench.controls                                                   the built-in miniature, MGIE's outputs
    python -m bench.controls --suite paper --data-root data --datasets gier --model inspix2pix --weights weights
    python -m bench.controls --check                                           exit 1 where it is not as accepted

For each metric the share of examples that it ranks rightly: goal image over input copy over black, a model's own output
over another example's output and over its output for another example's instruction. Says too where a model ignores its
instruction. Runs what is missing; writes controls.csv, controls-rows.csv, .md and .png below results/<suite>/. Any
dataset with goal images. Exit codes: 0 done, 1 stopped or (--check) not as accepted, 2 wrong use.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.controls.judge import (
    BLACK,
    COPY,
    GOAL,
    OTHER,
    OWN,
    ROWS,
    SHUFFLED,
    Ranked,
    RowMean,
    changed,
    ignores,
    ranked,
)
from bench.controls.show import in_words, markdown, plot, terminal
from bench.grid.cells import (
    OF_EDITORS,
    Cell,
    Finished,
    Options,
    Result,
    argv_of,
    make_weights,
    read_run,
    refuse_nothing,
    run_all,
)
from bench.grid.jobs import Job, run_jobs
from bench.grid.options import Selection, parser, selected
from bench.grid.reference import REFERENCE, against
from bench.grid.show import suite_line
from bench.grid.terminal import wrapped
from bench.metrics.sets import SETS, expanded
from bench.planning.command import of_cells
from bench.records import Edit
from bench.registry import METRICS, form_of
from bench.runs.description import safe
from bench.runs.folder import RunFolder
from bench.settings import planned
from bench.stats import summarise
from mgie.io.command import command, written
from mgie.io.files import write_atomic, write_csv

MODEL = "mgie"
COPIES = {GOAL: "oracle", COPY: "identity", BLACK: "black"}
SLACK = 2  # examples by which a share may differ from the accepted one: another processor rounds otherwise

Key = tuple[str, str]  # dataset and row
Runs = dict[Key, Finished | str]  # its scores, or why there are none


def selection(argv: Sequence[str] | None) -> tuple[Selection, argparse.Namespace]:
    p = parser("bench.controls", __doc__, full="the whole test split (200 a dataset)")
    p.add_argument("--model", dest="models", default=MODEL, help=f"whose outputs are mixed up (default {MODEL})")
    p.add_argument("--metrics", help=f"comma-separated, of {', '.join((*METRICS, *SETS))}; default: all of them")
    p.add_argument("--check", action="store_true", help="exit code 1 where a share is not as in results/reference")
    args = p.parse_args(argv)
    if "," in args.models:
        raise ValueError(f"--model {args.models}: expected one model; give the command once for each")
    return selected(args, (MODEL,)), args


def metrics_for(asked: Selection, dataset: str) -> tuple[str, ...]:
    return expanded(asked.options.metrics, dataset) or tuple(METRICS)


def wanted_of(asked: Selection) -> dict[Key, tuple[Cell, Options]]:
    """What is edited; the outputs of the other rows are made of these."""
    (model,) = asked.models
    wanted: dict[Key, tuple[Cell, Options]] = {}
    for dataset in asked.datasets:
        options = replace(asked.options, seeds=1, metrics=metrics_for(asked, dataset))
        apart = replace(options, out=apart_from(asked))
        for row, name in COPIES.items():
            wanted[dataset, row] = Cell(asked.suite, dataset, name), apart if row == BLACK else options
        own = Cell(asked.suite, dataset, model, form=form_of(model))
        shuffled = replace(apart, metrics=("l1",), extra=(*options.extra, "--instructions", "shuffled"))
        wanted |= {(dataset, OWN): (own, options), (dataset, SHUFFLED): (own, shuffled)}
    return wanted


def labels_of(keys: Iterable[Key]) -> list[str]:
    return [f"{dataset}, {row}" for dataset, row in keys]


def run(asked: Selection) -> Runs:
    """Every row of every dataset, run where it was not."""
    (model,) = asked.models
    wanted = wanted_of(asked)
    make_weights([cell for cell, _ in wanted.values() if cell.model == model], asked.options)
    results = dict(zip(wanted, run_all(list(wanted.values()), labels_of(wanted)), strict=True))
    refuse_nothing(list(results.values()))
    found: Runs = {
        key: r.reason if r.reason else read_run(r.finished, 1, r.protocols)
        for key, r in results.items() if key[1] != SHUFFLED
    }  # fmt: skip
    return found | handed(asked, model, results)


def apart_from(asked: Selection) -> Path:
    """Where the runs lie that are of no use but here, so that no table or standing takes them for a model's."""
    return asked.options.out / "controls"


def handed(
    asked: Selection, model: str, results: Mapping[tuple[str, str], Result]
) -> dict[tuple[str, str], Finished | str]:
    """Outputs scored as another example's, and those for other instructions as the examples' own."""
    found: dict[tuple[str, str], Finished | str] = {}
    jobs: list[Job] = []
    keys: list[tuple[str, str]] = []
    for dataset in asked.datasets:
        for row, source in ((OTHER, OWN), (SHUFFLED, SHUFFLED)):
            result = results[dataset, source]
            if result.reason:
                found[dataset, row] = result.reason
                continue
            edits, run = edits_of(result.finished), RunFolder(result.finished)
            groups = {s.example_id: s.group for s in run.every_score().values()}
            edits = {i: e for i, e in edits.items() if i in groups}
            name = f"{safe(model)}-{'anothers' if row == OTHER else 'shuffled'}"
            index = apart_from(asked) / f"{result.finished.name}--{name}.jsonl"
            write_index(index, result.finished, moved(edits, groups) if row == OTHER else edits)
            options = replace(asked.options, seeds=1, metrics=metrics_for(asked, dataset), out=apart_from(asked))
            options = replace(options, chosen=tuple(c for c in options.chosen if c.flag not in OF_EDITORS))
            argv = [*argv_of(Cell(asked.suite, dataset, name), options), "--images", str(index), "--max-failures", "1"]
            jobs.append(
                Job(tuple(argv), f"{dataset}, {row}", name, False, {"edits": len(edits), "scores": len(edits)}, "cpu")
            )
            keys.append((dataset, row))
    for place, ended in run_jobs(jobs):
        folder = ended.folder
        found[keys[place]] = read_run(folder, 1, ended.protocols) if folder else ended.reason
    return found


def edits_of(folder: Path) -> dict[str, Edit]:
    return {e.example_id: e for e in RunFolder(folder).edits().values() if e.seed == 0}


def moved(edits: Mapping[str, Edit], groups: Mapping[str, str]) -> dict[str, Edit]:
    """Each example with an output of another group: the first one from half the list further on."""
    ids, found = list(edits), {}
    for place, example in enumerate(ids):
        later = (ids[(place + len(ids) // 2 + step) % len(ids)] for step in range(len(ids)))
        other = next((i for i in later if groups[i] != groups[example]), None)
        if other is not None:
            found[example] = edits[other]
    return found


def write_index(path: Path, folder: Path, edits: Mapping[str, Edit]) -> None:
    """What bench.run --images takes: whose output is scored as whose."""
    lines = [json.dumps({"id": i, "path": str((folder / e.output_image).absolute())}) + "\n" for i, e in edits.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(lines))


def judged(asked: Selection, runs: Mapping[tuple[str, str], Finished | str]) -> tuple[list[Ranked], list[RowMean]]:
    found: list[Ranked] = []
    means: list[RowMean] = []
    (model,) = asked.models
    for dataset in asked.datasets:
        said = (asked.suite, dataset, model)
        here = {row: run for row in ROWS if isinstance(run := runs.get((dataset, row)), Finished)}
        of = max((run.of for run in here.values()), default=0)
        for metric in metrics_for(asked, dataset):
            scores = {row: {s.example_id: s for s in run.scores if s.metric == metric} for row, run in here.items()}
            found += ranked(said, metric, scores, of)
            for row in ROWS:
                run = runs.get((dataset, row), "not run")
                s = summarise(scores.get(row, {}).values())
                why = f"{row}: {run}" if isinstance(run, str) else run.not_run.get(metric, s.reason)
                means.append(RowMean(*said, metric, row, s.mean, s.low, s.high, s.n, of, why))
    return found, means


def pixels(asked: Selection, runs: Mapping[tuple[str, str], Finished | str]) -> list[Ranked]:
    """Whether another instruction changes the outputs at all."""
    (model,) = asked.models
    found = []
    for dataset in asked.datasets:
        own, other = runs.get((dataset, OWN)), runs.get((dataset, SHUFFLED))
        if isinstance(own, Finished) and isinstance(other, Finished):
            roots = (asked.options.out, apart_from(asked))
            one, two = (
                {i: e.image_sha256 for i, e in edits_of(root / asked.suite / run.name).items()}
                for root, run in zip(roots, (own, other), strict=True)
            )
            groups = {s.example_id: s.group for s in own.scores}
            scored = {i: sha256 for i, sha256 in one.items() if i in groups}
            found.append(changed((asked.suite, dataset, model), scored, two, groups, own.of))
    return found


def differing(made: Path, accepted: Path) -> list[str]:
    """Shares that are not as accepted, and those that one side lacks."""

    def read(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
        with open(path, encoding="utf-8", newline="") as file:
            return {(r["dataset"], r["model"], r["metric"], r["first"]): r for r in csv.DictReader(file)}

    if not accepted.is_file():
        return [f"nothing is accepted: no {accepted.name}"]
    here, before = read(made), read(accepted)
    lines = []
    for key in here.keys() | before.keys():
        one, two = (rows.get(key, {}).get("value", "absent") for rows in (here, before))
        if one == two:
            continue
        try:
            apart = abs(float(one) - float(two)) * int(before[key]["n"])
        except (ValueError, KeyError):
            apart = SLACK + 1.0
        if apart > SLACK:
            lines.append(f"{' '.join(key)}: here {one or 'none'}, accepted {two or 'none'}")
    return sorted(lines)


def make(argv: Sequence[str] | None) -> int:
    asked, args = selection(argv)
    if planned(args):
        wanted = wanted_of(asked)
        return of_cells("the controls", asked, args, list(wanted.values()), labels_of(wanted), on_demand=True)
    print("\n".join([suite_line(asked.suite, asked.datasets), *asked.options.said]), flush=True)
    runs = run(asked)
    rows, means = judged(asked, runs)
    rows += pixels(asked, runs)
    stem = asked.stem("controls")
    table, means_csv = stem.with_suffix(".csv"), stem.with_name(f"{stem.name}-rows.csv")
    write_csv(table, Ranked, rows)
    write_csv(means_csv, RowMean, means)
    write_atomic(stem.with_suffix(".md"), markdown(rows, means, asked.options.said))
    files = [table, means_csv, stem.with_suffix(".md"), *plot(rows, stem)]
    print("\n".join([*terminal(rows), *wrapped([*in_words(rows), *(f"notice: {line}" for line in ignores(rows))])]))
    print(written(files))
    print("\n".join(against(table, asked.suite)))
    wrong = differing(table, REFERENCE / asked.suite / table.name) if args.check else []
    if wrong:
        print("\n".join(["error: --check: not as accepted:", *(f"  {line}" for line in wrong)]), file=sys.stderr)
    return 1 if wrong else 0


def main(argv: Sequence[str] | None = None) -> int:
    return command(lambda: make(argv))


if __name__ == "__main__":
    sys.exit(main())
