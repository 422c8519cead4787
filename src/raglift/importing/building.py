"""Rows and documents into the records of an experiment: parts, duplicates, overlap, passages, splits, rubrics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raglift.config import PromptConfig
from raglift.datasets import normalize_question, parse_rubric
from raglift.errors import InputError
from raglift.grading.draft import draft_declining_rubric, draft_rubric
from raglift.grading.rubric import RubricGrader, check_rubric, title_of
from raglift.importing.names import name_texts
from raglift.importing.rows import Document, ImportedRow, Material, count_rows
from raglift.progress import show_progress
from raglift.records import Example, Passage, Question, Rubric, Split
from raglift.runfolder import hash_content

# What searches put where a passage would be; compared as questions are, without case, spacing and punctuation.
NOT_FOUND = (
    PromptConfig().not_found, "No matching information was found",
    "정보 없음", "관련 정보 없음", "해당 없음", "해당 정보 없음", "검색 결과 없음", "문서 없음", "없음",
    "정보를 찾을 수 없음", "관련 정보를 찾을 수 없음", "N/A", "None", "null", "NaN", "not found", "no context",
    "no information", "no information found", "no relevant information", "no relevant information found",
    "no results", "no results found", "nothing found",
)  # fmt: skip
SHOWN = 3  # places that a notice names

_END_MARK = re.compile(r"(?:<\|?[^<>|\s]{1,30}\|?>|\([^()\n]{1,20}\))$")


@dataclass(frozen=True)
class BuiltExperiment:
    """The records of a new experiment and what was done to get them."""

    sources: tuple[str, ...]
    passages: tuple[Passage, ...]
    examples: tuple[Example, ...]
    questions: tuple[Question, ...]
    notices: tuple[str, ...]

    def count_splits(self) -> dict[str, int]:
        """Questions by split."""
        return {str(split): number for split, number in Counter(one.split for one in self.questions).items()}

    def count_drafts(self) -> int:
        """Questions whose rubric is a draft."""
        return sum(one.rubric.draft for one in self.questions)


def build_experiment(material: Material, eval_share: float = 0.3, limit: int | None = None) -> BuiltExperiment:
    """The records; `material.notices` grows by what was left out or changed, with its number of rows.

    Args:
        material: what was read.
        eval_share: part of the rows that becomes evaluation questions where nothing tells the parts.
        limit: at most so many rows of each part, drawn by a hash of the question.
    Raises InputError when no training row or no evaluation question is left.
    """
    note = material.notices.append
    rows = clear_notices(material.rows, note)
    rows = drop_rows(rows, lambda row: not row.question or not row.answer, "without question or answer left out", note)
    rows, taken_off = strip_end_marks(rows)
    material.notices += taken_off
    rows = assign_parts(rows, eval_share, note)
    train = [row for row in rows if row.part == "train"]
    evaluation = [row for row in rows if row.part == "eval"]
    train = drop_rows(
        train, lambda row: not row.passage, "of training without a passage left out: a training row needs one", note
    )
    train = drop_repeats(train, lambda row: (row.question, row.answer, row.passage), "of training given twice", note)
    evaluation = drop_repeats(
        evaluation, lambda row: normalize_question(row.question), "of evaluation whose question was given before", note
    )
    trained = {normalize_question(row.question) for row in train}
    evaluation = drop_rows(
        evaluation,
        lambda row: normalize_question(row.question) in trained,
        "of evaluation left out: their question is a training question",
        note,
    )
    train, evaluation = (draw_rows(part, limit, name, note) for part, name in ((train, "train"), (evaluation, "eval")))
    _check_rest(train, "training row", material)
    passages, id_of = name_passages([*train, *evaluation], material.documents)
    examples = tuple(Example(row.question, row.answer, id_of[_fold(row.passage)]) for row in train)
    questions = make_questions(evaluation, id_of, {example.passage_id for example in examples}, passages, note)
    _check_rest([one for one in questions if one.passage_id], "evaluation question with a passage", material)
    return BuiltExperiment(tuple(material.sources), passages, examples, questions, tuple(material.notices))


def clear_notices(rows: Sequence[ImportedRow], note: Callable[[str], None]) -> list[ImportedRow]:
    """The rows without the passages that only say that nothing was found, or hold neither letter nor digit."""
    notices = {"", *(normalize_question(notice) for notice in NOT_FOUND)}
    found = Counter(row.passage for row in rows if row.passage and normalize_question(row.passage) in notices)
    if found:
        texts = ", ".join(repr(text) for text in list(found)[:SHOWN])
        note(f"{count_rows(found.total())} whose passage says that nothing was found ({texts}): they have none")
    return [replace(row, passage="") if row.passage in found else row for row in rows]


def assign_parts(rows: Sequence[ImportedRow], eval_share: float, note: Callable[[str], None]) -> list[ImportedRow]:
    """Give rows without a part one: those of the lowest question hashes are for evaluation, the same every time.

    Rows without a passage are for evaluation, all of them: training can use none.
    """
    if all(row.part for row in rows):
        return list(rows)
    open_questions = {normalize_question(row.question) for row in rows if row.part is None and row.passage}
    ordered = sorted(open_questions, key=lambda question: hash_content("part", question))
    chosen = set(ordered[: round(eval_share * len(ordered))])
    bare = any(not row.part and not row.passage for row in rows)
    note(
        f"no column tells training from evaluation: {len(chosen)} of {count_rows(len(ordered), 'question')} "
        f"({eval_share:.0%}, drawn by their hash) are for evaluation" + (", and all without a passage" if bare else "")
    )
    trained = open_questions - chosen
    return [
        row if row.part else replace(row, part="train" if normalize_question(row.question) in trained else "eval")
        for row in rows
    ]


def strip_end_marks(rows: list[ImportedRow]) -> tuple[list[ImportedRow], list[str]]:
    """Answers without the marks that every one of them ends with; raglift trains the model's own end token."""
    notices: list[str] = []
    while True:
        ends = Counter(
            found.group() if (found := _END_MARK.search(row.answer)) else "" for row in rows if row.answer
        )  # fmt: skip
        mark = next(iter(ends), "")
        if len(ends) != 1 or not mark or ends[mark] < 3:
            return rows, notices
        rows = [replace(row, answer=row.answer.removesuffix(mark).rstrip()) for row in rows]
        notices.append(f"end mark {mark!r} taken off {count_rows(ends[mark], 'answer')}")


def drop_rows(
    rows: Sequence[ImportedRow],
    unwanted: Callable[[ImportedRow], bool],
    reason: str,
    note: Callable[[str], None],
) -> list[ImportedRow]:
    """The rows that are wanted; the number of the others and where they stand is noted."""
    dropped = [row for row in rows if unwanted(row)]
    if dropped:
        note(f"{count_rows(len(dropped))} {reason} ({_list_places(dropped)})")
    return [row for row in rows if not unwanted(row)]


def drop_repeats(
    rows: Sequence[ImportedRow], key_of: Callable[[ImportedRow], Any], reason: str, note: Callable[[str], None]
) -> list[ImportedRow]:
    """The first row of each key."""
    first: dict[Any, ImportedRow] = {}
    for row in rows:
        first.setdefault(key_of(row), row)
    return drop_rows(rows, lambda row: first[key_of(row)] is not row, f"{reason}: the first is taken", note)


def draw_rows(
    rows: Sequence[ImportedRow], limit: int | None, name: str, note: Callable[[str], None]
) -> list[ImportedRow]:
    """At most `limit` rows in their order, those of the lowest hashes."""
    if limit is None or len(rows) <= limit:
        return list(rows)
    ordered = sorted(range(len(rows)), key=lambda place: hash_content("limit", rows[place].question, place))
    note(f"{name}: {limit} of {count_rows(len(rows))} drawn (--limit)")
    return [rows[place] for place in sorted(ordered[:limit])]


def name_passages(
    rows: Sequence[ImportedRow], documents: Sequence[Document]
) -> tuple[tuple[Passage, ...], dict[str, str]]:
    """The different passages of rows and documents, and (white space aside) text -> id."""
    found: dict[str, Document] = {}
    for document in (*(Document(title_passage(row.passage), row.passage) for row in rows if row.passage), *documents):
        found.setdefault(_fold(document.text), document)
    kept = list(found.values())
    names = name_texts([document.title for document in kept], [document.text for document in kept])
    passages = tuple(Passage(name, document.text) for name, document in zip(names, kept, strict=True))
    return passages, dict(zip(found, names, strict=True))


def title_passage(text: str) -> str:
    """What a passage's id is made of: its name before the colon, without the part in brackets, else its beginning."""
    title = title_of(text)
    return title.partition("(")[0] or title or text


def make_questions(
    rows: Sequence[ImportedRow],
    id_of: dict[str, str],
    trained: set[str],
    passages: Sequence[Passage],
    note: Callable[[str], None],
) -> tuple[Question, ...]:
    """Evaluation questions with their split, and a drafted rubric where they bring none."""
    names = name_texts([row.question for row in rows], [row.question for row in rows])
    grader = RubricGrader(passages)
    texts = {passage.id: passage.text for passage in passages}
    questions, hopeless = [], []
    with show_progress("draft rubrics", len(rows)) as bar:
        for name, row in zip(names, rows, strict=True):
            passage_id = id_of[_fold(row.passage)] if row.passage else None
            split: Split = "absent" if passage_id is None else "seen" if passage_id in trained else "unseen"
            question = Question(name, row.question, passage_id, split, row.answer, Rubric(()))
            rubric = (
                draft_sound_rubric(grader, question, texts.get(passage_id or "", ""))
                if row.rubric is None
                else parse_rubric(row.rubric, f"{row.where}: rubric")
            )
            if rubric is None:
                hopeless.append(row)
            else:
                questions.append(replace(question, rubric=rubric))
            bar.advance()
    if hopeless:
        reason = "left out: no rubric can be drafted from an answer that says no more than its question"
        note(f"{count_rows(len(hopeless))} of evaluation {reason} ({_list_places(hopeless)})")
    drafted = sum(question.rubric.draft for question in questions)
    if drafted:
        note(f"{count_rows(drafted, 'rubric')} drafted from reference and passage, marked as draft: read them")
    return tuple(questions)


def draft_sound_rubric(grader: RubricGrader, question: Question, passage: str) -> Rubric | None:
    """A drafted rubric that accepts the reference and agrees with its own examples; None where there is none."""
    draft = (
        draft_rubric(question.question, passage, question.reference)
        if question.split != "absent"
        else draft_declining_rubric(question.question, question.reference)
    )
    # What the reference says in full is the last resort: it accepts few wordings, and an author widens it.
    whole = Rubric(((" ".join(question.reference.split()).strip("& "),),), (), draft.passes, (), draft=True)
    for rubric in (draft, replace(draft, fails=()), whole):
        accepted = not check_rubric(rubric, question.question, title_of(passage), grader.table)
        if accepted and grader.grade(question, question.reference, rubric).is_correct:
            return rubric
    return None


def _check_rest(rows: Sequence[object], name: str, material: Material) -> None:
    if not rows:
        done = "; ".join(material.notices[-SHOWN:])
        raise InputError(
            ", ".join(material.sources),
            f"no {name} is left" + (f" ({done})" if done else ""),
            f"a {name}",
            "name the column that parts training from evaluation with --map split=COLUMN, or change --eval-share",
        )


def _fold(passage: str) -> str:
    return " ".join(passage.split())


def _list_places(rows: Sequence[ImportedRow]) -> str:
    places = [row.where for row in rows[:SHOWN]]
    return ", ".join(places) + (", …" if len(rows) > SHOWN else "")
