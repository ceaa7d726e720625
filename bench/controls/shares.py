"""The mean of scores that are 0 or 1, with an interval that has a width also where all are alike."""

from collections.abc import Iterable

from bench.records import Score
from bench.stats import Summary, summarise

TAIL = 0.025


def summarise_share(scores: Iterable[Score]) -> Summary:
    """As bench.stats.summarise. Where every score is 0, or every one 1, no resample differs and a bootstrap has no
    width: then the end that is open is Clopper and Pearson's for so many groups (Biometrika 26, 1934).
    """
    found = summarise(scores)
    if found.low is None or found.mean not in (0.0, 1.0):
        return found
    end = TAIL ** (1 / found.groups)
    low, high = (end, 1.0) if found.mean == 1 else (0.0, 1 - end)
    return found._replace(low=low, high=high, method="Clopper-Pearson over groups")
