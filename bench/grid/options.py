"""What the commands of tables and figures share: their flags, the cells and files these mean, their exit codes."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from bench.given.fits import Asked
from bench.given.named import Given, found
from bench.grid.cells import Options, beside
from bench.grid.reference import made_here
from bench.metrics.sets import SETS
from bench.registry import (
    BENCHMARKS,
    DATASETS,
    PAPER_MODELS,
    SUITES,
    edit_settings,
    metric_of,
    metric_settings,
    metrics_of,
    split_of,
)
from bench.runs.description import safe
from bench.runs.engines import add_engine_flags, workers_of
from bench.runs.remote import local_place
from bench.settings import (
    SUITES_OWN,
    DataSettings,
    EditSettings,
    HowSettings,
    MetricSettings,
    add_flags,
    add_metric_flags,
    add_plan_flags,
    check_numbers,
    choices_of,
    from_flags,
    planned,
)


@dataclass(frozen=True)
class Selection:
    """What one command line asks for, the flags of the one table or figure apart."""

    suite: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    options: Options
    results: Path
    strict: bool
    only: tuple[str, ...] = ()  # models, datasets or metrics that were named and are not the usual ones
    edit: EditSettings = field(default_factory=EditSettings)
    networks: MetricSettings = field(default_factory=MetricSettings)  # with the suite's own where none was named
    given: tuple[Given, ...] = ()  # finished runs that are rows too (--with)
    notices: tuple[str, ...] = ()  # what to say of them

    @property
    def folder(self) -> Path:
        return self.results / self.suite

    @property
    def data_root(self) -> Path:
        return Path(self.options.data_root or "data")

    def stem(self, name: str) -> Path:
        """results/<suite>/<name>[-<split>][-<setting>...][-only-<names>][-with-<names>]: all files of a table or figure
        begin so.

        A selection has a name of its own, and so has one with rows added: neither replaces the whole.
        """
        split = beside(self.suite, self.options.split)
        rows = with_these(self.given)
        return self.folder / f"{name}{split}{self.options.in_name}{only_these(self.only)}{rows}"


def only_these(names: Sequence[str], word: str = "only") -> str:
    """The end of a selection's file names; many names are cut short and told apart by their hash."""
    said = safe("+".join(names))
    if len(said) > 60:
        said = f"{said[:40]}-{sha256('+'.join(names).encode()).hexdigest()[:8]}"
    return f"-{word}-{said}" if names else ""


def with_these(given: Sequence[Given]) -> str:
    """The end of the file names of what has rows added."""
    return only_these(list(dict.fromkeys(run.name for run in given)), "with")


def parser(
    prog: str,
    description: str,
    where: Callable = local_place,
    full: str = "the whole test split (200 a dataset)",
    leave: tuple[str, ...] = (),
) -> argparse.ArgumentParser:
    """where: what --data-root may be; full: what --full means in suite mini; leave: settings of a run that the command
    does not take, or asks for in its own way.
    """
    p = argparse.ArgumentParser(prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--suite", choices=SUITES, help="default: mini, the built-in miniature")
    p.add_argument("--data-root", type=where, help="holds evr/ gier/ ma5k/ magicbrush/ emu-edit/ ...; default: data")
    p.add_argument("--weights", type=Path, help="holds <model>[-<form>][-<dataset>]/; suite mini: its own")
    p.add_argument("--datasets", help=f"comma-separated, of {', '.join(DATASETS)}; default: the paper's")
    p.add_argument("--split", help="default: mini quick (32 a dataset), published all, paper the test split")
    p.add_argument("--full", action="store_true", help=f"mini: {full}")
    add_engine_flags(p)
    p.add_argument("--strict", action="store_true", help="exit code 1 when something was not run")
    p.add_argument("--out", type=local_place, default=Path("runs"), help="run folders go below it (default: runs)")
    p.add_argument("--results", type=made_here, default=Path("results"), help="files go below it (default: results)")
    add_flags(p.add_argument_group("the data"), DataSettings, ("split", *leave))
    add_flags(p.add_argument_group("the edit; an option left out takes the model's own default"), EditSettings, leave)
    add_metric_flags(p.add_argument_group("the metrics' networks"), leave)
    add_flags(p.add_argument_group("how"), HowSettings, leave)
    add_plan_flags(p)
    p.set_defaults(**dict.fromkeys(leave))
    return p


def suite_of(args: argparse.Namespace) -> str:
    """Raises ValueError for flags that the miniature, the default, has no use for."""
    if args.suite is None and (args.data_root or args.weights):
        given = "--data-root" if args.data_root else "--weights"
        raise ValueError(f"{given} needs --suite: the default suite is the miniature; for real data add --suite paper")
    return args.suite or "mini"


def selected(
    args: argparse.Namespace, models: Sequence[str] = PAPER_MODELS, datasets: Sequence[str] = (), seeds: int = 1,
    setting: str = "zero-shot", metrics: Sequence[str] | None = None, usual_seeds: int = 1,
) -> Selection:  # fmt: skip
    """models, datasets: where no flag names any; no datasets: all of the suite. setting, metrics: those that a run of
    --with must have; no metrics: those of the datasets. usual_seeds: another number stands in every file name.
    Raises ValueError for wrong use.
    """
    suite = suite_of(args)
    if args.json and not planned(args):
        raise ValueError("--json goes with --plan here; numbers as CSV are written below --results")
    split = split_of(suite, args.full, args.split)
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: expected at least 1")
    check_numbers(args)
    usual = (*BENCHMARKS, *(("ipr2pr",) if suite == "published" and split != "sample" else ()))
    engine = workers_of(args, args.device).flags()
    data, how = from_flags(DataSettings, args), from_flags(HowSettings, args)
    edit = edit_settings(suite, from_flags(EditSettings, args))
    networks, own = (metric_settings(suite, s, args.weights) for s in (from_flags(MetricSettings, args), SUITES_OWN))
    others = [
        *choices_of(DataSettings(), data, ("split",)), *choices_of(edit_settings(suite, EditSettings()), edit),
        *choices_of(own, networks), *choices_of(HowSettings(), how),
    ]  # fmt: skip
    named_metrics = chosen_metrics(getattr(args, "metrics", None), networks)
    models, usual_models = chosen(getattr(args, "models", None), tuple(models)), models
    datasets, usual_datasets = chosen(args.datasets, tuple(datasets) or usual, DATASETS, "dataset"), datasets or usual
    only = [names for names, all_of in ((datasets, usual_datasets), (models, usual_models), (named_metrics, ()))
            if set(names) != set(all_of)]  # fmt: skip
    options = Options(
        split, seeds, named_metrics, args.data_root, args.weights, args.out, engine, tuple(others), data, edit, how,
        usual_seeds,
    )  # fmt: skip
    named = tuple(name for names in only for name in names)
    given = getattr(args, "given", None) or ()
    wanted = (
        tuple(dict.fromkeys(m for d in datasets for m in metrics_of(suite, d))) if metrics is None else tuple(metrics)
    )
    like = Asked(suite, options.data, edit, seeds, setting, named_metrics or wanted, networks)
    rows = found(given, datasets, args.out, like)
    if twice := [run for run in rows.runs if run.name in models]:
        raise ValueError(f"--with: {twice[0].name} is a row here already; call {twice[0].folder.name} otherwise: "
                         f"--with {twice[0].folder} --as NAME")  # fmt: skip
    return Selection(suite, models, datasets, options, args.results, args.strict, named, edit, networks,
                     tuple(rows.runs), tuple(rows.notices))  # fmt: skip


def chosen_metrics(given: str | None, networks: MetricSettings) -> tuple[str, ...]:
    """The metrics of a comma-separated list, variants too; empty: the table's own. ValueError for one not known."""
    names = chosen(given, ())
    for name in names:
        if name not in SETS:
            metric_of(name, networks)
    return names


def chosen(given: str | None, default: tuple[str, ...], known: dict | None = None, what: str = "") -> tuple[str, ...]:
    """The names of a comma-separated list; an unknown model is left to bench.run, which says why it cannot run."""
    names = tuple(dict.fromkeys(name.strip() for name in (given or "").split(",") if name.strip())) or default
    if known is not None and (unknown := [name for name in names if name not in known]):
        raise ValueError(f"unknown {what} '{unknown[0]}'; known: {', '.join(known)}")
    return names
