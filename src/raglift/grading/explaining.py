"""`raglift grade --explain`: per requirement of a rubric what matched, by which words and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raglift.errors import InputError, suggest_name
from raglift.grading.grades import list_tasks, read_texts
from raglift.grading.rubric import Requirement, RubricGrader, name_patterns, shorten
from raglift.records import Answer, Question


@dataclass(frozen=True)
class Explanation:
    """One answer with its verdict and every requirement of the rubric it was read by."""

    id: str
    question_id: str
    rubric: str
    answer: str
    verdict: str
    reason: str
    requirements: tuple[Requirement, ...]


def explain_file(
    answers: Path, questions: Sequence[Question], grader: RubricGrader, question_id: str | None = None
) -> list[Explanation]:
    """Explain answers from anywhere (as `grade_file` reads them), of one question or of all."""
    check_question_id(question_id, questions)
    rows = [(row_id, question, text) for row_id, question, text in read_texts(answers, questions)]
    kept = [row for row in rows if question_id in (None, row[1].id)]
    return [_explain(grader, row_id, question, text) for row_id, question, text in kept]


def explain_answers(
    answers: Sequence[Answer], questions: Sequence[Question], grader: RubricGrader, question_id: str | None = None
) -> list[Explanation]:
    """Explain a run's answers; beside an altered passage by both rubrics."""
    check_question_id(question_id, questions)
    by_id = {question.id: question for question in questions}
    found: list[Explanation] = []
    for answer in answers:
        if question_id not in (None, answer.question_id):
            continue
        question = by_id[answer.question_id]
        name = f"{answer.arm} seed {answer.seed} sample {answer.sample}"
        found += [_explain(grader, name, question, answer.text, task.rubric) for task in list_tasks(question, answer)]
    return found


def check_question_id(question_id: str | None, questions: Sequence[Question]) -> None:
    """InputError for an id that no question has."""
    known = [question.id for question in questions]
    if question_id is not None and question_id not in known:
        raise InputError(
            f"--question {question_id}", "no such question", "a question's id", suggest_name(question_id, known)
        )


def _explain(grader: RubricGrader, row_id: str, question: Question, text: str, altered: Any = None) -> Explanation:
    result = grader.grade(question, text, altered)
    requirements = grader.explain(question, text, altered)
    name = "rubric" if altered is None else "counterfactual"
    return Explanation(row_id, question.id, name, text, result.verdict, result.reason, requirements)


def explanation_as_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation as a JSON object."""
    return asdict(explanation)


def format_explanation(explanation: Explanation) -> str:
    """An explanation to read in a terminal; patterns of `must_not` that nothing touched are only counted."""
    head = f"{explanation.question_id} · {explanation.id} · {explanation.verdict}: {explanation.reason}"
    lines = [head if explanation.rubric == "rubric" else f"{head} (by the counterfactual's rubric)"]
    lines.append(f"  answer       {' '.join(explanation.answer.split())}")
    lines += _format_requirements(explanation.requirements)
    return "\n".join(lines)


def _format_requirements(requirements: Sequence[Requirement]) -> Iterator[str]:
    quiet = 0
    for row in requirements:
        if row.kind == "must_not" and row.fulfilled and not row.denied:
            quiet += 1
            continue
        label = row.kind if row.kind in ("general", "contradiction") else f"{row.kind}[{row.number}]"
        yield f"  {'ok' if row.fulfilled else 'FAILS':<5} {label:<14} {_describe(row)}"
    if quiet:
        yield f"  ok    must_not       {quiet} patterns, none found"


def _describe(row: Requirement) -> str:
    if row.words:
        places = ", ".join(f"{start}-{end}" for start, end in row.places)
        by = f" by '{shorten(row.matched)}'" if row.matched else ""
        return f"'{' … '.join(row.words)}' at {places}{by}"
    if row.denied:
        return f"'{row.denied}' is denied there"
    if row.kind == "general":
        return row.patterns[0] if row.fulfilled else row.matched
    if row.fulfilled:
        return "nothing found"
    return f"none of {name_patterns(row.patterns)}"
