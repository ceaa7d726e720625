"""Cells of a table as their runs would give them, without a run: every score follows from its place."""

import math
from pathlib import Path

from bench.grid.cells import Finished, cells_of
from bench.grid.rows import Measured, TableRow
from bench.records import Score
from bench.tables import Table, table_of

METRICS_OF = {
    "evr": ("l1", "dino", "cvs"), "gier": ("l1", "ssim", "cvs"), "ma5k": ("l1", "ssim", "lpips"),
    "magicbrush": ("l1", "dino", "cvs", "cts"),
}  # fmt: skip


def wave(i: int, seed: int) -> float:
    return 0.01 * math.sin(7 * i + seed)


def scores_of(dataset: str, metric: str, centre: float, n: int = 8, seeds: int = 1) -> list[Score]:
    return [
        Score(f"{dataset}/test/{i:04d}", f"g{i}", seed, metric, centre + wave(i, seed), "", f"{metric} p")
        for seed in range(seeds) for i in range(n)
    ]  # fmt: skip


def finished(dataset: str, metrics: dict[str, float], n: int = 8, seeds: int = 1, **changes) -> Finished:
    scores = [s for metric, centre in metrics.items() for s in scores_of(dataset, metric, centre, n, seeds)]
    run = Finished(f"{dataset}--x--01234567", "", n, n, scores, {}, [0.5 + 0.1 * i for i in range(n)], 8, "a CPU")
    return run._replace(**changes)


def measured(suite="paper", setting="zero-shot", centres=None, **changes) -> list[Measured]:
    """A whole Table 1: each model a little better than the one before."""
    cells = cells_of(2 if setting == "fine-tuned" else 1, suite, ("identity", "inspix2pix", "lgie", "mgie"), METRICS_OF)
    places = {"identity": 0.50, "inspix2pix": 0.55, "lgie": 0.60, "mgie": 0.65} | (centres or {})
    centres = {c: dict.fromkeys(METRICS_OF[c.dataset], places[c.model]) for c in cells}
    return [Measured(c, finished(c.dataset, centres[c], **changes)) for c in cells]


def asked(tmp_path: Path, *argv: str) -> Table:
    return table_of(["1", "--suite", "paper", "--results", str(tmp_path / "results"), "--seeds", "1", *argv])


def find(rows: list[TableRow], model: str, dataset: str, metric: str) -> TableRow:
    (row,) = [r for r in rows if (r.model, r.dataset, r.metric) == (model, dataset, metric)]
    return row
