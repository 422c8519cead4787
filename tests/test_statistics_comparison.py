"""Paired comparison: the founding table, agreement with scipy, symmetry, order, bad input, size."""

import csv
import json
import math
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raglift.statistics.comparison import compare_paired
from raglift.statistics.contrast import Estimate
from raglift.statistics.likelihood import Spread, compute_reach_p_value, find_lower_limit, find_upper_limit
from raglift.statistics.signflip import EXACT_TEST, permute_signs

SEED_TABLE = Path(__file__).parent / "data" / "seed-table.csv"


def read_seed_table():
    with SEED_TABLE.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = ["without_rag_correct", "without_rag_total", "with_rag_correct", "with_rag_total"]
    return [[int(row[name]) for row in rows] for name in names]


def compare_differences(differences, samples=4):
    """Arms of `samples` answers that differ by whole numbers of answers."""
    differences = np.asarray(differences)
    total = np.full(differences.shape, samples)
    a = np.where(differences < 0, -differences, 0)
    return compare_paired(a, total, a + differences, total)


def test_founding_table():
    found = compare_paired(*read_seed_table())
    assert found.accuracy_a == 80.0 and found.accuracy_b == 100.0
    assert (found.correct_a, found.total_a, found.correct_b, found.total_b) == (96, 120, 120, 120)
    assert found.lift == 20.0
    assert found.p_value == 0.015625
    assert found.test == EXACT_TEST
    assert (found.differing, found.questions, found.excluded) == (7, 30, 0)
    assert found.verdict == "improves"
    low, high = found.ci95
    assert 5 < low < 9 and 33 < high < 38  # the percentile bootstrap says +7.5 to +34.2
    assert found.questions_needed is None


@pytest.mark.parametrize("seed", range(5))
def test_sign_flips_agree_with_scipy_permutation_test(seed):
    differences = np.random.default_rng(seed).integers(-4, 6, 12)
    wanted = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert permute_signs(differences).p_value == pytest.approx(wanted.pvalue, abs=1e-12)


def test_sign_flips_of_equal_sizes_are_the_binomial_test():
    differences = [3] * 14 + [-3] * 4 + [0] * 20
    assert permute_signs(differences).p_value == pytest.approx(stats.binomtest(4, 18).pvalue, rel=1e-12)


def test_sign_flips_of_ranks_are_the_wilcoxon_test():
    values = np.random.default_rng(3).normal(0.4, 1, 40)
    ranks = (stats.rankdata(np.abs(values)) * np.sign(values)).astype(int)
    wanted = stats.wilcoxon(values, method="exact").pvalue
    assert permute_signs(ranks).p_value == pytest.approx(wanted, rel=1e-9)


def test_sign_flips_of_many_questions_use_windows_and_still_agree():
    differences = np.repeat([1, -1], [5200, 4900])
    assert permute_signs(differences).p_value == pytest.approx(stats.binomtest(4900, 10100).pvalue, rel=1e-9)
    assert 0 < permute_signs(np.ones(5000, dtype=int)).p_value < 1e-30


def test_monte_carlo_agrees_with_enumeration_and_repeats():
    differences = np.random.default_rng(8).integers(-4, 6, 30)
    exact, drawn = permute_signs(differences), permute_signs(differences / 7.0, seed=5)
    assert exact.test == EXACT_TEST and "99,999 draws, seed 5" in drawn.test
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.006)
    assert drawn == permute_signs(differences[::-1] / 7.0, seed=5)
    assert drawn == permute_signs(-differences / 7.0, seed=5)
    assert permute_signs(np.ones(40) / 7.0).p_value == 1 / 100_000  # never 0


def test_many_questions_agree_with_the_paired_t_test():
    generator = np.random.default_rng(2)
    chance = generator.beta(1, 1, 800)
    a, b = generator.binomial(4, chance), generator.binomial(4, np.clip(chance + 0.03, 0, 1))
    found, wanted = compare_paired(a, [4] * 800, b, [4] * 800), stats.ttest_rel(b / 4, a / 4)
    assert found.lift / found.standard_error == pytest.approx(wanted.statistic, rel=1e-9)
    assert found.p_value == pytest.approx(wanted.pvalue, abs=0.003)
    interval = wanted.confidence_interval()
    assert found.ci95 == pytest.approx((100 * interval.low, 100 * interval.high), abs=0.05)


def test_swapping_the_arms_flips_the_sign_and_nothing_else():
    generator = np.random.default_rng(4)
    total_a, total_b = generator.integers(1, 5, 40), generator.integers(1, 5, 40)
    a, b = generator.binomial(total_a, 0.5), generator.binomial(total_b, 0.7)
    one, other = compare_paired(a, total_a, b, total_b), compare_paired(b, total_b, a, total_a)
    assert one.lift == -other.lift and one.ci95 == (-other.ci95[1], -other.ci95[0])
    turned = {"lift", "ci95", "verdict"}
    for field in fields(Estimate):
        if field.name not in turned:
            assert getattr(one, field.name) == getattr(other, field.name), field.name
    assert (one.accuracy_a, one.correct_a, one.total_a) == (other.accuracy_b, other.correct_b, other.total_b)
    ones, zeros = np.full(10, 4), np.zeros(10, dtype=int)
    assert compare_paired(zeros, ones, ones, ones).verdict == "improves"
    assert compare_paired(ones, ones, zeros, ones).verdict == "harms"


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("largest", [4, 40])  # 40: no common denominator, so floats and Monte Carlo
def test_the_order_of_questions_changes_nothing(seeds, largest):
    generator = np.random.default_rng(6)
    total = generator.integers(1, largest, (seeds, 30))
    a, b = generator.binomial(total, 0.5), generator.binomial(total, 0.6)
    order = generator.permutation(30)
    assert compare_paired(a, total, b, total) == compare_paired(
        a[:, order], total[:, order], b[:, order], total[:, order]
    )


def test_questions_without_a_scored_answer_are_left_out_and_named():
    rows = read_seed_table()
    rows[0][0] = rows[1][0] = 0
    rows[2][4] = rows[3][4] = 0
    found = compare_paired(*rows, ids=[f"q{number}" for number in range(30)])
    assert (found.questions, found.excluded, found.excluded_ids) == (28, 2, ("q0", "q4"))
    assert found.lift == pytest.approx(600 / 28)


def test_unequal_totals_weigh_questions_equally():
    found = compare_paired([1] * 8, [1] * 8, [1, 2, 3, 4, 1, 2, 3, 4], [4] * 8)
    assert found.lift == pytest.approx(-37.5) and found.test == EXACT_TEST


def test_no_difference_at_all_gives_an_honest_interval():
    found = compare_paired([4] * 30, [4] * 30, [4] * 30, [4] * 30)
    share = 100 * stats.binomtest(0, 30).proportion_ci(0.95, method="exact").high
    assert found.lift == 0.0 and found.p_value == 1.0
    assert found.ci95 == pytest.approx((-share, share))
    assert found.verdict == "inconclusive" and found.questions_needed in (59, 60)
    assert found.minimum_detectable_lift > 20
    many = compare_paired([4] * 100, [4] * 100, [4] * 100, [4] * 100)
    assert many.verdict == "equivalent" and many.equivalence_p == pytest.approx(0.95**100)


def test_all_questions_differing_by_the_same_is_no_certainty():
    found = compare_differences([-1] * 30)
    assert found.verdict == "harms" and found.standard_error == 0
    assert found.ci95[0] < -25 < found.ci95[1] < 0
    assert found.minimum_detectable_lift > 20


@pytest.mark.parametrize("questions", [1, 2, 5])
def test_too_few_questions_are_not_estimable(questions):
    found = compare_paired([0] * questions, [4] * questions, [4] * questions, [4] * questions)
    assert found.verdict == "not estimable" and found.lift == 100.0
    assert found.ci95 is found.p_value is found.minimum_detectable_lift is found.questions_needed is None
    assert str(questions) in found.reason and "6" in found.reason


def test_no_scored_answers_are_not_estimable():
    found = compare_paired([0] * 9, [0] * 9, [4] * 9, [4] * 9)
    assert found.verdict == "not estimable" and found.lift is None and found.accuracy_a is None
    assert found.excluded == 9


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (([5, 1], [4, 4], [1, 1], [4, 4]), "correct of a is above its total at question 'one'"),
        (([-1, 1], [4, 4], [1, 1], [4, 4]), "correct of a is negative at question 'one'"),
        (([1, math.nan], [4, 4], [1, 1], [4, 4]), "correct of a is not a number at question 'two'"),
        (([1, 1], [4, math.inf], [1, 1], [4, 4]), "total of a is not a number at question 'two'"),
        (([1, 1], [4, 4], [1.5, 1], [4, 4]), "correct of b is not a whole number at question 'one'"),
        (([1, 1], [4, 4, 4], [1, 1], [4, 4]), "has shape"),
        (([1, 1], [4, 4], [1, 1, 1], [4, 4, 4]), "2 question ids for 3 questions of b"),
        (([[1, 1], [1]], [4, 4], [1, 1], [4, 4]), "whole numbers in rows of equal length"),
        ((["x", 1], [4, 4], [1, 1], [4, 4]), "whole numbers"),
        (([[[1]]], [4], [1], [4]), "3 dimensions"),
        ((1, 4, 1, 4), "0 dimensions"),
    ],
)
def test_impossible_counts_are_refused(arrays, words):
    with pytest.raises(ValueError, match=words):
        compare_paired(*arrays, ids=["one", "two"])


def test_unequal_arms_repeated_ids_and_senseless_margins_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(1, 3\)"):
        compare_paired([1, 1], [4, 4], [1, 1, 1], [4, 4, 4])
    with pytest.raises(ValueError, match="more than once: q"):
        compare_paired([1, 1], [4, 4], [1, 1], [4, 4], ids=["q", "q"])
    for margin in (0, -5, 100, math.nan):
        with pytest.raises(ValueError, match="margin"):
            compare_paired([1] * 9, [4] * 9, [1] * 9, [4] * 9, margin=margin)


def test_empty_arrays_are_not_estimable():
    assert compare_paired([], [], [], []).verdict == "not estimable"


@st.composite
def _arms(draw):
    questions, seeds = draw(st.integers(1, 25)), draw(st.integers(1, 3))
    largest = draw(st.sampled_from([1, 2, 4, 30]))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    total = [generator.integers(draw(st.integers(0, 1)), largest + 1, (seeds, questions)) for _ in "ab"]
    chance = draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
    return [array for t, p in zip(total, chance, strict=True) for array in (generator.binomial(t, p), t)], draw(
        st.sampled_from([1.0, 5.0, 20.0])
    )


@settings(max_examples=150)
@given(_arms())
def test_interval_p_value_and_verdict_never_contradict_and_nothing_is_nan(case):
    arrays, margin = case
    found = compare_paired(*arrays, margin=margin)
    assert "NaN" not in json.dumps(found.as_dict()) and "Infinity" not in json.dumps(found.as_dict())
    if found.verdict == "not estimable":
        assert found.ci95 is None and found.p_value is None
        return
    low, high = found.ci95
    assert -100 <= low <= found.lift + 1e-9 and found.lift - 1e-9 <= high <= 100 and low < high
    assert 0 < found.p_value <= 1 and 0 < found.equivalence_p <= 1
    assert (found.p_value < 0.05) == (low > 0 or high < 0)
    assert (found.verdict == "improves") == (low > 0)
    assert (found.verdict == "harms") == (high < 0)
    if -margin < low and high < margin:
        assert found.verdict in ("equivalent", "improves", "harms")
    assert (found.questions_needed is None) or found.verdict == "inconclusive"
    if found.questions_needed is not None:
        assert found.questions_needed > found.questions
    assert min(value for value in vars(found.variance).values() if value is not None) >= 0


@settings(max_examples=60)
@given(st.lists(st.integers(-4, 4), min_size=6, max_size=40), st.floats(0.01, 0.99), st.floats(0.5, 0.99))
def test_limits_and_one_sided_p_values_are_two_sides_of_one_thing(differences, limit, level):
    values, counts = np.unique(np.array(differences) / 4, return_counts=True)
    spread = Spread(values, counts, 1.0)
    upper, p_value = find_upper_limit(spread, level), compute_reach_p_value(spread, limit)
    assert find_lower_limit(spread, level) <= spread.mean + 1e-12 <= upper + 2e-12
    at_floor = p_value <= 0.5 ** len(differences)  # no p is smaller than the exact test's can be
    if not at_floor and abs(upper - limit) > 1e-9 and abs(p_value - (1 - level) / 2) > 1e-9:
        assert (limit < upper) == (p_value > (1 - level) / 2)


def test_wider_margins_and_more_questions_reach_equivalence():
    differences = [1, -1, 0, 0, 0, 0, 0, 0, 0, 0] * 4
    narrow, wide = (
        compare_paired(
            np.where(np.array(differences) < 0, 1, 0),
            [4] * 40,
            np.maximum(differences, 0),
            [4] * 40,
            margin=margin,
        )
        for margin in (1.0, 10.0)
    )
    assert narrow.verdict == "inconclusive" and wide.verdict == "equivalent"
    assert compare_differences(differences * 20).equivalence_p < compare_differences(differences).equivalence_p


def test_several_seeds_enter_as_a_second_level():
    generator = np.random.default_rng(1)
    chance = generator.uniform(0.2, 0.6, (1, 200)) + np.zeros((4, 1))
    total = np.full((4, 200), 50)
    shift = np.array([[0.0], [0.1], [0.2], [0.3]])
    found = compare_paired(generator.binomial(50, chance), total, generator.binomial(50, chance + shift), total)
    assert found.seeds == 4 and found.lift == pytest.approx(15, abs=1)
    assert found.variance.seed == pytest.approx(100**2 * np.var([0, 0.1, 0.2, 0.3], ddof=1), rel=0.1)
    assert found.variance.sampling == pytest.approx(100**2 * 2 * 0.23 / 50, rel=0.15)
    assert found.variance.question < 20
    half = stats.t.ppf(0.975, 3) * np.std([0, 10, 20, 30], ddof=1) / 2
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * half, rel=0.1)
    assert found.p_value > 0.05 and "training seeds" in found.test and found.verdict == "inconclusive"
    assert "training seeds" in found.reason
    alike = compare_paired(generator.binomial(50, chance), total, generator.binomial(50, chance + 0.15), total)
    assert alike.verdict == "improves" and alike.variance.seed < 2


def test_variance_parts_of_one_seed():
    generator = np.random.default_rng(7)
    a, b = generator.uniform(0.3, 0.5, 20_000), generator.uniform(0.5, 0.7, 20_000)
    found = compare_paired(
        generator.binomial(40, a), np.full(20_000, 40), generator.binomial(40, b), np.full(20_000, 40)
    )
    assert found.variance.question == pytest.approx(1e4 * 2 * 0.2**2 / 12, rel=0.1)
    assert found.variance.sampling == pytest.approx(1e4 * 2 * (0.24 - 0.2**2 / 12) / 40, rel=0.03)
    assert found.variance.seed is None
    single = compare_paired([0, 1] * 5, [1] * 10, [1] * 10, [1] * 10)
    assert single.variance.sampling is None


HUNDRED_THOUSAND = """
import numpy as np
from raglift.machine import read_peak_memory
from raglift.statistics.comparison import compare_paired
generator = np.random.default_rng(0)
chance = generator.beta(0.7, 0.7, 100_000)
total = np.full(100_000, 4)
a, b = generator.binomial(4, chance), generator.binomial(4, np.clip(chance + 0.002, 0, 1))
found = compare_paired(a, total, b, total)
print(found.p_value, read_peak_memory(), found.test, sep="|")
"""


def test_a_hundred_thousand_questions_are_small():
    # In a process of its own: the peak of this one is that of all tests before.
    shown = subprocess.run([sys.executable, "-c", HUNDRED_THOUSAND], capture_output=True, text=True, check=True).stdout
    p_value, peak, test = shown.strip().split("|")
    assert test == EXACT_TEST and 0 < float(p_value) < 0.2
    assert int(peak) < 1e9


def test_importing_statistics_does_not_import_torch():
    code = "import sys, raglift.statistics.comparison, raglift.statistics.ppi; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
