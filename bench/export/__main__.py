"""What somebody's own editor is to edit: a dataset's inputs, instructions, and the file name of every output.

    python -m bench.export --dataset magicbrush --to todo
    python -m bench.export --suite paper --data-root data --dataset magicbrush --turns multi --to todo

Writes TO/todo.csv (id, input, instruction, output, turn) and TO/inputs/, the images as every model of this project is
given them; TO/outputs/ is where the outputs go, each under its name of the column output. An input of a later turn of
--turns multi is an output of yours: outputs/... The last line is the command that scores them.

Killed at any moment, the same command goes on; a folder that holds anything else is refused. Exit codes: 0 done, 1
stopped, 2 wrong use.
"""

import argparse
import csv
import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from bench.datasets.shuffled import as_asked
from bench.records import EXPORT, INPUTS, OUTPUTS, Example, file_name, with_later_turns
from bench.registry import DATASETS, SUITES, banner, edit_settings, open_dataset, split_of
from bench.runs.description import manifest_hash
from bench.runs.digests import Digest, Digests
from bench.runs.remote import local_place
from bench.settings import (
    NOT_READING,
    READING,
    Choice,
    DataSettings,
    EditSettings,
    HowSettings,
    add_flags,
    choices_of,
    from_flags,
)
from mgie.io.command import command
from mgie.io.files import read_json, write_atomic, write_json, write_whole

TABLE = "todo.csv"
NOT_ASKED = tuple(f.name for f in fields(HowSettings) if f.name != "max_failures")


@dataclass(frozen=True)
class Export:
    """What is exported; a folder holds one and no other."""

    suite: str
    dataset: str
    data: DataSettings
    edit: EditSettings
    examples: list[Example]
    files: Mapping[Path, Digest]

    def description(self) -> dict:
        """export.json."""
        data = {name: value for name, value in asdict(self.data).items() if name != "image_root"}
        read = {name: getattr(self.edit, name) for name in READING}
        return {
            "suite": self.suite, "dataset": self.dataset, "data": data, "read": read, "n": len(self.examples),
            "manifest": manifest_hash(self.examples, dict(self.files)),
        }  # fmt: skip

    @property
    def unusable(self) -> dict[str, str]:
        """By example id, why there is no input image of it to edit."""
        faults = {e.id: self.files[e.input_image].fault for e in self.examples if not e.previous}
        return with_later_turns(faults, self.examples)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "bench.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--dataset", required=True, help=", ".join(DATASETS))
    p.add_argument(
        "--to",
        type=local_place,
        required=True,
        metavar="DIR",
        help="where to: a new folder, or one that this command began",
    )
    p.add_argument("--suite", choices=SUITES, help="default: mini, the built-in miniature")
    p.add_argument("--data-root", type=local_place, help="holds evr/ gier/ ma5k/ magicbrush/ ...; default: data")
    add_flags(p.add_argument_group("the data, as of bench.run"), DataSettings)
    add_flags(p.add_argument_group("how images are read, as of bench.run"), EditSettings, NOT_READING)
    add_flags(p.add_argument_group("how"), HowSettings, NOT_ASKED)
    p.set_defaults(**dict.fromkeys(NOT_READING))
    return p


def export_of(args: argparse.Namespace) -> Export:
    """Raises ValueError for wrong use, FileNotFoundError where the data are not."""
    if args.suite is None and args.data_root:
        raise ValueError("--data-root needs --suite: the default is the miniature; for real data add --suite paper")
    for name in ("limit", "max_side"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(args, name)}: it must be at least 1")
    suite, data = args.suite or "mini", from_flags(DataSettings, args)
    data = replace(data, split=split_of(suite, False, data.split or None))
    dataset = open_dataset(suite, args.dataset, args.data_root or Path("data"), data)
    examples = as_asked(dataset.examples(), data)
    if not examples:
        raise ValueError(f"{args.dataset}: no example with these settings: {data}")
    data = replace(data, split=getattr(dataset, "split", data.split))
    files = Digests().of(sorted({e.input_image for e in examples if not e.previous}))
    files |= {e.input_image: Digest("") for e in examples if e.previous and e.input_image not in files}
    return Export(suite, args.dataset, data, edit_settings(suite, from_flags(EditSettings, args)), examples, files)


def refuse_other(folder: Path, description: dict) -> None:
    """Raises ValueError for a folder that holds something else than this export."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--to {folder}: a file of that name is there; give a new folder")
    inside = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    if inside and EXPORT not in inside:
        raise ValueError(f"--to {folder}: it holds something else (first: {inside[0]}); give a new folder")
    if not inside:
        return
    there = read_json(folder / EXPORT)
    if there != (here := json.loads(json.dumps(description))):
        unlike = [f"{key} {there.get(key)}, here {here[key]}" for key in here if there.get(key) != here[key]]
        raise ValueError(f"--to {folder}: it is the export of something else ({'; '.join(unlike)}); give a new folder")


def row_of(example: Example) -> list[str | int]:
    """A line of todo.csv. Paths are below the folder; an output is its name alone."""
    before = f"{OUTPUTS}/{file_name(example.previous)}" if example.previous else ""
    given = before or f"{INPUTS}/{example.file_name}"
    return [example.id, given, example.instruction.strip(), example.file_name, example.turn]


def write(asked: Export, folder: Path) -> int:
    """Everything that is not there yet; returns how many examples there are. What the folder is comes first, the list
    last."""
    from bench.runs.summary import bar
    from mgie.io.images import load, png

    description = asked.description()
    refuse_other(folder, description)
    (folder / INPUTS).mkdir(parents=True, exist_ok=True)
    (folder / OUTPUTS).mkdir(exist_ok=True)
    write_json(folder / EXPORT, description)
    write_atomic(folder / ".gitignore", "# copies of the dataset's images: made by a command, not to be committed\n*\n")
    ready = [e for e in asked.examples if e.id not in asked.unusable]
    todo = [e for e in ready if not e.previous and not (folder / INPUTS / e.file_name).exists()]
    before: tuple[Path | None, bytes] = (None, b"")  # instructions of one image follow one another
    with bar(asked.dataset, "inputs", len(todo)) as tick:
        for example in todo:
            if before[0] != example.input_image:
                before = example.input_image, png(load(example.input_image, asked.edit))
            write_whole(before[1], folder / INPUTS / example.file_name)
            tick(1)
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "input", "instruction", "output", "turn"])
    table.writerows(row_of(example) for example in ready)
    write_atomic(folder / TABLE, text.getvalue())
    return len(ready)


def scoring(args: argparse.Namespace) -> str:
    """The bench.run that scores the outputs: every setting that this export has, and the failures that it allowed."""
    flags = ["--model", "mine", "--images", str(args.to / OUTPUTS), "--dataset", args.dataset]
    flags += ["--suite", args.suite] if args.suite else []
    flags += ["--data-root", str(args.data_root)] if args.data_root else []
    flags += ["--image-root", str(args.image_root)] if args.image_root else []
    flags += ["--max-failures", str(args.max_failures)] if args.max_failures != HowSettings.max_failures else []
    chosen: list[Choice] = choices_of(DataSettings(), from_flags(DataSettings, args), ("image_root",))
    chosen += choices_of(EditSettings(), from_flags(EditSettings, args), NOT_READING)
    return f"python -m bench.run {shlex.join([*flags, *(part for choice in chosen for part in choice.argv())])}"


def refuse_unusable(asked: Export, most: float) -> None:
    """Says which inputs cannot be read. Raises ValueError where they are more than that share."""
    bad, of = asked.unusable, len(asked.examples)
    if not bad:
        return
    first, why = next(iter(bad.items()))
    said = f"{len(bad)} of {of} examples have no usable input image, first: {first} ({why})"
    if len(bad) > most * of:
        raise ValueError(f"{said}; mend them, or raise --max-failures")
    print(f"notice: {said}; they are left out", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    def make() -> int:
        asked = export_of(args)
        print(banner(asked.suite, asked.dataset, asked.data.split), flush=True)
        refuse_unusable(asked, args.max_failures)
        count = write(asked, args.to)
        print(f"{count} examples: {args.to / TABLE}")
        print(f"edit each input by its instruction and write {args.to / OUTPUTS}/<output>; then: {scoring(args)}")
        return 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
