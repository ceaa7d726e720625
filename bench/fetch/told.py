"""What a user is told before anything comes: the list of what there is (100 columns), and the terms.

Terms are shown once, and kept as TERMS.md beside the data, with source and date.
"""

import textwrap
from datetime import UTC, datetime
from pathlib import Path

from bench.fetch.fetching import Options
from bench.fetch.places import Folder
from bench.fetch.sources import Source
from mgie.io.files import write_whole

COLUMNS = 100
TERMS = "TERMS.md"
HEAD = ("WHAT", "SIZE", "LICENCE", "NEEDS", "HERE")
WIDTHS = (19, 10, 27, 33, 0)


def shown(sources: dict[str, Source], options: Options) -> str:
    lines = [line(HEAD)]
    for source in sources.values():
        there = "" if source.together else here(source, options)
        lines.append(line((source.name, size_of(source, sources), source.licence, needs(source), there)))
        lines += textwrap.wrap(source.title, COLUMNS, initial_indent="  ", subsequent_indent="  ")
        if source.together:
            lines += wrapped(", ".join(source.together))
        for where, marks in addresses(source).items():
            lines += wrapped(f"{where} [{marks}]")
    lines += [
        "",
        "seen: read in the primary text. secondary: named by others. +: not all sizes are known.",
        "first N: of a set, as far as --limit-gb went. N so far: not all of it; the same command goes on.",
    ]
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
    said = [
        row.name.partition(".")[0] + " (password)" * bool(row.password) for row in source.files if row.how == "hand"
    ]
    return "; ".join([*(["by hand: " + ", ".join(said)] if said else []), *source.needs]) or "-"


def here(source: Source, options: Options) -> str:
    folder = Folder(options.folder(source))
    there = [folder.there(row) for row in source.files]
    if any(row.how == "page" for row in source.files):
        count = sum(1 for path in folder.path.rglob("*.jpg")) if folder.path.is_dir() else 0
        return f"{count} images" if count else "nothing"
    if not any(there):
        return "nothing"
    whole = there.count("yes")
    if whole == len(there):
        return "all"
    if len(there) == 1:
        return there[0]
    return f"{whole} of {len(there)}" if whole else f"parts of {len(there)}"


def terms(source: Source, folder: Path) -> str:
    """What is to be read before the first file comes; nothing where it was shown before and still holds."""
    body = terms_text(source)
    path = folder / TERMS
    try:
        if path.read_text(encoding="utf-8").partition("\nSince ")[0] == body.rstrip("\n"):
            return ""
    except (OSError, ValueError):  # not there, or somebody's own file of that name: written anew
        pass
    write_whole(f"{body}\nSince {datetime.now(UTC):%Y-%m-%d}\n".encode(), path)
    return textwrap.fill(f"{source.name}: {source.terms}", COLUMNS, break_long_words=False, break_on_hyphens=False)


def terms_text(source: Source) -> str:
    where = dict.fromkeys(f"- {row.where} ({row.mark})" for row in source.files)
    return "\n".join([
        f"# {source.title[:1].upper()}{source.title[1:]}", "", f"Licence: {source.licence}", "",
        textwrap.fill(source.terms, COLUMNS, break_long_words=False, break_on_hyphens=False), "",
        "Had from (seen: read there; secondary: named by others):", "", *sources_in_short(list(where)), "",
    ])  # fmt: skip


def sources_in_short(lines: list[str], most: int = 8) -> list[str]:
    """Annotations come as twenty files of one folder: the first few say it."""
    return lines[:most] + [f"- and {len(lines) - most} more of the same"] * (len(lines) > most)
