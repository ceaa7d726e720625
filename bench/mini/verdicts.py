"""Paired tests and single figures of the miniature's claims, as rows: effect, interval, p, n, groups, verdict.

Difference: first minus second over the examples both have; p and its 95 % interval from one permutation test that flips
whole groups; p Holm-corrected within a claim, subset and metric. The verdict follows from these alone.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum

import numpy as np

from bench.records import Score
from bench.registry import metric_entry
from bench.resampling.intervals import interval
from bench.stats import holm, paired_test, summarise

LEVEL = 0.05
CLAIM, CHECK = ("holds", "contradicted", "not shown"), ("better", "worse", "no difference shown")
CHECKS = ("MagicBrush", "ablation")  # nobody claims that the first is better


@dataclass(frozen=True)
class ClaimTest:
    claim: str
    subset: str  # which examples
    metric: str
    first: str  # the claim says: this one is better
    second: str
    first_mean: float | None
    second_mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int
    groups: int
    verdict: str  # of a claim: holds, contradicted, not shown; of a check: better, worse, no difference; or not run
    method: str
    reason: str


@dataclass(frozen=True)
class Figure:
    """One number with what it should reach."""

    what: str
    who: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int  # 0: no interval was made, none are counted
    target: str  # empty: none was set
    reached: str  # yes, no, or empty
    note: str


def test(claim: str, subset: str, metric: str, names: tuple[str, str], first: Sequence[Score],
         second: Sequence[Score], why: str = "") -> ClaimTest:  # fmt: skip
    """names: as printed. why: given where a side was not run."""
    found = paired_test(first, second)
    if found.difference is None:
        return ClaimTest(claim, subset, metric, *names, None, None, None, None, None, None, None, 0, 0, "not run", "",
                         why or found.reason)  # fmt: skip
    a, b = by_example(first), by_example(second)
    both = a.keys() & b.keys()
    one, other = (fsum(side[i][1] for i in both) / len(both) for side in (a, b))
    return ClaimTest(claim, subset, metric, *names, one, other, found.difference, found.low, found.high, found.p, None,
                found.n, found.groups, "", found.method, "")  # fmt: skip


def by_example(scores: Sequence[Score]) -> dict[str, tuple[str, float]]:
    """(group, mean over seeds) by example id."""
    values, groups = defaultdict(list), {}
    for s in scores:
        if s.value is not None:
            values[s.example_id].append(s.value)
            groups[s.example_id] = s.group
    return {i: (groups[i], fsum(v) / len(v)) for i, v in values.items()}


def judged(tests: Sequence[ClaimTest]) -> list[ClaimTest]:
    """With Holm's p and the verdict, within each claim, subset and metric."""
    found = list(tests)
    for key in dict.fromkeys((t.claim, t.subset, t.metric) for t in found):
        raw = {i: t.p for i, t in enumerate(found) if (t.claim, t.subset, t.metric) == key and t.p is not None}
        for i, p in zip(raw, holm(list(raw.values())), strict=True):
            found[i] = replace(found[i], p_holm=p, verdict=verdict(found[i], p))
    return found


def verdict(t: ClaimTest, p: float) -> str:
    better, worse, neither = CHECK if t.claim in CHECKS else CLAIM
    if p >= LEVEL:
        return neither
    assert t.difference is not None  # it has a p
    lower = metric_entry(t.metric.split()[0]).lower
    return better if (t.difference < 0) == lower else worse


def ratio(what: str, who: str, scores: Sequence[Score], of: Sequence[Score], limit: float | None,
          note: str = "") -> Figure:  # fmt: skip
    """Sum of scores over sum of `of`, on the examples both have. limit: at most."""
    a, b = by_example(scores), by_example(of)
    both = sorted(a.keys() & b.keys())
    if not both:
        return Figure(what, who, None, None, None, 0, 0, at_most(limit), "", note or "not run")
    groups = sorted({a[i][0] for i in both})
    sums = np.array([[fsum(side[i][1] for i in both if a[i][0] == g) for g in groups] for side in (a, b)])
    value = float(sums[0].sum() / sums[1].sum())
    low, high, *_ = interval(sums[0], sums[1])
    return Figure(what, who, value, low, high, len(both), len(groups), at_most(limit), reached(value, limit), note)


def mean(what: str, who: str, scores: Sequence[Score], limit: float | None = None, least: float | None = None,
         note: str = "") -> Figure:  # fmt: skip
    """limit: at most; least: at least."""
    target = at_most(limit) if least is None else f"at least {least:g}"
    if not scores:
        return Figure(what, who, None, None, None, 0, 0, target, "", note or "not run")
    s = summarise(scores)
    met = "" if s.mean is None else reached(s.mean, limit) if least is None else yes(s.mean >= least)
    return Figure(what, who, s.mean, s.low, s.high, s.n, s.groups, target, met, note)


def at_most(limit: float | None) -> str:
    return "" if limit is None else f"at most {limit:g}"


def reached(value: float, limit: float | None) -> str:
    return "" if limit is None else yes(value <= limit)


def yes(held: bool) -> str:
    return "yes" if held else "no"
