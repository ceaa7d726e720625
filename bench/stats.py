"""Means with intervals, paired tests, Holm: pure functions on scores, numpy only, the same answer for any order.

Interval: 95 %, 10,000 bootstrap resamples of whole groups (all examples and seeds of a group stay together), BCa as
in scipy.stats.bootstrap, fixed generator. Test: paired, flips whole groups; exact up to 14 groups. Multiplicity: Holm.
Not covered: correction for the choice of metrics, and intervals from fewer than two groups (None, with the reason).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bench.records import Score

RESAMPLES = 10_000
FLIPS = 10_000
EXACT_GROUPS = 14  # 2**14 sign vectors: fewer than two times FLIPS, so exactness costs nothing
LEVEL = 0.95


class Summary(NamedTuple):
    mean: float | None  # over examples and seeds; summarise_seconds: the median
    low: float | None
    high: float | None
    n: int  # examples with a value
    groups: int  # groups they fall into
    reason: str = ""  # why there is no mean, or no interval


class PairedTest(NamedTuple):
    difference: float | None  # mean of a - b over the examples that both have
    p: float | None  # two-sided
    n: int
    groups: int
    method: str  # "exact, 64 flips" or "10,000 random flips"
    reason: str = ""


def summarise(scores: Iterable[Score]) -> Summary:
    """Mean of one cell (one model, dataset, metric) over examples and seeds, interval clustered by group.

    Scores without a value are left out and show in n. Raises ValueError for NaN, for two values of the same example
    and seed, and for an example in two groups.
    """
    scores = [s for s in scores if s.value is not None]
    _check(scores)
    if not scores:
        return Summary(None, None, None, 0, 0, "no example has a value")
    totals, counts = _group_sums(scores)
    mean = math.fsum(totals) / sum(counts)
    n = len({s.example_id for s in scores})
    if len(totals) < 2:
        return Summary(mean, None, None, n, 1, "no interval: it needs 2 groups, there is 1")
    low, high = bca_interval(np.array(totals), np.array(counts, dtype=float))
    return Summary(mean, low, high, n, len(totals))


def _check(scores: Sequence[Score]) -> None:
    """One cell only, each example and seed once, every value finite, each example in one group."""
    metrics = {s.metric for s in scores}
    if len(metrics) > 1:
        raise ValueError(f"scores of {len(metrics)} metrics in one cell: {', '.join(sorted(metrics))}; expected one")
    seen, group_of = set(), {}
    for s in scores:
        if not math.isfinite(s.value):
            raise ValueError(
                f"{s.metric} of {s.example_id}, seed {s.seed}: value is {s.value}; a score that is not "
                "defined is None with a reason"
            )
        if (s.example_id, s.seed) in seen:
            raise ValueError(f"{s.metric} of {s.example_id}, seed {s.seed}: scored twice; expected once")
        if group_of.setdefault(s.example_id, s.group) != s.group:
            raise ValueError(f"{s.example_id} is in two groups: {group_of[s.example_id]} and {s.group}")
        seen.add((s.example_id, s.seed))


def _group_sums(scores: Sequence[Score]) -> tuple[list[float], list[int]]:
    """Sum and count of each group, groups sorted by name; fsum is exact, so the order of the scores cannot matter."""
    values = defaultdict(list)
    for s in scores:
        values[s.group].append(s.value)
    return [math.fsum(values[g]) for g in sorted(values)], [len(values[g]) for g in sorted(values)]


def bca_interval(totals: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """totals, counts: (G,) sum and number of scores of each group, G >= 2. Interval of sum(totals) / sum(counts)."""
    resampled = _resampled_sums(np.stack([totals, counts], axis=1))  # (RESAMPLES, 2)
    means = np.sort(resampled[:, 0] / resampled[:, 1])
    mean = totals.sum() / counts.sum()
    width = 1e-12 * np.abs(totals).sum() / counts.sum()  # resamples equal but for rounding count as ties
    if means[-1] - means[0] <= width:
        return float(mean), float(mean)
    left_out = (totals.sum() - totals) / (counts.sum() - counts)  # (G,) mean without each group
    bend = left_out.mean() - left_out
    spread = (bend**2).sum() ** 1.5
    acceleration = (bend**3).sum() / (6 * spread) if spread > 0 else 0.0
    below, upto = np.searchsorted(means, [mean - width, mean + width])
    normal = NormalDist()
    share = (below + upto) / 2 / len(means)
    bias = normal.inv_cdf(min(max(share, 1 / len(means)), 1 - 1 / len(means)))
    ends = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        z = bias + normal.inv_cdf(tail)
        ends.append(float(np.quantile(means, normal.cdf(bias + z / (1 - acceleration * z)))))
    return ends[0], ends[1]


def _resampled_sums(columns: np.ndarray) -> np.ndarray:
    """columns: (G, C). Returns (RESAMPLES, C): column sums over G groups drawn with replacement."""
    draws, sums = _draws(len(columns)), np.empty((RESAMPLES, columns.shape[1]))
    for start in range(0, RESAMPLES, 1000):  # counts are small integers: kept as bytes, widened a block at a time
        sums[start : start + 1000] = draws[start : start + 1000].astype(float) @ columns
    return sums


@lru_cache(maxsize=4)
def _draws(groups: int) -> np.ndarray:
    """(RESAMPLES, groups): how often a resample has each group. The generator is fixed: same scores, same interval."""
    rng, counts = np.random.default_rng(0), np.empty((RESAMPLES, groups), dtype=np.uint8)
    for start in range(0, RESAMPLES, 500):
        drawn = rng.integers(groups, size=(500, groups)) + groups * np.arange(500)[:, None]
        counts[start : start + 500] = np.bincount(drawn.ravel(), minlength=500 * groups).reshape(500, groups)
    return counts


def summarise_seconds(seconds: Sequence[float]) -> Summary:
    """Median seconds an edit and its distribution-free 95 % interval: two order statistics, by the binomial. No draws.

    Needs 6 values for an interval: fewer cannot reach 95 %. `groups` is n, each measurement stands for itself.
    """
    values = sorted(float(s) for s in seconds)
    if any(not math.isfinite(v) or v < 0 for v in values):
        raise ValueError(f"seconds from {values[0]} to {values[-1]}; expected finite numbers of at least 0")
    n = len(values)
    if n == 0:
        return Summary(None, None, None, 0, 0, "no edit was timed")
    median = (values[(n - 1) // 2] + values[n // 2]) / 2
    k = _order_statistic(n)
    if k is None:
        return Summary(median, None, None, n, n, f"no interval: it needs 6 timed edits, there are {n}")
    return Summary(median, values[k], values[n - 1 - k], n, n)


def _order_statistic(n: int) -> int | None:
    """The largest k for which [value k, value n-1-k] (counted from 0) covers the median with at least 95 %."""
    tail, k = 0.0, None  # P(Binomial(n, 1/2) <= i), summed in logarithms: 2**n overflows from n = 1024 on
    for i in range(n // 2):
        tail += math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2))
        if tail > (1 - LEVEL) / 2:
            break
        k = i
    return k


def paired_test(a: Iterable[Score], b: Iterable[Score]) -> PairedTest:
    """Do two models differ in one metric on one dataset? Permutation test that flips the sign of whole groups.

    Paired by example (mean over its seeds first, so one seed may meet five); examples that only one has are left out.
    p is exact up to EXACT_GROUPS groups, else (count + 1) / (FLIPS + 1).
    """
    left, right, group_of = _by_example(a), _by_example(b), {}
    for example_id in left.keys() & right.keys():
        group, other = left[example_id][0], right[example_id][0]
        if group != other:
            raise ValueError(f"{example_id} is in group {group} of one run and {other} of the other")
        group_of[example_id] = group
    if not group_of:
        return PairedTest(None, None, 0, 0, "", "no example has a value in both")
    parts = defaultdict(list)
    for example_id, group in group_of.items():
        parts[group].append(left[example_id][1] - right[example_id][1])
    sums = np.array([math.fsum(parts[g]) for g in sorted(parts)])
    p, method = flip_test(sums)
    return PairedTest(math.fsum(sums) / len(group_of), p, len(group_of), len(sums), method)


def _by_example(scores: Iterable[Score]) -> Mapping[str, tuple[str, float]]:
    scores = [s for s in scores if s.value is not None]
    _check(scores)
    values = defaultdict(list)
    for s in scores:
        values[s.example_id, s.group].append(s.value)
    return {example: (group, math.fsum(v) / len(v)) for (example, group), v in values.items()}


def flip_test(sums: np.ndarray) -> tuple[float, str]:
    """sums: (G,) summed differences of each group. Two-sided p of their total under sign flips, and how it was made."""
    exact = len(sums) <= EXACT_GROUPS
    totals = np.abs(_signs(len(sums), exact) @ sums)
    reached = int((totals >= abs(sums.sum()) - 1e-12 * np.abs(sums).sum()).sum())  # ties but for rounding count
    if exact:
        return reached / len(totals), f"exact, {len(totals):,} flips"
    return (reached + 1) / (FLIPS + 1), f"{FLIPS:,} random flips"


@lru_cache(maxsize=4)
def _signs(groups: int, exact: bool) -> np.ndarray:
    """(flips, groups) of -1 and 1: all of them, or FLIPS from a fixed generator."""
    if exact:
        return 1.0 - 2.0 * ((np.arange(2**groups)[:, None] >> np.arange(groups)) & 1)
    return 1.0 - 2.0 * np.random.default_rng(0).integers(0, 2, size=(FLIPS, groups), dtype=np.int8)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given."""
    if any(not 0 <= p <= 1 for p in p_values):  # NaN fails this comparison too
        raise ValueError(f"p values {list(p_values)}; expected numbers from 0 to 1")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
