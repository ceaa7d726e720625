"""The terms of what is fetched: shown once, and kept as TERMS.md beside it, with source and date."""

import textwrap
from datetime import UTC, datetime
from pathlib import Path

from bench.fetch.places import write
from bench.fetch.sources import Source

NAME = "TERMS.md"
WIDTH = 100


def show(source: Source, folder: Path) -> str:
    """What is to be read before the first file comes; nothing where it was shown before and still holds."""
    body = text(source)
    path = folder / NAME
    try:
        if path.read_text(encoding="utf-8").partition("\nSince ")[0] == body.rstrip("\n"):
            return ""
    except (OSError, ValueError):  # not there, or somebody's own file of that name: written anew
        pass
    write(path, f"{body}\nSince {datetime.now(UTC):%Y-%m-%d}\n".encode())
    return textwrap.fill(f"{source.name}: {source.terms}", WIDTH, break_long_words=False, break_on_hyphens=False)


def text(source: Source) -> str:
    where = dict.fromkeys(f"- {row.where} ({row.mark})" for row in source.files)
    return "\n".join([
        f"# {source.title[:1].upper()}{source.title[1:]}", "", f"Licence: {source.licence}", "",
        textwrap.fill(source.terms, WIDTH, break_long_words=False, break_on_hyphens=False), "",
        "Had from (seen: the terms' page was read; secondary: named by others):", "", *sources_in_short(list(where)), "",
    ])  # fmt: skip


def sources_in_short(lines: list[str], most: int = 8) -> list[str]:
    """Annotations come as twenty files of one folder: the first few say it."""
    return lines[:most] + [f"- and {len(lines) - most} more of the same"] * (len(lines) > most)
