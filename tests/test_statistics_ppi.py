"""The lift corrected by human labels."""

import numpy as np
import pytest

from raglift.statistics.ppi import JudgedAnswers, correct_lift, draw_labels, labels_needed
from raglift.statistics.simulated_review import build_reviews, measure_review


def build_answers(questions=10, samples=4, seed=0):
    generator = np.random.default_rng(seed)
    question = np.tile(np.repeat(np.arange(questions), samples), 2)
    in_b = np.repeat([0, 1], questions * samples)
    truth = (generator.random(question.size) < np.where(in_b, 0.8, 0.5)).astype(float)
    judged = np.where(generator.random(question.size) < 0.2, 1 - truth, truth)
    return question, in_b, judged, truth


def test_with_every_answer_labelled_it_is_the_human_lift():
    question, in_b, judged, truth = build_answers()
    found = correct_lift(JudgedAnswers(question.tolist(), in_b, judged, truth))
    assert found.lift == pytest.approx(100 * (truth[in_b == 1].mean() - truth[in_b == 0].mean()))
    assert found.labels == found.answers == 80
    wrong = 100 * (judged != truth)[in_b == 0].mean()
    assert found.disagreement_a == pytest.approx(wrong)
    assert found.uncorrected.lift == pytest.approx(100 * (judged[in_b == 1].mean() - judged[in_b == 0].mean()))


def test_labels_correct_the_share_that_the_judge_overlooks():
    # arm b: the judge fails half of the right answers; half of what it failed is labelled, all found right
    question = [number // 4 for number in range(40)] * 2
    in_b, judged = np.repeat([0, 1], 40), np.array([1, 0] * 40)
    human = np.full(80, np.nan)
    human[:40] = judged[:40]
    human[40:60] = 1.0
    found = correct_lift(JudgedAnswers(question, in_b, judged, human))
    assert found.uncorrected.lift == 0.0 and found.lift == pytest.approx(50.0)
    assert found.disagreement_b == pytest.approx(50.0) and found.disagreement_a == 0
    assert found.ci95[0] > 20


def test_order_changes_nothing_and_swapping_flips_the_sign():
    question, in_b, judged, truth = build_answers()
    drawn = draw_labels(in_b, judged, 30, seed=1)
    human = np.full(80, np.nan)
    human[drawn] = truth[drawn]
    found = correct_lift(JudgedAnswers(question.tolist(), in_b, judged, human))
    order = np.random.default_rng(2).permutation(80)
    again = correct_lift(JudgedAnswers(question[order].tolist(), in_b[order], judged[order], human[order]))
    assert again.lift == pytest.approx(found.lift) and again.ci95 == pytest.approx(found.ci95)
    swapped = correct_lift(JudgedAnswers(question.tolist(), 1 - in_b, judged, human))
    assert swapped.lift == pytest.approx(-found.lift)
    assert swapped.ci95 == pytest.approx((-found.ci95[1], -found.ci95[0]))


def test_reviewers_count_as_their_mean():
    question, in_b, judged, truth = build_answers()
    both = correct_lift(JudgedAnswers(question.tolist(), in_b, judged, np.stack([truth, judged])))
    mean = correct_lift(JudgedAnswers(question.tolist(), in_b, judged, (truth + judged) / 2))
    assert both.lift == mean.lift and both.ci95 == mean.ci95


def test_the_draw_is_stratified_random_and_repeatable():
    _, in_b, judged, _ = build_answers(questions=50)
    drawn = draw_labels(in_b, judged, 80, seed=3)
    assert drawn == draw_labels(in_b, judged, 80, seed=3) != draw_labels(in_b, judged, 80, seed=4)
    for arm in (0, 1):
        for verdict in (0, 1):
            inside = np.flatnonzero((in_b == arm) & (judged == verdict))
            assert len(set(inside) & set(drawn)) == pytest.approx(len(inside) / 5, abs=0.51)
    few = draw_labels([0] * 50 + [1] * 50, [1] * 99 + [0], 10)
    assert 99 in few and len(few) == 11


def test_too_few_labels_are_not_estimable():
    question, in_b, judged, _ = build_answers()
    found = correct_lift(JudgedAnswers(question.tolist(), in_b, judged, np.full(80, np.nan)))
    assert found.lift is None and found.ci95 is None and found.labels == 0
    assert "have a human verdict" in found.reason and found.uncorrected.lift is not None


def test_labels_needed():
    assert labels_needed(5.0, full_half_width=6.0, answers_per_arm=120) is None
    assert labels_needed(10.0, full_half_width=6.0, answers_per_arm=120, disagreement_a=0, disagreement_b=0) == 8
    many = labels_needed(8.0, full_half_width=6.0, answers_per_arm=120)
    few = labels_needed(12.0, full_half_width=6.0, answers_per_arm=120)
    assert 8 < few < many <= 240
    # by hand: (0.1² / 1.96²) = 0.18 (1/n - 0) -> n = 69.1 -> 70 an arm
    assert labels_needed(10.0, full_half_width=0.0, answers_per_arm=10**9) == 140


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"judged": [0.5] * 80}, "judged must hold 0 or 1"),
        ({"judged": [np.nan] * 80}, "judged must hold 0 or 1"),
        ({"human": [2.0] * 80}, "human verdicts must be from 0 to 1"),
        ({"human": [1.0] * 79}, "one of each"),
        ({"in_b": [0] * 80}, "arm b has no answer to 0, 1"),
        ({"question": ["only"] * 80}, "at least 2"),
    ],
)
def test_bad_arrays_are_refused(change, words):
    question, in_b, judged, truth = build_answers()
    arrays = {"question": question.tolist(), "in_b": in_b, "judged": judged, "human": truth} | change
    with pytest.raises(ValueError, match=words):
        correct_lift(JudgedAnswers(**arrays))


def test_labels_asked_for_must_exist():
    with pytest.raises(ValueError, match="expected 1 to 2"):
        draw_labels([0, 1], [1, 1], 3)


@pytest.mark.parametrize("review", build_reviews()[:3], ids=lambda review: review.name)
def test_the_corrected_lift_covers_the_truth_and_the_biased_judges_does_not(review):
    found = measure_review(review, repetitions=250)
    assert found.corrected >= 0.93
    assert found.uncorrected < 0.90
