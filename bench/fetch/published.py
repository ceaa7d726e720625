"""The published suite: the images and texts of the MGIE project page at one pinned commit.

Each file is checked against bench/datasets/published.csv. The texts stand in the page's HTML and become
published/examples.jsonl. Files that are right are kept, so a broken fetch is finished by the same command.
"""

import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from html.parser import HTMLParser
from pathlib import Path

import requests

from bench.datasets.published import IN_SAMPLE, MODELS, SAMPLE, Listed, is_record, manifest, texts_of
from bench.fetch import web
from bench.fetch.bars import Bars
from bench.fetch.fetching import Options, Outcome
from bench.fetch.places import PARTIAL, Refused, Unreachable
from bench.fetch.sources import Source
from mgie.io.files import write_whole

PAGE = "index.html"
PAGE_LIMIT = 1 << 20  # bytes; the page has about 59,000
THREADS = 4
NAMES = {"p2p": "ipr2pr", "evr": "evr", "gier": "gier", "ma5k": "ma5k", "magic-brush": "magicbrush"}


def bring(place: Path, address: str, name: str, size: int | None, opened: requests.Session) -> Path:
    """`<place>.partial`, whole: from an address, or from a folder that holds the repository's files."""
    partial = place.with_name(place.name + PARTIAL)
    if re.match(r"https?://", address):
        web.transfer(opened, f"{address}/{name}", partial, size, {}, lambda count: None)
        return partial
    file = Path(address) / name
    if not file.is_file():
        raise Refused(f"{address} has no {name}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(file.read_bytes())
    return partial


def is_right(path: Path, listed: Listed) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == listed.bytes
        and hashlib.sha256(path.read_bytes()).hexdigest() == listed.sha256
    )


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


def fetch_texts(folder: Path, address: str, listed: dict[str, Listed], opened: requests.Session) -> bool:
    """examples.jsonl; False if it was there and right."""
    path = folder / "examples.jsonl"
    if path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            check_texts([json.loads(line) for line in lines if line.strip()], listed)
            return False
        except (ValueError, RecursionError, Refused):
            pass  # whatever is wrong with it, it is fetched again
    partial = bring(folder / PAGE, address, PAGE, None, opened)
    page = partial.read_bytes()[:PAGE_LIMIT]
    partial.unlink()
    records = page_examples(page.decode("utf-8", errors="replace"))
    check_texts(records, listed)
    write_whole("".join(json.dumps(record) + "\n" for record in records).encode(), path)
    return True


def fetch_image(folder: Path, address: str, listed: Listed, opened: requests.Session) -> bool:
    """One image; False if it was there and right."""
    path = folder / listed.path
    if is_right(path, listed):
        return False
    partial = bring(path, address, listed.source_path, listed.bytes, opened)
    found = hashlib.sha256(partial.read_bytes()).hexdigest()
    if found != listed.sha256:
        partial.unlink()
        raise Refused(f"its SHA-256 is {found}, expected {listed.sha256}; it was removed")
    partial.replace(path)
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


def fetch(source: Source, options: Options, bars: Bars, split: str, base_url: str = "") -> Outcome:
    """Everything of a split that is not there yet, four files at a time. base_url: a copy of the page's repository."""
    address = base_url or source.files[0].address
    if not base_url and (options.mirror or options.given):
        place = f"{options.mirror.rstrip('/')}/{source.name}" if options.mirror else str(options.given[0])
        address = place
    folder, outcome = options.folder(source), Outcome()
    images, texts = wanted(split)
    stop, opened = threading.Event(), web.session()

    def one(job: Listed | dict[str, Listed]) -> bool:
        if stop.is_set():
            raise Unreachable("")
        if isinstance(job, dict):
            return fetch_texts(folder, address.rstrip("/"), texts, opened)
        return fetch_image(folder, address.rstrip("/"), job, opened)

    with ThreadPoolExecutor(THREADS) as pool, bars.shown(), bars.count(len(images) + 1) as told:
        jobs = {pool.submit(one, texts): "examples.jsonl (from index.html)"}
        jobs |= {pool.submit(one, row): row.path for row in images}
        said = ""
        try:
            for job in as_completed(jobs):
                try:
                    new = job.result()
                    told(1)
                    outcome.fetched, outcome.kept = outcome.fetched + new, outcome.kept + (not new)
                except Unreachable as error:  # no network: the others are not tried
                    stop.set()
                    said = said or str(error)
                    outcome.unreachable[""] += 1
                except (Refused, OSError) as error:
                    outcome.missing[jobs[job]] = str(error)
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if outcome.unreachable:
        outcome.unreachable[said] = outcome.unreachable.pop("")
    return outcome
