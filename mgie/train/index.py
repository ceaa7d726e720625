"""The pairs of a training run, found on the disk once: 1 million of them are 2 million questions to a file system.

A run that goes on reads the list that its first start wrote. Images that have vanished since are met where they are
read (mgie.train.batches).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mgie.io.files import replacing


class Example(Protocol):
    """What training and mgie.expressive ask of an example of any dataset."""

    @property
    def id(self) -> str: ...

    @property
    def input_image(self) -> Path: ...  # may not exist

    @property
    def goal_image(self) -> Path | None: ...  # None: the dataset has no ground truth here

    @property
    def instruction(self) -> str: ...


@dataclass(frozen=True)
class PlainExample:
    """A pair by its files alone."""

    id: str
    input_image: Path
    goal_image: Path
    instruction: str


def indexed(file: Path | None, root: Path, dataset: str, look: Callable[[], Sequence[Example]]) -> Sequence[Example]:
    """What look() finds, or found when the index was written for this folder and dataset. file: None for no index."""
    head = {"data": str(root.absolute()), "dataset": dataset}
    if file is None:
        return look()
    known = read(file, head)
    if known is not None:
        return known
    found = look()
    write(file, head, found)
    return found


def table_lines(file: Path | None, table: Path, find: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """Where the lines of a table begin: what find() finds, or found when the index was written for this very table.
    file: None for no index."""
    if file is None:
        return find()
    stat = table.stat()
    head = {"table": str(table.absolute()), "bytes": stat.st_size, "changed": stat.st_mtime_ns}
    try:
        with open(file, encoding="utf-8") as lines:
            if json.loads(next(lines)) == head:
                return tuple(map(int, json.loads(next(lines))))
    except (OSError, ValueError, StopIteration, TypeError):  # there is none, or it was cut or changed by hand
        pass
    found = find()
    with replacing(file) as temporary:
        temporary.write_text(f"{json.dumps(head)}\n{json.dumps(found)}\n", encoding="utf-8")
    return found


def read(file: Path, head: dict[str, str]) -> list[Example] | None:
    """None: there is none, it is of other data, or it was cut or changed by hand."""
    root = Path(head["data"])
    try:
        with open(file, encoding="utf-8") as lines:
            if json.loads(next(lines)) != head:
                return None
            rows = [json.loads(line) for line in lines]
            return [PlainExample(name, root / before, root / after, text) for name, before, after, text in rows]
    except (OSError, ValueError, StopIteration, TypeError):
        return None


def write(file: Path, head: dict[str, str], examples: Sequence[Example]) -> None:
    root = Path(head["data"])

    def name(path: Path) -> str:
        """Below the data's folder; elsewhere the whole path."""
        path = path.absolute()
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    with replacing(file) as temporary, open(temporary, "w", encoding="utf-8") as lines:
        lines.write(json.dumps(head) + "\n")
        for e in examples:
            assert e.goal_image is not None  # look() leaves the others out
            lines.write(json.dumps([e.id, name(e.input_image), name(e.goal_image), e.instruction]) + "\n")
