"""Google Drive, by gdown: it answers the page that asks for a confirmation, and goes on where a transfer broke off.

Drive states no digest, and a used-up quota is a page in place of the file: named here, with the way by a browser.
"""

import re
from pathlib import Path

from bench.fetch.places import Refused, Told, Unreachable, Wanted
from bench.fetch.web import TRIES, full, host, knock, reason, refuse_page, unreachable

ADDRESS = "https://drive.google.com/uc?id={}"


def transfer(want: Wanted, partial: Path, told: Told) -> None:
    """Fills `partial`. gdown's own unfinished file lies beside it and is continued. Refused or Unreachable."""
    import gdown
    import requests
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    url, done = ADDRESS.format(want.row.address), 0

    def progress(so_far: int, total: int | None) -> None:
        nonlocal done
        told(so_far - done)
        done = so_far

    knock(url)  # gdown itself tries for a quarter of a minute
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        gdown.download(
            url=url, output=str(partial), quiet=True, use_cookies=False, resume=True, progress=progress,
            timeout=60, retries=TRIES,
        )  # fmt: skip
    except FileURLRetrievalError as error:
        said = page_says(str(error))
        quota = re.search(r"quota|too many (?:users|accesses)|many accesses", said, re.IGNORECASE)
        hint = "its quota is used up, for up to 24 hours" if quota else said
        raise Refused(
            f"Google Drive does not give {want.name}: {hint}; or open {url} in a browser and name what you get with "
            "--from"
        ) from None
    except (DownloadError, requests.RequestException) as error:
        cause = error if isinstance(error, requests.RequestException) else error.__cause__ or error
        if isinstance(cause, Exception) and unreachable(cause):
            raise Unreachable(f"no network: {host(url)} could not be reached ({reason(cause)})") from None
        said = " ".join(str(error).split())[:160]
        raise Refused(f"Google Drive: {said}; the same command goes on from there") from None
    except OSError as error:
        raise full(error, partial) from error
    refuse_page(partial)


def page_says(text: str) -> str:
    """gdown indents what Drive's page says between its own words."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("\t")]
    return " ".join(line for line in lines if not line.startswith("http"))[:200] or " ".join(text.split())[:200]
