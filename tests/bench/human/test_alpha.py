"""Krippendorff's alpha and its interval: the package as judge, and how often the truth is covered."""

import numpy as np
import pytest

from bench.human.alpha import alpha, alpha_interval, coincidences, of_coincidences

TRIALS = 300  # a true 0.85 reaches 0.90 in 1 of 200 simulations
DRAWN = 500


def judged(rng: np.random.Generator, groups: int, agree: float, most: int = 3) -> tuple[np.ndarray, list[str]]:
    """Two annotators, three values alike often; the second copies the first with probability `agree`, else guesses.

    Alpha is then `agree`. A group's units share a value half of the time, so that they are not independent.
    """
    names = [f"g{i}" for i in range(groups) for _ in range(rng.integers(1, most + 1))]
    shared = {name: rng.integers(3) for name in names}
    first = np.array([shared[name] if rng.random() < 0.5 else rng.integers(3) for name in names])
    second = np.where(rng.random(len(names)) < agree, first, rng.integers(3, size=len(names)))
    return np.stack([first, second]).astype(float), names


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_alpha_of_coincidences_is_the_packages(level):
    rng = np.random.default_rng(0)
    table = rng.integers(1, 5, (4, 30)).astype(float)
    table[rng.random(table.shape) < 0.4] = np.nan
    parts = coincidences(table, [f"g{i % 7}" for i in range(30)])
    assert parts.shape == (7, 4, 4)
    assert of_coincidences(parts.sum(axis=0), level) == pytest.approx(alpha(table, level), abs=1e-12)


@pytest.mark.parametrize("agree", [0.3, 0.8])
@pytest.mark.parametrize("groups", [8, 12, 29, 40])
def test_the_interval_covers_the_truth_in_90_of_100_cases_or_more(groups, agree):
    rng, covered = np.random.default_rng(groups), 0
    for _ in range(TRIALS):
        found = alpha_interval(*judged(rng, groups, agree), "nominal", DRAWN)
        covered += found.low is not None and found.low <= agree <= found.high
    assert covered / TRIALS >= 0.90


def test_under_8_groups_there_is_no_interval_and_the_reason_counts_them():
    found = alpha_interval(*judged(np.random.default_rng(0), 7, 0.5), "nominal")
    assert (found.low, found.high) == (None, None) and found.reason.startswith("no interval: 7 groups; under 8")


def test_the_method_follows_from_the_number_of_groups_that_were_judged_twice():
    rng = np.random.default_rng(1)
    assert alpha_interval(*judged(rng, 29, 0.5), "ordinal").method == "bootstrap-t, 10,000 resamples"
    table, names = judged(rng, 30, 0.5)
    assert alpha_interval(table, names, "ordinal").method == "BCa bootstrap, 10,000 resamples"
    table[1, [name == "g0" for name in names]] = np.nan
    assert alpha_interval(table, names, "ordinal").method == "bootstrap-t, 10,000 resamples"


def test_annotators_who_always_agree_have_an_interval_of_one_point():
    table, names = judged(np.random.default_rng(2), 12, 1.0)
    assert alpha_interval(table, names, "nominal")[:2] == pytest.approx((1, 1))
