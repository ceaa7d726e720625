"""The mean of scores that are 0 or 1, with an interval that stays between 0 and 1 and has a width also where all are
alike.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from bench.records import Score
from bench.resampling.intervals import LEAST_GROUPS, LEVEL, jackknife_error, t_quantile
from bench.stats import Summary, group_sums, summarise

TAIL = (1 - LEVEL) / 2
METHOD = "Clopper-Pearson"
METHODS = (
    f"{METHOD}, with as many examples as whole groups are worth (Korn and Graubard 1998); none under {LEAST_GROUPS} "
    "groups"
)


def summarise_share(scores: Iterable[Score]) -> Summary:
    """As bench.stats.summarise, the interval by METHODS: Clopper and Pearson's (Biometrika 26, 1934), exact where each
    group is one example; else of as many independent examples as would scatter like the groups (Korn and Graubard,
    Survey Methodology 24, 1998). Where every score is 0, or every one 1, groups count as examples.
    """
    scores = [s for s in scores if s.value is not None]
    found = summarise(scores)
    if found.low is None or found.mean is None:
        return found
    low, high = clopper_pearson(found.mean, worth(scores, found.mean, found.groups))
    return found._replace(low=low, high=high, method=METHOD)


def worth(scores: Sequence[Score], mean: float, groups: int) -> float:
    """How many independent examples would scatter as these groups do; never more than there are."""
    totals, counts = map(np.array, group_sums(scores))
    n = float(counts.sum())
    if mean in (0.0, 1.0) or n == groups:
        return float(groups)
    alone = mean * (1 - mean) / (n - 1)  # the squared standard error, were all independent
    more = max(1.0, jackknife_error(totals, counts) ** 2 / alone)
    few = t_quantile(1 - TAIL, int(n) - 1) / t_quantile(1 - TAIL, groups - 1)  # a spread known from few groups alone
    return n / more * few**2


def clopper_pearson(mean: float, n: float) -> tuple[float, float]:
    """The shares under which so large a mean of n, and so small a one, is no rarer than TAIL."""
    from scipy.special import betaincinv

    right = mean * n
    low = 0.0 if mean == 0 else float(betaincinv(right, n - right + 1, TAIL))
    high = 1.0 if mean == 1 else float(betaincinv(right + 1, n - right, 1 - TAIL))
    return low, high
