"""Paired tests between the models of a table, in every metric on every dataset, Holm-corrected over the whole table.

The test is bench.stats.paired_test: it flips whole groups. With g groups no p is below 2 / 2**g, so a table of three
or six examples cannot show a difference, however large; Holm then divides by the number of comparisons.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from bench.cells import Cell
from bench.rows import Measured
from bench.stats import holm, paired_test


@dataclass(frozen=True)
class Comparison:
    """A paired test between two models in one metric on one dataset."""

    table: int
    suite: str
    setting: str
    dataset: str
    metric: str
    a: str
    b: str
    difference: float | None  # mean of a minus mean of b, unscaled, over the examples that both have
    p: float | None
    p_holm: float | None  # over all comparisons of this table
    n: int
    groups: int
    method: str
    reason: str


def comparisons(table: int, cells: Sequence[Measured], metrics_of: dict[str, Sequence[str]]) -> list[Comparison]:
    """Every pair of models that the table invites to compare; codec and oracle left out, they are no contenders.

    Table 3: forms of one model, models in one form, and each against identity.
    """
    found, rank = [], {"mgie": 0, "lgie": 1, "inspix2pix": 2, "identity": 4}
    for dataset, metrics in metrics_of.items():
        here = [m for m in cells if m.cell.dataset == dataset and m.run and m.cell.model not in ("codec", "oracle")]
        here.sort(key=lambda m: (rank.get(m.cell.model, 3), m.cell.form != "e2e", m.cell.form != "ft"))
        for metric in metrics:
            for a, b in combinations(here, 2):
                if invited(a.cell, b.cell):
                    found.append(_comparison(table, a, b, dataset, metric))
    adjusted = iter(holm([c.p for c in found if c.p is not None]))
    return [replace(c, p_holm=None if c.p is None else next(adjusted)) for c in found]


def invited(a: Cell, b: Cell) -> bool:
    return a.form == b.form or a.model == b.model or "none" in (a.form, b.form)


def _comparison(table: int, a: Measured, b: Measured, dataset: str, metric: str) -> Comparison:
    one, other = ([s for s in m.run.scores if s.metric == metric] for m in (a, b))
    test = paired_test(one, other)
    names = [m.cell.model + (f" {m.cell.form}" if table == 3 and m.cell.form != "none" else "") for m in (a, b)]
    return Comparison(
        table, a.cell.suite, a.cell.setting, dataset, metric, *names, test.difference, test.p, None, test.n,
        test.groups, test.method, test.reason,
    )  # fmt: skip
