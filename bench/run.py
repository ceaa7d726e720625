"""The command: edit and score one model on one dataset, print the summary.

    python -m bench.run --model mgie --dataset ma5k
    python -m bench.run --suite published --split sample --model mgie --dataset ma5k --data-root data
    python -m bench.run --suite paper --model mine --images DIR --dataset magicbrush
    python -m bench.run --model inspix2pix --rewrite mgie --dataset ma5k
    python -m bench.run --engine ray --workers 8 --gpus-per-worker 1 --suite paper --data-root s3://bucket/data ...

Exit codes: 0 done, 1 incomplete (stopped, too many failures, disk full), 2 wrong use. The same command continues.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from bench.datasets.shuffled import as_asked
from bench.metrics.sets import DISTANCE, SETS, described, expanded
from bench.records import Example
from bench.registry import (
    DATASETS,
    FORMS,
    METRICS,
    MODELS,
    PLANNER,
    SUITES,
    WITH_FORMS,
    Dataset,
    Model,
    banner,
    check_known,
    edit_settings,
    form_of,
    metric_of,
    metric_settings,
    metrics_of,
    open_dataset,
    open_model,
    split_of,
)
from bench.runs.adoption import older_folder
from bench.runs.description import Run, files_of, is_ours, manifest_hash, safe, sources_of
from bench.runs.digests import Digests
from bench.runs.engines import Workers, add_engine_flags, placed, workers_of
from bench.runs.execute import Held, Progress, execute, write_texts
from bench.runs.folder import Busy, RunFolder
from bench.runs.plan import Plan, check_failures, check_files, is_done, of_sets, reads_of
from bench.runs.remote import Mirror, copy_of, is_remote, place, stage
from bench.runs.rewriting.named import rewriting_of
from bench.runs.runner import TooManyFailures, WorkerDied
from bench.runs.scoring import ChangedImages
from bench.settings import (
    DataSettings,
    EditSettings,
    HowSettings,
    MetricSettings,
    ModelSettings,
    add_flags,
    add_metric_flags,
    add_plan_flags,
    check_numbers,
    fill,
    from_flags,
    planned,
)
from mgie.io.command import STOPPED, stoppable
from mgie.io.devices import said_of

SETTING = "fine-tuned: the weights that were tuned on the dataset (default: zero-shot)"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("bench.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_argument_group("what to run")
    what.add_argument(
        "--model", required=True, help=f"{', '.join(MODELS)}, diffusers:<Hub id or folder>, or any name with --images"
    )
    what.add_argument("--as", dest="as_name", metavar="NAME", help="what this model is called in tables and file names")
    what.add_argument("--dataset", required=True, help=", ".join(DATASETS))
    what.add_argument("--suite", choices=SUITES, help="default: mini, the built-in miniature")
    what.add_argument("--setting", choices=("zero-shot", "fine-tuned"), default="zero-shot", help=SETTING)
    what.add_argument("--form", choices=FORMS, help="of lgie and mgie: FZ, FT or E2E; default: e2e")
    what.add_argument(
        "--metrics",
        help=f"of {', '.join(METRICS)}; variants behind @: "
        "lpips@vgg, cvs@ViT-L-14, cts@local, l1@inside, l1@outside, l1@input; a set stands for a published protocol: "
        f"{described()}; default: those of Table 1 for the dataset",
    )
    what.add_argument(
        "--report-missing", action="store_true",
        help="a metric of --metrics whose network is not at hand is said to be not run; without it the run is refused",
    )  # fmt: skip
    what.add_argument("--seeds", type=int, default=1, help="how many: seeds 0 to N-1 (default 1)")
    where = p.add_argument_group("where things lie")
    where.add_argument(
        "--data-root", type=place,
        help="holds evr/ gier/ ma5k/ magicbrush/ emu-edit/ ipr2pr/ published/; a path or s3://...; default: data",
    )  # fmt: skip
    where.add_argument("--weights", type=Path, help="holds <model>[-<form>][-<dataset>]/; suite mini: its own")
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
    how.add_argument(
        "--texts-only", action="store_true", help="with --rewrite: write the texts that runs share, say where, and stop"
    )
    how.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")
    add_plan_flags(p)
    return p


@dataclass(frozen=True)
class Asked:
    """What a command line asks for, before a file of data or weights is looked at."""

    args: argparse.Namespace
    suite: str
    called: str  # what the model is called in tables and file names
    data: DataSettings
    edit: EditSettings
    metrics: tuple[str, ...]
    networks: MetricSettings
    spec: ModelSettings
    workers: Workers
    sets: tuple[str, ...] = ()  # of --metrics, those that name a published protocol
    argv: tuple[str, ...] = ()

    @property
    def strict(self) -> bool:
        return self.args.metrics is not None and not self.args.report_missing


class Data(NamedTuple):
    root: Path
    dataset: Dataset
    examples: list[Example]


def asked_of(argv: Sequence[str] | None) -> Asked:
    """Read the command line. Raises ValueError for wrong use."""
    args = parser().parse_args(argv)
    if args.suite is None and (args.data_root or args.weights):
        given = "--data-root" if args.data_root else "--weights"
        raise ValueError(f"{given} needs --suite: the default suite is the miniature; for real data add --suite paper")
    called = printed_name(args)
    if args.form and args.model not in WITH_FORMS:
        raise ValueError(f"--form {args.form} is for {' and '.join(WITH_FORMS)}; {args.model} has no forms")
    if args.compile and (args.model not in ("mgie", "lgie") or args.form in ("fz", "ft") or args.images):
        raise ValueError(f"--compile is for mgie and lgie, e2e; {args.model} as asked for is not compiled")
    if (args.quantize != "none" or args.unknown_editor) and not args.model.startswith("diffusers:"):
        raise ValueError(f"--quantize and --unknown-editor are for diffusers:... models; {args.model} is none")
    if args.offload and args.compile:
        raise ValueError("--offload and --compile: what is compiled stays on the GPU; give one of them")
    check_numbers(args)
    suite, workers = args.suite or "mini", workers_of(args, args.device)
    edit = edit_settings(suite, from_flags(EditSettings, args))
    if suite != "published" and args.images is None and not args.model.startswith("diffusers:"):
        check_known(MODELS, args.model, "model")  # before data is drawn, looked for or fetched
    to_stage(suite, args.dataset, args.data_root)
    metrics = tuple((args.metrics or ",".join(metrics_of(suite, args.dataset))).replace(" ", "").split(","))
    names = expanded(metrics, args.dataset)
    if is_row(args) and not args.metrics:
        names = tuple(dict.fromkeys((*names, DISTANCE)))
    if names[0] == "" and args.dataset in DATASETS:
        raise ValueError(f"dataset {args.dataset} has no metrics of its own in bench/registry.py; name some: --metrics")
    networks = metric_settings(suite, from_flags(MetricSettings, args), args.weights)
    for name in names if args.metrics else ():
        metric_of(name, networks)
    if args.images is not None and args.images.exists() and args.seeds > 1:
        raise ValueError(f"--images holds one image an example; --seeds {args.seeds} would score it several times")
    spec = placed(ModelSettings(
        args.model, suite, args.dataset, args.setting, args.form or "e2e", args.weights, args.images, args.device,
        args.dtype, args.compile, unsaid=suite == "paper" and args.device == "auto", quantize=args.quantize,
        offload=args.offload, unknown_editor=args.unknown_editor,
    ), workers)  # fmt: skip
    data = from_flags(DataSettings, args)
    data = replace(data, split=split_of(suite, False, data.split or None))  # that of the tables
    sets, line = tuple(n for n in metrics if n in SETS), tuple(sys.argv[1:] if argv is None else argv)
    return Asked(args, suite, called, data, edit, names, networks, spec, workers, sets, line)


def data_of(asked: Asked) -> Data:
    """The dataset and its examples; a remote one is copied. Raises ValueError, FileNotFoundError."""
    args, staged = asked.args, to_stage(asked.suite, asked.args.dataset, asked.args.data_root)
    root = stage(*staged) if staged else args.data_root or Path("data")
    dataset = open_dataset(asked.suite, args.dataset, root, asked.data)
    examples = as_asked(dataset.examples(), asked.data)
    if hasattr(dataset, "require_captions"):
        dataset.require_captions({metric_of(name, asked.networks).captions for name in asked.metrics} - {""})
    if not examples:
        raise ValueError(f"{args.dataset}: no example with these settings: {asked.data}")
    return Data(root, dataset, examples)


def plan(argv: Sequence[str] | None = None) -> Plan:
    """Read the command line, the annotations and the model's fingerprint. Raises ValueError, FileNotFoundError."""
    asked = asked_of(argv)
    data = data_of(asked)  # before the model, which may have to ask the Hub: a missing dataset is said at once
    return plan_of(asked, data, open_model(asked.spec, data.dataset))


def plan_of(asked: Asked, found: Data, model: Model) -> Plan:
    """What is to be done, once data and model are there: hashes are read, nothing is loaded."""
    args, suite, (root, dataset, examples) = asked.args, asked.suite, found
    networks = replace(asked.networks, captions=getattr(dataset, "captions", ""))
    form = args.form or form_of(args.model)
    rewriting = rewriting_of(args.rewrite, asked.spec, model, dataset, examples)
    examples = model.wanted(examples) if hasattr(model, "wanted") else examples
    notice = model.check(examples, args.max_failures) if hasattr(model, "check") else ""
    edit = fill(asked.edit, model.defaults)
    data = replace(asked.data, split=getattr(dataset, "split", asked.data.split))
    named = rewriting if args.rewrite != "none" else None  # not that of a form, which the form's own name says
    control = "instructions of other examples: a control" if data.instructions == "shuffled" else ""
    notes = (dataset.note, getattr(model, "note", ""), control, named.note(examples) if named else "")
    note = "; ".join(n for n in notes if n)
    out = copy_of(args.out, Path("runs")) if is_remote(args.out) else args.out
    files = files_of(examples, Digests(out))
    run = Run(
        suite, args.dataset, asked.called, args.setting, form, data, edit,
        model.fingerprint() | (named.in_run() if named else {}), examples,
        manifest_hash(examples, files, "goal_image" in reads_of(model)), note, sources_of(examples, files),
        named.name if named else "",
    )  # fmt: skip
    folder = RunFolder(out / suite / run.name)
    older, said = (None, "") if folder.path.exists() else older_folder(out / suite, run, files)
    mirror = Mirror(f"{args.out}/{suite}/{run.name}", folder.path) if is_remote(args.out) else None
    seeds = range(args.seeds if getattr(model, "seeded", True) else 1)  # one serves where none changes a pixel
    return Plan(
        run, model, folder, seeds, asked.metrics, asked.strict, networks, args.max_failures,
        args.data_root or root, asked.spec.device, args.json, "; ".join(filter(None, (notice, said))), asked.workers,
        to_stage(suite, args.dataset, args.data_root), mirror, files, older, asked.sets,
        asked.argv, rewriting, args.texts_only,
    )  # fmt: skip


def is_row(args: argparse.Namespace) -> bool:
    """Whether the run is made to stand in a table under its own name, where it is asked whether it edits at all."""
    return args.images is not None or bool(args.as_name)


def printed_name(args: argparse.Namespace) -> str:
    """What the model is called in tables and file names."""
    if args.images is not None and args.images.exists() and is_ours(args.model):
        raise ValueError(
            f"--model {args.model} --images: {args.model} is a model of this project; somebody's images need a name of "
            "their own, for example --model mine"
        )
    if args.as_name is None:
        return args.model
    if is_ours(args.as_name) or not safe(args.as_name).strip("-_."):
        raise ValueError(f"--as {args.as_name}: expected a name of its own, not one of {', '.join(MODELS)}")
    return args.as_name


def to_stage(suite: str, dataset: str, data_root: Path | str | None) -> tuple[str, str, Path] | None:
    """What bench.runs.remote.stage is given for a remote data root; None for a local one."""
    if not is_remote(data_root):
        return None
    if suite == "mini":
        raise ValueError(f"--data-root {data_root}: suite mini draws its data into a local folder; give a path")
    check_known(DATASETS, dataset, "dataset")
    return data_root, "published" if suite == "published" else dataset, Path("data").absolute()


def placed_said(asked: Plan) -> str:
    """Where the model runs and in which numbers; a model that computes nothing has none."""
    fingerprint, on_ray = asked.run.fingerprint, asked.workers.engine == "ray"
    return said_of(asked.device, fingerprint.get("dtype", "no numbers of a network"), on_ray)


def main(
    argv: list[str] | None = None, held: Held | None = None, progress: Progress | None = None, scores: bool = True
) -> int:  # fmt: skip
    """held: a model that may be loaded already, for one run after the other in one process. scores=False: only edit."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two OpenMP threads on shared cores are slower than one
    try:
        with stoppable(), nullcontext(held) if held else Held() as model:
            return run(argv, model, progress, scores)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
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


def run(argv: list[str] | None, held: Held, progress: Progress | None, scores: bool = True) -> int:
    """The whole command; raises what main turns into an exit code."""
    from bench.runs.summary import bar, beside_others, show, summary

    args = parser().parse_args(argv)
    if planned(args):
        return import_module(PLANNER).of_run(argv)
    asked = plan(argv)
    head = banner(asked.run.suite, asked.run.dataset, asked.run.data.split), placed_said(asked)
    print(*head, sep="\n", file=sys.stderr if asked.as_json else sys.stdout, flush=True)
    if asked.mirror:
        with asked.folder.locked():
            asked.mirror.pull()
    if asked.texts_only:
        for text in check_files(asked):
            print(f"notice: {text}", file=sys.stderr)
        place = write_texts(asked, held, progress or bar)
        print(json.dumps({"run": str(place.parent), "metrics": {}}) if asked.as_json else f"texts: {place}")
        return 0
    if is_done(asked):
        if asked.notice:
            print(f"notice: {asked.notice}", file=sys.stderr)
        check_failures(asked)
        if is_row(args):
            with suppress(OSError):  # of the runs of one name the one that was asked for last counts
                os.utime(asked.folder.path / "done.json")
    else:
        execute(asked, held, progress or bar, [*filter(None, [asked.notice]), *check_files(asked)], scores)
    if not scores:
        return 0
    found = summary(asked.folder, asked.seeds, asked.wanted)
    found["sets"] = of_sets(asked, {name: m["protocol"] for name, m in found["metrics"].items()})
    show(found, asked.as_json)
    if is_row(args) and not asked.as_json and not asked.mirror:
        print(beside_others(args, getattr(asked.model, "seeded", True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
