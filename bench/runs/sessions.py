"""What a run writes and shows about where it runs: one line a start, a warning when starts differ, the progress bar."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

from mgie.io.devices import device_name

PACKAGES = ("torch", "transformers", "diffusers", "open_clip_torch", "timm", "lpips", "torchmetrics", "pillow", "numpy")
COMPARED = ("commit", "versions", "python", "device", "threads")


class Tee:
    """A stream that also keeps whole lines in a file; what a progress bar draws is left out."""

    def __init__(self, shown: TextIO, kept: int) -> None:
        """kept: an open file's descriptor."""
        self.shown, self.kept, self.begun, self.end = shown, kept, "", "done"

    def write(self, text: str) -> int:
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            self.keep(line)
        return self.shown.write(text)

    def keep(self, line: str) -> None:
        if line.strip() and not any(sign in line for sign in DRAWN):
            with suppress(OSError):  # a full disk stops the run itself, in words that say so
                os.write(self.kept, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n".encode(errors="replace"))

    def __getattr__(self, name: str) -> object:
        return getattr(self.shown, name)


DRAWN = ("\r", "\x1b", "━")


@contextmanager
def logged(path: Path) -> Iterator[Tee]:
    """log.txt holds what is said and warned on stderr while the block lasts, and how it ended: by an error, else the
    end of what it yields."""
    with open(path, "ab", buffering=0) as kept:
        before, tee = sys.stderr, Tee(sys.stderr, kept.fileno())
        tee.keep(f"started: {' '.join(sys.argv)}")
        sys.stderr = tee
        try:
            yield tee
            for line in tee.end.splitlines():
                tee.keep(line)
        except KeyboardInterrupt:
            tee.keep("stopped")
            raise
        except (ValueError, RuntimeError, OSError) as error:
            for line in f"error: {error}".splitlines():
                tee.keep(line)
            raise
        finally:
            sys.stderr = before


def session(data_root: Path | str, device: str) -> dict:
    """One line of sessions.jsonl."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv[1:],
        "data_root": str(data_root),
        "commit": commit(), "python": platform.python_version(), "versions": versions(),
        "device": device_name(device), "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
    }  # fmt: skip


def commit() -> str:
    """The project's commit, with + where its files were changed since; unknown outside a checkout."""
    here = Path(__file__).parents[2]
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "*.py"], cwd=here, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.returncode else "")


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def warn_of_differences(sessions: list[dict]) -> None:
    """A run continued elsewhere is not refused, but its reader should know: last bits may differ between machines."""
    if len(sessions) < 2:
        return
    before, now = sessions[-2], sessions[-1]
    for key in COMPARED:
        if before.get(key) != now[key]:
            print(
                f"warning: this run was started with {key} {before.get(key)}, it goes on with {now[key]}",
                file=sys.stderr,
            )
