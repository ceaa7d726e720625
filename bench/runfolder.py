"""A run's folder: its files, its lock, and reading them back after a kill.

run.json (written first, never changed), sessions.jsonl (one line a start), images/, edits.jsonl, scores.jsonl,
failures.jsonl, done.json (written last: its existence means the run is whole). Writes are atomic or one appended
line; a last line without its newline was cut by a kill and is dropped.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.records import Edit, Example, Score, to_line


class Busy(RuntimeError):
    """Another process holds the run folder."""


def write_atomic(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def whole_lines(path: Path) -> list[dict]:
    """The JSON lines of a file; a last line cut by a kill is dropped from the file as well."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        write_atomic(path, whole.decode("utf-8"))
    lines = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number} is not JSON ({error}); it was changed by hand: remove it and run again"
            ) from None
    return lines


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raises Busy when another process is at work here. The lock dies with its process."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"{self.path} is in use by another process; wait for it or give another --out") from None
            yield

    def start(self, run: dict, session: dict) -> None:
        """Write run.json on the first start, later check that it is the same run; add a line to sessions.jsonl."""
        path = self.path / "run.json"
        text = json.dumps(run, indent=1, ensure_ascii=False) + "\n"
        if not path.exists():
            write_atomic(path, text)
        elif path.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{path} describes another run than this command; it was changed by hand: remove {self.path}"
            )
        whole_lines(self.path / "sessions.jsonl")
        self.append("sessions.jsonl", [session])

    def run(self) -> dict:
        return json.loads((self.path / "run.json").read_text(encoding="utf-8"))

    def sessions(self) -> list[dict]:
        return whole_lines(self.path / "sessions.jsonl")

    def append(self, name: str, records: Iterable[Edit | Score | dict]) -> None:
        with open(self.path / name, "a", encoding="utf-8") as file:
            file.write("".join(map(to_line, records)))

    def rewrite(self, name: str, records: Iterable[Edit | Score | dict]) -> None:
        write_atomic(self.path / name, "".join(map(to_line, records)))

    def edits(self) -> dict[tuple[int, str], Edit]:
        """By (seed, example id); only those whose image is there. A later line replaces an earlier one."""
        edits = (Edit(**line) for line in whole_lines(self.path / "edits.jsonl"))
        return {(e.seed, e.example_id): e for e in edits if (self.path / e.output_image).exists()}

    def scores(self) -> dict[tuple[int, str, str], Score]:
        scores = (Score(**line) for line in whole_lines(self.path / "scores.jsonl"))
        return {(s.seed, s.example_id, s.metric): s for s in scores}

    def failures(self) -> list[dict]:
        return whole_lines(self.path / "failures.jsonl")

    def image(self, seed: int, example: Example | str) -> str:
        """Where an output image lies, relative to the run folder."""
        from bench.records import file_name

        name = example if isinstance(example, str) else example.id
        return f"images/{seed}/{file_name(name)}"

    def done(self) -> dict | None:
        path = self.path / "done.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def finish(self, done: dict) -> None:
        write_atomic(self.path / "done.json", json.dumps(done, indent=1, ensure_ascii=False) + "\n")

    def reopen(self) -> None:
        (self.path / "done.json").unlink(missing_ok=True)
