"""Comparisons of a run and of a table: which pairs are tested, what is refused, what is said."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
from rich.console import Console

from raglift.comparison import check_same_texts, compare_run
from raglift.comparison_files import compare_table
from raglift.errors import InputError
from raglift.grading.grades import read_grades
from raglift.grading.review_items import read_reviewable
from raglift.report import print_summary
from raglift.statistics.multiplicity import adjust_holm
from report_fixture import make_experiment, write_run

HEADER = "question,a_correct,a_total,b_correct,b_total\n"


@pytest.mark.parametrize("split", ["seen", "unseen", "all"])
def test_one_headline_and_all_others_corrected(tmp_path: Path, split: str) -> None:
    folder, _, _ = write_run(tmp_path / "run", experiment=make_experiment(8, 8, 2), split=split)
    found = json.loads(folder.comparison.read_text(encoding="utf-8"))
    headline, *others = found["contrasts"]
    assert headline["kind"] == "headline" and headline["split"] == split
    assert headline["lift"] == found["lift"] and headline["p_holm"] == headline["p_value"] == found["p_value"]
    assert len(others) > 10 and "headline" not in {row["kind"] for row in others}
    assert [row["p_holm"] for row in others] == pytest.approx(adjust_holm([row["p_value"] for row in others]), rel=1e-4)
    assert {row["split"] for row in others} == {"seen", "unseen"}
    assert len({(row["a"], row["b"], row["split"]) for row in found["contrasts"]}) == len(found["contrasts"])


def test_an_incomplete_arm_is_refused_with_the_names_of_its_questions(tmp_path: Path) -> None:
    folder, experiment, config = write_run(tmp_path / "run", experiment=make_experiment(8, 2, 0))
    grades = read_grades(folder.grades("rubric"))
    answers = [
        answer
        for answer in read_reviewable(folder, experiment)
        if (answer.arm, answer.question_id, answer.sample) != ("rag-sft.oracle", "seen-003", 2)
    ]
    with pytest.raises(InputError, match=r"(?s)rag-sft\.oracle.*1 question.*seen-003"):
        compare_run(experiment, config, answers, grades)


def test_runs_over_other_questions_are_refused_with_their_names() -> None:
    one = make_experiment(8, 2, 0)
    changed = dataclasses.replace(one.questions[3], question="another question")
    other = dataclasses.replace(one, questions=(*one.questions[:3], changed, *one.questions[4:]))
    check_same_texts(one, one, "seen")
    check_same_texts(one, other, "unseen")
    with pytest.raises(InputError, match="seen-003"):
        check_same_texts(one, other, "seen")


def test_order_and_swapping_of_a_table(tmp_path: Path) -> None:
    draw, file = random.Random(4), tmp_path / "t.csv"
    rows = [f"q{n},{draw.randint(0, 3)},4,{draw.randint(1, 4)},4\n" for n in range(30)]
    file.write_text(HEADER + "".join(rows))
    found, swapped = compare_table(file, "a", "b"), compare_table(file, "b", "a")
    draw.shuffle(rows)
    file.write_text(HEADER + "".join(rows))
    assert compare_table(file, "a", "b") == found
    assert swapped["lift"] == -found["lift"] and swapped["p_value"] == found["p_value"]
    assert swapped["ci95"] == [-found["ci95"][1], -found["ci95"][0]]


def test_a_hundred_thousand_rows_are_read(tmp_path: Path) -> None:
    """With a search through all earlier questions for each row this took minutes."""
    draw, file = random.Random(5), tmp_path / "t.csv"
    file.write_text(HEADER + "".join(f"q{n},{draw.randint(0, 4)},4,{draw.randint(0, 4)},4\n" for n in range(100_000)))
    found = compare_table(file, "a", "b")
    assert found["questions"] == 100_000 and found["verdict"] == "equivalent"


def test_the_summary_names_questions_left_out_and_no_test_where_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(HEADER + "".join(f"q{n},{n % 3},4,4,4\n" for n in range(8)) + "blank one,0,0,4,4\n")
    assert "scored answer to it: 1 question." in summarize(file) and "(blank one)" in summarize(file)
    file.write_text(HEADER + "x,0,0,4,4\n")
    assert "(none)" not in summarize(file) and "too few questions" in summarize(file)


def summarize(file: Path) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        print_summary(compare_table(file, "a", "b"), "en", console=console)
    return capture.get()
