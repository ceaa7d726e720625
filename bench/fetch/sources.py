"""Where everything is had, read from sources.toml: things by name, and of each the rows of files.

The file says what the fields mean. A field that is not known is refused: a misspelt one would be a missing digest.
"""

import re
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

TABLE = Path(__file__).with_name("sources.toml")
HOWS = ("http", "hub", "drive", "hand", "page")
MARKS = ("seen", "secondary")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Row:
    """One file, one archive or one set of files. See the head of sources.toml."""

    name: str
    how: str
    mark: str
    address: str = ""
    repo: str = ""
    kind: str = "model"
    path: str = ""
    revision: str = ""
    commit: str = ""  # how the commit hash begins that was seen, where no whole one is known
    bytes: int | None = None
    about: int | None = None
    sha256: str = ""
    part: str = ""
    take: str = ""
    beside: str = ""
    not_in: str = ""
    into: str = ""
    password: str = ""
    steps: str = ""

    @property
    def packed(self) -> bool:
        """Whether what is got is unpacked: an archive, or a folder that a user gives."""
        return bool(self.take)

    @property
    def listed(self) -> bool:
        """Whether only its host knows the names of the files."""
        return "*" in self.name

    @property
    def size(self) -> int:
        """In bytes, as released or as somebody prints it; 0 where nobody does."""
        return self.bytes or self.about or 0

    @property
    def where(self) -> str:
        """As a user would look it up."""
        if self.how == "hub":
            return f"{'datasets/' if self.kind == 'dataset' else ''}{self.repo} on the Hub"
        return f"https://drive.google.com/uc?id={self.address}" if self.how == "drive" else self.address


@dataclass(frozen=True)
class Source:
    """One thing that `bench.fetch` knows by name."""

    name: str
    title: str
    root: str = ""  # data or weights
    folder: str = ""
    licence: str = ""
    terms: str = ""
    audit: str = ""  # the dataset that bench.audit knows
    needs: tuple[str, ...] = ()
    together: tuple[str, ...] = ()  # of others, each NAME or NAME:PART
    rows: "dict[str, int] | None" = None  # rows of a table file, by the beginning of its name
    files: tuple[Row, ...] = ()
    made: int = 0  # bytes, about, of what is made of it once it is whole
    part: str = ""  # the one that was asked for

    @property
    def asked(self) -> str:
        """As on the command line."""
        return f"{self.name}:{self.part}" if self.part else self.name

    @property
    def parts(self) -> list[str]:
        return list(dict.fromkeys(row.part for row in self.files if row.part))

    def only(self, part: str) -> "Source":
        """Without the rows of other parts. ValueError: it has no such part."""
        if not part or part == "all":
            return self
        if part not in self.parts:
            raise ValueError(f"{self.name} has no part '{part}'; it has {', '.join(['all', *self.parts])}")
        return replace(self, part=part, files=tuple(row for row in self.files if row.part in ("", part)))


def read(path: Path = TABLE) -> dict[str, Source]:
    """Every thing by name, in the file's order. ValueError names the entry that is wrong."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no table of sources: {error}") from error
    found = {name: source_of(name, entry, path) for name, entry in data.items()}
    for source in found.values():
        for other in (*source.needs, *source.together):
            if other.partition(":")[0] not in found:
                raise ValueError(f"{path}: {source.name} names {other}, which is not in it")
    return found


def source_of(name: str, entry: object, path: Path) -> Source:
    where = f"{path}, [{name}]"
    entry = dict(known(entry, Source, where, without=("name", "part")))
    rows = tuple(row_of(row, f"{where}, file {i}") for i, row in enumerate(entry.pop("files", ())))
    needs, together = (tuple(entry.pop(key, ())) for key in ("needs", "together"))
    source = Source(name=name, files=rows, needs=needs, together=together, **entry)
    if not source.together and source.root not in ("data", "weights"):
        raise ValueError(f"{where}: root is {source.root!r}, expected data or weights")
    return source


def row_of(entry: object, where: str) -> Row:
    row = Row(**known(entry, Row, where))
    if row.how not in HOWS or row.mark not in MARKS:
        raise ValueError(f"{where}: how is {row.how!r} of {HOWS}, mark is {row.mark!r} of {MARKS}")
    if not re.fullmatch(r"|[0-9a-f]{8}|[0-9a-f]{64}", row.sha256):
        raise ValueError(f"{where}: sha256 is {row.sha256!r}, expected 64 hexadecimal digits, or the first eight")
    if row.how == "hub" and not (row.repo and row.revision):
        raise ValueError(f"{where}: a row of the Hub needs repo and revision")
    return row


def known(entry: object, kind: type, where: str, without: tuple[str, ...] = ()) -> dict:
    names = {field.name for field in fields(kind)} - set(without)
    if not isinstance(entry, dict) or not set(entry) <= names:
        raise ValueError(f"{where}: has {entry if not isinstance(entry, dict) else sorted(set(entry) - names)}, which "
                         f"is not known; known: {', '.join(sorted(names))}")  # fmt: skip
    return entry


def chosen(sources: dict[str, Source], asked: list[str], part: str = "") -> list[Source]:
    """What was asked for (NAME or NAME:PART) and what that needs, each once, in the order in which it is fetched.

    part: of all things that have parts. ValueError: no such thing or part.
    """
    found: dict[str, Source] = {}

    def add(name: str, wanted: str) -> None:
        if name not in sources:
            raise ValueError(f"nothing is called '{name}'; known: {', '.join(sources)}")
        source = sources[name]
        for other in (*source.needs, *source.together):
            add(*(other.split(":") if ":" in other else (other, "")))
        if not source.together:
            found[name] = source if name in found and found[name].files == source.files else source.only(wanted)

    for name in asked:
        name, _, own = name.partition(":")
        add(name, own or (part if part and name in sources and sources[name].parts else ""))
    return list(found.values())
