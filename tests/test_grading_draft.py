"""Drafts of rubrics and the faults of finished ones."""

from __future__ import annotations

import pytest

from raglift.grading.draft import draft_rubric, find_neighbours, lint_rubrics
from raglift.grading.rubric import check_rubric, grade_rubric
from raglift.grading.terms import load_terms
from raglift.records import Counterfactual, Passage, Question, Rubric

RECALL_PASSAGE = "Recall (재현율) : 실제 Positive 중에서 찾아낸 비율 | TP / (TP + FN)"
PRECISION_PASSAGE = "Precision (정밀도) : 예측 Positive 중에서 맞은 비율 | TP / (TP + FP)"


@pytest.mark.parametrize(
    ("question", "passage", "reference", "expected"),
    [
        ("Recall 계산법?", RECALL_PASSAGE, "Recall 은 TP / (TP + FN) 으로 계산해! 😊", "formula: TP / (TP + FN)"),
        ("F1이 뭐야?", "F1 : Recall 과 Precision 의 조화 평균", "Recall 과 Precision 의 조화 평균이야!", "조화 평균"),
        ("PR-AUC?", "PR-AUC : x축 Recall, y축 Precision", "x축이 Recall, y축이 Precision 인 면적이야", "x축 … 재현율"),
        ("코사인 유사도 범위는?", "코사인 유사도 : -1.0 ~ +1.0", "-1.0 에서 1.0 사이야!", "-1"),
        ("부스팅이 뭐야?", "부스팅 : 약한 학습기를 순서대로 보완", "약한 학습기를 순서대로 보완하는 거야!", "학습기"),
    ],
)
def test_draft_asks_for_what_the_reference_adds(question: str, passage: str, reference: str, expected: str) -> None:
    rubric = draft_rubric(question, passage, reference)
    assert rubric.draft
    assert any(expected in alternative for group in rubric.must for alternative in group)
    assert check_rubric(rubric, question) == []


def test_draft_tells_the_neighbour_apart() -> None:
    rubric = draft_rubric("Recall 계산법?", RECALL_PASSAGE, "Recall 은 TP / (TP + FN) 으로 계산해!")
    assert grade_rubric(rubric, "TP를 TP와 FN의 합으로 나눠").is_correct
    assert not grade_rubric(rubric, "TP / (TP + FP)로 계산해").is_correct


def make_questions(recall: Rubric, altered: Rubric) -> tuple[list[Question], list[Passage]]:
    passages = [Passage("recall", RECALL_PASSAGE), Passage("precision", PRECISION_PASSAGE)]
    counterfactual = Counterfactual(RECALL_PASSAGE.replace("FN", "TN"), altered)
    precision = Rubric((("formula: TP / (TP + FP)",),), (), ("TP/(TP+FP)야",), ("TP/(TP+FN)이야",))
    return [
        Question("q1", "Recall 계산법?", "recall", "seen", "TP / (TP + FN) 이야!", recall, counterfactual),
        Question("q2", "Precision 계산법?", "precision", "seen", "TP / (TP + FP) 야!", precision),
    ], passages


GOOD = Rubric((("formula: TP / (TP + FN)",),), (), ("TP/(TP+FN)이야",), ("TP/(TP+FP)야",))
ALTERED = Rubric((("formula: TP / (TP + TN)",),), (), ("TP/(TP+TN)이야",), ("TP/(TP+FN)이야",))


def test_good_rubrics_have_no_fault() -> None:
    assert lint_rubrics(*make_questions(GOOD, ALTERED)) == []


@pytest.mark.parametrize(
    ("rubric", "altered", "text"),
    [
        (Rubric((("TP",),), (), ("TP야",), ("FN이야",)), ALTERED, "accepts the reference of q2"),
        (Rubric((("formula: TP / (TP + FN)", "웜뱃"),), (), ("TP/(TP+FN)",), ()), ALTERED, "no example uses 1 of 2"),
        (Rubric((("웜뱃",),), (), ("웜뱃이야",), ()), ALTERED, "the reference fails it"),
        (Rubric((("TP",),), (), ("TP야",), ()), ALTERED, "accepts what follows the altered passage"),
        (GOOD, Rubric((("TP",),), (), ("TP야",), ()), "accepts the true reference"),
        (Rubric((("정밀도",),), (), ("재현율이야",), ()), ALTERED, "pass[0] '재현율이야' is graded incorrect"),
    ],
)
def test_faults_are_named(rubric: Rubric, altered: Rubric, text: str) -> None:
    faults = lint_rubrics(*make_questions(rubric, altered))
    assert any(text in fault.text for fault in faults), faults


def test_neighbours_are_of_other_passages() -> None:
    questions, _ = make_questions(GOOD, ALTERED)
    assert find_neighbours(questions, load_terms()) == {"q1": [questions[1]], "q2": [questions[0]]}
