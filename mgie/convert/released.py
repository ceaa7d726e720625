"""Whether a file of weights is the one its authors released: released.csv has the SHA-256 that their pages state.

A name may stand there more than once, where several copies are known. Eight digits are the beginning of a SHA-256, as
torchvision writes it into its files' names. Of a name that does not stand there it is said that nothing is known.
"""

import csv
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
