"""Progress on stderr: a bar a file on a terminal, a line a file elsewhere; nothing of it on stdout."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from bench.fetch.places import Told


class Bars:
    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.progress = None

    @contextmanager
    def shown(self) -> Iterator["Bars"]:
        """Around all files of a thing."""
        if not self.terminal:
            yield self
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(24), DownloadColumn(), TransferSpeedColumn(),
                   TimeRemainingColumn(compact=True))  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as self.progress:
            yield self
        self.progress = None

    @contextmanager
    def file(self, name: str, size: int) -> Iterator[Told]:
        """What it yields is told how many bytes more there are."""
        if self.progress is None:
            yield lambda count: None
            return
        short = PurePosixPath(name).name
        short = short if len(short) <= 40 else f"{short[:18]}...{short[-19:]}"
        task = self.progress.add_task(short, total=size or None)
        try:
            yield lambda count: self.progress.advance(task, count)
        finally:
            self.progress.remove_task(task)

    def there(self, name: str) -> None:
        """The line of a file that has come; on a terminal its bar was enough."""
        if not self.terminal:
            print(f"{name}: there", file=sys.stderr, flush=True)

    @contextmanager
    def count(self, files: int) -> Iterator[Told]:
        """Of many small files: what it yields is told how many more are done."""
        task = self.progress.add_task(f"{files} files", total=files) if self.progress else None
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            if self.progress:
                self.progress.advance(task, count)
            elif done == files or done % 25 == 0:
                print(f"{done} of {files} files", file=sys.stderr, flush=True)

        yield told
