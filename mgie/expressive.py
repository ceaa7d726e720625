"""Derives the expressive instructions that MGIE and LGIE are trained to write: LLaVA describes the edit, T5 sums it up.

    python -m mgie.expressive --data ROOT --dataset ipr2pr --split train --llava DIR --summarizer DIR --out FILE.jsonl

Convention: process_data.ipynb of apple/ml-mgie at 835af37 (LLaVA-7B-v1, jordiclive/flan-t5-11b-summarizer-filtered).
Lines of FILE: {"id", "instruction", "expressive", "paragraph"}. The same command again continues a killed run.
Assumption: where LLaVA says nothing (the official code stops there), the instruction is its own expressive instruction.
"""

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.images import ImageError, load
from mgie.training_data import LAYOUTS, Example, is_plain_ipr2pr, plain_folders, split_of

if TYPE_CHECKING:
    from mgie.summary import Summarizer
    from mgie.writer import Writer

MAX_NEW_TOKENS = 1024  # of LLaVA's paragraph
IPR2PR_ID = "ipr2pr/"


@dataclass(frozen=True)
class Derived:
    id: str
    instruction: str
    expressive: str
    paragraph: str | None = None  # LLaVA's two sentences; None: taken over from a file that does not hold them


class Lines:
    """The JSONL file: appended to, never half a line; beside it, what made it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.done: dict[str, Derived] = {}
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]  # a last line without its newline was cut by a kill
        for number, line in enumerate(whole.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                record = Derived(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self.path}, line {number}: no derived instruction ({error}); remove it") from error
            self.done[record.id] = record
        if whole != data:
            with open(self.path, "r+b") as file:
                file.truncate(len(whole))

    def append(self, records: list[Derived]) -> None:
        """On the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n" for record in records]
        with open(self.path, "ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self.done |= {record.id: record for record in records}

    def check_settings(self, settings: dict[str, str]) -> None:
        """ValueError when the lines were made by other models: a file must have one origin."""
        path = self.path.with_name(self.path.name + ".settings.json")
        if path.exists() and self.done:
            before = json.loads(path.read_text())
            odd = [name for name in settings if before.get(name) != settings[name]]
            if odd:
                raise ValueError(
                    f"{self.path} was begun with {odd[0]} = {before.get(odd[0])}, not {settings[odd[0]]}; "
                    "give the same models again, or another --out"
                )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(settings, indent=1) + "\n")
        os.replace(temporary, path)


def examples_of(root: Path, dataset: str, split: str) -> list[Example]:
    """root: the dataset's own folder, or the parent that holds it under the dataset's name."""
    root = root / dataset if (root / dataset).is_dir() else root
    if split == "train" and is_plain_ipr2pr(root, dataset):
        examples = plain_folders(root)
    else:
        examples = split_of(dataset, root, split)
    if not examples:
        raise FileNotFoundError(f"{root} holds no example of {dataset}, split {split}")
    return examples


def derive(
    examples: list[Example], lines: Lines, writer: "Writer", summarizer: "Summarizer", batch_size: int
) -> list[str]:
    """Appends what is missing to lines. Returns the failures, one text each; they are tried again by the next run."""
    from tqdm import tqdm

    todo, failed = [example for example in examples if example.id not in lines.done], []
    bar = tqdm(total=len(examples), initial=len(examples) - len(todo), desc="expressive instructions")
    for start in range(0, len(todo), batch_size):
        batch, images = [], []
        for example in todo[start : start + batch_size]:
            try:
                images.append(load(example.input_image))
                batch.append(example)
            except ImageError as error:
                failed.append(f"{example.id}: {error}")
        if batch:
            lines.append(derive_batch(batch, images, writer, summarizer))
        bar.update(len(todo[start : start + batch_size]))
    bar.close()
    return failed


def derive_batch(
    batch: list[Example], images: list, writer: "Writer", summarizer: "Summarizer"
) -> list[Derived]:
    from mgie.prompts import tidy
    from mgie.writer import Request

    texts = [example.instruction.strip() for example in batch]
    request = Request(MAX_NEW_TOKENS, no_repeat_ngram_size=0, paragraph=True)
    paragraphs = [tidy(written.text) for written in writer.write(texts, images, request)]
    said = [i for i, paragraph in enumerate(paragraphs) if paragraph]
    summaries = dict(zip(said, summarizer([paragraphs[i] for i in said]), strict=True))
    return [
        Derived(example.id, text, summaries.get(i) or text, paragraphs[i])
        for i, (example, text) in enumerate(zip(batch, texts, strict=True))
    ]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time writes a file of lines. ValueError for the second one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{path} is written by another process at present; wait, or name another --out") from None
        yield


def read_official(path: Path, split: str = "train") -> list[Derived]:
    """ipr2pr_expressive.json: {"0000132_127380018_0": {"instruction": ..., "expressive": ...}}."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        return [
            Derived(f"{IPR2PR_ID}{split}/{key.removesuffix('_0')}", entry["instruction"], entry["expressive"])
            for key, entry in entries.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path}: expected {{"0000132_127380018_0": {{"instruction": ..., "expressive": ...}}}}: {error!r}'
        ) from error


def write_official(records: list[Derived], path: Path) -> None:
    """The official file of IPr2Pr's pairs, in the order given. ValueError for other datasets, which it cannot hold."""
    other = next((record.id for record in records if not record.id.startswith(IPR2PR_ID)), None)
    if other or not records:
        found = f"{other} is not of ipr2pr" if other else "there is nothing to write"
        raise ValueError(f"{path}: {found}; the official format holds IPr2Pr alone, the JSONL any dataset")
    entries = {
        f"{record.id.rpartition('/')[2]}_0": {"instruction": record.instruction, "expressive": record.expressive}
        for record in records
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(entries, indent=2), encoding="utf-8")
    os.replace(temporary, path)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mgie.expressive", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the dataset's folder, or the parent of several")
    parser.add_argument("--dataset", choices=list(LAYOUTS), required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--llava", type=Path, help="LLaVA-7B-v1 as published, or as transformers has it")
    parser.add_argument("--llama-base", type=Path, help="LLaMA's folder, where --llava is a delta")
    parser.add_argument("--summarizer", type=Path, help="jordiclive/flan-t5-11b-summarizer-filtered, or another T5")
    parser.add_argument("--out", type=Path, required=True, help="JSONL; continued where it is there already")
    parser.add_argument("--import", dest="taken", type=Path, metavar="JSON", help="start from ipr2pr_expressive.json")
    parser.add_argument("--export", type=Path, metavar="JSON", help="write ipr2pr_expressive.json at the end")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--limit", type=int, help="only the first N examples")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    return parser.parse_args(arguments)


def open_models(options: argparse.Namespace, lines: Lines) -> "tuple[Writer, Summarizer]":
    from bench.weights import Wanted, placement, weights_hash
    from mgie.summary import Summarizer
    from mgie.writer import open_writer

    for flag in ("llava", "summarizer"):
        folder = getattr(options, flag)
        if folder is None or not folder.is_dir():
            state = "is not given" if folder is None else f"{folder} does not exist"
            raise FileNotFoundError(f"--{flag} {state}; examples are left to derive and need it (see --help)")
    where = placement(Wanted(options.device, options.dtype))
    dtype = str(where.dtype).removeprefix("torch.")
    origin = {"llava": weights_hash(options.llava), "summarizer": weights_hash(options.summarizer), "dtype": dtype}
    if options.llama_base:
        origin["llama_base"] = weights_hash(options.llama_base)
    lines.check_settings(origin)
    writer = open_writer(options.llava, where.device, where.dtype, options.llama_base)
    if not writer.has_eyes:
        raise ValueError(f"{options.llava} sees no images; expressive instructions are derived by a LLaVA")
    return writer, Summarizer(options.summarizer, where.device, where.dtype)


def run(options: argparse.Namespace) -> int:
    examples = examples_of(options.data, options.dataset, options.split)[: options.limit]
    lines = Lines(options.out)
    if options.taken:
        known = {record.id: record for record in read_official(options.taken, options.split)}
        lines.append([known[e.id] for e in examples if e.id in known and e.id not in lines.done])
    failed = []
    if any(example.id not in lines.done for example in examples):
        failed = derive(examples, lines, *open_models(options, lines), options.batch_size)
    for text in failed:
        print(f"failed: {text}", file=sys.stderr)
    derived = [lines.done[example.id] for example in examples if example.id in lines.done]
    print(f"{options.out}: {len(derived)} of {len(examples)} expressive instructions of {options.dataset}")
    if options.export and derived:
        write_official(derived, options.export)
        print(f"{options.export}: {len(derived)} in the official format")
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        if options.batch_size < 1:
            raise ValueError(f"--batch-size is {options.batch_size}; expected 1 or more")
        with locked(options.out):
            return run(options)
    except (ValueError, OSError) as error:
        print(f"mgie.expressive: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
