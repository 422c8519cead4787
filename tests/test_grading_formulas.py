"""Formulas as they are written and said, the same and others."""

from __future__ import annotations

import pytest

from raglift.grading.formulas import find_formulas, read_formula
from raglift.grading.reading import read_text
from raglift.grading.rubric import grade_rubric
from raglift.grading.terms import load_terms
from raglift.records import Rubric

SAME = [
    ("2PR / (P + R)", "F1은 2PR/(P+R)"),
    ("2PR / (P + R)", "2 * Precision * Recall / (Precision + Recall)"),
    ("2PR / (P + R)", "2·P·R ÷ (P+R)"),
    ("2PR / (P + R)", "2 x (정밀도 x 재현율) / (정밀도 + 재현율)"),
    ("2PR / (P + R)", "정밀도와 재현율을 곱한 값의 2배를 두 값의 합으로 나눈 값이야"),
    ("2PR / (P + R)", "2 곱하기 정밀도 곱하기 재현율을 정밀도와 재현율의 합으로 나눈 값"),
    ("2PR / (P + R)", "2TP/(2TP+FP+FN)"),
    ("2PR / (P + R)", "정밀도와 재현율을 곱하고 2를 곱한 뒤 정밀도와 재현율을 더한 값으로 나눠"),
    ("2PR / (P + R)", "2 * (Precision * Recall) / (Precision + Recall)"),
    ("2PR / (P + R)", "2 Precision Recall / (Precision + Recall)"),
    ("2PR / (P + R)", "2 / (1/P + 1/R)"),
    ("2PR / (P + R)", "2×재현율×정밀도/(재현율+정밀도)"),
    ("2PR / (P + R)", "정밀도와 재현율의 곱의 2배를 정밀도와 재현율의 합으로 나눈 값"),
    ("2PR / (P + R)", "F1 Score = 2 × (Precision × Recall) / (Precision + Recall) 이야! 😊"),
    ("2PR / (P + R)", "F1 Score 는 2 * P * R / (P + R) 로 계산해! (P: Precision, R: Recall)"),
    ("2PR / (P + R)", "F1 = 2 * (P*R)/(P+R), 여기서 P는 TP/(TP+FP), R은 TP/(TP+FN)이야"),
    ("2PR / (P + R)", "2PR / (P + R) 이야! P는 Precision, R은 Recall 이지! 😊"),
    ("2PR / (P + R)", "Recall과 Precision의 곱에 2를 곱하고, Recall과 Precision의 합으로 나누면 돼!"),
    ("2PR / (P + R)", "F1-score = 2 * precision * recall / (precision + recall)"),
    ("2PR / (P + R)", "2RP/(R+P)"),
    ("2PR / (P + R)", "2PR / (P + R) (P : Precision, R : Recall) 이야"),
    ("2PR / (P + R)", "(2 * Recall * Precision) / (Recall + Precision)"),
    ("2PR / (P + R)", "정밀도와 재현율을 더한 값을 분모로, 2 곱하기 정밀도 곱하기 재현율을 분자로 하는 식"),
    ("2PR / (P + R)", "2*recall*precision/recall+precision 이 아니라 2*recall*precision/(recall+precision)이야"),
    ("2PR / (P + R)", "F1 = 2 \\times \\frac{P \\times R}{P + R}"),
    ("2PR / (P + R)", "$$F1 = \\frac{2PR}{P+R}$$"),
    ("2PR / (P + R)", "Precision 과 Recall 을 곱한 값에 2를 곱하고 Precision 과 Recall 의 합으로 나눠서 구해!"),
    ("2PR / (P + R)", "2×P×R을 P+R로 나눈 값"),
    ("2PR / (P + R)", "F1 = 2 * ((precision * recall) / (precision + recall))"),
    ("TP / (TP + FN)", "재현율은 TP를 TP와 FN의 합으로 나눈 값이야"),
    ("TP / (TP + FP)", "TP 를 모델이 Positive 라고 예측한 모든 개수 (TP + FP) 로 나누면 돼"),
    ("TP / (TP + FN)", "TP 개수를 실제 Positive 개수인 TP + FN 으로 나눈 값"),
    ("TP / (TP + FP)", "TP 나누기 TP 더하기 FP 로 계산해"),
    ("2PR / (P + R)", "2 곱하기 P 곱하기 R 나누기 P 더하기 R"),
    ("√(x)", "√x"),
    ("√(x)", "x의 제곱근"),
    ("σ / √n", "표준편차를 n의 제곱근으로 나눈 값"),
    ("1 - Σ p²", "1 - ∑p^2"),
    ("TP / (TP + FN)", "TP와 FN을 더한 것 중 TP의 비율"),
    ("TP / (TP + FN)", "TP 를 (TP + FN) 으로 나눈 비율이야! 😊"),
    ("TP / (TP + FN)", "True Positive 를 True Positive 와 False Negative 를 더한 값으로 나누면 돼! 😊"),
    ("TP / (TP + FN)", "Recall 은 TP 를 TP 와 FN 의 합으로 나누어서 계산해!"),
    ("TP / (TP + FN)", "TP / (TP + FN) 이야, 즉 실제 Positive 중에서 맞힌 비율이지!"),
    ("TP / (TP + FN)", "재현율 = TP/(TP+FN), 정밀도 = TP/(TP+FP)"),
    ("TP / (TP + FN)", "진양성 수를 진양성 수와 위음성 수의 합으로 나눠"),
    ("TP / (TP + FN)", "TP 개수를 TP 개수와 FN 개수를 합친 값으로 나눈다"),
    ("TP / (TP + FN)", "TP / 실제 양성"),
    ("TP / (TP + FN)", "실제 Positive (TP + FN) 중에서 TP 의 비율이야!"),
    ("TP / (TP + FN)", "TP를 전체 실제 양성(TP+FN)으로 나눈 값"),
    ("TP / (TP + FN)", "1 - FN/(TP+FN)"),
    ("TP / (TP + FN)", "TP /( FN+TP)"),
    ("TP / (TP + FN)", "TP+FN 으로 TP를 나눈 값"),
    ("TP / (TP + FN)", "TP: TP+FN 의 비율? 즉 TP/(TP+FN)"),
    ("TP / (TP + FN)", "TP÷(TP＋FN)"),
    ("TP / (TP + FN)", "TP∕(TP+FN)"),
    ("TP / (TP + FN)", "분자가 TP이고 분모가 TP + FN"),
    ("TP / (TP + FN)", "Recall 은 분모가 실제 Positive 개수, 분자가 TP 인 비율이야!"),
    ("TP / (TP + FN)", "분모는 TP와 FN의 합, 분자는 TP야"),
    ("TP / (TP + FN)", "TP(참 양성)를 TP(참 양성)+FN(거짓 음성)으로 나눈 값"),
    ("(x - 평균) / 표준편차", "(x - μ) / σ"),
    ("(x - 평균) / 표준편차", "값에서 평균을 빼고 표준편차로 나눈 값"),
    ("(x - 평균) / 표준편차", "각 값에서 평균을 뺀 뒤 표준편차로 나눠"),
    ("(x - 평균) / 표준편차", "(데이터 - 평균) / 표준편차"),
    ("(x - 평균) / 표준편차", "(값 - 평균) ÷ 표준편차"),
    ("(x - 평균) / 표준편차", "데이터에서 평균을 빼고 표준편차로 나누는 방법"),
    ("(x - 평균) / 표준편차", "평균을 뺀 값을 표준편차로 나눠"),
    ("(x - 평균) / 표준편차", "평균을 빼고 표준편차로 나눠"),
    ("(x - 평균) / 표준편차", "원래 값에서 평균값을 뺀 후 표준편차로 나눠"),
    ("(x - 평균) / 표준편차", "z = (x-mean)/std"),
    ("(x - 평균) / 표준편차", "(X - 평균)/표준 편차"),
    ("(x - min) / (max - min)", "(x - min)/(max - min)"),
    ("(x - min) / (max - min)", "값에서 최솟값을 빼고 최댓값과 최솟값의 차이로 나눈 값"),
    ("(x - min) / (max - min)", "(값 - 최솟값) / (최댓값 - 최솟값)"),
    ("(x - min) / (max - min)", "최솟값을 빼고 최댓값에서 최솟값을 뺀 값으로 나눠"),
    ("(x - min) / (max - min)", "x에서 최소값을 뺀 값을 최대값과 최소값의 차로 나눈다"),
    ("1 / (1 + e^(-x))", "1/(1+e^-x)"),
    ("1 / (1 + e^(-x))", "1 / (1 + e^(-x))"),
    ("1 / (1 + e^(-x))", "1/(1+exp(-x))"),
    ("1 / (1 + e^(-x))", "1÷(1+e⁻ˣ)"),
    ("1 / (1 + e^(-x))", "1을 1+e^(-x)로 나눈 값"),
    ("1 / (1 + e^(-x))", "\\frac{1}{1+e^{-x}}"),
    ("(TP + TN) / 전체", "(TP+TN)/(TP+TN+FP+FN)"),
    ("(TP + TN) / 전체", "TP와 TN의 합을 전체 개수로 나눈 값"),
    ("(TP + TN) / 전체", "(TP + TN) / 전체 테스트 항목 수"),
    ("(TP + TN) / 전체", "전체 중에서 TP와 TN의 합의 비율"),
    ("(TP + TN) / 전체", "맞힌 개수인 TP + TN 을 전체 데이터 수로 나눠"),
    ("(TP + TN) / 전체", "TP 와 TN 을 더한 값을 전체 개수로 나누면 돼! 😊"),
    ("(TP + TN) / 전체", "전체 데이터 중 TP + TN 의 비율이야!"),
    ("(TP + TN) / 전체", "TP+TN을 TP+TN+FP+FN으로 나눈 값"),
    ("(TP + TN) / 전체", "(TP + TN) / (전체 데이터 개수) 로 계산하지!"),
    ("(TP + TN) / 전체", "TP와 TN을 합해서 전체로 나눠"),
    ("(TP + TN) / 전체", "전체 데이터 수 분의 TP + TN"),
    ("A·B / (|A||B|)", "(A·B)/(|A||B|)"),
    ("A·B / (|A||B|)", "A·B / (‖A‖‖B‖)"),
    ("A·B / (|A||B|)", "A·B / (|A| * |B|)"),
    ("A·B / (|A||B|)", "cos θ = A·B / (|A| |B|)"),
    ("(W - F + 2P) / S + 1", "(W - F + 2P)/S + 1"),
    ("TN / (FP + TN)", "TN/(FP+TN)"),
    ("TN / (FP + TN)", "TN 을 FP 와 TN 의 합으로 나눈 값"),
    ("TN / (FP + TN)", "TN / (TN + FP) = TN / 실제 음성"),
    ("TN / (FP + TN)", "True Negative / (False Positive + True Negative)"),
    ("TP / (TP + FP + FN)", "TP/(TP+FP+FN)"),
    ("TP / (TP + FP + FN)", "TP를 TP, FP, FN의 합으로 나눈 값"),
    ("TP / (TP + FP + FN)", "TP를 TP와 FP와 FN을 모두 더한 값으로 나눈 값"),
    ("TP / (TP + FP + FN)", "TP / (FN+FP+TP)"),
]
OTHER = [
    ("2PR / (P + R)", "(P+R)/(2PR)"),
    ("1 - Σ p²", "1 - Σ p"),
    ("TP / (TP + FN)", "TP 개수를 실제 Positive 개수인 TP + FP 로 나눈 값"),
    ("TP / (TP + FP)", "TP / TP + FP"),
    ("2PR / (P + R)", "PR/(P+R)"),
    ("2PR / (P + R)", "(P+R)/2"),
    ("2PR / (P + R)", "2(P+R)/PR"),
    ("2PR / (P + R)", "2 * P * R"),
    ("2PR / (P + R)", "P*R/(P+R)*4"),
    ("2PR / (P + R)", "2PR/(P-R)"),
    ("2PR / (P + R)", "2(P + R) / (P * R)"),
    ("2PR / (P + R)", "2TP/(TP+FP+FN)"),
    ("2PR / (P + R)", "정밀도와 재현율을 더하고 2로 나눈 값"),
    ("TP / (TP + FN)", "TP/(TP+FP)"),
    ("TP / (TP + FN)", "FN/(TP+FN)"),
    ("TP / (TP + FN)", "TP*(TP+FN)"),
    ("TP / (TP + FN)", "TP/(TP+FN)이야. 다시 말해 TP/(TP+TN)이야"),
    ("TP / (TP + FN)", "Recall은 TP/(TP+FN), 즉 TP / (TP + FP)야"),
    ("TP / (TP + FN)", "(TP+FN)/TP"),
    ("TP / (TP + FN)", "TP/(TP-FN)"),
    ("TP / (TP + FN)", "TP+FN"),
    ("TP / (TP + FN)", "TP를 TP와 FP의 합으로 나눈 값"),
    ("TP / (TP + FN)", "TP / FN"),
    ("TP / (TP + FN)", "TP와 FN의 합"),
    ("TP / (TP + FN)", "TP와 FN을 TP로 나눈 값"),
    ("TP / (TP + FN)", "재현율은 TP / TP + FN"),
    ("(x - 평균) / 표준편차", "값에서 평균을 빼고 분산으로 나눈 값"),
    ("(x - 평균) / 표준편차", "평균으로 나누고 표준편차를 뺀 값"),
    ("(x - 평균) / 표준편차", "(x - 표준편차)/평균"),
    ("(x - 평균) / 표준편차", "값에서 최솟값을 빼고 표준편차로 나눈"),
    ("(x - min) / (max - min)", "(x-max)/(max-min)"),
    ("(x - min) / (max - min)", "(x - min)/max"),
    ("(x - min) / (max - min)", "값에서 평균을 빼고 최댓값과 최솟값의 차이로 나눈 값"),
    ("1 / (1 + e^(-x))", "1/(1-e^-x)"),
    ("1 / (1 + e^(-x))", "1/(1+e^x)"),
    ("1 / (1 + e^(-x))", "e^x/(1+e^-x)"),
    ("(TP + TN) / 전체", "(TP+TN)/(TP+FN)"),
    ("(TP + TN) / 전체", "TP/전체"),
    ("(TP + TN) / 전체", "(TP+FP)/전체"),
    ("(TP + TN) / 전체", "TP와 TN의 합"),
    ("A·B / (|A||B|)", "A·B"),
    ("A·B / (|A||B|)", "A·B/(|A|+|B|)"),
    ("(W - F + 2P) / S + 1", "(W - F + P)/S + 1"),
    ("(W - F + 2P) / S + 1", "(W-F+2P)/S"),
    ("(W - F + 2P) / S + 1", "(W-F+2P)/S-1"),
    ("TN / (FP + TN)", "FP/(FP+TN)"),
    ("TN / (FP + TN)", "TN/(TN+FN)"),
    ("TP / (TP + FP + FN)", "TP/(TP+FN)"),
    ("TP / (TP + FP + FN)", "TP/(TP+FP+FN+TN)"),
]


def grade(formula: str, answer: str, question: str = "") -> str:
    return grade_rubric(Rubric(must=((f"formula: {formula}",),)), answer, question).verdict


@pytest.mark.parametrize(("formula", "answer"), SAME)
def test_same_formula(formula: str, answer: str) -> None:
    assert grade(formula, answer) == "correct"


@pytest.mark.parametrize(("formula", "answer"), OTHER)
def test_other_formula(formula: str, answer: str) -> None:
    assert grade(formula, answer) == "incorrect"


CONTRADICTIONS = [
    "Recall은 TP / (TP + FN)이야. 아니, TP / (TP + FP)야",
    "TP / (TP + FN), 즉 TP / (TP + FP)야",
    "재현율은 TP / (TP + FN)이고, 재현율은 TP / (TP + TN)이기도 해",
]
NO_CONTRADICTIONS = [
    "Recall은 TP / (TP + FN)이고 Precision은 TP / (TP + FP)야",
    "Recall은 TP / (TP + FP)가 아니라 TP / (TP + FN)이야",
    "Recall은 TP / (TP + FN) = TP / 실제 양성이야",
    "TP / (TP + FN)이야. 예를 들면 8 / (8 + 2) = 0.8이야",
    "TP / (TP + FN)으로 구해. TP/FP/FN 개수를 세면 돼",
]


@pytest.mark.parametrize("answer", CONTRADICTIONS)
def test_another_formula_for_the_same_thing_contradicts(answer: str) -> None:
    assert grade("TP / (TP + FN)", answer, "Recall 계산법 어떻게 하는 거지?") == "incorrect"


@pytest.mark.parametrize("answer", NO_CONTRADICTIONS)
def test_formulas_of_other_things_do_not(answer: str) -> None:
    assert grade("TP / (TP + FN)", answer, "Recall 계산법 어떻게 하는 거지?") == "correct"


def test_a_wrong_formula_contradicts_right_words() -> None:
    rubric = Rubric(must=(("formula: TP / (TP + FN)", "실제 양성 … 찾"),))
    right = grade_rubric(rubric, "실제 양성 중에서 찾은 비율이야", "Recall이 뭐야?")
    wrong = grade_rubric(rubric, "실제 양성 중에서 찾은 비율이야! TP / (TP + FP)로 구해", "Recall이 뭐야?")
    assert right.is_correct
    assert not wrong.is_correct
    assert wrong.evidence == ("TP / (TP + FP)",)


def test_what_is_no_formula() -> None:
    for text in (
        "실제 Negative 중에서 모델이 찾은 비율",
        "Min-Max와 Z-Score가 있어",
        "TP, TN, FP, FN의 표야",
        "2024년 3월",
    ):
        assert find_formulas(read_text(text, load_terms())) == ()


def test_metrics_are_worth_their_counts() -> None:
    table = load_terms()
    assert read_formula("2PR / (P + R)", table).equals(read_formula("2TP / (2TP + FP + FN)", table))
    assert read_formula("1 - 특이도", table).equals(read_formula("FP / (FP + TN)", table))
    assert not read_formula("1 - 재현율", table).equals(read_formula("FP / (FP + TN)", table))
