"""The `grade` stage: a verdict for every answer of a run, or for answers from anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args, runtime_checkable

from raglift.datasets import dump_line, normalize_question, read_jsonl
from raglift.errors import InputError, RunError, suggest_name
from raglift.progress import show_progress
from raglift.records import Answer, Experiment, Grade, Question, Rubric, Verdict
from raglift.runfolder import RunFolder, recover_lines, write_atomically
from raglift.sanitization import quote_command


@dataclass(frozen=True)
class Task:
    """One answer to grade; `rubric` replaces the question's own (a counterfactual's)."""

    question: Question
    text: str
    rubric: Rubric | None = None


class Grader(Protocol):
    """Gives one verdict; `rubric` replaces the question's own (a counterfactual's)."""

    name: str

    def grade(self, question: Question, answer_text: str, rubric: Rubric | None = None) -> Any:
        """An object with `verdict`, `reason` and `evidence`."""
        ...


@runtime_checkable
class BatchGrader(Protocol):
    """A grader that is quicker with many answers at once, and costs something."""

    name: str

    def grade(self, question: Question, answer_text: str, rubric: Rubric | None = None) -> Any: ...

    def grade_many(self, tasks: Sequence[Task], advance: Callable[[], None]) -> list[Any]:
        """As `grade`, in the tasks' order; calls `advance` once for each."""
        ...

    def describe_spending(self) -> dict[str, Any]:
        """What the run folder's grading cost, for the manifest."""
        ...

    def finish(self) -> None:
        """Called once the grades are written; raises RunError where some could not be obtained."""
        ...


def grade_run(folder: RunFolder, experiment: Experiment, grader: Grader, answers: Sequence[Answer]) -> list[Grade]:
    """Grade the answers and write `grades.<grader>.jsonl` in their order."""
    questions = {question.id: question for question in experiment.questions}
    tasks = [list_tasks(questions[answer.question_id], answer) for answer in answers]
    results = iter(grade_tasks(grader, [task for group in tasks for task in group], folder.put_soon))
    grades = [
        build_grade(grader.name, answer, [next(results) for _ in group])
        for answer, group in zip(answers, tasks, strict=True)
    ]
    write_grades(folder.grades(grader.name), grades)
    if isinstance(grader, BatchGrader):
        folder.update_manifest(**{grader.name: grader.describe_spending()})
        grader.finish()
    return grades


def list_tasks(question: Question, answer: Answer) -> list[Task]:
    """The question's rubric; beside an altered passage also the rubric that follows the alteration."""
    tasks = [Task(question, answer.text)]
    if answer.arm.endswith(".counterfactual") and question.counterfactual is not None:
        tasks.append(Task(question, answer.text, question.counterfactual.rubric))
    return tasks


def grade_tasks(grader: Grader, tasks: Sequence[Task], after_each: Callable[[], None] = lambda: None) -> list[Any]:
    """The grader's results in the tasks' order, under a progress bar."""
    with show_progress(f"grade ({grader.name})", len(tasks)) as bar:

        def advance() -> None:
            bar.advance()
            after_each()

        if isinstance(grader, BatchGrader):
            return grader.grade_many(tasks, advance)
        results = []
        for task in tasks:
            results.append(grader.grade(task.question, task.text, task.rubric))
            advance()
        return results


def build_grade(name: str, answer: Answer, results: Sequence[Any]) -> Grade:
    """The verdict by the question's rubric; a second, by the altered passage's, tells whom the answer follows."""
    result, follows = results[0], ""
    if len(results) > 1:
        altered = results[1]
        states = {altered.verdict: "passage", result.verdict: "memory"}
        follows = states.get("correct", "other") if altered.verdict != result.verdict else "other"
    reason = result.reason + (" (the answer was cut at its length limit)" if answer.truncated else "")
    return Grade(answer.key, answer.question_id, result.verdict, reason, name, tuple(result.evidence), follows)


def write_grades(file: Path, grades: Sequence[Grade]) -> None:
    """Replace a grades file atomically."""
    write_atomically(file, "".join(dump_line(dataclasses.asdict(grade)) for grade in grades))


def read_grades(file: Path) -> dict[str, Grade]:
    """Grades by answer key; of an author's rows for a key the last counts, of several authors the majority."""
    latest: dict[str, dict[str, dict[str, Any]]] = {}
    for row in recover_lines(file):
        if "key" in row:
            check_row(row, file)
            latest.setdefault(row["key"], {})[str(row.get("author", ""))] = row
    return {key: settle_grade(list(by_author.values())) for key, by_author in latest.items()}


def check_row(row: Mapping[str, Any], file: Path) -> None:
    """RunError for a row that no grader of this package has written."""
    texts = all(isinstance(row.get(name), str) for name in ("key", "question_id", "reason", "grader"))
    evidence = row.get("evidence", [])
    if not texts or row.get("verdict") not in get_args(Verdict) or not isinstance(evidence, list):
        again = quote_command("raglift", "grade", file.parent)
        raise RunError(f"{file}: a row is no grade: {str(dict(row))[:120]}\n  to do: {again}")


def settle_grade(rows: Sequence[dict[str, Any]]) -> Grade:
    """One grade of one row for each author. Those who left it unscored have no vote; a tie is unscored."""
    known = {field.name for field in dataclasses.fields(Grade)}
    scored = [row for row in rows if row["verdict"] != "unscored"]
    first = (scored or rows)[0]
    grade = Grade(**{**{key: first[key] for key in known & first.keys()}, "evidence": tuple(first.get("evidence", ()))})
    if len(scored) < 2:
        return grade
    votes = sum(1 if row["verdict"] == "correct" else -1 for row in scored)
    said = ", ".join(f"{row.get('author', '')}: {row['verdict']}" for row in scored)
    notes = "; ".join(f"{row.get('author', '')}: {row['reason']}" for row in scored if row.get("reason"))
    agreed = all(row["verdict"] == first["verdict"] for row in scored)
    return dataclasses.replace(
        grade,
        verdict="correct" if votes > 0 else "incorrect" if votes < 0 else "unscored",
        reason=notes if agreed else f"reviewers differ ({said})" + (f"; {notes}" if notes else ""),
        grader=grade.grader.partition(":")[0],
    )


def grade_file(answers: Path, questions: Sequence[Question], grader: Grader, out: Path) -> dict[str, int]:
    """Grade answers from anywhere: `{question_id or question, answer, id?}` a line, verdicts in the same order.

    Returns how many answers got each verdict. Raises InputError naming file:line, RunError where a judge had to stop.
    """
    rows = read_texts(answers, questions)
    results = grade_tasks(grader, [Task(question, text) for _, question, text in rows])
    lines = [
        {
            "id": row_id,
            "question_id": question.id,
            "verdict": result.verdict,
            "reason": result.reason,
            "grader": grader.name,
            "evidence": list(result.evidence),
        }
        for (row_id, question, _), result in zip(rows, results, strict=True)
    ]
    write_atomically(out, "".join(dump_line(line) for line in lines))
    if isinstance(grader, BatchGrader):
        grader.finish()
    verdicts = [result.verdict for result in results]
    return {verdict: verdicts.count(verdict) for verdict in get_args(Verdict)}


def read_texts(answers: Path, questions: Sequence[Question]) -> list[tuple[Any, Question, str]]:
    """The rows of an answers file as (id, question, text), in order; InputError naming file:line."""
    by_id = {question.id: question for question in questions}
    by_text = {normalize_question(question.question): question for question in questions}
    rows: list[tuple[Any, Question, str]] = []
    for number, row in read_jsonl(answers):
        question = _find_question(row, f"{answers}:{number}", by_id, by_text)
        text = row.get("answer")
        if not isinstance(text, str):
            raise InputError(f"{answers}:{number}: answer", type(text).__name__, "a text")
        rows.append((row.get("id", str(number)), question, text))
    return rows


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
