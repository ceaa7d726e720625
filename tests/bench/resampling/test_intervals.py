"""The intervals of means: how often they cover the truth, scipy as reference, scores of few values."""

import numpy as np
import pytest

from bench.resampling.intervals import bca_interval, bootstrap_t_interval, interval, jackknife_error, t_interval

TRIALS = 800  # a true 0.85 reaches 0.90 in 1 of 20,000 simulations
DRAWN = 1000  # resamples: fewer than in the tables, which makes the intervals a little rougher and not wider
SCORES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
}


def clustered(rng, kind, groups, most):
    """Sums and sizes of groups of 1 to `most` examples; a group's examples share a centre. The true mean is 0."""
    counts = rng.integers(1, most + 1, groups).astype(float)
    within = SCORES[kind](rng, (groups, most)) * (np.arange(most) < counts[:, None])
    return counts * SCORES[kind](rng, groups) + 0.7 * within.sum(axis=1), counts


def coverage(kind, groups, most, method=interval):
    rng, covered = np.random.default_rng(7), 0
    for _ in range(TRIALS):
        low, high, *_ = method(*clustered(rng, kind, groups, most), DRAWN)
        covered += low <= 0 <= high
    return covered / TRIALS


@pytest.mark.parametrize("most", [1, 6])
@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("groups", [8, 12, 30, 200])
def test_a_95_percent_interval_covers_the_truth_in_90_of_100_cases_or_more(groups, kind, most):
    assert 0.90 <= coverage(kind, groups, most) <= 0.98


def test_the_simulation_notices_a_method_that_does_not_cover():
    assert coverage("exponential", 8, 6, bca_interval) < 0.88


def test_bca_equals_scipys_where_there_is_no_clustering():
    from scipy import stats

    values = np.random.default_rng(1).exponential(0.2, 50)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=100_000, method="BCa", rng=np.random.default_rng(2))
    low, high = bca_interval(values, np.ones(50))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_bootstrap_t_equals_one_written_out():
    values = np.random.default_rng(3).gamma(4, size=12)
    picked = values[np.random.default_rng(4).integers(12, size=(100_000, 12))]
    error, errors = (v.std(axis=-1, ddof=1) / np.sqrt(12) for v in (values, picked))
    t = (picked.mean(axis=1) - values.mean()) / errors
    expected = values.mean() - np.quantile(t, [0.975, 0.025]) * error
    assert bootstrap_t_interval(values, np.ones(12), 100_000) == pytest.approx(expected, abs=0.05 * error)


def test_the_t_interval_equals_the_textbooks():
    values = np.array([0.1, 0.4, 0.35, 0.8, 0.2])
    error = values.std(ddof=1) / np.sqrt(5)
    assert jackknife_error(values, np.ones(5)) == pytest.approx(error)
    assert t_interval(values, np.ones(5)) == pytest.approx((0.37 - 2.776445 * error, 0.37 + 2.776445 * error))


def test_shares_of_0_and_1_too_few_for_bootstrap_t_have_a_t_interval_that_says_so_and_is_not_clipped():
    found = interval(np.array([1.0] * 7 + [0.0]), np.ones(8))
    assert found.method.startswith("t over groups") and found.low < 0.875 < 1 < found.high
    assert interval(np.array([1.0] * 8), np.ones(8))[:2] == (1.0, 1.0)


@pytest.mark.parametrize("groups", [10, 40])
def test_a_shift_and_a_unit_move_the_interval_with_the_mean(groups):
    sums, counts = clustered(np.random.default_rng(5), "exponential", groups, 6)
    low, high, *_ = interval(sums, counts)
    moved = interval(100 * sums + 1e4 * counts, counts)
    assert moved[:2] == pytest.approx((100 * low + 1e4, 100 * high + 1e4))
