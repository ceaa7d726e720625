"""Deriving expressive instructions: LLaVA describes the edit, T5 sums it up; the file of lines they go to."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.io.files import read_json, write_atomic, write_json
from mgie.io.images import ImageError, load
from mgie.train.data import Example

if TYPE_CHECKING:
    from mgie.expressive.summariser import Summarizer
    from mgie.expressive.writer import Writer

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
            before = read_json(path)
            odd = [name for name in settings if before.get(name) != settings[name]]
            if odd:
                raise ValueError(
                    f"{self.path} was begun with {odd[0]} = {before.get(odd[0])}, not {settings[odd[0]]}; "
                    "give the same models again, or another --out"
                )
        write_json(path, settings)


def derive(
    examples: Sequence[Example], lines: Lines, writer: "Writer", summarizer: "Summarizer", batch_size: int
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


def derive_batch(batch: Sequence[Example], images: list, writer: "Writer", summarizer: "Summarizer") -> list[Derived]:
    from mgie.expressive.writer import Request
    from mgie.prompts import tidy

    texts = [example.instruction.strip() for example in batch]
    request = Request(MAX_NEW_TOKENS, no_repeat_ngram_size=0, paragraph=True)
    paragraphs = [tidy(written.text) for written in writer.write(texts, images, request)]
    said = [i for i, paragraph in enumerate(paragraphs) if paragraph]
    summaries = dict(zip(said, summarizer([paragraphs[i] for i in said]), strict=True))
    return [
        Derived(example.id, text, summaries.get(i) or text, paragraphs[i])
        for i, (example, text) in enumerate(zip(batch, texts, strict=True))
    ]


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
    write_atomic(path, json.dumps(entries, indent=2))
