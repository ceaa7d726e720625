"""Finished runs that a table, figure or page is given as they are: by folder, by name, or as a verified bundle.

    --with runs/mini/ma5k--mine--zero-shot--0123abcd     a run folder
    --with mine                                          the newest finished run of that name, on each dataset
    --with my.zip                                        every run of a bundle that bench.verify has verified here

A run that does not belong beside the other rows is refused with all reasons (bench.given.fits).
"""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bench.given.fits import Asked, reasons_against
from bench.runs.description import is_ours, safe
from bench.runs.folder import RunFolder
from mgie.io.files import read_json

BUNDLES = "bundles"  # below --out: what bench.verify has verified, by the archive's digest
VERDICT = "verified.json"


class With(NamedTuple):
    """One --with of a command line, and the --as behind it."""

    what: str
    called: str = ""


@dataclass(frozen=True)
class Given:
    """A finished run that is taken as it is."""

    folder: Path
    dataset: str
    name: str  # as it is called here
    form: str
    setting: str
    said: str = ""  # what a reader must know of it: of a bundle, what was verified


class Found(NamedTuple):
    runs: list[Given]
    notices: list[str]


class Add(argparse.Action):
    def __call__(self, parser: object, namespace: argparse.Namespace, value: object, flag: object = None) -> None:
        namespace.given = [*(namespace.given or []), With(str(value))]


class Rename(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: object, flag: object = None
    ) -> None:
        *before, last = namespace.given or [None]
        if last is None or last.called:
            parser.error(f"--as {value}: it stands behind the --with that it names")
        namespace.given = [*before, last._replace(called=str(value))]


def add_with(parser: argparse.ArgumentParser) -> None:
    """--with, and --as behind it."""
    parser.add_argument(
        "--with", dest="given", action=Add, metavar="RUN",
        help="adds a finished run: its folder, its name (the newest run of that name), or a bundle that bench.verify "
        "has verified; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--as", dest="given", action=Rename, metavar="NAME",
        help="what the --with before it is called here: two checkpoints of one model can stand in one table",
    )  # fmt: skip


def found(given: Sequence[With], datasets: Sequence[str], out: Path, asked: Asked) -> Found:
    """The runs behind every --with.

    Raises ValueError with the reasons for one that does not belong here, and for two runs of one name on one dataset;
    FileNotFoundError for one that is not there.
    """
    runs: list[Given] = []
    notices: list[str] = []
    for one in given:
        more, said = behind(one, datasets, out, asked)
        if one.called:
            more = [called(run, one.called) for run in more]
        for run in more:
            if twice := [r for r in runs if (r.name, r.dataset, r.form) == (run.name, run.dataset, run.form)]:
                raise ValueError(
                    f"--with {one.what}: there are two runs of {run.name} on {run.dataset}, {twice[0].folder.name} and "
                    f"{run.folder.name}; call one otherwise: --with {run.folder} --as NAME"
                )
            runs.append(run)
        notices += said
    return Found(runs, notices)


def called(run: Given, name: str) -> Given:
    if is_ours(name) or not safe(name).strip("-_."):
        raise ValueError(f"--as {name}: expected a name of its own, not that of a model of this project")
    return Given(run.folder, run.dataset, name, run.form, run.setting, run.said)


def behind(one: With, datasets: Sequence[str], out: Path, asked: Asked) -> Found:
    path = Path(one.what).expanduser()
    below = out / asked.suite / one.what  # the name of a run folder is enough
    for folder in (path, below):
        if (folder / "run.json").is_file():
            return Found([taken(folder, one.what, datasets, asked)], [])
    if path.is_file():
        return bundled(path, datasets, out, asked)
    named = {d: runs_of(one.what, d, out, asked.suite) for d in datasets}
    if any(named.values()):
        return of_name(one.what, named, asked)
    if path.is_dir():
        raise ValueError(
            f"--with {one.what}: no run folder, for it has no run.json; bench.run prints the folder it wrote"
        )
    if "/" in one.what or path.suffix == ".zip":
        raise FileNotFoundError(f"--with {one.what}: no such file or folder")
    raise ValueError(
        f"--with {one.what}: no finished run of that name below {out / asked.suite} on {', '.join(datasets)}; "
        f"for your own output images: python -m bench.run {command(asked, datasets[0])} --model {one.what} --images DIR"
    )


def command(asked: Asked, dataset: str) -> str:
    split = f" --split {asked.data.split}" if asked.data.split else ""
    return f"--suite {asked.suite}{split} --dataset {dataset}"


def taken(folder: Path, what: str, datasets: Sequence[str], asked: Asked, said: str = "") -> Given:
    run = RunFolder(folder).run()
    why = reasons_against(folder, run["dataset"], asked)
    if run["dataset"] not in datasets:
        why.insert(0, f"its dataset is {run['dataset']}, here is {', '.join(datasets)}: --datasets {run['dataset']}")
    if why:
        raise ValueError(f"--with {what}: {folder.name} does not belong beside the other rows: {'; '.join(why)}")
    return Given(folder, run["dataset"], run["model"], run["form"], run["setting"], said)


def runs_of(name: str, dataset: str, out: Path, suite: str) -> list[Path]:
    """The finished runs of this name, newest first: that which was asked for last."""
    found = []
    for path in (out / suite).glob(f"{dataset}--{safe(name)}*--*/done.json"):
        try:
            if RunFolder(path.parent).run()["model"] == name:
                found.append(path)
        except ValueError:  # damaged: whoever names the folder is told
            continue
    return [path.parent for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.parent.name), reverse=True)]


def newest(name: str, dataset: str, runs: Sequence[Path], asked: Asked) -> tuple[Path | None, str]:
    """Of runs, newest first, the first that belongs here, with a notice where it leaves others out; None: why none."""
    against = {folder: reasons_against(folder, dataset, asked) for folder in runs}
    fitting = [folder for folder, why in against.items() if not why]
    if not fitting:
        return None, "; ".join(f"{folder.name}: {', '.join(why)}" for folder, why in against.items())
    if len(fitting) == 1:
        return fitting[0], ""
    when = datetime.fromtimestamp((fitting[0] / "done.json").stat().st_mtime, UTC)
    return fitting[0], (
        f"{len(fitting)} finished runs of {name} on {dataset}: the newest counts, {fitting[0].name} of "
        f"{when:%Y-%m-%d %H:%M:%S} UTC; not {', '.join(folder.name for folder in fitting[1:])}"
    )


def of_name(name: str, named: dict[str, list[Path]], asked: Asked) -> Found:
    """The newest run of a name on each dataset; datasets without one have none."""
    runs, notices, against = [], [], []
    for dataset, folders in named.items():
        folder, said = newest(name, dataset, folders, asked) if folders else (None, "")
        if folder:
            runs.append(taken(folder, name, [dataset], asked))
            notices += [said] if said else []
        elif folders:
            against.append(said)
    if not runs:
        raise ValueError(f"--with {name}: no run of that name belongs beside the other rows: {'; '.join(against)}")
    return Found(runs, notices + against)


def verified(archive: Path, out: Path) -> dict[Path, str]:
    """The run folders of a bundle that has been verified here, with what was. Raises ValueError for any other file."""
    with open(archive, "rb") as file:
        place = out / BUNDLES / hashlib.file_digest(file, "sha256").hexdigest()[:16]
    if not (place / VERDICT).is_file():
        raise ValueError(
            f"--with {archive}: not a bundle that was verified here; first: python -m bench.verify {archive}"
            + (f" --out {out}" if out != Path("runs") else "")
        )
    return {place / name: said for name, said in read_json(place / VERDICT).items()}


def bundled(archive: Path, datasets: Sequence[str], out: Path, asked: Asked) -> Found:
    """The runs of a bundle that are of these datasets."""
    verdicts, runs = verified(archive, out), []
    for folder, said in verdicts.items():
        if RunFolder(folder).run()["dataset"] in datasets or len(verdicts) == 1:
            runs.append(taken(folder, str(archive), datasets, asked, f"from a bundle, {said}"))
    if not runs:
        raise ValueError(f"--with {archive}: none of its runs is of {', '.join(datasets)}")
    return Found(runs, [])
