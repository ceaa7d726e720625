"""A bundle from somebody else: looked at first, unpacked into a folder of its own, held against its list.

Refused whole, with nothing unpacked: what is no bundle, a name that leads out, a link, a name that comes twice, what is
encrypted, what unpacks to far more than it is, and any file that does not belong in a bundle.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from bench.bundle.contents import LINES, LIST, NEEDED, OBJECTS, read_list
from bench.fetch.places import Refused
from bench.fetch.unpack import Pack, Swollen, listed, member_of, put, refuse_strange

MOST_LISTED = 256 << 20  # bytes of bundle.json
SWELLING = Swollen(200, 64 << 20)
OUTPUT = re.compile(r"images/\d{1,9}/[^/]+\.png")


class Opened(NamedTuple):
    """A bundle, unpacked."""

    folder: Path
    said: dict  # its bundle.json
    wrong: list[str]  # files that are missing, or not those that were handed in


def looked_at(path: Path) -> tuple[Pack, dict]:
    """Its members and its bundle.json. Raises Refused and ValueError for a bundle.json that is none."""
    pack = listed(path)
    refuse_strange(pack, SWELLING)
    said = read_list(member_of(pack, LIST, MOST_LISTED), str(path))
    for name in pack.members:
        run, _, file = name.partition("/")
        known = file in (*OBJECTS, *LINES) or (said["outputs"] and OUTPUT.fullmatch(file))
        if name != LIST and not (run in said["runs"] and known and name in said["files"]):
            raise Refused(f"{path}: {name!r:.120} does not belong in a bundle; refused, nothing was unpacked")
    return pack, said


def opened(path: Path, folder: Path) -> Opened:
    """Unpack a bundle into `folder`, a new one. Raises ValueError for what is refused."""
    try:
        pack, said = looked_at(path)
        put(pack, {name: name for name in pack.members}, folder, "bundle", lambda count: None)
    except Refused as error:
        raise ValueError(str(error)) from None
    except NotImplementedError as error:  # a compression that Python does not know
        raise ValueError(f"{path}: {error}; refused") from None
    return Opened(folder, said, unlike_list(folder, said))


def unlike_list(folder: Path, said: dict) -> list[str]:
    """The files that are not as bundle.json has them, each by name."""
    wrong = []
    for name, file in said["files"].items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
            continue
        with open(path, "rb") as data:
            same = hashlib.file_digest(data, "sha256").hexdigest() == file["sha256"]
        if not same:
            wrong.append(f"{name} is not the file that was handed in: its SHA-256 is not that of {LIST}")
    for run in said["runs"]:
        wrong += [f"{run}/{name} is missing" for name in NEEDED if f"{run}/{name}" not in said["files"]]
    return wrong
