"""How long 100 grades by rubric take, on examples of the bundled rubrics: run by hand.

python tests/measure_grades.py
"""

from __future__ import annotations

import time

from raglift.datasets import load_questions
from raglift.grading.rubric import RubricGrader
from raglift.records import Question, Rubric

REPEATS, GRADES = 25, 100


def list_examples(questions: list[Question]) -> list[tuple[Question, str, Rubric]]:
    """Every example of every rubric, those of altered passages too."""
    rubrics = [(question, question.rubric) for question in questions]
    rubrics += [(question, question.counterfactual.rubric) for question in questions if question.counterfactual]
    return [(question, text, rubric) for question, rubric in rubrics for text in (*rubric.passes, *rubric.fails)]


def time_grades(grader: RubricGrader, rows: list[tuple[Question, str, Rubric]]) -> float:
    """Seconds of wall clock."""
    started = time.perf_counter()
    for question, text, rubric in rows:
        grader.grade(question, text, rubric)
    return time.perf_counter() - started


def main() -> None:
    questions, passages = load_questions("ml-qa-ko")
    grader, examples = RubricGrader(passages), list_examples(list(questions))
    rows = examples[:: len(examples) // GRADES][:GRADES]
    time_grades(grader, examples)  # compiles all rubrics
    times = sorted(1000 * time_grades(grader, rows) for _ in range(REPEATS))
    said = f"fastest of {REPEATS} {times[0]:.1f} ms, median {times[REPEATS // 2]:.1f} ms"
    print(f"{GRADES} of {len(examples)} examples: {said}")


if __name__ == "__main__":
    main()
