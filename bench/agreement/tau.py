"""Rank agreement of two views of the same edits: Kendall's tau-b over pairs of edits of one example. Pure functions.

A view gives some edits of an example a number, higher is better: a metric, people's points, the right answer. Only
edits of the same example are compared: tau-b = (C - D) / sqrt((P - T1) (P - T2)), with P pairs, C ranked alike, D the
other way round, T1 and T2 tied in the first or the second view, each summed over all examples (Kendall, Rank
Correlation Methods, 1970, 3.3; of one example it is scipy.stats.kendalltau). 1 is full agreement, 0 none, -1 reversal.
Interval: 95 %, percentiles of 2,000 resamples of whole groups, fixed generator; from 8 groups on.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from bench.resampling.intervals import LEAST_GROUPS

RESAMPLES = 2_000

View = Mapping[tuple[str, str], float]  # by example id and whose edit it is


class Tau(NamedTuple):
    value: float | None
    low: float | None
    high: float | None
    n: int  # examples with a pair
    pairs: int
    groups: int
    reason: str  # why there is no value, or no interval


def tau(first: View, second: View, group_of: Mapping[str, str], whose: Iterable[str] | None = None) -> Tau:
    """group_of: by example id; whose: only these edits are compared, or all."""
    allowed = None if whose is None else set(whose)
    edits: dict[str, list[str]] = {}
    for example, who in first.keys() & second.keys():
        if allowed is None or who in allowed:
            edits.setdefault(example, []).append(who)
    sums: dict[str, np.ndarray] = {}
    n = 0
    for example in sorted(edits):
        if len(edits[example]) < 2:
            continue
        n += 1
        keys = [(example, who) for who in sorted(edits[example])]
        group = group_of[example]
        sums[group] = sums.get(group, np.zeros(3)) + counted([first[k] for k in keys], [second[k] for k in keys])
    if not sums:
        return Tau(None, None, None, 0, 0, 0, "no example has two edits that both give a number")
    columns = np.stack([sums[g] for g in sorted(sums)])
    pairs, value = pair_count(edits), ratio(columns.sum(axis=0))
    if value is None:
        return Tau(None, None, None, n, pairs, len(columns), "one of the two ranks all edits alike")
    low, high, reason = interval(columns)
    return Tau(value, low, high, n, pairs, len(columns), reason)


def pair_count(edits: Mapping[str, Sequence[str]]) -> int:
    return sum(math.comb(len(of), 2) for of in edits.values())


def counted(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    """C - D, P - T1, P - T2 of one example's edits."""
    difference = untied_first = untied_second = 0
    for i, j in combinations(range(len(first)), 2):
        a, b = sign(first[i] - first[j]), sign(second[i] - second[j])
        difference += a * b
        untied_first += a != 0
        untied_second += b != 0
    return np.array([difference, untied_first, untied_second], dtype=float)


def sign(number: float) -> int:
    return (number > 0) - (number < 0)


def ratio(sums: np.ndarray) -> float | None:
    return float(sums[0] / math.sqrt(sums[1] * sums[2])) if sums[1] * sums[2] > 0 else None


def interval(columns: np.ndarray) -> tuple[float | None, float | None, str]:
    """columns: (G, 3), the sums of each group."""
    groups = len(columns)
    if groups < LEAST_GROUPS:
        return None, None, f"no interval: {groups} group{'s' * (groups != 1)}; it needs {LEAST_GROUPS}"
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)  # (R, G): how often each is drawn
    sums = drawn @ columns
    norm = np.sqrt(sums[:, 1] * sums[:, 2])
    if (norm > 0).mean() < 0.5:
        return None, None, "no interval: most resamples have ties alone"
    ends: np.ndarray = np.percentile(sums[norm > 0, 0] / norm[norm > 0], [2.5, 97.5])
    return float(ends[0]), float(ends[1]), ""
