"""train.csv and train.png of a training run, and what the miniature's own stages have of them.

Columns: step (from 1), l_ins and l_edit (of the whole batch; empty where a model has no such loss), loss, lr (of the
MLLM, else of the diffusion), lr_diffusion, grad_norm (before clipping), samples/s, memory (MB: peak allocated on a GPU,
peak resident on a CPU). Two runs with the same settings on the same device agree in all but the last two.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mgie.io.files import replacing

SPEED = ("samples/s", "memory")  # the columns that no seed fixes


class Step(NamedTuple):
    step: int
    l_ins: float | None
    l_edit: float
    loss: float
    lr: float
    lr_diffusion: float
    grad_norm: float
    samples_per_second: float
    memory: float


COLUMNS = (*Step._fields[:-2], *SPEED)


class TrainLog:
    """Appends rows. Opened at a step, it first drops the rows after it: a killed run wrote them past its checkpoint."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        rewrite(path, COLUMNS, [row for row in read(path) if int(row["step"]) <= resumed_step])
        self.file = open(path, "a", newline="", encoding="utf-8")  # noqa: SIM115  open as long as the run

    def append(self, row: Step) -> None:
        """Floats are written so that reading gives back the same bits."""
        speed = f"{row.samples_per_second:.2f}", f"{row.memory:.0f}"
        csv.writer(self.file).writerow(["" if value is None else repr(value) for value in row[:-2]] + list(speed))
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def rewrite(path: Path, columns: Sequence[str], rows: list[dict[str, str]]) -> None:
    """The head and the rows; atomic."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def whole_rows(path: Path) -> list[dict[str, str]]:
    """Of any columns; a last line that a kill has cut is left out. Raises UnicodeDecodeError, csv.Error."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def read(path: Path) -> list[dict[str, str]]:
    """The whole rows of a train.csv, its columns checked."""
    try:
        rows = whole_rows(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a table ({error}); remove it and start again") from error
    if rows and tuple(rows[0]) != COLUMNS:
        raise ValueError(f"{path}: columns are {list(rows[0])}, expected {list(COLUMNS)}; another program's file?")
    rows = [row for row in rows if None not in row.values()]
    odd = [row["step"] for row in rows if not row["step"].isascii() or not row["step"].isdigit()]
    if odd or any(None in row for row in rows):
        found = f"a step is {odd[0]!r:.40}" if odd else "a row has more columns than the head"
        raise ValueError(f"{path}: {found}; it was changed by hand: remove it and start again")
    return rows


def plot(path: Path, picture: Path, title: str) -> None:
    """The losses of path over the steps, each value and their running mean over about a fiftieth of the run."""
    rows = read(path)
    curves = {name: [float(row[name]) for row in rows if row[name]] for name in ("l_ins", "l_edit", "loss")}
    curves = {name: values for name, values in curves.items() if values}
    means = {name: running_mean(values, max(1, len(values) / 50)) for name, values in curves.items()}
    draw_losses(picture, title, [int(row["step"]) for row in rows], curves, means)


def draw_losses(
    picture: Path,
    title: str,
    steps: list[int],
    curves: dict[str, list[float]],
    means: dict[str, list[float]],
    size: tuple[float, float] = (4.5, 3.2),
    dpi: int = 100,
    tops: dict[str, float] | None = None,
) -> None:
    """A panel a loss, size in inches. tops: where the panels end, by loss; None: above all values."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(size[0] * len(curves), size[1]), squeeze=False)
    for axis, (name, values) in zip(axes[0], curves.items(), strict=True):
        axis.plot(steps, values, color="0.75", linewidth=0.7)
        axis.plot(steps, means[name], color="C0")
        axis.set(title=name, xlabel="step")
        axis.set_ylim(0, tops and tops[name])
    figure.suptitle(title)
    figure.tight_layout()
    with replacing(picture, ".png") as temporary:
        figure.savefig(temporary, dpi=dpi)
    plt.close(figure)


def running_mean(values: list[float], over: float) -> list[float]:
    """Exponential, over so many values."""
    mean, means = values[0], []
    for value in values:
        mean += (value - mean) / over
        means.append(mean)
    return means


def memory_mb(device: str) -> float:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux, bytes on macOS
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
