"""The Hub: huggingface_hub says which files a repository has, at which commit, how large and with which digests, and
brings the login. HF_ENDPOINT is honoured.

The bytes come by web.py all the same: huggingface_hub 2 writes to a file named anew by each process and removes it
when the transfer ends early, so that a killed 10 GB file would begin again.
"""

import re
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TypeVar

from bench.fetch import web
from bench.fetch.places import Refused, Unreachable, Wanted, less, within
from bench.fetch.sources import Row, Source

Answer = TypeVar("Answer")


def wanted(
    source: Source, rows: list[Row], left: float | None, notes: list[str], refused: dict[str, str]
) -> list[Wanted]:
    """The files of these rows, all of one repository and revision; of sets those within what --limit-gb leaves.

    notes: gets a line where no commit is pinned, with the Hub's. refused: gets what is wrong with a row, by its name.
    Raises Refused, Unreachable, of the whole repository.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    first = rows[0]
    commit, listed = listing(first)
    if first.revision != commit:
        differs = f", which is not the {first.commit}... that was seen" * (not commit.startswith(first.commit))
        notes.append(f"{first.repo}: no commit is pinned; its {first.revision} is {commit[:12]}{differs}")
    headers = tuple((k, v) for k, v in build_hf_headers().items() if k.lower() in ("authorization", "user-agent"))
    found: list[Wanted] = []
    for row in rows:
        pattern = row.path or row.name
        names = sorted(name for name in listed if fnmatchcase(name, pattern))
        if not names:
            refused[row.name] = f"{row.repo} at {commit[:12]} has no file {pattern}"
        of_row = []
        for name in names:
            file = listed[name]
            url = hf_hub_url(row.repo, name, repo_type=row.kind, revision=commit)
            stated = file.lfs.sha256 if file.lfs else ""
            if row.sha256 and stated and row.sha256 != stated:
                refused[row.name] = f"{name}: the Hub's file has the SHA-256 {stated}, released was {row.sha256}"
                continue
            place = name if row.listed else row.name
            git = "" if file.lfs else file.blob_id or ""
            of_row.append(Wanted(source, row, place, file.size, row.sha256 or stated, git, url, headers))
        of_row = within(of_row, left, notes) if row.listed else of_row
        found, left = found + of_row, less(left, of_row)
    return found


def listing(row: Row) -> tuple[str, dict]:
    """The commit and the files of a repository, by name."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,  # httpx's, under whatever name this version has it
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = until_answered(
            lambda: HfApi().repo_info(row.repo, repo_type=row.kind, revision=row.revision, files_metadata=True)
        )
    except OfflineModeIsEnabled:
        raise Unreachable("no network: the Hub is switched off (HF_HUB_OFFLINE)") from None
    except GatedRepoError:
        raise Refused(
            f"{row.repo}: its terms must be accepted in a browser ({row.where}); then log in: hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise Refused(f"{row.repo} has no revision {row.revision} any more") from None
    except RepositoryNotFoundError:
        raise Refused(f"the Hub has no {row.kind} {row.repo}, or it wants a login: hf auth login") from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise Refused(f"{row.repo}: the Hub answers: {first_line(error)}") from None
    except (HTTPError, OSError) as error:
        raise Unreachable(
            f"no network: the Hub ({constants.ENDPOINT}) could not be reached ({first_line(error)})"
        ) from None
    if not info.sha or not re.fullmatch(r"[0-9a-f]{40}", info.sha):
        raise Refused(f"{row.repo}: the Hub names no commit")
    return info.sha, {file.rfilename: file for file in info.siblings or ()}


def until_answered(ask: Callable[[], Answer]) -> Answer:
    """Asks again where the Hub falters, as a transfer does; huggingface_hub itself asks once."""
    from huggingface_hub.errors import HfHubHTTPError

    for tried in range(web.TRIES - 1):
        try:
            return ask()
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code not in web.AGAIN:
                raise
            time.sleep(web.PAUSE * 2**tried)
    return ask()


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
