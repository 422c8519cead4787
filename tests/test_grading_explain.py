"""`grade --explain`, `rubric draft` and the lint of `check`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raglift.cli import app
from raglift.datasets import find_experiment
from raglift.errors import InputError
from raglift.grading.draft import draft_rubrics
from raglift.grading.explaining import explain_answers, explain_file, format_explanation
from raglift.grading.rubric import RubricGrader
from raglift.preflight import lint_experiment
from raglift.records import Answer, Counterfactual, Experiment, Passage, Question, Rubric

PASSAGE = Passage("precision", "Precision (정밀도) : TP / (TP + FP)")
RUBRIC = Rubric((("formula: TP / (TP + FP)",),), ("조화 평균", "x축"), ("TP/(TP+FP)야",), ("TP/(TP+FN)이야",))
ALTERED = Rubric((("formula: TP / (TP + TN)",),))
QUESTION = Question(
    "q1",
    "Precision 계산법?",
    "precision",
    "seen",
    "TP / (TP + FP) 야!",
    RUBRIC,
    Counterfactual("TP / (TP + TN)", ALTERED),
)


def write_lines(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def test_a_file_is_explained_per_requirement(tmp_path: Path) -> None:
    rows = [{"question_id": "q1", "answer": "TP/(TP+FP)이고 조화 평균이 아니야", "id": "a"}]
    (found,) = explain_file(write_lines(tmp_path / "a.jsonl", rows), [QUESTION], RubricGrader([PASSAGE]))
    shown = format_explanation(found)
    assert shown.startswith("q1 · a · correct")
    assert "ok    must[0]        'TP/(TP+FP)' at 0-10 by 'formula: TP / (TP + FP)'" in shown
    assert "must_not[0]    '조화 평균' is denied there" in shown
    assert "1 patterns, none found" in shown


def test_the_words_that_failed_an_answer_are_shown(tmp_path: Path) -> None:
    rows = [{"question_id": "q1", "answer": "TP/(TP+FP)를 x축에 둬"}, {"question_id": "q1", "answer": ""}]
    said, empty = explain_file(write_lines(tmp_path / "a.jsonl", rows), [QUESTION], RubricGrader([PASSAGE]))
    assert "FAILS must_not[1]    'x축' at" in format_explanation(said)
    assert "FAILS general        the answer is empty" in format_explanation(empty)


def test_a_runs_answers_are_explained_by_both_rubrics() -> None:
    answer = Answer("k", "sft.counterfactual", 0, "q1", 1, "TP/(TP+TN)이야", "prompt")
    own, altered = explain_answers([answer], [QUESTION], RubricGrader([PASSAGE]), "q1")
    assert (own.rubric, own.verdict, altered.rubric, altered.verdict) == (
        *("rubric", "incorrect"),
        *("counterfactual", "correct"),
    )
    with pytest.raises(InputError, match="no such question"):
        explain_answers([answer], [QUESTION], RubricGrader([PASSAGE]), "q2")


def test_explain_on_the_command_line(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"question_id": "seen-13", "answer": "TP / (TP + FP) 야!"}])
    call = ["grade", "--answers", str(file), "--questions", "ml-qa-ko", "--explain"]
    assert "seen-13 · 1 · correct" in CliRunner().invoke(app, call).output
    found = json.loads(CliRunner().invoke(app, [*call, "--question", "seen-13", "--json"]).stdout)
    assert found["explanations"][0]["requirements"][1]["words"] == ["TP / (TP + FP)"]
    assert isinstance(CliRunner().invoke(app, ["grade", "--explain"]).exception, InputError)
    assert isinstance(CliRunner().invoke(app, ["grade", "x", "--question", "q"]).exception, InputError)


def test_drafts_on_the_command_line() -> None:
    drafted = json.loads(CliRunner().invoke(app, ["rubric", "draft", "ml-qa-ko", "--question", "seen-13"]).stdout)
    assert drafted["must"] == [["formula: TP / (TP + FP)"]]
    assert drafted["draft"] is True
    assert len(draft_rubrics(find_experiment("ml-qa-ko"))) >= 30


def test_a_draft_needs_no_rubric_but_a_reference(tmp_path: Path) -> None:
    write_lines(tmp_path / "passages.jsonl", [{"id": PASSAGE.id, "text": PASSAGE.text}])
    row: dict[str, object] = {"id": "q1", "question": "Precision 계산법?", "passage_id": "precision"}
    write_lines(tmp_path / "questions.jsonl", [{**row, "reference": "TP / (TP + FP) 야!"}])
    assert draft_rubrics(tmp_path)["q1"]["must"] == [["formula: TP / (TP + FP)"]]
    write_lines(tmp_path / "questions.jsonl", [row])
    with pytest.raises(InputError, match=r"questions\.jsonl:1"):
        draft_rubrics(tmp_path)
    with pytest.raises(InputError, match="no such question"):
        draft_rubrics(tmp_path, "q9")


def make_experiment(rubric: Rubric) -> Experiment:
    question = Question("q1", "Precision 계산법?", "precision", "seen", "TP / (TP + FP) 야!", rubric)
    return Experiment("e", "folder", (PASSAGE,), (), (question,))


def test_errors_of_the_lint_always_stop_a_check() -> None:
    assert lint_experiment(make_experiment(RUBRIC)) == []
    with pytest.raises(InputError, match="the reference fails it"):
        lint_experiment(make_experiment(Rubric((("웜뱃",),), (), ("웜뱃이야",), ())))


def test_warnings_only_on_request() -> None:
    faults = lint_experiment(make_experiment(RUBRIC), thorough=True)
    assert [fault.severity for fault in faults] == ["warning"]
    assert "must_not: no example uses" in faults[0].text
