"""A run's folder: its files, its lock, and reading them back after a kill.

run.json (written first; what of it changes a pixel stays), sessions.jsonl (one line a start), images/, edits.jsonl,
scored_from.json (digests of goals, captions, masks), scores.jsonl, failures.jsonl, halvings.jsonl (slices edited in
smaller batches; few runs have it), expressive.jsonl (a rewriter's texts, where there is one), log.txt, done.json
(written last: its existence means the run is whole). A finished run that is taken up again has reopened.json for as
long: what done.json said before.
Writes are atomic or one appended line; a last line without its newline was cut by a kill and is dropped.
"""

import errno
import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO, TypeVar, get_origin

from bench.records import Edit, Example, Halving, Score, Text, to_line
from bench.runs.description import PIXELS
from mgie.io.files import TEMPORARY, is_looking, write_atomic


class Busy(RuntimeError):
    """Another process holds the run folder."""


PATIENCE = 2.0  # seconds
SOURCES = "scored_from.json"
SCRATCH = ".scratch"
REOPENED = "reopened.json"
FULL = (errno.ENOSPC, errno.EDQUOT)
RUN = {"suite": str, "dataset": str, "model": str, "setting": str, "form": str, "data": dict, "edit": dict,
       "fingerprint": dict, "manifest": str, "n": int, "groups": int, "note": str}  # fmt: skip
DONE = {"seeds": int, "metrics": dict, "not_run": dict, "metric_settings": dict, "n": int, "of": int, "failures": int}


def whole_lines(path: Path) -> list[dict]:
    """The JSON lines of a file; a last line cut by a kill is dropped from the file as well."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data and not is_looking():
        try:
            write_atomic(path, whole.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise damaged(str(path), f"is not UTF-8 ({error})") from None
    return [parsed(line, f"{path}, line {number}") for number, line in enumerate(whole.splitlines(), 1)]


def parsed(data: bytes, where: str) -> dict:
    """The JSON object in data. Raises ValueError with what to do for anything else, NaN included."""
    try:
        found = json.loads(data, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise damaged(where, f"is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise damaged(where, f"is a JSON {type(found).__name__}, expected an object")
    return found


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def damaged(where: str, why: str) -> ValueError:
    return ValueError(f"{where} {why}; it was changed by hand: remove that file and run again")


Record = TypeVar("Record", Edit, Score, Halving)


def records(path: Path, kind: type[Record]) -> Iterator[Record]:
    """The records of a file, each with its fields and their types; a file changed by hand is refused."""
    types: dict[str, Any] = {  # as isinstance takes them
        f.name: get_origin(f.type) if get_origin(f.type) in (dict, list) else f.type for f in fields(kind)
    }
    for number, line in enumerate(whole_lines(path), 1):
        where = f"{path}, line {number}"
        try:
            record = kind(**line)
        except TypeError:
            raise damaged(where, f"has the fields {', '.join(line)}; expected {', '.join(types)}") from None
        for name, wanted in types.items():
            if not isinstance(getattr(record, name), wanted):
                expected = getattr(wanted, "__name__", wanted)
                raise damaged(where, f"has {name} {str(getattr(record, name))[:40]!r}; expected {expected}")
        if isinstance(record, Edit) and not all(is_finite(s) and s >= 0 for s in record.seconds.values()):
            raise damaged(where, f"has seconds {str(record.seconds)[:60]}; expected finite numbers of at least 0")
        if isinstance(record, Score) and record.value is not None and not is_finite(record.value):
            raise damaged(where, f"has the value {str(record.value)[:40]}; expected a finite number or null")
        yield record


def is_finite(value: object) -> bool:
    return isinstance(value, int | float) and -sys.float_info.max <= value <= sys.float_info.max


def taken(lock: TextIO) -> bool:
    """Whether the lock is ours now. A killed command's workers hold theirs for a moment longer: they are waited for."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)


def text_of(run: dict) -> str:
    return json.dumps(run, indent=1, ensure_ascii=False) + "\n"


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def scratch(self) -> Path:
        """For what is needed only while a run is at work; the next start clears what a kill left in it."""
        return self.path / SCRATCH

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raises Busy when another process is at work here. The lock dies with its process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "a+")  # noqa: SIM115 (closed below; its opening has errors of its own)
        except OSError as error:
            if error.errno in FULL:
                raise
            raise ValueError(f"{self.path} cannot be written to ({error.strerror}); give another --out") from None
        with lock:
            if not taken(lock):
                raise Busy(f"{self.path} is in use by another process; wait for it or give another --out")
            shutil.rmtree(self.scratch, ignore_errors=True)
            for path in self.path.rglob(".*"):
                if TEMPORARY.fullmatch(path.name):  # a kill left it
                    path.unlink()
            try:
                yield
            finally:
                shutil.rmtree(self.scratch, ignore_errors=True)

    def start(self, run: dict, session: dict) -> None:
        """Write run.json, or check that the one there is of the same pixels; add a line to sessions.jsonl.

        What changes no pixel (notes, counts) is brought up to date.
        """
        path = self.path / "run.json"
        if path.exists():
            before, now = self.run(), json.loads(json.dumps(run))
            wrong = [key for key in PIXELS if before[key] != now[key]]
            if wrong:
                raise ValueError(
                    f"{path} describes another run than this command ({', '.join(wrong)} differ); it was changed by "
                    f"hand: remove {self.path} and run again"
                )
        if not self.is_of(run):
            write_atomic(path, text_of(run))
        whole_lines(self.path / "sessions.jsonl")
        self.append("sessions.jsonl", [session])

    def is_of(self, run: dict) -> bool:
        """Whether run.json says just this."""
        path = self.path / "run.json"
        return path.exists() and path.read_bytes() == text_of(run).encode("utf-8")

    def sources(self) -> dict[str, str]:
        """By example id what its scores were computed from (bench.runs.description.sources_of)."""
        path = self.path / SOURCES
        return parsed(path.read_bytes(), str(path)) if path.exists() else {}

    def settle_sources(self, sources: dict[str, str], trusted: bool = False) -> int:
        """Drop the scores that were computed from other goals, captions or masks; how many examples had them.

        trusted: none was.
        """
        known = self.sources()
        if known == sources:
            return 0
        stale = {i for i in known.keys() | sources.keys() if known.get(i) != sources.get(i)}
        scores = self.every_score().values()
        dropped = set() if trusted else {s.example_id for s in scores} & stale
        if dropped:
            self.rewrite("scores.jsonl", [s for s in scores if s.example_id not in stale])
        write_atomic(self.path / SOURCES, json.dumps(sources, indent=0) + "\n")  # last: a kill before it drops again
        return len(dropped)

    def run(self) -> dict:
        path = self.path / "run.json"
        if not path.exists():
            raise ValueError(f"{path} is missing; remove {self.path} and run again")
        run = parsed(path.read_bytes(), str(path))
        wrong = [key for key, kind in RUN.items() if not isinstance(run.get(key), kind)]
        wrong += [] if isinstance(run.get("rewriter", ""), str) else ["rewriter"]
        if wrong:
            raise ValueError(f"{path} has no usable {', '.join(wrong)}; it was changed by hand: remove {self.path} and "
                             "run again")  # fmt: skip
        return run

    def sessions(self) -> list[dict]:
        return whole_lines(self.path / "sessions.jsonl")

    def append(self, name: str, records: Iterable[Edit | Score | Halving | Text | dict]) -> None:
        with open(self.path / name, "a", encoding="utf-8") as file:
            file.write("".join(map(to_line, records)))

    def rewrite(self, name: str, records: Iterable[Edit | Score | Halving | Text | dict]) -> None:
        write_atomic(self.path / name, "".join(map(to_line, records)))

    def edits(self) -> dict[tuple[int, str], Edit]:
        """By (seed, example id); only those whose image is there. A later line replaces an earlier one."""
        edits = records(self.path / "edits.jsonl", Edit)
        return {(e.seed, e.example_id): e for e in edits if (self.path / e.output_image).exists()}

    def scores(self, protocols: Mapping[str, str] | None = None) -> dict[tuple[int, str, str], Score]:
        """By (seed, example id, metric), each metric under one protocol: that of `protocols`, by metric; of a metric
        that is not there, the one it was last asked for.
        """
        wanted = ((self.done() or {}).get("metrics", {})) | (protocols or {})
        scores = self.every_score().values()
        return {(s.seed, s.example_id, s.metric): s for s in scores if wanted.get(s.metric, s.protocol) == s.protocol}

    def every_score(self) -> dict[tuple[int, str, str, str], Score]:
        """By (seed, example id, metric, protocol). A later line replaces an earlier one."""
        scores = records(self.path / "scores.jsonl", Score)
        return {(s.seed, s.example_id, s.metric, s.protocol): s for s in scores}

    def failures(self) -> list[dict]:
        return whole_lines(self.path / "failures.jsonl")

    def halvings(self) -> list[Halving]:
        return list(records(self.path / "halvings.jsonl", Halving))

    def image(self, seed: int, example: Example | str) -> str:
        """Where an output image lies, relative to the run folder."""
        from bench.records import file_name

        name = example if isinstance(example, str) else example.id
        return f"images/{seed}/{file_name(name)}"

    def done(self) -> dict | None:
        return self.account("done.json")

    def earlier(self) -> dict | None:
        """What done.json says, or said before the run was taken up again for more."""
        return self.done() or self.account(REOPENED)

    def account(self, name: str) -> dict | None:
        path = self.path / name
        if not path.exists():
            return None
        done = parsed(path.read_bytes(), str(path))
        wrong = [key for key, kind in DONE.items() if not isinstance(done.get(key), kind)]
        if wrong:
            raise damaged(str(path), f"has no usable {', '.join(wrong)}")
        return done

    def finish(self, done: dict) -> None:
        """Over what it said before, and only then under its name: a kill in between loses neither."""
        write_atomic(self.path / REOPENED, text_of(done))
        (self.path / REOPENED).replace(self.path / "done.json")

    def reopen(self) -> None:
        """Not finished any more; what it said is kept for the one that finishes it."""
        if (self.path / "done.json").exists():
            (self.path / "done.json").replace(self.path / REOPENED)


NAME = "halvings.jsonl"


class Halvings:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.known = {(h.seed, h.first): h for h in folder.halvings()}

    def settle(self, seed: int, ids: Iterable[str], halving: Halving | None) -> None:
        """What is known of a slice that is about to be written; says so where it was halved."""
        stale = self.known.keys() & {(seed, example_id) for example_id in ids}
        if stale:
            self.known = {key: h for key, h in self.known.items() if key not in stale}
            self.write()
        if halving:
            self.known[halving.seed, halving.first] = halving
            self.folder.append(NAME, [halving])
            print(f"warning: {sentence(halving)}", file=sys.stderr)

    def close(self, order: dict[str, int]) -> None:
        """Final order, as that of the edits: seed, example."""
        kept = sorted((key for key in self.known if key[1] in order), key=lambda key: (key[0], order[key[1]]))
        self.known = {key: self.known[key] for key in kept}
        self.write()

    def write(self) -> None:
        if self.known:
            self.folder.rewrite(NAME, self.known.values())
        else:
            (self.folder.path / NAME).unlink(missing_ok=True)


def sentence(halving: Halving) -> str:
    why = (halving.reason.splitlines() or [""])[0][:200]
    batches = ", ".join(map(str, halving.batches))
    return f"slice {halving.first} .. {halving.last}: edited in batches of {batches} instead of {halving.size} ({why})"
