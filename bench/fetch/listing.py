"""`bench.fetch --list`: each thing with its size, licence, what it needs of a user and what is there; 100 columns."""

import textwrap

from bench.fetch.fetching import Options
from bench.fetch.places import Folder
from bench.fetch.sources import Source

COLUMNS = 100
HEAD = ("WHAT", "SIZE", "LICENCE", "NEEDS", "HERE")
WIDTHS = (19, 9, 27, 26, 0)


def shown(sources: dict[str, Source], options: Options) -> str:
    lines = [line(HEAD)]
    for source in sources.values():
        lines.append(line((source.name, size_of(source, sources), source.licence, needs(source), here(source, options))))
        lines += textwrap.wrap(source.title, COLUMNS, initial_indent="  ", subsequent_indent="  ")
        if source.together:
            lines += wrapped(", ".join(source.together))
        for where, marks in addresses(source).items():
            lines += wrapped(f"{where} [{marks}]")
    lines += ["", "seen: read in the primary text. secondary: named by others. SIZE is a sum where the sizes are known."]
    return "\n".join(lines)


def line(cells: tuple[str, ...]) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False)


def addresses(source: Source) -> dict[str, str]:
    """Each place once: files of one folder by that folder."""
    found: dict[str, str] = {}
    for row in source.files:
        where = row.where
        if row.how == "http" and len(source.files) > 1:
            where = where.removesuffix(row.name) if where.endswith(row.name) else where.rpartition("/")[0]
        found.setdefault(where, row.mark)
    return found


def size_of(source: Source, sources: dict[str, Source]) -> str:
    if source.together:
        named = [other.partition(":") for other in source.together]
        rows = [row for name, _, part in named for row in sources[name].only(part).files]
    else:
        rows = list(source.files)
    total = sum(row.size for row in rows)
    unknown = any(not row.size and row.packed for row in rows)
    return f"{human(total)}{'+' * unknown}" if total else "unknown"


def human(size: int) -> str:
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.3g} {unit}"
    return f"{size} B"


def needs(source: Source) -> str:
    """What a machine may not do, and what must be known."""
    said = [f"by hand: {row.name.partition('.')[0]}" for row in source.files if row.how == "hand"]
    if len(said) > 1:
        said = ["by hand: " + ", ".join(text.removeprefix("by hand: ") for text in said)]
    return "; ".join([*said, *source.needs]) or "-"


def here(source: Source, options: Options) -> str:
    if source.together:
        return ""
    folder = Folder(options.folder(source))
    there = [folder.there(row) for row in source.files]
    if any(row.how == "page" for row in source.files):
        count = sum(1 for path in folder.path.rglob("*.jpg")) if folder.path.is_dir() else 0
        return f"{count} images" if count else "nothing"
    if not any(there):
        return "nothing"
    sets = [text for text in there if text.endswith("files")]
    if len(there) == len(sets):
        return " and ".join(sets)
    return "all" if all(there) else f"{sum(map(bool, there))} of {len(there)}"
