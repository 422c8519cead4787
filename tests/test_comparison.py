"""Comparisons of a run and of a table: which pairs are tested, what is refused, what is said."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raglift.comparison import check_same_texts, compare_run
from raglift.comparison_files import compare_table
from raglift.config import Config
from raglift.errors import InputError
from raglift.grading.grades import read_grades
from raglift.grading.review_items import read_reviewable
from raglift.records import Answer, Counterfactual, Experiment, Grade, Passage, Question, Retrieved, Rubric
from raglift.report.summary import print_summary
from raglift.retrieval.ranking import Ranking
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


CORRECT = {  # of two answers: to q1 (found), q2 (its duplicate found), q3 (not found), a1 and a2 (absent)
    "rag-sft.none": (2, 2, 0, 2, 0),
    "rag-sft.oracle": (2, 2, 2, 1, 1),
    "rag-sft.retrieved": (2, 1, 0, 2, 0),
    "rag-sft.distractor": (2, 1, 1, 0, 0),
    "rag-sft.irrelevant": (0, 2, 0, 0, 0),
    "rag-sft.counterfactual": (2, 1, 0, 0, 0),
}
FOLLOWS = ("passage", "memory", "passage", "other", "passage", "")  # the two beside each altered passage


def make_trials(arms: tuple[str, ...] = tuple(CORRECT)) -> dict[str, Any]:
    """A comparison whose every share can be worked out by hand."""
    rubric = Rubric((("x",),))
    texts = {"p1": "one", "p2": "two", "p2b": "two ", "p3": "three"}
    questions = [
        Question(f"q{n}", f"question {n}", f"p{n}", "seen", "", rubric, Counterfactual("altered", rubric))
        for n in (1, 2, 3)
    ] + [Question(f"a{n}", f"nothing {n}", None, "absent", "", rubric) for n in (1, 2)]
    passages = tuple(Passage(name, text) for name, text in texts.items())
    experiment = Experiment("trials", "", passages, (), tuple(questions))
    found = {"q1": ("p1", "p2"), "q2": ("p2b", "p1"), "q3": ("p1", "p2"), "a1": (), "a2": ("p3",)}
    rows = {q.question: tuple(Retrieved(name, 0.9) for name in found[q.id]) for q in questions}
    answers, grades = [], {}
    for arm in arms:
        asked = questions[:3] if arm.endswith(("counterfactual", "distractor")) else questions
        for place, question in enumerate(asked):
            for sample in range(2):
                key = f"{arm} {question.id} {sample}"
                answers.append(Answer(key, arm, 0, question.id, sample, "", "", (), 1, False, "b"))
                follows = FOLLOWS[2 * place + sample] if arm.endswith("counterfactual") else ""
                verdict = "correct" if sample < CORRECT[arm][place] else "incorrect"
                grades[key] = Grade(key, question.id, verdict, "", "rubric", follows=follows)
    compare = {"a": "rag-sft.none", "b": "rag-sft.oracle", "split": "seen"}
    config = Config.model_validate({"name": "trials", "arms": arms, "answer": {"samples": 2}, "compare": compare})
    return compare_run(experiment, config, answers, grades, Ranking("", 0.5, rows))


def test_every_share_of_the_trials_is_the_one_worked_out_by_hand() -> None:
    found = make_trials()
    retrieval, behaviour = found["retrieval"], found["behaviour"]
    assert [retrieval[name]["value"] for name in ("hit_at_1", "mrr", "rejected")] == pytest.approx(
        [200 / 3, 200 / 3, 50]
    )
    loss = retrieval["loss"]["rag-sft"]
    assert {part: (cell["lift"], cell["questions"]) for part, cell in loss.items()} == {
        "all": (-50.0, 3), "hit": (-25.0, 2), "miss": (-100.0, 1)
    }  # fmt: skip
    lifts = {row["kind"]: row["lift"] for row in found["contrasts"]}
    assert lifts["distractor"] == pytest.approx(-100 / 3) and lifts["retrieval"] == -50.0
    assert behaviour["counterfactual"] == {
        "rag-sft.counterfactual": {"follows_passage": 60.0, "follows_memory": 20.0, "other": 20.0, "answers": 5}
    }
    assert behaviour["absent"]["rag-sft.retrieved"] == {"declines": 50.0, "invents": 50.0}
    assert "rag-sft.distractor" not in behaviour["absent"]
    assert behaviour["irrelevant"] == {"rag-sft.irrelevant": {"misled": 50.0, "questions": 2}}


def test_no_share_of_the_trials_is_folded_into_accuracy() -> None:
    found, plain = make_trials(), make_trials(("rag-sft.none", "rag-sft.oracle"))
    assert "rag-sft.counterfactual" not in found["arms"]
    assert all("rag-sft.counterfactual" not in row["arms"] for row in found["table"])
    for name in ("a", "b", "lift", "by_split"):
        assert found[name] == plain[name]
    assert {split: found["arms"]["rag-sft.oracle"][split]["accuracy"] for split in ("seen", "absent")} == {
        "seen": 100.0, "absent": 50.0
    }  # fmt: skip


def test_the_summary_shows_the_trials() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        print_summary(make_trials(), "en", console=console)
    shown = capture.get()
    for expected in ("Right passage first 66.7%", "−50.0", "−25.0", "−100.0", "follows the passage", "60.0%", "misled"):
        assert expected in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def summarize(file: Path) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        print_summary(compare_table(file, "a", "b"), "en", console=console)
    return capture.get()
