"""The statistics of the tables: closed forms, laws, brute force and simulations as references, refusals."""

import itertools
import math

import numpy as np
import pytest

from bench.records import Edit, Score
from bench.resampling.flips import ALPHA, flip_interval
from bench.stats import SHOWN_FEW, holm, paired_test, smallest_difference, summarise, summarise_seconds, timings


def flip_test(sums: np.ndarray) -> tuple[float, str]:
    """The test alone. sums: (G,). p of no difference, and how it was made."""
    p, _, _, method = flip_interval(sums, np.ones(len(sums)))
    return p, method


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
    unequal = summarise(scores([0.1, 0.2, 0.6], groups=["a", "a", "b"]))
    assert unequal.mean == pytest.approx(0.3)  # not .375, the mean of the groups' means


def test_scores_without_a_value_are_left_out_of_the_mean_and_of_n():
    found = summarise(scores([0.1, None, 0.3]))
    assert found.mean == pytest.approx(0.2) and found.n == 2 and found.groups == 2


def test_no_value_at_all_gives_no_mean_and_a_reason():
    assert summarise(scores([None, None]))[:6] == (None, None, None, 0, 0, "no example has a value")
    assert summarise([]).mean is None


@pytest.mark.parametrize("groups", [1, 2, 7])
def test_under_8_groups_there_are_the_groups_means_and_a_reason_instead_of_an_interval(groups):
    values = [0.9 - 0.1 * i for i in range(groups)]
    found = summarise(scores([v - 0.05 for v in values] + [v + 0.05 for v in values], groups=[*range(groups)] * 2))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high, found.method, found.n, found.groups) == (None, None, "", 2 * groups, groups)
    assert found.values == pytest.approx(values[::-1])
    assert found.reason.startswith(f"no interval: {groups} group") and "under 8" in found.reason


@pytest.mark.parametrize(("groups", "method"), [(8, "bootstrap-t"), (29, "bootstrap-t"), (30, "BCa"), (31, "BCa")])
def test_the_number_of_groups_decides_on_the_method_and_the_summary_names_it(groups, method):
    found = summarise(scores(list(np.random.default_rng(2).exponential(size=groups))))
    assert found.method.startswith(method) and found.low < found.mean < found.high
    assert (found.reason, found.values) == ("", ())


@pytest.mark.parametrize("groups", [8, 40])
def test_equal_scores_have_an_interval_of_no_width(groups):
    found = summarise(scores([0.1] * groups))
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1)


def test_order_does_not_change_one_bit():
    rng = np.random.default_rng(3)
    values, groups = clustered(rng)
    rows = scores(values, groups) + scores([v + 0.1 for v in values], groups, seed=1)
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    assert summarise(rows) == summarise(shuffled)
    other = scores([v * 0.9 for v in values], groups)
    assert paired_test(rows, other) == paired_test(shuffled, other[::-1])


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
    five = summarise_seconds([1.0, 2.0, 1.0, 1.0, 1.0])
    assert five.mean == 1.0 and five.low is None and "6 timings" in five.reason and five.values[-1] == 2.0
    assert summarise_seconds([]).mean is None
    with pytest.raises(ValueError, match="nan"):
        summarise_seconds([float("nan")])


def edit(place, seed=0, **seconds):
    return Edit(f"ma5k/test/{place:04d}", seed, f"{place}.png", "", seconds=seconds)


def test_the_edits_of_one_batch_are_one_timing_of_their_share():
    batches = [edit(i, edit=(0.5, 0.7, 0.6)[i // 8]) for i in range(20)]
    assert timings(batches, 8) == pytest.approx([0.5, 0.7, 0.6])
    assert timings([edit(i, edit=0.1) for i in range(16)], 8) == pytest.approx([0.1, 0.1])  # equal by chance
    assert timings([edit(i, edit=0.1) for i in range(3)], 1) == pytest.approx([0.1] * 3)


def test_batches_whose_edits_stand_apart_in_official_order_are_one_timing_each():
    turns = [edit(i, edit=(0.5, 0.7)[i % 2]) for i in range(16)]  # portrait and landscape, two whole batches of 8
    assert timings(turns, 8) == pytest.approx([0.5, 0.7])
    in_turn = [edit(i, mllm=0.2, diffusion=(1.0, 2.0)[i % 2]) for i in range(8)]  # a batch split by image size
    assert timings(in_turn, 8) == pytest.approx([1.7])
    apart = [edit(i, i % 2, edit=0.5) for i in range(8)]
    assert timings(apart, 8) == [0.5, 0.5]  # of two seeds


def test_seeds_halves_and_edits_timed_by_themselves_are_timings_of_their_own():
    assert timings([edit(0, 0, edit=0.5), edit(0, 1, edit=0.5)], 8) == [0.5, 0.5]
    halved = [edit(i, edit=0.5 if i < 2 else 0.7) for i in range(4)]
    assert timings(halved, 4) == pytest.approx([0.5, 0.7])
    alone = [edit(i, codec=0.1 + 0.01 * i) for i in range(4)]
    assert timings(alone, 4) == pytest.approx([0.1, 0.11, 0.12, 0.13])


def test_a_batch_whose_last_stage_ran_by_image_size_is_one_timing_of_its_mean():
    found = timings([edit(0, mllm=0.2, diffusion=1.0), edit(1, mllm=0.2, diffusion=2.0)], 8)
    assert found == pytest.approx([1.7])


def test_an_example_that_failed_does_not_split_its_batch_and_one_that_was_given_is_no_timing():
    assert timings([edit(0, edit=0.5), edit(2, edit=0.5), edit(3, edit=0.7)], 4) == pytest.approx([0.5, 0.7])
    assert timings([edit(0), edit(1)], 4) == []


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


def sized(rng, groups, skewed=False):
    """Summed differences without a true one, and sizes, of groups of 1 to 6 examples."""
    counts = rng.integers(1, 7, groups).astype(float)
    centres = rng.exponential(size=groups) - 1 if skewed else rng.normal(size=groups)
    return counts * centres + np.sqrt(counts) * rng.normal(0, 0.7, groups), counts


@pytest.mark.parametrize("groups", [6, 9, 20])
def test_the_ends_of_the_interval_are_where_the_test_of_a_shifted_difference_turns(groups):
    rng = np.random.default_rng(groups)
    for _ in range(20):
        sums, counts = sized(rng, groups)
        p, low, high, method = flip_interval(sums, counts)
        step = 1e-6 * (high - low)
        for inside, outside in ((low + step, low - step), (high - step, high + step)):
            assert flip_test(sums - inside * counts)[0] >= ALPHA > flip_test(sums - outside * counts)[0]
        assert (p, method) == flip_test(sums)


@pytest.mark.parametrize("groups", [6, 8, 12, 40])
def test_p_is_below_the_level_exactly_where_the_interval_leaves_out_0(groups):
    rng, small = np.random.default_rng(groups), 0
    for _ in range(200):
        sums, counts = sized(rng, groups)
        sums = np.round(sums + counts * rng.choice([0, 1]), 1)  # rounded: ties, and ends at 0
        p, low, high, _ = flip_interval(sums, counts)
        assert (p < ALPHA) == (low > 0 or high < 0)
        assert low <= sums.sum() / counts.sum() <= high
        small += p < ALPHA
    assert 20 < small < 180  # both kinds were seen


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_under_6_groups_a_difference_has_a_p_and_no_interval(groups):
    found = paired_test(scores([1.0] * groups), scores([0.0] * groups))
    assert found.p == 2 / 2**groups and (found.difference, found.low, found.high) == (1.0, None, None)
    assert found.reason.startswith(f"no interval: {groups} group") and "under 6" in found.reason


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("groups", [6, 8, 12, 30])
def test_the_interval_of_a_difference_covers_the_truth(groups, skewed):
    rng, covered = np.random.default_rng(groups), 0
    for _ in range(400):
        _, low, high, _ = flip_interval(*sized(rng, groups, skewed))
        covered += low <= 0 <= high
    assert covered / 400 >= 0.90


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


def as_scores(sums, counts):
    """The differences as one model's scores, and a second one's, all 0."""
    groups = np.repeat([f"g{i}" for i in range(len(sums))], counts.astype(int)).tolist()
    values = np.repeat(sums / counts, counts.astype(int)).tolist()
    return scores(values, groups), scores([0.0] * len(values), groups)


@pytest.mark.parametrize("groups", [6, 7, 8, 12, 13, 30, 100])
def test_the_smallest_difference_is_shown_in_80_of_100_cases(groups):
    rng, shown, trials = np.random.default_rng(groups), 0, 3000 if groups <= 12 else 1000
    drawn = [sized(rng, groups) for _ in range(trials)]
    claimed = np.mean([smallest_difference(*as_scores(*one)).difference for one in drawn[: 30_000 // groups]])
    for sums, counts in drawn:
        shown += flip_test(sums + claimed * counts)[0] < ALPHA
    assert 0.75 <= shown / trials <= 0.85


def test_the_smallest_difference_is_in_the_metrics_unit_and_does_not_depend_on_who_is_first():
    sums, counts = sized(np.random.default_rng(1), 12)
    one, other = as_scores(sums, counts), as_scores(10 * sums, counts)
    assert smallest_difference(*other).difference == pytest.approx(10 * smallest_difference(*one).difference)
    assert smallest_difference(*one) == smallest_difference(*one[::-1])


def test_the_factors_of_few_groups_are_above_what_t_quantiles_promise():
    special, factors = pytest.importorskip("scipy.special"), list(SHOWN_FEW.values())
    over = [f - special.stdtrit(g - 1, 0.975) - special.stdtrit(g - 1, 0.8) for g, f in SHOWN_FEW.items()]
    assert factors == sorted(factors, reverse=True) and min(over) > 0
    assert over[-1] < 0.05  # 12 groups: nearly the quantiles, which serve from 13 on


def test_too_few_groups_can_show_no_difference_at_all():
    found = smallest_difference(scores([0.1, 0.2, 0.9, 0.4, 0.5]), scores([0.0] * 5))
    assert found == (None, 5, "5 groups; under 6 no p can be below 0.05")
    assert smallest_difference([], []).groups == 0


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
