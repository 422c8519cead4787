"""Power before the run: the figures of Miller (2024)."""

import math

import pytest

from raglift.statistics.power import AssumedVariance, Plan, detectable_lift, questions_needed


def test_969_questions_find_three_points():
    assert questions_needed(3.0, Plan(math.inf)) == 969
    assert questions_needed(-3.0, Plan(math.inf)) == 969


@pytest.mark.parametrize(
    ("questions", "lifts"), [(30, (34.1, 22.6, 19.4)), (100, (18.7, 12.4, 10.6)), (300, (10.8, 7.1, 6.1))]
)
def test_detectable_lifts(questions, lifts):
    for samples, lift in zip((1, 4, 10), lifts, strict=True):
        assert detectable_lift(questions, Plan(samples)) == pytest.approx(lift, abs=0.051)


def test_the_two_are_inverse():
    plan = Plan(4, seeds=3, assumed=AssumedVariance(seed=0.0004))
    assert questions_needed(detectable_lift(120, plan), plan) == 120


def test_seed_variance_sets_a_floor_that_no_number_of_questions_passes():
    plan = Plan(4, seeds=2, assumed=AssumedVariance(seed=0.01))
    assert questions_needed(5.0, plan) is None
    assert detectable_lift(10**9, plan) == pytest.approx(280.16 * math.sqrt(0.005), rel=1e-3)


def test_too_few_questions_detect_nothing():
    assert detectable_lift(5, Plan(4)) is None
    assert detectable_lift(6, Plan(1, assumed=AssumedVariance(question=1.0))) is None
    assert questions_needed(100.0, Plan(math.inf)) >= 6


@pytest.mark.parametrize(
    "call",
    [
        lambda: questions_needed(0.0, Plan(4)),
        lambda: questions_needed(math.nan, Plan(4)),
        lambda: Plan(0),
        lambda: Plan(math.nan),
        lambda: Plan(4, seeds=0),
        lambda: Plan(4, power=1.0),
        lambda: Plan(4, assumed=AssumedVariance(question=-1)),
    ],
)
def test_senseless_plans_are_refused(call):
    with pytest.raises(ValueError, match=r"expected|negative"):
        call()
