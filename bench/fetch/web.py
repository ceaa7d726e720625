"""One file over http, by requests: continued where a killed transfer broke off, tried again where the server falters.

What has come lies in `<name>.partial`; beside it `<name>.partial.etag` says of which version of the file it is a part,
so that a file that changed meanwhile is not spliced. The Hub's files and a mirror's come this way too.
"""

import errno
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError, ReadTimeoutError
from urllib3.util.retry import Retry

from bench.fetch.places import Refused, Told, Unreachable

TIMEOUT = (10, 60)  # seconds to connect, and between two packets
TRIES = 5  # of a transfer that breaks without having brought anything new
PAUSE = 0.25  # seconds before the second try, doubled before each further one
BLOCK = 1 << 16
AGAIN = (408, 429, 500, 502, 503, 504)
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, ProtocolError,
          ReadTimeoutError)  # fmt: skip
ANSWERS = {
    401: "a login is needed (hf auth login, or HF_TOKEN)",
    403: "access is refused; accept its terms in a browser, or log in (hf auth login)",
    404: "there is no such file",
}


def session() -> requests.Session:
    """One for all files: it keeps connections, and asks again after 503 and the like."""
    opened = requests.Session()
    retry = Retry(
        total=TRIES, connect=2, read=2, other=2, backoff_factor=PAUSE, status_forcelist=AGAIN, raise_on_status=False
    )
    for scheme in ("http://", "https://"):
        opened.mount(scheme, HTTPAdapter(max_retries=retry))
    opened.headers["Accept-Encoding"] = "identity"  # offsets count the bytes of the file
    return opened


def transfer(
    opened: requests.Session, url: str, partial: Path, size: int | None, headers: dict[str, str], told: Told
) -> None:
    """Fills `partial`, going on where it ends. Refused, Unreachable or OSError; then what has come is kept."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    tries, pause, most = 0, PAUSE, length(partial)
    while True:
        try:
            go_on(opened, url, partial, size, headers, told)
            return
        except BROKEN as error:
            brought = length(partial) > most  # more than ever before: a host that begins anew each time brings nothing
            tries, pause, most = (0, PAUSE, length(partial)) if brought else (tries + 1, pause, most)
            if not brought and unreachable(error):
                raise Unreachable(f"no network: {host(url)} could not be reached ({reason(error)})") from None
            if tries >= TRIES:
                raise Refused(
                    f"the transfer broke {tries} times after {length(partial):,} bytes ({reason(error)}); the same "
                    "command goes on from there"
                ) from None
            time.sleep(pause)
            pause *= 2


def go_on(
    opened: requests.Session, url: str, partial: Path, size: int | None, headers: dict[str, str], told: Told
) -> None:
    """One request."""
    start, stamp = length(partial), partial.with_name(partial.name + ".etag")
    if size is not None and start == size:
        return
    if size is not None and start > size:
        partial.unlink()
        start = 0
    asked = dict(headers)
    if start:
        asked["Range"] = f"bytes={start}-"
        etag = stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else ""
        if etag and not etag.startswith("W/"):
            asked["If-Range"] = etag
    with opened.get(url, headers=asked, stream=True, timeout=TIMEOUT) as response:
        start = begin(response, start, partial)
        if response.headers.get("ETag"):
            stamp.write_text(response.headers["ETag"], encoding="utf-8")
        total = promised(response, start)
        if size is not None and total is not None and total < size:
            partial.unlink(missing_ok=True)
            raise Refused(f"the server has {total:,} bytes of it, expected {size:,}: cut short there, or another file")
        told(start)
        received = start
        with open(partial, "ab" if start else "wb") as file:
            while block := response.raw.read1(BLOCK):  # as it comes: of a block that breaks off nothing is lost
                received += len(block)
                if size is not None and received > size:
                    break
                try:
                    file.write(block)
                    file.flush()  # so that a kill loses nothing that has come
                except OSError as error:
                    raise full(error, partial) from error
                told(len(block))
    if size is not None and received > size:
        partial.unlink()
        raise Refused(f"it is larger than the {size:,} bytes expected; it was removed")
    expected = size if size is not None else total
    if expected is not None and received < expected:
        raise requests.ConnectionError(f"it ended after {received:,} of {expected:,} bytes")
    stamp.unlink(missing_ok=True)
    refuse_page(partial)


def begin(response: requests.Response, start: int, partial: Path) -> int:
    """Where what comes belongs. Refused: nothing will come."""
    if response.status_code == 416:  # our part is no beginning of what the server has now
        partial.unlink(missing_ok=True)
        raise requests.ConnectionError("the server has less than what is here; begun again")
    if response.status_code in AGAIN:
        raise Refused(f"the server answers {response.status_code} {response.reason}, also after {TRIES} tries")
    if response.status_code not in (200, 206):
        meaning = ANSWERS.get(response.status_code, "")
        raise Refused(f"the server answers {response.status_code} {response.reason}" + (f": {meaning}" * bool(meaning)))
    if not start or response.status_code == 200:  # 200: the server knows no ranges, or the file has changed
        return 0
    said = response.headers.get("Content-Range", "")
    if not said.startswith(f"bytes {start}-"):
        raise Refused(f"asked for the bytes from {start:,} on, the server sends {said or 'others'}")
    return start


def promised(response: requests.Response, start: int) -> int | None:
    """How many bytes the whole file has, as the server says."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def refuse_page(partial: Path) -> None:
    """Refused: a web page came in place of the file, as hosts do that want a login or a click."""
    with open(partial, "rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")) and not partial.name.startswith("index.html"):
        partial.unlink()
        quota = b"quota" in head
        raise Refused("a web page came in place of the file" + (": its host's quota is used up" if quota else ""))


def knock(url: str) -> None:
    """Unreachable: the host does not answer at all. Any answer will do."""
    try:
        session().head(host(url), timeout=TIMEOUT)
    except BROKEN as error:
        if unreachable(error):
            raise Unreachable(f"no network: {host(url)} could not be reached ({reason(error)})") from None


def length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def full(error: OSError, path: Path) -> OSError | Refused:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refused(f"the disk of {path.parent} is full; what has come is kept, and the same command goes on there")
    return error


def host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def innermost(error: Exception) -> Exception:
    """requests wraps urllib3's errors, and urllib3 what made it give up, a proxy's error too."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    for kept in ("reason", "original_error"):
        inner = getattr(error, kept, None)
        error = inner if isinstance(inner, Exception) else error
    return error


def unreachable(error: Exception) -> bool:
    """Whether no connection came about: no such name, no route, refused, no answer, no way through a proxy."""
    return isinstance(error, requests.exceptions.ProxyError) or isinstance(
        innermost(error), NewConnectionError | ConnectTimeoutError
    )


def reason(error: Exception) -> str:
    """The last words of a chain of libraries' errors: connection refused, no such name, ..."""
    inner = innermost(error)
    text = str(inner).rpartition("> ")[2] if "object at 0x" in str(inner) else str(inner)
    by = "through the proxy: " * isinstance(error, requests.exceptions.ProxyError)
    return by + (" ".join(text.rpartition(": ")[2].split())[:120] or type(error).__name__)
