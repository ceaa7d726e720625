"""A lab's own copy, for clusters without internet: <mirror>/<thing>/<name>, with the names of the sources.

A folder is looked through like what a user gives. At an address each name is asked for; of a set whose names only its
host knows, <mirror>/<thing>/index.txt lists the files, one a line with its bytes behind it, as
`find . -type f -printf '%P %s\n'` prints them. Sizes and digests are checked all the same.
"""

from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

import requests

from bench.fetch import web
from bench.fetch.places import Refused, Unreachable, Wanted, within
from bench.fetch.sources import Row, Source

INDEX = "index.txt"


def is_address(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def folder(mirror: str, source: Source) -> Path | None:
    """The mirror's folder of a thing; None where there is no mirror, or one at an address."""
    if not mirror or is_address(mirror):
        return None
    path = Path(mirror) / source.name
    if not path.is_dir():
        raise Refused(f"--mirror {mirror}: no folder {source.name} in it")
    return path


def address(mirror: str, source: Source, name: str) -> str:
    return f"{mirror.rstrip('/')}/{quote(source.name)}/{quote(name)}"


def wanted(mirror: str, source: Source, row: Row, left: float | None, notes: list[str]) -> list[Wanted]:
    """The files of a row at a mirror's address; of a set those within what --limit-gb leaves."""
    if not row.listed:
        return [Wanted(source, row, row.name, row.bytes, row.sha256, url=address(mirror, source, row.name))]
    url = address(mirror, source, INDEX)
    try:
        response = web.session().get(url, timeout=web.TIMEOUT)
    except requests.RequestException as error:
        raise Unreachable(f"no network: {web.host(url)} could not be reached ({web.reason(error)})") from None
    if response.status_code != 200:
        raise Refused(f"the mirror has no {url}, which lists the files of {row.name} ({response.status_code})")
    sizes = dict(entry(line, url) for line in response.text.splitlines() if line.strip())
    names = sorted(name for name in sizes if fnmatchcase(name, row.name))
    if not names:
        raise Refused(f"{url} lists no {row.name}")
    found = [Wanted(source, row, name, sizes[name], url=address(mirror, source, name)) for name in names]
    return within(found, left, notes)


def entry(line: str, url: str) -> tuple[str, int]:
    """A line of index.txt. Refused: another form, or a name that leads out."""
    name, _, size = line.strip().rpartition(" ")
    if not size.isdigit() or not name or name.startswith("/") or ".." in name.split("/"):
        raise Refused(f"{url}: the line {line!r:.60} is not a name below its folder and a number of bytes")
    return name, int(size)
