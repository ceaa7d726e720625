"""What a run writes and shows about where it runs: one line a start, a warning when starts differ, the progress bar."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "diffusers", "open_clip_torch", "timm", "lpips", "torchmetrics", "pillow", "numpy")
COMPARED = ("commit", "versions", "python", "device", "threads")


def session(data_root: Path, device: str) -> dict:
    """One line of sessions.jsonl."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv[1:],
        "data_root": str(data_root),
        "commit": commit(), "python": platform.python_version(), "versions": versions(),
        "device": device_name(device), "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
    }  # fmt: skip


def commit() -> str:
    """The project's commit, with + where its files were changed since; unknown outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "*.py"], cwd=here.parent, capture_output=True)
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


def device_name(device: str) -> str:
    """The GPU's name where one will be used, else the processor's."""
    if device.startswith("cuda") or (device == "auto" and Path("/dev/nvidia0").exists()):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


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


@contextmanager
def bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with rate and time left on stderr; yields tick(n)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(text, total=total, rate="")

        def tick(n: int) -> None:
            shown.advance(task, n)
            speed = shown.tasks[task].speed
            shown.update(task, rate=f"{speed:.1f}/s" if speed else "")

        yield tick
