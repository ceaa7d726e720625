"""95 % intervals of a ratio of sums over groups: a mean over scores that are clustered, or one total over another.

All examples and seeds of a group stay together; groups are what is independent. The method follows from their number:
- under 8: none, for no method covers the truth often enough.
- 8 to 29: bootstrap-t (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 12.5) with the linearised standard
  error of a ratio (Cochran, Sampling Techniques, 1977, 2.11). BCa covers only 0.83 to 0.91 here. Where scores take so
  few values that it has no end (shares of 0 and 1): a t interval with the jackknife's standard error.
- from 30: BCa as in scipy.stats.bootstrap (Efron, Better bootstrap confidence intervals, JASA 82, 1987).
Bootstraps: 10,000 resamples of whole groups, fixed generator. Tests hold the coverage to 0.90 or more for normal and
exponential scores, groups of one size and of 1 to 6 examples. Scores more skewed than an exponential's are covered
less often: lognormal ones with sigma 1 in 0.89 to 0.92 at 8 to 30 groups.
No end is clipped to a metric's range: bootstrap-t and t can pass it (a share above 1), and that shows that the groups
are few.
"""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
LEAST_GROUPS, BCA_GROUPS = 8, 30  # no interval under the first, bootstrap-t up to the second
METHODS = "bootstrap of whole groups, 10,000 resamples: BCa from 30 groups, bootstrap-t from 8, none under 8"


class Interval(NamedTuple):
    low: float | None
    high: float | None
    method: str  # empty: there is none
    reason: str  # why there is none


def interval(totals: np.ndarray, counts: np.ndarray, resamples: int = RESAMPLES) -> Interval:
    """Of sum(totals) / sum(counts), by the method for so many groups. totals, counts: (G,), counts above 0.

    resamples: fewer are for simulations only, and a multiple of 500.
    """
    groups = len(totals)
    if groups < LEAST_GROUPS:
        return too_few(groups)
    if groups >= BCA_GROUPS:
        return Interval(*bca_interval(totals, counts, resamples), f"BCa bootstrap, {resamples:,} resamples", "")
    ends = bootstrap_t_interval(totals, counts, resamples)
    if all(map(math.isfinite, ends)):
        return Interval(*ends, f"bootstrap-t, {resamples:,} resamples", "")
    return Interval(*t_interval(totals, counts), "t over groups: too few different values for bootstrap-t", "")


def too_few(groups: int) -> Interval:
    found = f"{groups} group{'s' * (groups > 1)}"
    reason = f"no interval: {found}; under {LEAST_GROUPS} a 95 % interval would cover the truth too rarely"
    return Interval(None, None, "", reason)


def bootstrap_t_interval(totals: np.ndarray, counts: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """As `interval`, G >= 2. An end is infinite where too many resamples have no spread to divide by."""
    mean, groups = totals.sum() / counts.sum(), len(totals)
    rest = totals - mean * counts  # (G,); the resamples' errors from these sums: no cancellation
    error = math.sqrt(groups / (groups - 1) * (rest**2).sum()) / counts.sum()
    width = _rounding(totals, counts)
    if error <= width:
        return float(mean), float(mean)
    columns = np.stack([rest, counts, rest**2, rest * counts, counts**2], axis=1)
    r, c, rr, rc, cc = _resampled_sums(columns, resamples).T
    off = r / c  # (resamples,) each one's mean less the mean
    errors = np.sqrt(np.maximum(groups / (groups - 1) * (rr - 2 * off * rc + off**2 * cc), 0)) / c
    spread = errors > 1e-7 * error  # less is rounding: the resample has one group only, or equal ones
    t = np.where(np.abs(off) > width, np.copysign(np.inf, off), 0.0)
    np.divide(off, errors, out=t, where=spread)
    place = int((1 - LEVEL) / 2 * (resamples + 1)) - 1
    t = np.partition(t, [place, resamples - 1 - place])
    return float(mean - t[resamples - 1 - place] * error), float(mean - t[place] * error)


def t_interval(totals: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """As `interval`, G >= 2: Student's t with G - 1 degrees of freedom on the jackknife standard error."""
    mean = float(totals.sum() / counts.sum())
    half = t_quantile((1 + LEVEL) / 2, len(totals) - 1) * jackknife_error(totals, counts)
    return mean - half, mean + half


def jackknife_error(totals: np.ndarray, counts: np.ndarray) -> float:
    """Standard error of sum(totals) / sum(counts), groups left out in turn (Cochran 1977, 6.17). G >= 2."""
    left_out = (totals.sum() - totals) / (counts.sum() - counts)
    return math.sqrt((len(totals) - 1) / len(totals) * ((left_out - left_out.mean()) ** 2).sum())


@lru_cache(maxsize=64)
def t_quantile(share: float, freedom: int) -> float:
    """The value under which Student's t with so many degrees of freedom lies with probability `share`."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def _rounding(totals: np.ndarray, counts: np.ndarray) -> float:
    """Means of the same scores that differ by no more are equal but for rounding."""
    return 1e-12 * np.abs(totals).sum() / counts.sum()


def bca_interval(totals: np.ndarray, counts: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """As `interval`, G >= 2."""
    resampled = _resampled_sums(np.stack([totals, counts], axis=1), resamples)  # (resamples, 2)
    means = np.sort(resampled[:, 0] / resampled[:, 1])
    mean = totals.sum() / counts.sum()
    width = _rounding(totals, counts)  # resamples that are no further apart count as ties
    left_out = (totals.sum() - totals) / (counts.sum() - counts)  # (G,) mean without each group
    return bca_ends(means, float(mean), left_out, width)


def bca_ends(means: np.ndarray, mean: float, left_out: np.ndarray, width: float) -> tuple[float, float]:
    """means: (R,) of resamples, sorted; left_out: (G,) without each group; width: what differs by less is equal."""
    if means[-1] - means[0] <= width:
        return mean, mean
    bend = left_out.mean() - left_out
    spread = (bend**2).sum() ** 1.5
    acceleration = (bend**3).sum() / (6 * spread) if spread > 0 else 0.0
    below, upto = (int(np.searchsorted(means, edge)) for edge in (mean - width, mean + width))
    normal = NormalDist()
    share = (below + upto) / 2 / len(means)
    bias = normal.inv_cdf(min(max(share, 1 / len(means)), 1 - 1 / len(means)))
    ends = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        z = bias + normal.inv_cdf(tail)
        ends.append(float(np.quantile(means, normal.cdf(bias + z / (1 - acceleration * z)))))
    return ends[0], ends[1]


def _resampled_sums(columns: np.ndarray, resamples: int) -> np.ndarray:
    """columns: (G, C). Returns (resamples, C): column sums over G groups drawn with replacement."""
    draws, sums = resampling_counts(len(columns), resamples), np.empty((resamples, columns.shape[1]))
    for start in range(0, resamples, 500):  # counts are small integers: kept as bytes, widened a block at a time
        sums[start : start + 500] = draws[start : start + 500].astype(float) @ columns
    return sums


@lru_cache(maxsize=4)
def resampling_counts(groups: int, resamples: int) -> np.ndarray:
    """(resamples, groups): how often a resample has each group. The generator is fixed: same scores, same interval."""
    rng = np.random.default_rng(0)
    counts: np.ndarray = np.empty((resamples, groups), dtype=np.uint8)
    for start in range(0, resamples, 500):
        drawn = rng.integers(groups, size=(500, groups)) + groups * np.arange(500)[:, None]
        counts[start : start + 500] = np.bincount(drawn.ravel(), minlength=500 * groups).reshape(500, groups)
    return counts
