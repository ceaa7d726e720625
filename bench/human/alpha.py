"""Krippendorff's alpha: how far annotators agree beyond chance (Content Analysis, 4th edition, 2018, chapter 12).

1 is agreement, 0 chance. Units of one group (the edits of a photograph, the turns of a session) are not independent:
the interval leaves groups whole (bench.resampling.statistic).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bench.resampling.intervals import RESAMPLES, Interval
from bench.resampling.statistic import statistic_interval

Level = Literal["nominal", "ordinal"]


def alpha(table: np.ndarray, level: Level) -> float | None:
    """table: (annotators, units), NaN where nobody judged.

    None where it is not defined: no unit with two values, or one value only.
    """
    import krippendorff

    pairable = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    if pairable.size == 0 or len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=pairable, level_of_measurement=level))


def alpha_interval(table: np.ndarray, groups: Sequence[str], level: Level, resamples: int = RESAMPLES) -> Interval:
    """Of an alpha that is defined; groups: of each unit. A group of which nothing was judged twice does not count."""
    parts = coincidences(table, groups)
    return statistic_interval(
        parts.reshape(len(parts), -1),
        lambda sums: of_coincidences(sums.reshape(*sums.shape[:-1], *parts.shape[1:]), level),
        resamples,
    )


def coincidences(table: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(G, V, V): how often two annotators gave two values to one unit of a group, each unit weighing as its votes."""
    values = np.unique(table[~np.isnan(table)])
    counts = (table[None] == values[:, None, None]).sum(axis=1).T  # (units, V): how many gave each value
    units = [(group, count) for group, count in zip(groups, counts, strict=True) if count.sum() >= 2]
    place = {group: i for i, group in enumerate(sorted({group for group, _ in units}))}
    parts = np.zeros((len(place), len(values), len(values)))
    for group, count in units:
        parts[place[group]] += (np.outer(count, count) - np.diag(count)) / (count.sum() - 1)
    return parts


def of_coincidences(pairs: np.ndarray, level: Level) -> np.ndarray:
    """pairs: (..., V, V), how often two values stand on one unit, values rising. (...,) alphas, NaN for one value."""
    each = pairs.sum(axis=-1)
    total = each.sum(axis=-1)
    if level == "nominal":
        apart = 1.0 - np.eye(pairs.shape[-1])
    else:
        rank = each.cumsum(axis=-1) - each / 2
        apart = (rank[..., :, None] - rank[..., None, :]) ** 2
    observed = (pairs * apart).sum(axis=(-1, -2))
    expected = (each[..., :, None] * each[..., None, :] * apart).sum(axis=(-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 1e-9, 1 - (total - 1) * observed / expected, np.nan)
