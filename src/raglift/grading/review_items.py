"""What a reviewer grades: the distinct answers to each question, blind and in an order of the reviewer's own."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raglift.config import Config
from raglift.errors import InputError
from raglift.records import Answer, Experiment, Question
from raglift.runfolder import RunFolder, hash_content, recover_lines
from raglift.sanitization import quote_command

Scope = Literal["compared", "all", "sample"]


@dataclass(frozen=True)
class ReviewItem:
    """One text to grade; `keys` are all the answers to the question that say exactly this."""

    id: str
    question: Question
    passage: str
    text: str
    keys: tuple[str, ...]


def read_reviewable(folder: RunFolder, experiment: Experiment) -> list[Answer]:
    """One answer for each (arm, seed, question, sample) of the run.

    Of several that were made for one place (a question or an adapter changed) the one that a grader has graded
    counts, else one that was asked the question as it now stands, else the first in the file, where the answer
    stage puts what is planned. Answers beside an altered passage are left out: right and wrong mean nothing there.
    InputError where there is none.
    """
    graded = read_machine_keys(folder)
    asked = {question.id: question.question for question in experiment.questions}
    chosen: dict[tuple[str, int, str, int], Answer] = {}

    def rank(answer: Answer) -> tuple[bool, bool]:
        return answer.key in graded, asked[answer.question_id] in answer.prompt

    for answer in map(read_answer, recover_lines(folder.answers)):
        place = (answer.arm, answer.seed, answer.question_id, answer.sample)
        if answer.question_id not in asked or answer.arm.endswith(".counterfactual"):
            continue
        if place not in chosen or rank(answer) > rank(chosen[place]):
            chosen[place] = answer
    if not chosen:
        raise InputError(
            str(folder.answers),
            "no answers to grade",
            "a run with answers",
            quote_command("raglift", "answer", folder.path),
        )
    return list(chosen.values())


def read_answer(row: dict[str, Any]) -> Answer:
    """What a reviewer needs of an answer's row (without loading what makes answers)."""
    return Answer(*(row[name] for name in ("key", "arm", "seed", "question_id", "sample", "text", "prompt")))


def read_machine_keys(folder: RunFolder) -> set[str]:
    """Keys of the answers that a grader other than a human has graded."""
    files = (file for file in folder.path.glob("grades.*.jsonl") if file != folder.grades("human"))
    return {row["key"] for file in files for row in recover_lines(file) if "key" in row}


def choose_compared(answers: Iterable[Answer], experiment: Experiment, config: Config) -> list[Answer]:
    """The answers that the headline rests on: its two arms on its split."""
    split = config.compare.split
    ids = {q.id for q in experiment.questions if q.split == split or (split == "all" and q.split != "absent")}
    arms = (config.compare.a, config.compare.b)
    return [answer for answer in answers if answer.arm in arms and answer.question_id in ids]


def group_answers(answers: Iterable[Answer], experiment: Experiment) -> list[ReviewItem]:
    """Identical answers to one question (up to outer spaces and Unicode composition) become one item."""
    questions = {question.id: question for question in experiment.questions}
    keys: dict[tuple[str, str], list[str]] = {}
    for answer in answers:
        text = unicodedata.normalize("NFC", answer.text).strip()
        keys.setdefault((answer.question_id, text), []).append(answer.key)
    items = []
    for (question_id, text), members in keys.items():
        question = questions[question_id]
        passage = experiment.passage_by_id.get(question.passage_id or "")
        identifier = hash_content("review", question_id, text)
        items.append(ReviewItem(identifier, question, passage.text if passage else "", text, tuple(sorted(members))))
    return items


def order_items(items: Collection[ReviewItem], seed: int, reviewer: str) -> list[ReviewItem]:
    """Questions in random order, the answers to each together and in random order.

    Every reviewer has another order, and each the same one every time: an answer's place says nothing of its arm,
    and a question with its reference is read once.
    """
    draw = random.Random(f"raglift review {seed} {reviewer}")
    by_question: dict[str, list[ReviewItem]] = {}
    for item in sorted(items, key=lambda item: item.id):
        by_question.setdefault(item.question.id, []).append(item)
    groups: list[Sequence[ReviewItem]] = [draw.sample(group, len(group)) for group in by_question.values()]
    draw.shuffle(groups)
    return [item for group in groups for item in group]
