"""The rubric grader as a whole: general checks, evidence, explanations, problems of rubrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raglift.datasets import load_questions
from raglift.errors import InputError
from raglift.grading.rubric import RubricGrader, check_rubric, explain_rubric, grade_rubric, title_of
from raglift.records import Passage, Question, Rubric

RECALL = Rubric(
    must=(("formula: TP / (TP + FN)", "실제 양성 … 찾"),),
    must_not=("예측 양성 & 비율", "x축"),
    passes=("TP/(TP+FN)이야",),
    fails=("TP/(TP+FP)야",),
)
ASKED = "Recall 이 뭐야?"
TITLE = "Recall (재현율)"


def test_reason_and_evidence_of_a_correct_answer() -> None:
    result = grade_rubric(RECALL, "재현율은 TP / (TP + FN) 으로 계산해! 😊", ASKED, TITLE)
    assert result.verdict == "correct"
    assert result.evidence == ("TP / (TP + FN)",)


def test_reason_names_the_requirement() -> None:
    missing = grade_rubric(RECALL, "잘 모르겠어!", ASKED, TITLE)
    assert missing.reason == "must[0]: none of 'formula: TP / (TP + FN)', '실제 양성 … 찾' found"
    denied = grade_rubric(RECALL, "TP / (TP + FN)이 아니야", ASKED)
    assert denied.reason.startswith("must[0]: denied")
    assert denied.evidence == ("TP / (TP + FN)",)
    said = grade_rubric(RECALL, "TP/(TP+FN)이고 X-axis에 둬", ASKED)
    assert said.reason == "must_not[1]: says 'x축'"
    assert said.evidence == ("X-axis",)


EMPTY = ["", "   ", "😊", "!!!", "\0\u200b"]
NOTHING_BUT_THE_QUESTION = [
    "Recall 이 뭐야?",
    "recall이 뭐야",
    "Recall 이 뭐야? 😊",
    "Recall 이 뭐야? 궁금하구나!",
    "재현율이 뭔지 알려줄게!",
]
NOTHING_BUT_THE_TITLE = ["Recall (재현율)", "재현율이야!", "Recall은 재현율이야! 😊", "Recall"]


@pytest.mark.parametrize("answer", [*EMPTY, *NOTHING_BUT_THE_QUESTION, *NOTHING_BUT_THE_TITLE])
def test_an_answer_without_an_answer_fails(answer: str) -> None:
    rubric = Rubric(must=(("재현율", "re: ."),))
    assert grade_rubric(rubric, answer, ASKED, TITLE).verdict == "incorrect"


def test_restating_the_question_first_is_no_fault() -> None:
    answer = "Recall 이 뭐야? Recall (재현율) 은 실제 양성 중에서 찾아낸 비율이야!"
    assert grade_rubric(RECALL, answer, ASKED, TITLE).is_correct


def test_a_name_answers_a_question_that_does_not_hold_it() -> None:
    rubric = Rubric(must=(("재현율",),))
    assert grade_rubric(rubric, "재현율이야!", "실제 양성 중 찾아낸 비율을 뭐라고 해?", TITLE).is_correct
    choice = "불량이 Positive 일 때 Recall 이랑 Precision 중에 뭐가 더 좋지?"
    assert grade_rubric(rubric, "Recall!", choice, TITLE).is_correct
    assert grade_rubric(rubric, "Recall 이 더 좋지!", choice, TITLE).is_correct


def test_explanation_shows_what_matched_and_where() -> None:
    answer = "재현율은 TP/(TP+FN)이야"
    rows = explain_rubric(RECALL, answer, ASKED, TITLE)
    assert [row.kind for row in rows] == ["general", "must", "must_not", "must_not", "contradiction"]
    assert all(row.fulfilled for row in rows)
    start, end = rows[1].places[0]
    assert answer[start:end] == "TP/(TP+FN)" == rows[1].words[0]
    assert rows[1].matched == "formula: TP / (TP + FN)"
    wrong = explain_rubric(RECALL, "TP/(TP+FN)이 아니라 예측 양성의 비율이야", ASKED)
    assert [row.fulfilled for row in wrong] == [True, False, False, True, True]
    assert wrong[1].denied == "TP/(TP+FN)"


def test_problems_of_a_rubric() -> None:
    assert check_rubric(RECALL) == []
    assert "must is empty" in check_rubric(Rubric(must=()))[0]
    assert "no alternative" in check_rubric(Rubric(must=((),)))[0]
    assert "must_not[0]" in check_rubric(Rubric(must=(("a",),), must_not=("re: (",)))[0]
    wrong = check_rubric(Rubric(must=(("재현율",),), passes=("정밀도야",), fails=("재현율이야",)))
    assert wrong[0].startswith("pass[0] '정밀도야' is graded incorrect: must[0]")
    assert wrong[1].startswith("fail[0] '재현율이야' is graded correct")


def test_a_bad_pattern_is_an_input_error() -> None:
    with pytest.raises(InputError, match="RE2"):
        grade_rubric(Rubric(must=(("re: (?<=a)b",),)), "b")


def make_question(rubric: Rubric) -> Question:
    return Question("q", ASKED, "recall", "seen", "TP/(TP+FN)이야", rubric)


def test_grader_knows_the_title_and_another_rubric() -> None:
    grader = RubricGrader([Passage("recall", "Recall (재현율) : TP / (TP + FN)")])
    loose = make_question(Rubric(must=(("재현율",),)))
    assert grader.name == "rubric"
    assert grader.grade(loose, "Recall은 재현율이야!").reason == "the answer only repeats the title"
    assert grader.grade(make_question(RECALL), "TP/(TP+FP)야", Rubric(must=(("formula: TP/(TP+FP)",),))).is_correct
    assert grader.explain(make_question(RECALL), "TP/(TP+FN)이야")[1].fulfilled
    assert title_of("Recall (재현율) : 비율") == TITLE
    assert title_of("no head") == ""


RECALL_ONLY = Rubric(
    must=(("formula: TP / (TP + FN)", "실제 양성 … 비율"),), must_not=("re: {predict}한것중", "formula: TP / (TP + FP)")
)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Recall 은 실제 양성 중 찾은 비율이고, Precision 은 예측한 것 중 실제 양성이야", True),
        ("Precision 은 TP/(TP+FP) 이고 Recall 은 TP/(TP+FN) 이야", True),
        ("Recall 은 예측한 것 중 실제 양성의 비율이고, Precision 은 실제 양성 중 찾은 비율이야", False),
        ("실제 양성 중 찾은 비율, 즉 예측한 것 중 맞은 거야", False),
        ("실제 양성 중 찾은 비율이야! 반대로 예측한 것 중 실제 양성인 건 Precision 이야", True),
        ("실제 양성 중 찾은 비율이야! 예측한 것 중에서 보면 Precision 이 되지", True),
        ("실제 양성 중 찾은 비율이야! 예측한 것 중 실제 양성인 건 Recall 이야", False),
        ("실제 양성 중 찾은 비율이야! 예측한 것 중 맞은 거지! Precision 도 있어", False),
    ],
)
def test_a_remark_about_a_neighbour_is_no_fault(answer: str, right: bool) -> None:
    assert grade_rubric(RECALL_ONLY, answer, ASKED).is_correct is right
    forbidden = [row for row in explain_rubric(RECALL_ONLY, answer, ASKED) if row.kind == "must_not"]
    assert all(row.fulfilled for row in forbidden) is right


@pytest.mark.parametrize(
    ("second", "right"),
    [
        ("민감도라고도 해!", True),
        ("정밀도라고도 해!", False),
        ("다른 말로 정밀도야!", False),
        ("Precision 과 같은 값이지!", False),
        ("Precision 과 같은 값이 아니야!", True),
        ("Negative 쪽에서는 특이도라고 해!", True),
        ("높을수록 좋지!", True),
        ("낮을수록 좋지!", False),
        ("0 에 가까울수록 나쁘지!", True),
        ("FN 이 많을수록 낮아지지!", True),
        ("FN 이 적을수록 높아!", True),
        ("FN 이 많으면 높아지지!", False),
        ("FN 이 많을수록 낮아지지 않아!", True),
        ("Precision 은 FP 가 많을수록 낮아져!", True),
        ("Precision 은 FP 가 많을수록 높아져!", False),
        ("높을수록 FNR 이 낮지!", True),
        ("높을수록 FNR 도 높지!", False),
        ("FN 이 적을수록 좋지!", True),
        ("FN 이 많을수록 좋지!", False),
        ("참고로 Precision 은 TP / (TP + FP) 지!", True),
        ("참고로 Precision 은 TP / (FN + FP) 지!", True),
        ("참고로 Precision 은 TP / (TP + FN) 이지!", False),
    ],
)
def test_a_second_sentence_against_what_is_known_fails(second: str, right: bool) -> None:
    answer = f"실제 양성 중에서 찾아낸 비율이야! {second}"
    rubric = Rubric(must=(("실제 양성 … 비율",),))
    result = grade_rubric(rubric, answer, ASKED)
    assert result.is_correct is right
    assert right or result.reason.startswith("contradiction: ")
    assert all(row.fulfilled for row in explain_rubric(rubric, answer, ASKED)) is right


def test_what_the_rubric_asks_for_is_no_contradiction() -> None:
    altered = Rubric(must=(("re: {precision}의다른이름",),))
    assert grade_rubric(altered, "Recall 은 Precision 의 다른 이름이야", ASKED).is_correct
    altered = Rubric(must=(("formula: TP / (TP + FP)",),))
    assert grade_rubric(altered, "Recall 은 TP / (TP + FP) 야", ASKED).is_correct


def test_what_is_set_aside_is_no_subject() -> None:
    rubric = Rubric(must=(("Precision",),), must_not=("re: {precision}만고려",))
    asked = "F1 Score 는 왜 쓰는 거지?"
    assert not grade_rubric(rubric, "F1 Score 는 Recall 은 고려하지 않고 Precision 만 고려해", asked).is_correct
    assert grade_rubric(rubric, "F1 Score 와 달리 Recall 은 Precision 만 고려해", asked).is_correct


def test_blind_answers() -> None:
    """Answers labelled before the rubrics were read or mended by them; a bar for whoever edits rubrics."""
    file = Path(__file__).parent / "data" / "blind_answers.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    questions, passages = load_questions("ml-qa-ko")
    by_id, grader = {question.id: question for question in questions}, RubricGrader(passages)
    differ = [
        row for row in rows if grader.grade(by_id[row["question_id"]], row["answer"]).is_correct != row["correct"]
    ]
    assert len(rows) > 800
    assert len(differ) <= len(rows) // 40, differ


def load_bundled() -> list[dict[str, object]]:
    file = Path(__file__).parents[1] / "src/raglift/data/ml-qa-ko/questions.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def to_rubric(raw: dict[str, list]) -> Rubric:  # type: ignore[type-arg]
    must = tuple(tuple(group) for group in raw["must"])
    return Rubric(must, tuple(raw.get("must_not", ())), tuple(raw["pass"]), tuple(raw["fail"]))


def test_every_bundled_example_agrees() -> None:
    examples = 0
    for row in load_bundled():
        counterfactual = row.get("counterfactual") or {}
        for raw in (row["rubric"], counterfactual.get("rubric")):  # type: ignore[attr-defined]
            if raw:
                rubric = to_rubric(raw)  # type: ignore[arg-type]
                assert check_rubric(rubric, str(row["question"])) == [], row["id"]
                examples += len(rubric.passes) + len(rubric.fails)
    assert examples >= 500


def test_answers_that_no_rubric_was_written_for() -> None:
    """Answers to the founding questions, graded by hand apart from the rubrics: at most 1 in 40 may differ."""
    file = Path(__file__).parent / "data" / "grading_answers.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    questions = {row["id"]: row for row in load_bundled()}
    differ = []
    for row in rows:
        question = questions[row["question_id"]]
        result = grade_rubric(to_rubric(question["rubric"]), row["answer"], str(question["question"]))  # type: ignore[arg-type]
        if result.verdict != row["verdict"]:
            differ.append((row["answer"], result.reason))
    assert len(rows) > 350
    assert len(differ) <= len(rows) // 40, differ
