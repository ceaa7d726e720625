"""The permutation test of paired differences that flips the sign of whole groups, and the interval that is this test
turned round: every difference that it does not reject (Fisher's randomisation test; exact up to 14 groups).
"""

import math
from functools import lru_cache

import numpy as np

FLIPS = 10_000
EXACT_GROUPS = 14  # 2**14 sign vectors: fewer than two times FLIPS, so exactness costs nothing
ALPHA = 0.05
LEAST_FLIPPED = 6  # 2 of 2**5 flips is a p of 0.0625: under 6 groups nothing can be shown


def flip_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float | None, float | None, str]:
    """p of no difference, the lowest and the highest difference whose p is not below ALPHA, and how it was made.

    sums, counts: (G,). A difference d is tested by the flips of sums - d * counts. A flip reaches the observed total
    for every d between two means, that of the groups it flips and that of the others (solve |s (sums - d counts)| =
    |sum(sums - d counts)| for d); both lie around the mean of all. So p(d) falls to both sides of that mean, and its
    ends are order statistics of the flips' own: nothing is searched for.
    """
    exact = len(sums) <= EXACT_GROUPS
    total, count = sums.sum(), counts.sum()
    flipped, sizes = (_signs(len(sums), exact) @ np.stack([sums, counts], axis=1)).T
    tie = 1e-12 * np.abs(sums).sum()  # a total that is 0 but for rounding is 0
    low, high = np.full(len(sizes), -np.inf), np.full(len(sizes), np.inf)  # all flipped, or none: reached for every d
    some = np.abs(sizes) < count
    parts = [(np.where(np.abs(total + sign * flipped) <= tie, 0.0, total + sign * flipped)[some],
              (count + sign * sizes)[some]) for sign in (1, -1)]  # fmt: skip
    one, other = (part / size for part, size in parts)
    low[some], high[some] = np.minimum(one, other), np.maximum(one, other)
    reached, more = int(((low <= 0) & (high >= 0)).sum()), 0 if exact else 1  # drawn flips: and the one observed
    needed = math.ceil(ALPHA * (len(low) + more)) - more  # reached by so many, p is not below ALPHA
    ends = np.partition(low, needed - 1)[needed - 1], np.partition(high, -needed)[-needed]
    lowest, highest = (float(end) if math.isfinite(end) else None for end in ends)
    method = f"exact, {len(low):,} flips" if exact else f"{FLIPS:,} random flips"
    return (reached + more) / (len(low) + more), lowest, highest, method


@lru_cache(maxsize=4)
def _signs(groups: int, exact: bool) -> np.ndarray:
    """(flips, groups) of -1 and 1: all of them, or FLIPS from a fixed generator."""
    if exact:
        return 1.0 - 2.0 * ((np.arange(2**groups)[:, None] >> np.arange(groups)) & 1)
    return 1.0 - 2.0 * np.random.default_rng(0).integers(0, 2, size=(FLIPS, groups), dtype=np.int8)
