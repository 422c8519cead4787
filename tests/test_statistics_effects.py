"""Effects of the grid, Holm's correction, intervals of shares."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from raglift.statistics.comparison import compare_paired
from raglift.statistics.counts import read_counts
from raglift.statistics.effects import Grid, estimate_effects
from raglift.statistics.multiplicity import adjust_holm
from raglift.statistics.proportions import estimate_clustered_share, estimate_share


def build_grid(*corrects):
    return Grid(*(read_counts(correct, np.full(np.shape(correct), 4), "cell") for correct in corrects))


def test_effects_by_hand():
    # base 0 and 2 of 4, tuned 1 and 4 of 4, in every question
    found = estimate_effects(build_grid([0] * 12, [2] * 12, [1] * 12, [4] * 12))
    assert found.tuning.lift == 37.5  # mean of 25 and 50
    assert found.context.lift == 62.5  # mean of 50 and 75
    assert found.interaction.lift == 25.0
    assert all(effect.verdict == "improves" for effect in (found.tuning, found.context, found.interaction))
    assert "NaN" not in json.dumps(found.as_dict())


def test_effects_agree_with_the_paired_machinery():
    generator = np.random.default_rng(3)
    cells = [generator.binomial(4, share, 30) for share in (0.1, 0.5, 0.4, 0.9)]
    found = estimate_effects(build_grid(*cells))
    base_without, base_with, tuned_without, tuned_with = cells
    eight = np.full(30, 8)
    tuning = compare_paired(base_without + base_with, eight, tuned_without + tuned_with, eight)
    assert found.tuning.lift == pytest.approx(tuning.lift)
    assert found.tuning.ci95 == pytest.approx(tuning.ci95) and found.tuning.p_value == tuning.p_value
    interaction = (tuned_with - tuned_without) - (base_with - base_without)
    assert found.interaction.lift == pytest.approx(25 * interaction.mean())
    test = stats.ttest_1samp(interaction / 4, 0)
    assert found.interaction.lift / found.interaction.standard_error == pytest.approx(test.statistic)
    flips = stats.permutation_test(
        (interaction,), np.sum, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert found.interaction.p_value == pytest.approx(flips.pvalue, abs=0.015)


def test_interaction_of_nothing_is_as_wide_as_its_range():
    found = estimate_effects(build_grid(*[[4] * 30] * 4))
    assert found.interaction.ci95[1] == pytest.approx(2 * found.tuning.ci95[1])


def test_unequal_cells_are_refused():
    with pytest.raises(ValueError, match="same questions and seeds"):
        estimate_effects(build_grid([0] * 12, [2] * 12, [1] * 12, [4] * 11))


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04, then made monotone
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.6, 0.5]) == [1.0, 1.0]
    assert adjust_holm([0.01, None, 0.02]) == [0.02, None, 0.02]
    assert adjust_holm([]) == [] and adjust_holm([0.3]) == [0.3]


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(wrong):
    with pytest.raises(ValueError, match="number 2"):
        adjust_holm([0.5, wrong])


def test_wilson_interval_is_scipys():
    wanted = stats.binomtest(27, 30).proportion_ci(0.95, method="wilson")
    assert estimate_share(27, 30).ci95 == pytest.approx((100 * wanted.low, 100 * wanted.high))
    assert estimate_share(0, 0).ci95 is None and estimate_share(30, 30).ci95[1] == 100
    with pytest.raises(ValueError, match="31 of 30"):
        estimate_share(31, 30)


def test_clustered_share_knows_that_samples_resemble_each_other():
    alike = estimate_clustered_share([4] * 15 + [0] * 15, [4] * 30)
    assert alike.effective == pytest.approx(29) and alike.percent == 50
    apart = estimate_clustered_share([2] * 29 + [1], [4] * 30)
    assert apart.effective == 120
    assert alike.ci95[1] - alike.ci95[0] > 1.8 * (apart.ci95[1] - apart.ci95[0])
    perfect = estimate_clustered_share([4] * 30, [4] * 30)
    assert perfect.effective == 30 and perfect.ci95[1] == 100 and 80 < perfect.ci95[0] < 90


def test_clustered_share_of_little():
    assert estimate_clustered_share([], []).percent is None
    one = estimate_clustered_share([3, 0], [4, 0])
    assert one.percent == 75 and one.ci95 is None
