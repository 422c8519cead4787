"""Agreement of graders: worked examples from the literature."""

import math

import pytest

from raglift.statistics.agreement import compute_alpha, compute_kappa, measure_agreement


def spell(text):
    return [None if mark in "*." else mark for mark in text.replace(" ", "")]


def expand(table):
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def test_kappa_by_hand():
    found = measure_agreement(*expand([[20, 5], [10, 15]]))
    assert found.table == ((20, 5), (10, 15)) and found.labels == (0, 1)
    assert found.agreed == 70.0 and found.kappa == pytest.approx(0.4)  # (0.7 - 0.5) / (1 - 0.5)
    # Fleiss, Cohen & Everitt by hand: 0.0668 + 0.0306 - 0.01 = ... sqrt gives 0.1285
    low, high = found.kappa_ci95
    assert (high - low) / 2 / 1.959964 == pytest.approx(0.1266, abs=0.003)
    assert (low + high) / 2 == pytest.approx(0.4)


def test_kappa_of_fleiss_cohen_everitt_1969():
    # the worked example of the paper: 200 cases, three labels, kappa 0.429, variance 0.002885
    table = [[106, 10, 4], [22, 28, 10], [2, 12, 6]]
    found = measure_agreement(*expand(table))
    assert found.kappa == pytest.approx(0.429, abs=0.0005)
    assert ((found.kappa_ci95[1] - found.kappa_ci95[0]) / 2 / 1.959964) ** 2 == pytest.approx(0.002885, abs=2e-5)


def test_missing_verdicts_are_left_out_and_counted():
    found = measure_agreement(["yes", None, "no", "no"], ["yes", "yes", None, "no"])
    assert (found.answers, found.left_out, found.kappa) == (2, 2, 1.0)


@pytest.mark.parametrize(("first", "second"), [([], []), ([None], ["yes"]), (["yes"] * 5, ["yes"] * 5)])
def test_undefined_kappa_is_none_and_not_nan(first, second):
    found = measure_agreement(first, second)
    assert found.kappa is None and found.kappa_ci95 is None


def test_answers_to_one_question_count_less_than_separate_ones():
    first = ["yes"] * 40 + ["no"] * 40
    second = ["yes"] * 36 + ["no"] * 40 + ["yes"] * 4  # errors come in fours: two questions
    clusters = [place // 4 for place in range(80)]
    apart, together = measure_agreement(first, second), measure_agreement(first, second, clusters=clusters)
    assert apart.kappa == together.kappa == pytest.approx(0.8)
    width = [found.kappa_ci95[1] - found.kappa_ci95[0] for found in (apart, together)]
    assert width[1] > 1.3 * width[0]
    alone = measure_agreement(first, second, clusters=list(range(80)))
    assert alone.kappa_ci95[1] - alone.kappa_ci95[0] == pytest.approx(width[0], rel=0.12)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="1 verdicts against 2"):
        measure_agreement(["yes"], ["yes", "no"])
    with pytest.raises(ValueError, match="clusters"):
        measure_agreement(["yes"], ["no"], clusters=[1, 2])
    with pytest.raises(ValueError, match="same answers"):
        compute_alpha([["yes"], ["yes", "no"]])


def test_alpha_of_krippendorff_2011_two_graders():
    # section A: binary data, two observers, ten units: alpha 0.095
    assert compute_alpha([spell("0100000000"), spell("1110010100")]) == pytest.approx(0.095, abs=0.0005)


def test_alpha_of_krippendorff_2011_missing_values():
    # section C: nominal data, four observers, twelve units, missing data: alpha 0.743
    rows = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    assert compute_alpha([spell(row) for row in rows]) == pytest.approx(0.743, abs=0.0005)


def test_undefined_alpha_is_none():
    assert compute_alpha([]) is None
    assert compute_alpha([["yes", "yes"], ["yes", "yes"]]) is None
    assert compute_alpha([["yes", None], [None, "no"]]) is None


def test_perfect_and_chance_agreement():
    assert compute_alpha([["a", "b", "a"]] * 3) == pytest.approx(1.0)
    assert compute_kappa([[25, 25], [25, 25]]) == pytest.approx(0.0)
    assert not math.isnan(compute_kappa([[0, 5], [5, 0]]))
