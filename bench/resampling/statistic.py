"""95 % intervals of a statistic that is a smooth function of sums over groups, where bench.resampling.intervals has the
methods for one total over another: Krippendorff's alpha of coincidences.

By the number of groups as there: none under 8, bootstrap-t from 8, BCa from 30. The standard errors are the
jackknife's, groups left out in turn, of each resample too (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapters 11 and 12.5). Tests hold the coverage of an alpha at 8 to 29 groups to 0.90 or more.
"""

import math
from collections.abc import Callable

import numpy as np

from bench.resampling.intervals import (
    BCA_GROUPS,
    LEAST_GROUPS,
    LEVEL,
    RESAMPLES,
    Interval,
    bca_ends,
    resampling_counts,
    t_quantile,
    too_few,
)

AT_ONCE = 100  # resamples, each without each of its groups
Statistic = Callable[[np.ndarray], np.ndarray]  # (..., C) sums -> (...,), NaN where it is not defined


def statistic_interval(parts: np.ndarray, statistic: Statistic, resamples: int = RESAMPLES) -> Interval:
    """Of statistic(parts.sum(axis=0)), by the method for so many groups. parts: (G, C).

    resamples: fewer are for simulations only, and a multiple of 500.
    """
    groups = len(parts)
    if groups < LEAST_GROUPS:
        return too_few(groups)
    value, left_out = float(statistic(parts.sum(axis=0))), statistic(parts.sum(axis=0) - parts)
    if not np.isfinite(left_out).all():
        return Interval(None, None, "", "no interval: without one of its groups it is not defined")
    draws: np.ndarray = resampling_counts(groups, resamples).astype(float)
    if groups >= BCA_GROUPS:
        found = statistic(draws @ parts)
        found = np.sort(found[np.isfinite(found)])
        return Interval(*bca_ends(found, value, left_out, 1e-12), f"BCa bootstrap, {resamples:,} resamples", "")
    error = float(jackknife(left_out, np.ones(groups)))
    if error <= 1e-12:
        return Interval(value, value, f"bootstrap-t, {resamples:,} resamples", "")
    t = np.concatenate([studentised(draws[i : i + AT_ONCE], parts, statistic, value, error)
                        for i in range(0, resamples, AT_ONCE)])  # fmt: skip
    t = np.sort(t[~np.isnan(t)])
    place = int((1 - LEVEL) / 2 * (len(t) + 1)) - 1
    ends = value - float(t[-1 - place]) * error, value - float(t[place]) * error
    if all(map(math.isfinite, ends)):
        return Interval(*ends, f"bootstrap-t, {resamples:,} resamples", "")
    half = t_quantile((1 + LEVEL) / 2, groups - 1) * error
    return Interval(value - half, value + half, "t over groups: too few different values for bootstrap-t", "")


def studentised(draws: np.ndarray, parts: np.ndarray, statistic: Statistic, value: float, error: float) -> np.ndarray:
    """(R,) each resample's distance from the value in its own standard errors; infinite where it has no spread, NaN
    where the statistic is not defined for it. draws: (R, G), how often each group was drawn.
    """
    sums = draws @ parts
    found, without = statistic(sums), statistic(sums[:, None] - parts)  # (R,), (R, G)
    errors = jackknife(np.where(draws > 0, without, 0.0), draws)
    off = found - value
    t = np.where(np.abs(off) > 1e-12, np.copysign(np.inf, off), 0.0)
    np.divide(off, errors, out=t, where=errors > 1e-7 * error)
    return np.where(np.isfinite(found), t, np.nan)


def jackknife(left_out: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(...,) standard errors of (..., G) values without one of the groups; draws: how often each group is there."""
    groups = draws.sum(axis=-1)
    mean = (draws * left_out).sum(axis=-1) / groups
    return np.sqrt((groups - 1) / groups * (draws * (left_out - mean[..., None]) ** 2).sum(axis=-1))
