"""The statistics of the tables: closed forms, laws, brute force and scipy as references, refusals."""

import itertools
import math

import numpy as np
import pytest

from bench.records import Score
from bench.stats import bca_interval, flip_test, holm, paired_test, summarise, summarise_seconds


def scores(values, groups=None, seed=0, metric="l1"):
    groups = groups or [f"g{i}" for i in range(len(values))]
    return [
        Score(f"ma5k/test/{i:04d}", g, seed, metric, v, "" if v is not None else "too small", "p")
        for i, (v, g) in enumerate(zip(values, groups, strict=True))
    ]


def clustered(rng, groups=40, size=3):
    centre = rng.normal(0, 1, groups)
    return [centre[g] + rng.normal(0, 0.3) for g in range(groups) for _ in range(size)], [
        f"g{g}" for g in range(groups) for _ in range(size)
    ]


def test_the_mean_is_over_examples_and_seeds():
    found = summarise(scores([0.1, 0.2, 0.6]) + scores([0.3, 0.2, 0.4], seed=1))
    assert found.mean == pytest.approx(0.3)
    assert (found.n, found.groups) == (3, 3)
    assert found.low < found.mean < found.high
    unequal = summarise(scores([0.1, 0.2, 0.6], groups=["a", "a", "b"]))
    assert unequal.mean == pytest.approx(0.3)  # not .375, the mean of the groups' means


def test_scores_without_a_value_are_left_out_of_the_mean_and_of_n():
    found = summarise(scores([0.1, None, 0.3]))
    assert found.mean == pytest.approx(0.2) and found.n == 2 and found.groups == 2


def test_no_value_at_all_gives_no_mean_and_a_reason():
    assert summarise(scores([None, None])) == (None, None, None, 0, 0, "no example has a value")
    assert summarise([]).mean is None


def test_one_group_gives_a_mean_without_an_interval():
    found = summarise(scores([0.1, 0.3], groups=["one", "one"]))
    assert found.mean == pytest.approx(0.2)
    assert (found.low, found.high, found.groups) == (None, None, 1)
    assert "2 groups" in found.reason
    assert summarise(scores([0.5])).low is None


def test_equal_scores_have_an_interval_of_no_width():
    found = summarise(scores([0.1] * 7))
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1)


def test_two_groups_give_the_two_values_as_interval():
    found = summarise(scores([0.2, 0.4]))
    assert (found.low, found.high) == pytest.approx((0.2, 0.4))


def test_order_does_not_change_one_bit():
    rng = np.random.default_rng(3)
    values, groups = clustered(rng)
    rows = scores(values, groups) + scores([v + 0.1 for v in values], groups, seed=1)
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    assert summarise(rows) == summarise(shuffled)
    other = scores([v * 0.9 for v in values], groups)
    assert paired_test(rows, other) == paired_test(shuffled, other[::-1])


def test_the_interval_equals_scipys_bca_where_there_is_no_clustering():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(1).exponential(0.2, 50)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=100_000, method="BCa", rng=np.random.default_rng(2))
    low, high = bca_interval(values, np.ones(50))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_repeating_every_example_of_a_group_does_not_narrow_the_interval():
    values = list(np.random.default_rng(5).normal(size=12))
    once = summarise(scores(values))
    groups = [f"g{i}" for i in range(12)]
    four_times = summarise(scores(values * 4, groups * 4))
    assert four_times.n == 48 and four_times.groups == 12
    assert (four_times.low, four_times.high) == pytest.approx((once.low, once.high))


def test_the_interval_covers_the_truth_on_clustered_data_where_a_naive_one_does_not():
    rng, covered, naive = np.random.default_rng(11), 0, 0
    for _ in range(300):
        values, groups = clustered(rng)
        found = summarise(scores(values, groups))
        covered += found.low <= 0 <= found.high
        naive += abs(found.mean) <= 1.96 * np.std(values, ddof=1) / math.sqrt(len(values))
    assert 0.90 <= covered / 300 <= 0.99
    assert naive / 300 < 0.85


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_a_number_is_refused(value):
    with pytest.raises(ValueError, match="ma5k/test/0001"):
        summarise(scores([0.1, value]))


def test_a_second_score_of_the_same_example_and_seed_is_refused():
    with pytest.raises(ValueError, match="scored twice"):
        summarise(scores([0.1]) + scores([0.1]))


def test_two_metrics_or_two_groups_in_one_cell_are_refused():
    with pytest.raises(ValueError, match="2 metrics"):
        summarise(scores([0.1]) + scores([0.1], metric="ssim", seed=1))
    with pytest.raises(ValueError, match="two groups"):
        summarise(scores([0.1], ["a"]) + scores([0.1], ["b"], seed=1))


def test_seconds_are_a_median_with_an_order_statistic_interval():
    assert summarise_seconds([3.0, 1.0, 2.0]).mean == 2.0
    assert summarise_seconds([4.0, 1.0, 2.0, 3.0]).mean == 2.5
    six = summarise_seconds([6, 5, 4, 3, 2, 1])
    assert (six.mean, six.low, six.high, six.n) == (3.5, 1, 6, 6)
    hundred = summarise_seconds(range(1, 101))
    assert (hundred.low, hundred.high) == (40, 61)  # the textbook ranks for n = 100
    assert summarise_seconds(range(3000)).low < 1500


def test_too_few_seconds_have_no_interval_and_none_no_median():
    five = summarise_seconds([1.0] * 5)
    assert five.mean == 1.0 and five.low is None and "6 timed edits" in five.reason
    assert summarise_seconds([]).mean is None
    with pytest.raises(ValueError, match="nan"):
        summarise_seconds([float("nan")])


def brute_force(sums):
    observed = abs(sum(sums))
    totals = [abs(sum(s * d for s, d in zip(signs, sums, strict=True)))
              for signs in itertools.product((1, -1), repeat=len(sums))]  # fmt: skip
    return sum(t >= observed - 1e-12 for t in totals) / len(totals)


@pytest.mark.parametrize("groups", [1, 2, 3, 7, 10])
def test_few_groups_give_the_exact_p_of_all_sign_flips(groups):
    sums = np.random.default_rng(groups).normal(0.4, 1, groups)
    p, method = flip_test(sums)
    assert p == pytest.approx(brute_force(list(sums)))
    assert method == f"exact, {2**groups:,} flips"


def test_ties_but_for_rounding_count_as_ties():
    assert flip_test(np.array([0.1, 0.2, -0.3]))[0] == 1.0  # the total is 0 but for its last bits
    assert flip_test(np.array([0.1] * 6))[0] == pytest.approx(2 / 64)


def test_a_consistent_difference_of_many_groups_gets_the_smallest_p_there_is():
    p, method = flip_test(np.full(60, 0.01))
    assert p == 1 / 10_001 and method == "10,000 random flips"


def test_random_flips_agree_with_exact_ones():
    sums = np.random.default_rng(4).normal(0.3, 1, 16)
    assert flip_test(sums)[0] == pytest.approx(brute_force(list(sums)), abs=0.02)


def test_under_no_difference_p_is_rarely_small():
    rng = np.random.default_rng(8)
    small = sum(flip_test(rng.normal(size=20))[0] <= 0.05 for _ in range(400))
    assert 5 <= small <= 36  # 20 expected


def test_groups_are_flipped_whole():
    one_group_five_times = scores([1.0] * 10, groups=["a"] * 5 + ["b"] * 5)
    nothing = scores([0.0] * 10, groups=["a"] * 5 + ["b"] * 5)
    found = paired_test(one_group_five_times, nothing)
    assert (found.n, found.groups, found.p) == (10, 2, 0.5)


def test_models_are_paired_by_example_and_not_by_place():
    a, b = scores([0.1, 0.2, 0.3, 0.9]), scores([0.1, 0.2, 0.3])
    found = paired_test(a, b[::-1])
    assert found.n == 3 and found.difference == pytest.approx(0) and found.p == 1.0


def test_a_model_with_one_seed_meets_one_with_five():
    five = [s for seed in range(5) for s in scores([0.2 + 0.01 * seed, 0.4], seed=seed)]
    found = paired_test(five, scores([0.2, 0.3]))
    assert found.difference == pytest.approx((0.02 + 0.1) / 2) and found.n == 2


def test_swapping_the_models_turns_the_difference_and_keeps_p():
    rng = np.random.default_rng(6)
    a, b = scores(list(rng.normal(size=9))), scores(list(rng.normal(size=9)))
    one, other = paired_test(a, b), paired_test(b, a)
    assert one.difference == pytest.approx(-other.difference) and one.p == other.p


def test_nothing_in_common_is_said():
    assert paired_test(scores([None]), scores([0.1])).reason == "no example has a value in both"


def test_an_example_in_different_groups_of_two_runs_is_refused():
    with pytest.raises(ValueError, match="of the other"):
        paired_test(scores([0.1], ["a"]), scores([0.1], ["b"]))


def test_holm_equals_the_hand_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([0.1, float("nan")])
