"""The numbers printed in the paper (results/paper/reported.csv), on our scale, each with how sure we are of it.

confirmed: yes; no (recalled, not confirmed: never shown without its mark); empty (not transcribed: never guessed).
The paper prints L1 and LPIPS raw and SSIM, DINO, CVS and CTS x100; here as in our CSVs everything is unscaled.
"""

import csv
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bench.registry import TIMES, metric_entry

REPORTED = Path(__file__).resolve().parents[2] / "results" / "paper" / "reported.csv"
MARK = "†"  # behind every unconfirmed number, in every output


class Reported(NamedTuple):
    printed: str = ""  # as in the paper; empty: not transcribed
    value: float | None = None  # unscaled
    half_unit: float = 0.0  # half of its last printed digit, unscaled: what rounding hides
    confirmed: str = ""  # "yes", "no" or ""

    @property
    def mark(self) -> str:
        return MARK if self.printed and self.confirmed != "yes" else ""


@lru_cache(maxsize=1)
def reported_cells(path: Path = REPORTED) -> dict[tuple[str, str, str, str, str], Reported]:
    """By (item, setting, dataset, model, metric), as in the file; metrics by our names. Raises FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: the paper's numbers are missing; they are in the repository: check it out")
    cells = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            metric = row["metric"].lower()
            key = row["item"], row["setting"], row["dataset"], row["model"], metric
            cells[key] = _reported(row["value"], metric, row["confirmed"])
    return cells


def _reported(printed: str, metric: str, confirmed: str) -> Reported:
    if not printed:
        return Reported()
    scale = metric_entry(metric).scale
    decimals = len(printed.partition(".")[2])
    return Reported(printed, round(float(printed) / scale, 10), 0.5 * 10**-decimals / scale, confirmed)


def reported(table: int, setting: str, form: str, dataset: str, model: str, metric: str) -> Reported:
    """The paper's value of one of our cells; empty where it prints none (identity, our own metrics)."""
    where = form.upper() if table == 3 else setting
    return reported_cells().get((f"table{table}", where, dataset, model, metric), Reported())


def as_printed(value: float, metric: str) -> str:
    """Rounded and scaled as the paper prints this metric. The last step before a reader."""
    if metric in TIMES:
        return f"{value:.3g}" if value < 100 else f"{value:.0f}"
    entry = metric_entry(metric)
    return f"{entry.scale * value:.{entry.digits}f}"
