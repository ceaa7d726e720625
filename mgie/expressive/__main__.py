"""Derives the expressive instructions that MGIE and LGIE are trained to write: LLaVA describes the edit, T5 sums it up.

    python -m mgie.expressive --data ROOT --dataset ipr2pr --split train --llava DIR --summarizer DIR --out FILE.jsonl

Convention: process_data.ipynb of apple/ml-mgie at 835af37 (LLaVA-7B-v1, jordiclive/flan-t5-11b-summarizer-filtered).
Lines of FILE: {"id", "instruction", "expressive", "paragraph"}. The same command again continues a killed run.
Assumption: where LLaVA says nothing (the official code stops there), the instruction is its own expressive instruction.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.expressive.derive import Lines, derive, read_official, write_official
from mgie.io.command import command
from mgie.io.files import locked
from mgie.train.data import LAYOUTS, examples_of

if TYPE_CHECKING:
    from mgie.expressive.summariser import Summarizer
    from mgie.expressive.writer import Writer


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
    from mgie.expressive.summariser import Summarizer
    from mgie.expressive.writer import open_writer
    from mgie.io.devices import Wanted, placement
    from mgie.io.hashes import weights_hash

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


def alone(options: argparse.Namespace) -> int:
    """No other command writes the file meanwhile. Raises ValueError, OSError."""
    if options.batch_size < 1:
        raise ValueError(f"--batch-size is {options.batch_size}; expected 1 or more")
    with locked(options.out):
        return run(options)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return command(lambda: alone(options), "mgie.expressive")
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported for it
            raise
        print(f"mgie.expressive: {error}\nfewer images at a time: --batch-size 1; or --device cpu. What was written is "
              "kept, the same command continues", file=sys.stderr)  # fmt: skip
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
