"""Fetch the published suite: `python -m bench.fetch published --data-root data`.

The images and texts of the MGIE project page at one pinned commit, each checked against bench/datasets/published.csv.
Files that are right are kept, so a broken fetch is finished by the same command. The texts stand in the page's HTML and
become published/examples.jsonl. Exit codes: 0 all there and right, 1 something is missing, 2 wrong use.
"""

import argparse
import hashlib
import http.client
import json
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from html.parser import HTMLParser
from pathlib import Path

from bench.datasets.published import IN_SAMPLE, MODELS, SAMPLE, Listed, is_record, manifest, texts_of

COMMIT = "f36a0b6f48f3e49b7aabab53dd9abdff82a9c67e"
BASE_URL = f"https://raw.githubusercontent.com/mllm-ie/mllm-ie.github.io/{COMMIT}"
LICENCE = (
    "These are the MGIE authors' images and texts (https://mllm-ie.github.io). No licence is stated: they are for your "
    "own use and not to be redistributed."
)
PAGE_LIMIT = 1 << 20  # bytes; the page has about 59,000
THREADS, TRIES, TIMEOUT = 4, 4, 30
FIRST_PAUSE = 0.25  # seconds before the second try; doubled before each further one
BROKE = "the transfer broke"
NAMES = {"p2p": "ipr2pr", "evr": "evr", "gier": "gier", "ma5k": "ma5k", "magic-brush": "magicbrush"}


class Refused(Exception):
    """A file that another try would not make right."""


class Broken(Exception):
    """A transfer that may go well the next time."""


def get(url: str, limit: int) -> bytes:
    """One try. Raises Broken or Refused."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            data = response.read(limit + 1)
            promised = response.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        again = error.code >= 500 or error.code in (408, 429)
        raise (Broken if again else Refused)(f"the server answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"{BROKE}: {error!r}") from None
    if len(data) > limit:
        raise Refused(f"it is larger than the {limit:,} bytes expected")
    if promised and promised.isdigit() and len(data) < int(promised):
        raise Broken(f"{BROKE} after {len(data):,} of {int(promised):,} bytes")
    return data


def get_again(url: str, limit: int, check: Callable[[bytes], None], stop: threading.Event) -> bytes:
    """Up to TRIES tries, with a growing pause."""
    tries = 0
    while True:
        try:
            data = get(url, limit)
            check(data)
            return data
        except Broken as error:
            tries += 1
            if tries == TRIES or stop.is_set():
                raise Refused(f"{error} ({tries} tries)") from None
            stop.wait(FIRST_PAUSE * 2 ** (tries - 1))


def check_file(data: bytes, listed: Listed) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if len(data) < listed.bytes:
        raise Broken(f"it has {len(data):,} bytes, expected {listed.bytes:,}")
    if digest != listed.sha256:
        raise Refused(f"its SHA-256 is {digest}, expected {listed.sha256}")


def is_right(path: Path, listed: Listed) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == listed.bytes
        and hashlib.sha256(path.read_bytes()).hexdigest() == listed.sha256
    )


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Page(HTMLParser):
    """Collects the rows of the page's second group of tables: input image, instruction, LGIE's and MGIE's text."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[tuple[str, int], list[str]] = {}
        self._key: tuple[str, int] | None = None
        self._cells: list[str] = []
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self._key, self._cells = None, []
        elif tag == "td":
            self._cell = []
        elif tag == "img":
            match = re.search(r"_qual/([\w-]+?)_(\d+)_input\.jpg$", dict(attrs).get("src") or "")
            if match and match[1] in NAMES:
                self._key = (NAMES[match[1]], int(match[2]))

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "td" and self._cell is not None:
            text = " ".join("".join(self._cell).split())
            self._cells += [text] if text else []
            self._cell = None
        elif tag == "tr" and self._key and len(self._cells) == 3:  # the first group of tables has one text a row
            self.texts[self._key] = self._cells


def page_examples(html: str) -> list[dict]:
    """The lines of examples.jsonl, in the page's order, white space collapsed as a browser shows it."""
    page = Page()
    page.feed(html)
    return [
        {
            "id": f"{dataset}/published/{i}",
            "dataset": dataset,
            "instruction": instruction,
            "expressive_instruction": {"lgie": lgie, "mgie": mgie},
            "images": {kind: f"{dataset}/{i}_{kind}.jpg" for kind in ("input", "goal", *MODELS)},
            "sample": dataset in IN_SAMPLE and i < SAMPLE,
        }
        for (dataset, i), (instruction, lgie, mgie) in page.texts.items()
    ]


def check_texts(records: list[dict], listed: dict[str, Listed]) -> None:
    """Raises Refused unless the records are exactly the 30 listed ones, word for word."""
    by_id = {record["id"]: record for record in records if is_record(record)}
    for path, text in listed.items():
        record = by_id.get(path.partition("#")[2])
        if record is None:
            raise Refused(f"no texts of {path.partition('#')[2]} in it")
        digest = hashlib.sha256(texts_of(record)).hexdigest()
        if digest != text.sha256:
            raise Refused(f"the texts of {record['id']} have the SHA-256 {digest}, expected {text.sha256}")


def fetch_texts(folder: Path, base_url: str, listed: dict[str, Listed], stop: threading.Event) -> bool:
    """examples.jsonl; False if it was there and right."""
    path = folder / "examples.jsonl"
    if path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            check_texts([json.loads(line) for line in lines if line.strip()], listed)
            return False
        except (ValueError, RecursionError, Refused):
            pass  # whatever is wrong with it, it is fetched again
    page = get_again(f"{base_url}/index.html", PAGE_LIMIT, lambda data: None, stop)
    records = page_examples(page.decode("utf-8", errors="replace"))
    check_texts(records, listed)
    write(path, "".join(json.dumps(record) + "\n" for record in records).encode())
    return True


def fetch_image(folder: Path, base_url: str, listed: Listed, stop: threading.Event) -> bool:
    """One image; False if it was there and right."""
    path = folder / listed.path
    if is_right(path, listed):
        return False
    url = f"{base_url}/{listed.source_path}"
    write(path, get_again(url, listed.bytes, lambda data: check_file(data, listed), stop))
    return True


def wanted(split: str) -> tuple[list[Listed], dict[str, Listed]]:
    """The images of a split, and the texts (always all of them: they are one page)."""
    listed = manifest()
    texts = {path: row for path, row in listed.items() if path.startswith("examples.jsonl#")}
    images = [row for path, row in listed.items() if path not in texts]
    if split == "sample":
        names = {f"{dataset}/{i}" for dataset in IN_SAMPLE for i in range(SAMPLE)}
        images = [row for row in images if row.path.partition("_")[0] in names]
    return images, texts


def fetch(folder: Path, base_url: str, split: str) -> tuple[int, int, dict[str, str]]:
    """Returns how many files were fetched, how many were there and right, and why each other one is missing."""
    images, texts = wanted(split)
    stop, failed, fetched, kept = threading.Event(), {}, 0, 0
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = {pool.submit(fetch_texts, folder, base_url, texts, stop): "examples.jsonl (from index.html)"}
        jobs |= {pool.submit(fetch_image, folder, base_url, row, stop): row.path for row in images}
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                try:
                    new = job.result()
                    fetched, kept = fetched + new, kept + (not new)
                except (Refused, OSError) as error:
                    failed[jobs[job]] = str(error)
                    if not fetched and BROKE in str(error):  # no network: one try each for the others
                        stop.set()
                progress(done, len(jobs))
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return fetched, kept, failed


def progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {of} files", end="\n" if done == of else "", file=sys.stderr, flush=True)
    elif done == of or done % 25 == 0:
        print(f"{done} of {of} files", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fetch", description=__doc__.partition("\n")[0])
    parser.add_argument("suite", choices=["published"], help="what to fetch")
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="files go to <data-root>/published/")
    parser.add_argument("--split", choices=["all", "sample"], default="all", help="sample: the first 3 of each")
    parser.add_argument("--base-url", default=BASE_URL, help="a mirror of the project page's repository")
    args = parser.parse_args(argv)
    if not re.match(r"https?://[^/]", args.base_url):
        parser.error(f"--base-url {args.base_url}: expected an http:// or https:// address")
    folder = args.data_root / args.suite
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not existing.is_dir():
        parser.error(f"--data-root {args.data_root}: {existing} is a file, expected a folder")
    print(LICENCE, flush=True)
    start = time.perf_counter()
    try:
        fetched, kept, failed = fetch(folder, args.base_url.rstrip("/"), args.split)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1
    print(f"{folder}: {fetched} files fetched, {kept} were there and right ({time.perf_counter() - start:.1f} s)")
    for path, reason in sorted(failed.items()):
        print(f"missing: {path}: {reason}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} files are missing; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
