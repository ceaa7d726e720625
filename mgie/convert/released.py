"""Whether a file of weights is the one its authors released: released.csv has the SHA-256 that their pages state.

A name may stand there more than once, where several copies are known. Eight digits are the beginning of a SHA-256, as
torchvision writes it into its files' names. Of a name that does not stand there it is said that nothing is known.
"""

import csv
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath

TABLE = Path(__file__).with_name("released.csv")
AS_RELEASED = "as released"


@lru_cache
def known() -> dict[str, dict[str, str]]:
    """file -> SHA-256 -> whose."""
    found: dict[str, dict[str, str]] = {}
    with TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["file"], {})[row["sha256"]] = row["whose"]
    return found


def verdict(name: str, sha256: str) -> str:
    """`as released`, with whose where there are several; `not the released file (SHA-256 ...)`; never silent.

    name: as in the table, or a path that ends so.
    """
    digests = known().get(name) or known().get(PurePosixPath(name).name)
    if not digests:
        return f"no released digest of it is known (SHA-256 {sha256})"
    match = next((whose for digest, whose in digests.items() if sha256.startswith(digest)), None)
    if match is None:
        return f"not the released file (SHA-256 {sha256})"
    return f"{AS_RELEASED} ({match})" if len(digests) > 1 else AS_RELEASED


def released_in(text: str) -> str:
    """What is known of each digest whose first eight digits stand in text, as `sha256:40d36571`; to stand behind it."""
    whose = {digest[:8]: f"{AS_RELEASED} ({of[digest]}, {name})" for name, of in known().items() for digest in of}
    found = dict.fromkeys(re.findall(r"sha256:([0-9a-f]{8})", text))
    return "".join(f"; {digits}: {whose.get(digits, 'no released digest of it is known')}" for digits in found)


def is_known(name: str) -> bool:
    return name in known() or PurePosixPath(name).name in known()


def summary(digests: dict[str, str]) -> str:
    """One phrase about the files that are known by name: what a table's head says; '' where none is known.

    digests: file -> SHA-256.
    """
    said = {name: verdict(name, sha256) for name, sha256 in digests.items() if is_known(name)}
    wrong = [f"{name}: {what}" for name, what in said.items() if not what.startswith(AS_RELEASED)]
    if not said:
        return ""
    return "; ".join(wrong) or f"weights {AS_RELEASED}"
