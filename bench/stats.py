"""Means with intervals, paired tests, Holm: pure functions on scores, the same answer for any order of them.

Groups, not examples, are what is independent: all examples and seeds of a group stay together in everything below.
Mean of a cell: bench.resampling.intervals, by the number of groups: under 8 no interval but the groups' own means in
Summary.values, from 8 bootstrap-t, from 30 BCa. Its docstring has the sources and how often each covers the truth.
Paired test: flips the sign of whole groups (Fisher's randomisation test), exact up to 14 groups. The interval of the
difference is this test turned round: every difference that it does not reject, so p < 0.05 exactly where the interval
leaves out 0. Both are exact where differences scatter alike to both sides; of the lopsided ones of an exponential the
interval covers 0.89 and more. Under 6 groups no p can be below 0.05, and there is no interval.
Several tests: Holm's p. What a table could have shown: smallest_difference. Seconds: order statistics of timings.
Not covered: correction for the choice of metrics.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bench.records import REWRITING, Edit, Score
from bench.resampling.flips import ALPHA, LEAST_FLIPPED, flip_interval
from bench.resampling.intervals import LEVEL, interval, jackknife_error, t_quantile

POWER = 0.8
# Standard errors that the flip test of so few groups needs for POWER, where t quantiles promise too much: the POWER
# quantile of the shift at which 10,000 to 200,000 normal samples become significant. From 13 on the quantiles hold.
SHOWN_FEW = {6: 4.38, 7: 3.52, 8: 3.37, 9: 3.27, 10: 3.19, 11: 3.14, 12: 3.11}


class Summary(NamedTuple):
    mean: float | None  # over examples and seeds; summarise_seconds: the median
    low: float | None
    high: float | None
    n: int  # examples with a value; summarise_seconds: timings
    groups: int  # groups they fall into
    reason: str = ""  # why there is no mean, or no interval
    method: str = ""  # of the interval
    values: tuple[float, ...] = ()  # the groups' means, rising, to print where they are too few for an interval


class PairedTest(NamedTuple):
    difference: float | None  # mean of a - b over the examples that both have
    low: float | None  # without 0 exactly where p < ALPHA
    high: float | None
    p: float | None  # two-sided
    n: int
    groups: int
    method: str  # "exact, 64 flips" or "10,000 random flips"
    reason: str = ""  # why there is no difference, or no interval


class Smallest(NamedTuple):
    difference: float | None  # at least 0, in the metric's own unit
    groups: int
    reason: str = ""  # why there is none


def summarise(scores: Iterable[Score]) -> Summary:
    """Mean of one cell (one model, dataset, metric) over examples and seeds, interval clustered by group.

    Scores without a value are left out and show in n. Raises ValueError for NaN, for two values of the same example
    and seed, and for an example in two groups.
    """
    scores = [s for s in scores if s.value is not None]
    _check(scores)
    if not scores:
        return Summary(None, None, None, 0, 0, "no example has a value")
    totals, counts = group_sums(scores)
    mean = math.fsum(totals) / sum(counts)
    found = interval(np.array(totals), np.array(counts, dtype=float))
    few = () if found.method else tuple(sorted(t / c for t, c in zip(totals, counts, strict=True)))
    return Summary(mean, found.low, found.high, len({s.example_id for s in scores}), len(totals), found.reason,
                   found.method, few)  # fmt: skip


def _check(scores: Sequence[Score]) -> None:
    """One cell only, each example and seed once, every value finite, each example in one group."""
    metrics = {s.metric for s in scores}
    if len(metrics) > 1:
        raise ValueError(f"scores of {len(metrics)} metrics in one cell: {', '.join(sorted(metrics))}; expected one")
    seen: set[tuple[str, int]] = set()
    group_of: dict[str, str] = {}
    for s in scores:
        assert s.value is not None  # left out by every caller
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


def group_sums(scores: Sequence[Score]) -> tuple[list[float], list[int]]:
    """Sum and count of each group, groups sorted by name; fsum is exact, so the order of the scores cannot matter."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for s in scores:
        assert s.value is not None  # left out by every caller
        values[s.group].append(s.value)
    return [math.fsum(values[g]) for g in sorted(values)], [len(values[g]) for g in sorted(values)]


def timings(edits: Iterable[Edit], batch_size: int, stage: str | None = None) -> list[float]:
    """Seconds an edit, one value a timing: a batch was timed once, and each of its edits carries a share of that time.

    edits: as edits.jsonl has them, by seed and place. Those of one batch are found by what they carry: the same seed,
    and the same seconds in all stages, wherever they stand (they are made shape by shape), or of neighbours in one
    stage; at most batch_size of them. So halved batches, failed examples and models that time each edit by itself need
    no further file; only a batch that a model splits by image size may count as more. Edits that were not timed are
    left out. stage: of this one alone, by what it shares. Texts may have been written in other batches than the edits:
    what a rewriter took tells nothing of an edit's batch.
    """
    batches: list[list[Edit]] = []
    alike: dict[tuple, list[Edit]] = {}  # seed and seconds -> the batch that had them last
    if stage is not None:
        edits = [replace(e, seconds={stage: e.seconds[stage]}) for e in edits if stage in e.seconds]

    def shared(edit: Edit) -> frozenset[tuple[str, float]]:
        return frozenset((name, s) for name, s in edit.seconds.items() if name != REWRITING or stage is not None)

    for edit in edits:
        if not edit.seconds:
            continue
        own = shared(edit)
        batch = alike.get((edit.seed, own), []) if own else []
        latest = batches[-1] if batches else []
        if not batch and latest and latest[-1].seed == edit.seed and shared(latest[-1]) & own:
            batch = latest
        if not 0 < len(batch) < batch_size:
            batch = []
            batches.append(batch)
        batch.append(edit)
        alike[edit.seed, own] = batch
    return [math.fsum(s for e in batch for s in e.seconds.values()) / len(batch) for batch in batches]


def summarise_seconds(seconds: Sequence[float]) -> Summary:
    """Median seconds an edit and its distribution-free 95 % interval: two order statistics, by the binomial. No draws.

    seconds: one value a timing (see timings); n and groups count these, not edits. Needs 6 for an interval: fewer
    cannot reach 95 %. Source: David and Nagaraja, Order Statistics, 2003, 7.1.
    """
    values = sorted(float(s) for s in seconds)
    if any(not math.isfinite(v) or v < 0 for v in values):
        raise ValueError(f"seconds from {values[0]} to {values[-1]}; expected finite numbers of at least 0")
    n = len(values)
    if n == 0:
        return Summary(None, None, None, 0, 0, "nothing was timed")
    median = (values[(n - 1) // 2] + values[n // 2]) / 2
    k = _order_statistic(n)
    if k is None:
        reason = f"no interval: it needs 6 timings, there {'is' if n == 1 else 'are'} {n}"
        return Summary(median, None, None, n, n, reason, "", tuple(values))
    return Summary(median, values[k], values[n - 1 - k], n, n, "", "order statistics")


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
    p is exact up to EXACT_GROUPS groups, else (count + 1) / (FLIPS + 1). The interval is of the same flips.
    """
    sums, counts = _group_differences(a, b)
    if not len(sums):
        return PairedTest(None, None, None, None, 0, 0, "", "no example has a value in both")
    p, low, high, method = flip_interval(sums, counts)
    reason = "" if low is not None else (
        f"no interval: {len(sums)} group{'s' * (len(sums) > 1)}; under {LEAST_FLIPPED} no p can be below {ALPHA}"
    )  # fmt: skip
    n = int(counts.sum())
    return PairedTest(math.fsum(sums) / n, low, high, p, n, len(sums), method, reason)


def _group_differences(a: Iterable[Score], b: Iterable[Score]) -> tuple[np.ndarray, np.ndarray]:
    """(G,) summed differences a - b and (G,) number of examples of each group that has some in both, by its name."""
    left, right, parts = _by_example(a), _by_example(b), defaultdict(list)
    for example_id in left.keys() & right.keys():
        group, other = left[example_id][0], right[example_id][0]
        if group != other:
            raise ValueError(f"{example_id} is in group {group} of one run and {other} of the other")
        parts[group].append(left[example_id][1] - right[example_id][1])
    sums = [math.fsum(parts[g]) for g in sorted(parts)]
    return np.array(sums), np.array([len(parts[g]) for g in sorted(parts)], dtype=float)


def _by_example(scores: Iterable[Score]) -> Mapping[str, tuple[str, float]]:
    scores = [s for s in scores if s.value is not None]
    _check(scores)
    values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for s in scores:
        assert s.value is not None  # left out above
        values[s.example_id, s.group].append(s.value)
    return {example: (group, math.fsum(v) / len(v)) for (example, group), v in values.items()}


def smallest_difference(a: Iterable[Score], b: Iterable[Score]) -> Smallest:
    """The smallest true difference between two models that paired_test of these groups shows with 80 % power.

    (t(1 - ALPHA / 2) + t(POWER)) x standard error of the mean difference, G - 1 degrees of freedom (Bloom, Minimum
    detectable effects, Evaluation Review 19, 1995); for 6 to 12 groups the factor of SHOWN_FEW. The standard error is
    the jackknife's over groups of their own sizes, made unbiased for normal differences (Cureton, The American
    Statistician 22, 1968). It is estimated: of few groups it is rough. Not corrected for several comparisons.
    """
    sums, counts = _group_differences(a, b)
    groups = len(sums)
    if groups < LEAST_FLIPPED:
        found = f"{groups} group{'' if groups == 1 else 's'}"
        return Smallest(None, groups, f"{found}; under {LEAST_FLIPPED} no p can be below {ALPHA}")
    freedom = groups - 1
    factor = SHOWN_FEW.get(groups) or t_quantile(1 - ALPHA / 2, freedom) + t_quantile(POWER, freedom)
    shrunk = math.sqrt(2 / freedom) * math.exp(math.lgamma(groups / 2) - math.lgamma(freedom / 2))
    return Smallest(factor * jackknife_error(sums, counts) / shrunk, groups)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given."""
    if any(not 0 <= p <= 1 for p in p_values):  # NaN fails this comparison too
        raise ValueError(f"p values {list(p_values)}; expected numbers from 0 to 1")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
