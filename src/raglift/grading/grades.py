"""The `grade` stage: a verdict for every answer of a run, or for answers from anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from raglift.datasets import dump_line, normalize_question, read_jsonl
from raglift.errors import InputError, suggest_name
from raglift.grading.rubric import RubricGrader
from raglift.progress import show_progress
from raglift.records import Answer, Experiment, Grade, Question, Rubric
from raglift.runfolder import RunFolder, recover_lines, write_atomically


class Grader(Protocol):
    """Gives one verdict; `rubric` replaces the question's own (a counterfactual's)."""

    name: str

    def grade(self, question: Question, answer_text: str, rubric: Rubric | None = None) -> Any:
        """An object with `verdict`, `reason` and `evidence`."""
        ...


def build_rubric_grader(experiment: Experiment) -> Grader:
    return RubricGrader(experiment.passages)


GRADERS: dict[str, Callable[[Experiment], Grader]] = {"rubric": build_rubric_grader}


def grade_run(folder: RunFolder, experiment: Experiment, grader: Grader, answers: Sequence[Answer]) -> list[Grade]:
    """Grade the answers and write `grades.<grader>.jsonl` in their order."""
    questions = {question.id: question for question in experiment.questions}
    grades = []
    with show_progress(f"grade ({grader.name})", len(answers)) as bar:
        for answer in answers:
            grades.append(grade_answer(grader, questions[answer.question_id], answer))
            bar.advance()
    write_grades(folder.grades(grader.name), grades)
    return grades


def grade_answer(grader: Grader, question: Question, answer: Answer) -> Grade:
    """One verdict by the question's rubric; beside an altered passage also whom the answer follows."""
    result = grader.grade(question, answer.text)
    follows = ""
    if answer.arm.endswith(".counterfactual") and question.counterfactual is not None:
        altered = grader.grade(question, answer.text, question.counterfactual.rubric)
        states = {altered.verdict: "passage", result.verdict: "memory"}
        follows = states.get("correct", "other") if altered.verdict != result.verdict else "other"
    reason = result.reason + (" (the answer was cut at its length limit)" if answer.truncated else "")
    return Grade(answer.key, question.id, result.verdict, reason, grader.name, tuple(result.evidence), follows)


def write_grades(file: Path, grades: Sequence[Grade]) -> None:
    """Replace a grades file atomically."""
    write_atomically(file, "".join(dump_line(dataclasses.asdict(grade)) for grade in grades))


def read_grades(file: Path) -> dict[str, Grade]:
    """Grades by answer key; of several rows for one key the last counts (a correction follows what it corrects)."""
    known = {field.name for field in dataclasses.fields(Grade)}
    grades = {}
    for row in recover_lines(file):
        if "key" in row:
            values = {key: value for key, value in row.items() if key in known}
            grades[row["key"]] = Grade(**{**values, "evidence": tuple(values.get("evidence", ()))})
    return grades


def grade_file(answers: Path, questions: Sequence[Question], grader: Grader, out: Path) -> dict[str, int]:
    """Grade answers from anywhere: `{question_id or question, answer, id?}` a line, verdicts in the same order.

    Returns how many answers got each verdict. Raises InputError naming file:line.
    """
    by_id = {question.id: question for question in questions}
    by_text = {normalize_question(question.question): question for question in questions}
    lines, counts = [], {"correct": 0, "incorrect": 0, "unscored": 0}
    rows = list(read_jsonl(answers))
    with show_progress(f"grade ({grader.name})", len(rows)) as bar:
        for number, row in rows:
            question = _find_question(row, f"{answers}:{number}", by_id, by_text)
            text = row.get("answer")
            if not isinstance(text, str):
                raise InputError(f"{answers}:{number}: answer", type(text).__name__, "a text")
            result = grader.grade(question, text)
            counts[result.verdict] += 1
            lines.append(
                {
                    "id": row.get("id", str(number)),
                    "question_id": question.id,
                    "verdict": result.verdict,
                    "reason": result.reason,
                    "grader": grader.name,
                    "evidence": list(result.evidence),
                }
            )
            bar.advance()
    write_atomically(out, "".join(dump_line(line) for line in lines))
    return counts


def _find_question(
    row: Mapping[str, Any], where: str, by_id: Mapping[str, Question], by_text: Mapping[str, Question]
) -> Question:
    name, text = row.get("question_id"), row.get("question")
    if isinstance(name, str) and name in by_id:
        return by_id[name]
    if name is None and isinstance(text, str) and normalize_question(text) in by_text:
        return by_text[normalize_question(text)]
    found = f"question_id {name!r}" if name is not None else f"question {text!r}"
    raise InputError(
        where,
        f"{found} is not among the questions",
        "a question_id (or the question's text) of the questions file",
        suggest_name(str(name), by_id) if name is not None else "",
    )
