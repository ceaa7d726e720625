"""Official annotation files: read with errors a user can act on. Nothing here knows one dataset's fields.

JSON by Python's own parser, because GIER's files hold the literal NaN, which strict parsers refuse. File names in
annotations are data from elsewhere: a name that would leave the dataset's folder is refused, never followed.
"""

import json
import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from bench.records import Example
from bench.settings import DataSettings
from mgie.io.files import refuse_unwritable

NEAR = 0.9  # a file with at least this share of the official records is meant to be the official file


@dataclass(frozen=True)
class Origin:
    """Where a dataset officially comes from; part of every error about a file that is not there."""

    name: str  # as in the tables: EVR, GIER, MA5k, MagicBrush, IPr2Pr
    key: str  # as on the command line: evr, gier, ...
    where: str
    terms: str
    get: str  # a command that fetches what can be fetched; {root} is the dataset's folder

    def missing(self, what: str, root: Path, get: str | None = None) -> FileNotFoundError:
        return FileNotFoundError(
            f"{self.name}: {what}.\n"
            f"Official source: {self.where}\n"
            f"Terms: {self.terms}\n"
            f"Next: {(get or self.get).format(root=root)}\n"
            f"--data-root names the parent of {self.key}/. Without any files: --suite mini."
        )

    def split_unknown(self, split: str, known: str) -> ValueError:
        return ValueError(f"{self.name}: unknown split '{split}'; known: {known}. Choose one with --split.")


class Sentence(NamedTuple):
    k: int  # index in the record's raw list
    text: str  # raw


def read_json(path: Path, kind: type, source: Origin, root: Path) -> Any:
    """The JSON list or object in path. Raises FileNotFoundError or ValueError that names the file and what to do."""
    if not root.is_dir():
        raise source.missing(f"no folder {root}", root)
    try:
        hook = each_once if kind is dict else None  # only there are names ids
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=hook)
    except FileNotFoundError:
        raise source.missing(f"no file {path}", root) from None
    except Repeated as error:
        raise ValueError(f"{path}: the name {error} occurs twice in one object. Ids must be unique") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a plain ValueError
        raise ValueError(
            f"{path}: not valid JSON ({error}; {path.stat().st_size:,} bytes). It may have been cut off while it was "
            f"fetched; get it again: {source.get.format(root=root)}"
        ) from error
    if not isinstance(data, kind):
        raise ValueError(f"{path}: holds a JSON {kind_of(data)}, expected a JSON {NAMES[kind]}; is it the right file?")
    return data


class Repeated(Exception):
    """A name that occurs twice in one JSON object, of which Python's parser would keep the last."""


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise Repeated(next(name for name in names if names.count(name) > 1))
    return found


NAMES = {list: "list", dict: "object", str: "string", int: "number", float: "number", bool: "true or false"}


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    return "NaN" if isinstance(value, float) and math.isnan(value) else NAMES.get(type(value), type(value).__name__)


def field(record: object, name: str, kind: type, where: str) -> Any:
    """record[name], which must be of this kind. where: file and place, for the error."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: the record is a {kind_of(record)}, expected an object with '{name}'")
    if name not in record:
        raise ValueError(f"{where}: no '{name}' in the record; its keys: {', '.join(record) or 'none'}")
    if type(record[name]) is not kind:
        raise ValueError(f"{where}: '{name}' is a {kind_of(record[name])}, expected a {NAMES[kind]}")
    if kind is str:
        refuse_unwritable(record[name], f"{where}: '{name}'")
    return record[name]


def sentences(values: object, where: str) -> list[Sentence]:
    """The instructions of a raw list, with their index in it. Blank ones, NaN and null are left out: there is no
    instruction to follow. Anything else that is not a string is an error."""
    if not isinstance(values, list):
        raise ValueError(f"{where}: the instructions are a {kind_of(values)}, expected a list of strings")
    kept = []
    for k, value in enumerate(values):
        if isinstance(value, str):
            if value.strip():
                refuse_unwritable(value, f"{where}: instruction {k}")
                kept.append(Sentence(k, value))
        elif value is not None and kind_of(value) != "NaN":
            raise ValueError(f"{where}: instruction {k} is a {kind_of(value)} ({value!r:.40}), expected a string")
    return kept


def sentence(record: dict, name: str, where: str) -> str:
    """The one instruction of a record, raw; '' where it is blank, NaN or null."""
    if name not in record:
        raise ValueError(f"{where}: no '{name}' in the record; its keys: {', '.join(record)}")
    found = sentences([record[name]], f"{where}, '{name}'")
    return found[0].text if found else ""


class Examples:
    """Collects a dataset's examples: ids stay unique, and what was left out is counted."""

    def __init__(self, settings: DataSettings) -> None:
        self.items: list[Example] = []
        self.limit = settings.limit
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit is {self.limit}; it must be at least 1")
        self.left_out: dict[str, int] = {}  # what -> how many
        self._places: dict[str, str] = {}

    @property
    def full(self) -> bool:
        return self.limit is not None and len(self.items) >= self.limit

    def add(self, example: Example, where: str) -> None:
        first = self._places.setdefault(example.id, where)
        if first is not where:
            raise ValueError(f"the id {example.id} occurs twice: {first}, and {where}. Ids must be unique")
        if not self.full:
            self.items.append(example)

    def leave_out(self, what: str, count: int = 1) -> None:
        if count:
            self.left_out[what] = self.left_out.get(what, 0) + count

    def note(self) -> list[str]:
        return [f"{count:,} {what}" for what, count in self.left_out.items()]


class Annotated:
    """A dataset that reads its annotations once, when its examples or its note are first asked for."""

    def read(self) -> tuple:
        """The examples in official order, the notes, and whatever else the dataset keeps of them."""
        raise NotImplementedError

    @cached_property
    def once(self) -> tuple:
        return self.read()

    def examples(self) -> list[Example]:
        return list(self.once[0])

    @property
    def note(self) -> str:
        return "; ".join(self.once[1])


def check_count(source: Origin, what: str, found: int, official: int | None) -> str:
    """'' or a note for the tables, and a warning: nearly the official number of records, or more, but not that number.

    A fixture or a small set in the official layout (under NEAR of the official number) is nobody's mistake.
    """
    if official is None or found == official or found < NEAR * official:
        return ""
    note = f"{what} holds {found:,} records, the official file {official:,}"
    warnings.warn(f"{source.name}: {note}; scores are not comparable with the official split", stacklevel=3)
    return note


def refuse_image_root(settings: DataSettings, source: Origin) -> None:
    if settings.image_root is not None:
        raise ValueError(
            f"--image-root {settings.image_root}: only EVR takes it (its annotations hold bare names); "
            f"{source.name} has its images in its own layout under --data-root"
        )
