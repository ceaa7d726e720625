"""The command: edit and score one model on one dataset, print the summary.

    python -m bench.run --model mgie --dataset ma5k
    python -m bench.run --suite published --split sample --model mgie --dataset ma5k --data-root data
    python -m bench.run --suite paper --model mine --images DIR --dataset magicbrush
    python -m bench.run --engine ray --workers 8 --gpus-per-worker 1 --suite paper --data-root s3://bucket/data ...

Exit codes: 0 done, 1 incomplete (stopped, too many failures, disk full), 2 wrong use. The same command continues.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.records import Score
from bench.registry import (
    DATASETS,
    FORMS,
    METRICS,
    MODELS,
    SUITES,
    WITH_FORMS,
    Model,
    banner,
    edit_settings,
    form_of,
    metric_of,
    metric_settings,
    metrics_of,
    open_dataset,
    open_model,
)
from bench.runs.engines import Workers, add_engine_flags, placed, pool_of, workers_of
from bench.runs.folder import Busy, RunFolder
from bench.runs.remote import Mirror, copy_of, is_remote, place, stage
from bench.runs.runner import Run, TooManyFailures, WorkerDied, edit_all, manifest_hash, profiles, too_many, unfinished
from bench.runs.scoring import ChangedImages, Metrics, Wanted, load_metrics, protocol_of, score_all, scored
from bench.settings import (
    DataSettings,
    EditSettings,
    HowSettings,
    MetricSettings,
    ModelSettings,
    add_flags,
    add_metric_flags,
    check_numbers,
    fill,
    from_flags,
)


@dataclass(frozen=True)
class Plan:
    """What one command line asks for; nothing is loaded or written yet."""

    run: Run
    model: Model
    folder: RunFolder
    seeds: range
    metrics: tuple[str, ...]
    strict: bool  # a missing network is wrong use; else its metric is reported as not run
    metric_settings: MetricSettings
    max_failures: float
    data_root: Path | str
    device: str
    as_json: bool
    notice: str = ""
    workers: Workers = field(default_factory=Workers)
    staged: tuple[str, str, Path] | None = None  # what bench.runs.remote.stage was given, where the data root is remote
    mirror: Mirror | None = None  # where the run folder is remote

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.metrics, self.metric_settings)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("bench.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_argument_group("what to run")
    what.add_argument(
        "--model", required=True, help=f"{', '.join(MODELS)}, diffusers:<Hub id or folder>, or any name with --images"
    )
    what.add_argument("--dataset", required=True, help=", ".join(DATASETS))
    what.add_argument("--suite", choices=SUITES, help="default: mini, the built-in miniature")
    what.add_argument("--setting", choices=("zero-shot", "fine-tuned"), default="zero-shot")
    what.add_argument("--form", choices=FORMS, help="lgie and mgie only; default: e2e")
    what.add_argument(
        "--metrics",
        help=f"of {', '.join(METRICS)}; variants behind @: "
        "lpips@vgg, cvs@ViT-L-14, cts@local; default: those of Table 1 for the dataset",
    )
    what.add_argument(
        "--report-missing", action="store_true",
        help="a metric of --metrics whose network is not at hand is said to be not run; without it the run is refused",
    )  # fmt: skip
    what.add_argument("--seeds", type=int, default=1, help="how many: seeds 0 to N-1 (default 1)")
    where = p.add_argument_group("where things lie")
    where.add_argument(
        "--data-root", type=place,
        help="holds evr/ gier/ ma5k/ magicbrush/ ipr2pr/ published/; a path or s3://...; default: data",
    )  # fmt: skip
    where.add_argument("--weights", type=Path, help="holds <model>[-<form>][-<dataset>]/")
    where.add_argument("--images", type=Path, help="your own output images: a folder, or a CSV or JSONL of id and path")
    where.add_argument(
        "--out", type=place, default=Path("runs"), help="run folders go below it; a path or s3://... (default: runs)"
    )
    add_flags(p.add_argument_group("the data"), DataSettings)
    add_flags(p.add_argument_group("the edit; an option left out takes the model's own default"), EditSettings)
    add_metric_flags(p.add_argument_group("the metrics' networks"))
    how = p.add_argument_group("how")
    add_flags(how, HowSettings)
    add_engine_flags(how)
    how.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")
    return p


def plan(argv: list[str] | None = None) -> Plan:
    """Read the command line, the annotations and the model's fingerprint. Raises ValueError, FileNotFoundError."""
    args = parser().parse_args(argv)
    if args.suite is None and (args.data_root or args.weights):
        given = "--data-root" if args.data_root else "--weights"
        raise ValueError(f"{given} needs --suite: the default suite is the miniature; for real data add --suite paper")
    if args.form and args.model not in WITH_FORMS:
        raise ValueError(f"--form {args.form} is for {' and '.join(WITH_FORMS)}; {args.model} has no forms")
    if args.compile and (args.model not in ("mgie", "lgie") or args.form in ("fz", "ft") or args.images):
        raise ValueError(f"--compile is for mgie and lgie, e2e; {args.model} as asked for is not compiled")
    if (args.quantize != "none" or args.unknown_editor) and not args.model.startswith("diffusers:"):
        raise ValueError(f"--quantize and --unknown-editor are for diffusers:... models; {args.model} is none")
    check_numbers(args)
    suite, workers = args.suite or "mini", workers_of(args, args.device)
    edit = edit_settings(suite, from_flags(EditSettings, args))
    staged = to_stage(suite, args.dataset, args.data_root)
    data_root = stage(*staged) if staged else args.data_root or Path("data")
    data = from_flags(DataSettings, args)
    names = tuple((args.metrics or ",".join(metrics_of(suite, args.dataset))).replace(" ", "").split(","))
    if names == ("",) and args.dataset in DATASETS:
        raise ValueError(f"dataset {args.dataset} has no metrics of its own in bench/registry.py; name some: --metrics")
    networks = metric_settings(suite, from_flags(MetricSettings, args))
    for name in names if args.metrics else ():
        metric_of(name, networks)
    dataset = open_dataset(suite, args.dataset, data_root, data)
    networks = replace(networks, captions=getattr(dataset, "captions", ""))
    form = args.form or form_of(args.model)
    spec = placed(ModelSettings(
        args.model, suite, args.dataset, args.setting, args.form or "e2e", args.weights, args.images, args.device,
        args.dtype, args.compile, quantize=args.quantize, unknown_editor=args.unknown_editor,
    ), workers)  # fmt: skip
    examples = dataset.examples()  # before the model, which may have to ask the Hub: a missing dataset is said at once
    model = open_model(spec, dataset)
    if not examples:
        raise ValueError(f"{args.dataset}: no example with these settings: {data}")
    examples = model.wanted(examples) if hasattr(model, "wanted") else examples
    notice = model.check(examples, args.max_failures) if hasattr(model, "check") else ""
    if args.images is not None and args.seeds > 1:
        raise ValueError(f"--images holds one image an example; --seeds {args.seeds} would score it several times")
    edit = fill(edit, model.defaults)
    strict = args.metrics is not None and not args.report_missing
    data = replace(data, split=getattr(dataset, "split", data.split))
    note = "; ".join(n for n in (dataset.note, getattr(model, "note", "")) if n)
    run = Run(
        suite, args.dataset, args.model, args.setting, form, data, edit, model.fingerprint(), examples,
        manifest_hash(examples), note,
    )  # fmt: skip
    out = copy_of(args.out, Path("runs")) if is_remote(args.out) else args.out
    folder = RunFolder(out / suite / run.name)
    mirror = Mirror(f"{args.out}/{suite}/{run.name}", folder.path) if is_remote(args.out) else None
    return Plan(
        run, model, folder, range(args.seeds), names, strict, networks, args.max_failures,
        args.data_root or data_root, spec.device, args.json, notice, workers, staged, mirror,
    )  # fmt: skip


def to_stage(suite: str, dataset: str, data_root: Path | str | None) -> tuple[str, str, Path] | None:
    """What bench.runs.remote.stage is given for a remote data root; None for a local one."""
    if not is_remote(data_root):
        return None
    if suite == "mini":
        raise ValueError(f"--data-root {data_root}: suite mini draws its data into a local folder; give a path")
    if dataset not in DATASETS:
        raise ValueError(f"unknown dataset '{dataset}'; known: {', '.join(DATASETS)}")
    return data_root, "published" if suite == "published" else dataset, Path("data").absolute()


def is_done(plan: Plan) -> bool:
    """Whether the run folder already holds all that is asked for. A missing score makes it unfinished."""
    done = plan.folder.done()
    if done is None:
        return False
    shown = plan.wanted.protocols(done)
    ids, scores = [e.id for e in plan.run.scored], plan.folder.every_score()
    return (
        all((seed, i, *named) in scores for seed in plan.seeds for i in ids for named in shown.items())
        and done["seeds"] >= len(plan.seeds)
        and set(plan.metrics) <= set(shown) | (set() if plan.strict else set(done["not_run"]))
    )


def shown_in(plan: Plan) -> dict[str, str]:
    """By metric that was asked for, the protocol of its scores in a run that is done."""
    return plan.wanted.protocols(plan.folder.done())


def check_failures(plan: Plan) -> None:
    """An image that could not be read for scoring counts as well as an edit that failed. Raises TooManyFailures."""
    of, failures = len(plan.run.examples) * len(plan.seeds), plan.folder.failures()
    failures = [f for f in failures if f.get("seed") in plan.seeds]
    if len(failures) > plan.max_failures * of:
        raise TooManyFailures(too_many(failures, of, plan.max_failures))


def execute(plan: Plan) -> None:
    """Edit, score, finish: the whole run. Raises what main() turns into an exit code."""
    folder, before = plan.folder, plan.folder.done()
    # the metrics before the first edit: a missing network must not be found out after hours
    metrics = load_metrics(plan.metrics, plan.metric_settings, folder.path.parent.parent / "features")
    if metrics.not_run and (plan.strict or not metrics.ready):
        raise FileNotFoundError(next(iter(metrics.not_run.values())))
    with folder.locked(), sent(plan):
        failures, scores = edit_and_score(plan, metrics)
        folder.rewrite("scores.jsonl", scores)
        folder.rewrite("failures.jsonl", failures)
        check_failures(plan)
        edited, run = folder.edits(), plan.run
        account, earlier = scored(metrics.ready, plan.wanted, run, before), before or {"metrics": {}, "not_run": {}}
        now = {name: protocol_of(m, run.edit) for name, m in metrics.ready.items()}
        not_run = {name: why for name, why in earlier["not_run"].items() if name not in now} | metrics.not_run
        folder.finish({
            "seeds": len(plan.seeds), "metrics": earlier["metrics"] | now, "not_run": not_run, "scored": account,
            "metric_settings": plan.wanted.of("l1"),
            "n": sum(all((seed, e.id) in edited for seed in plan.seeds) for e in run.scored), "of": len(run.scored),
            "failures": len(failures), "profiles": profiles(run),
        })  # fmt: skip


def edit_and_score(plan: Plan, metrics: Metrics) -> tuple[list[dict], list[Score]]:
    """The failures and the scores. Images that were changed between edit and score are edited again, once."""
    from bench.runs.summary import bar

    run, folder, size = plan.run, plan.folder, plan.metric_settings.metric_batch_size
    for attempt in (1, 2):
        failures = edit(plan, attempt == 1)
        folder.rewrite("failures.jsonl", failures)
        try:
            with bar(f"{run.dataset} {run.model}: scores", len(run.scored) * len(plan.seeds)) as tick:
                scores, unread = score_all(run, folder, metrics.ready, plan.seeds, size, sending(plan, tick))
            return failures + unread, scores
        except ChangedImages as error:
            if attempt == 2:
                raise
            print(f"warning: {error}; they are edited again", file=sys.stderr)
            edits = folder.edits()
            folder.rewrite("edits.jsonl", [e for key, e in edits.items() if key not in error.edits])


def edit(plan: Plan, first: bool) -> list[dict]:
    """Edit what has no edit yet; returns the failures. Workers are started only if there is something to do."""
    from bench.runs.sessions import session, warn_of_differences
    from bench.runs.summary import bar

    run, folder = plan.run, plan.folder
    workers = plan.workers if unfinished(run, folder, plan.seeds) else Workers()
    with pool_of(workers, plan.model, run.edit, plan.device, plan.staged) as pool:
        if first:
            ray = {"engine": "ray", "workers": workers.count, "device": pool.device()} if pool else {}
            folder.start(run.description(), session(plan.data_root, plan.device) | ray)
            warn_of_differences(folder.sessions())
            folder.reopen()
        with bar(f"{run.dataset} {run.model}: edits", len(run.examples) * len(plan.seeds)) as tick:
            engine = pool.outcomes if pool else None
            return edit_all(run, plan.model, folder, plan.seeds, plan.max_failures, sending(plan, tick), engine)


@contextmanager
def sent(plan: Plan) -> Iterator[None]:
    """What the block leaves in a remote run folder's local copy is sent, however it ends."""
    try:
        yield
    finally:
        if plan.mirror:
            plan.mirror.push()


def sending(plan: Plan, tick: Callable[[int], None]) -> Callable[[int], None]:
    """tick that also keeps a remote run folder up to date."""

    def tick_and_send(n: int) -> None:
        tick(n)
        if plan.mirror:
            plan.mirror.push(now=False)

    return tick_and_send


def main(argv: list[str] | None = None) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two OpenMP threads on shared cores are slower than one
    try:
        asked = plan(argv)
        print(banner(asked.run.suite, asked.run.dataset), file=sys.stderr if asked.as_json else sys.stdout, flush=True)
        if asked.notice:
            print(f"notice: {asked.notice}", file=sys.stderr)
        if asked.mirror:
            with asked.folder.locked():
                asked.mirror.pull()
        if is_done(asked):
            check_failures(asked)
        else:
            execute(asked)
        from bench.runs.summary import show, summary

        show(summary(asked.folder, asked.seeds, asked.wanted), asked.as_json)
        return 0
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 1
    except (TooManyFailures, Busy, ChangedImages, WorkerDied) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; what was done is kept, the same command continues", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
