"""Rubrics before a run: a first draft from question, passage and reference, and the faults of finished ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from raglift.datasets import dump_line, read_jsonl, read_passages
from raglift.errors import InputError, suggest_name
from raglift.grading.formulas import find_formulas
from raglift.grading.patterns import compile_pattern
from raglift.grading.reading import Reading, read_text
from raglift.grading.roles import PLOTTED
from raglift.grading.rubric import RubricGrader, check_rubric, title_of
from raglift.grading.terms import TermTable, load_terms
from raglift.records import Passage, Question, Rubric
from raglift.retrieval.tokens import list_tokens
from raglift.runfolder import write_atomically

NEIGHBOURS = 5
"""How many of the nearest questions lend their reference to the test of a rubric."""

MOST_WORDS = 2
"""How many words that are no terms a draft asks for."""

_NUMBER = re.compile(r"(?<![0-9.a-z\-])-?[0-9]+(?:\.[0-9]+)?(?![0-9a-z])")
_TOO_COMMON = frozenset(
    {"모델", "데이터", "값", "수", "것", "때", "경우", "방법", "말", "뜻", "식", "계산", "사용", "이름"}
)

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class RubricFault:
    """A fault of a question's rubric: an error stops a run, a warning is to be looked at."""

    question_id: str
    rubric: Literal["rubric", "counterfactual"]
    severity: Severity
    text: str


# ---------------------------------------------------------------- draft


def draft_rubric(question: str, passage: str, reference: str) -> Rubric:
    """A first rubric: what the reference says beyond the question, supported by the passage.

    Formulas, terms, axes, numbers and at most two other words of the reference become one group
    each. The draft is marked as such: it knows one wording and no mistakes, so an author adds both.
    """
    table = load_terms()
    said, asked, known = (read_text(text, table) for text in (reference, question, passage))
    groups = [*_formula_groups(said), *_axis_groups(said)]
    used = " ".join(one for group in groups for one in group)
    groups += _term_groups(said, asked, used)
    words = [] if groups else _word_groups(reference, question, passage, said)[:MOST_WORDS]
    if not any(group[0].startswith("formula:") for group in groups):
        groups += _number_groups(said, asked)
    groups += words
    kept = [group for group in groups if _matches(group, said, table)]
    supported = [group for group in kept if _matches(group, known, table)] or kept or [(reference.strip(),)]
    fails = tuple(dict.fromkeys(text for text in (question, title_of(passage)) if text.strip()))
    return Rubric(tuple(dict.fromkeys(supported)), (), (reference,), fails, draft=True)


def draft_declining_rubric(question: str, reference: str) -> Rubric:
    """A first rubric for a question that nothing answers: any of the usual ways to decline passes."""
    patterns = json.loads((files("raglift.grading") / "declining.json").read_text(encoding="utf-8"))
    return Rubric((tuple(patterns),), (), (reference,), (question,), draft=True)


def draft_rubrics(folder: Path, question_id: str | None = None) -> dict[str, dict[str, Any]]:
    """Drafts in the form of the questions file, by question id; the questions need no rubric yet.

    Raises InputError naming file:line where a text is missing, or for an id that no question has.
    """
    file = folder / "questions.jsonl"
    passages = {passage.id: passage.text for passage in read_passages(folder)}
    rows = {str(row.get("id")): (f"{file}:{number}", row) for number, row in read_jsonl(file)}
    if question_id is not None and question_id not in rows:
        raise InputError(
            f"--question {question_id}", "no such question", "a question's id", suggest_name(question_id, rows)
        )
    chosen = rows if question_id is None else {question_id: rows[question_id]}
    return {name: rubric_as_json(_draft_row(row, where, passages)) for name, (where, row) in chosen.items()}


def write_missing_rubrics(folder: Path, question_id: str | None = None) -> int:
    """Draft a rubric for each question (or for one) that has none, into questions.jsonl; how many were missing."""
    file = folder / "questions.jsonl"
    rows = [row for _, row in read_jsonl(file)]
    missing = {str(row.get("id")) for row in rows if not row.get("rubric")}
    if not missing or (question_id is not None and question_id not in missing):
        return 0
    drafts = draft_rubrics(folder, question_id)
    drafts = {name: rubric for name, rubric in drafts.items() if name in missing}
    rows = [{**row, "rubric": drafts[str(row["id"])]} if row.get("id") in drafts else row for row in rows]
    write_atomically(file, "".join(dump_line(row) for row in rows))
    return len(drafts)


def _draft_row(row: dict[str, Any], where: str, passages: dict[str, str]) -> Rubric:
    question, reference = row.get("question"), row.get("reference")
    if not isinstance(question, str) or not isinstance(reference, str) or not reference.strip():
        raise InputError(where, "no question or no reference", "both, as texts", "a draft is made from them")
    passage_id = row.get("passage_id")
    if passage_id is not None and passage_id not in passages:
        raise InputError(f"{where}: passage_id", repr(passage_id), "the id of a passage in passages.jsonl")
    if passage_id is None:
        return draft_declining_rubric(question, reference)
    return draft_rubric(question, passages[passage_id], reference)


def rubric_as_json(rubric: Rubric) -> dict[str, Any]:
    """A rubric as it stands in the questions file."""
    groups = [list(group) for group in rubric.must]
    row = {"must": groups, "must_not": list(rubric.must_not), "pass": list(rubric.passes), "fail": list(rubric.fails)}
    return {**row, "draft": True} if rubric.draft else row


def _formula_groups(said: Reading) -> list[tuple[str, ...]]:
    groups: list[tuple[str, ...]] = []
    for formula in find_formulas(said):
        if len(formula.names) > 1 and set(formula.operators) & set("/+*"):
            groups.append((f"formula: {said.quote(formula.span)}",))
    return groups


def _axis_groups(said: Reading) -> list[tuple[str, ...]]:
    """`x축 … 재현율` for every metric that the reference binds to an axis."""
    table = said.table
    metrics = [sign for sign in dict.fromkeys(said.text) if table.term_of.get(sign) in PLOTTED]
    groups: list[tuple[str, ...]] = []
    for axis in ("x축", "y축"):
        for metric in metrics:
            pattern = f"{axis} … {table.names_of[table.term_of[metric]][0]}"
            if compile_pattern(pattern, table).find(said):
                groups.append((pattern,))
    return groups


def _term_groups(said: Reading, asked: Reading, used: str) -> list[tuple[str, ...]]:
    """The metrics and other whole terms that the question does not name; one group each."""
    table = said.table
    named_before = {sign for sign in read_text(used, table).text if sign in table.term_of}
    groups: list[tuple[str, ...]] = []
    for sign in dict.fromkeys(said.text):
        if sign in table.whole and sign not in asked.text and sign not in named_before:
            groups.append((table.names_of[table.term_of[sign]][0],))
    return groups


def _number_groups(said: Reading, asked: Reading) -> list[tuple[str, ...]]:
    numbers = dict.fromkeys(_NUMBER.findall(said.letters.text))
    return [(number,) for number in numbers if number not in asked.letters.text]


def _word_groups(reference: str, question: str, passage: str, said: Reading) -> list[tuple[str, ...]]:
    """Nouns that reference and passage share and the question lacks, the longest first."""
    asked, known = set(list_tokens(question)), set(list_tokens(passage))
    words = [word for word in dict.fromkeys(list_tokens(reference)) if word in known and word not in asked]
    words = [word for word in words if len(word) > 1 and word not in _TOO_COMMON and _starts_word(word, said)]
    whole = [word for word in words if not any(word != other and word in other for other in words)]
    return [(word,) for word in sorted(whole, key=lambda word: (-len(word), said.letters.text.find(word)))]


def _starts_word(word: str, said: Reading) -> bool:
    """Whether the word stands at the start of a word of the reference (no wrongly joined particle)."""
    place = said.letters.text.find(word)
    return place >= 0 and not word[0].isdigit() and said.letters.starts_word(place)


def _matches(group: tuple[str, ...], said: Reading, table: TermTable) -> bool:
    try:
        return any(compile_pattern(one, table).find(said) for one in group)
    except InputError:
        return False


# ---------------------------------------------------------------- lint


def lint_rubrics(
    questions: Sequence[Question], passages: Sequence[Passage], *, thorough: bool = True
) -> list[RubricFault]:
    """The faults of all rubrics: own examples, own reference, the altered passage, neighbours, unused alternatives.

    Without `thorough` only what is an error (the first three).
    """
    linter = _Linter(RubricGrader(passages), {passage.id: passage for passage in passages})
    faults: list[RubricFault] = []
    nearest = find_neighbours(questions, linter.grader.table) if thorough else {}
    for question in questions:
        own = linter.check_examples(question)
        faults += own
        if not any(fault.severity == "error" for fault in own):
            faults += linter.check_reference(question)
            faults += linter.check_counterfactual(question)
            if thorough:
                faults += linter.check_neighbours(question, nearest[question.id])
                faults += linter.check_reach(question)
    return faults


def find_neighbours(questions: Sequence[Question], table: TermTable) -> dict[str, list[Question]]:
    """For each question with a passage, the nearest ones of other passages, by the terms and letters of their text."""
    answered = [question for question in questions if question.passage_id is not None]
    features = {one.id: _features(f"{one.question} {one.reference}", table) for one in answered}
    nearest: dict[str, list[Question]] = {question.id: [] for question in questions}
    for question in answered:
        others = [other for other in answered if other.passage_id != question.passage_id]
        mine = features[question.id]
        others.sort(key=lambda other: (-_overlap(mine, features[other.id]), other.id))
        nearest[question.id] = others[:NEIGHBOURS]
    return nearest


def _features(text: str, table: TermTable) -> frozenset[str]:
    read = read_text(text, table).text
    return frozenset(read[place : place + 2] for place in range(len(read) - 1)) | {
        s for s in read if s in table.term_of
    }


def _overlap(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / max(1, len(left | right))


class _Linter:
    """Runs texts against rubrics of one experiment."""

    def __init__(self, grader: RubricGrader, passages: dict[str, Passage]) -> None:
        self.grader = grader
        self.passages = passages

    def _title(self, question: Question) -> str:
        passage = self.passages.get(question.passage_id or "")
        return title_of(passage.text) if passage else ""

    def check_examples(self, question: Question) -> list[RubricFault]:
        """The rubric's and the counterfactual rubric's own examples."""
        faults: list[RubricFault] = []
        for name, rubric in _rubrics_of(question):
            problems = check_rubric(rubric, question.question, self._title(question), self.grader.table)
            faults += [RubricFault(question.id, name, "error", problem) for problem in problems]
        return faults

    def check_reference(self, question: Question) -> list[RubricFault]:
        """The reference has to pass its own rubric."""
        result = self.grader.grade(question, question.reference)
        if result.is_correct:
            return []
        return [RubricFault(question.id, "rubric", "error", f"the reference fails it: {result.reason}")]

    def check_counterfactual(self, question: Question) -> list[RubricFault]:
        """Neither rubric may accept what belongs to the other."""
        altered = question.counterfactual
        if altered is None:
            return []
        faults: list[RubricFault] = []
        if self.grader.grade(question, question.reference, altered.rubric).is_correct:
            faults.append(RubricFault(question.id, "counterfactual", "error", "accepts the true reference"))
        for example in altered.rubric.passes:
            if self.grader.grade(question, example).is_correct:
                text = f"accepts what follows the altered passage: '{example}'"
                faults.append(RubricFault(question.id, "rubric", "error", text))
        return faults

    def check_neighbours(self, question: Question, neighbours: Iterable[Question]) -> list[RubricFault]:
        """A near question's reference is no answer here (a warning: two passages may share a fact)."""
        faults: list[RubricFault] = []
        for other in neighbours:
            if self.grader.grade(question, other.reference).is_correct:
                text = f"accepts the reference of {other.id}: '{other.reference}'"
                faults.append(RubricFault(question.id, "rubric", "warning", text))
        return faults

    def check_reach(self, question: Question) -> list[RubricFault]:
        """Every alternative is used by a pass example or the reference, every must_not by a fail example."""
        faults: list[RubricFault] = []
        for name, rubric in _rubrics_of(question):
            passing = [question.reference, *rubric.passes] if name == "rubric" else list(rubric.passes)
            right = [read_text(text, self.grader.table) for text in passing]
            wrong = [read_text(text, self.grader.table) for text in rubric.fails]
            for number, group in enumerate(rubric.must):
                faults += self._unused(question, name, f"must[{number}]", group, right)
            faults += self._unused(question, name, "must_not", rubric.must_not, wrong)
        return faults

    def _unused(
        self,
        question: Question,
        name: Literal["rubric", "counterfactual"],
        place: str,
        group: Sequence[str],
        texts: list[Reading],
    ) -> list[RubricFault]:
        compiled = {one: compile_pattern(one, self.grader.table) for one in group}
        unused = [one for one in group if not any(compiled[one].find(text) for text in texts)]
        if not unused:
            return []
        text = f"{place}: no example uses {len(unused)} of {len(group)} patterns, for instance '{unused[0]}'"
        return [RubricFault(question.id, name, "warning", text)]


def _rubrics_of(question: Question) -> list[tuple[Literal["rubric", "counterfactual"], Rubric]]:
    rubrics: list[tuple[Literal["rubric", "counterfactual"], Rubric]] = [("rubric", question.rubric)]
    if question.counterfactual is not None:
        rubrics.append(("counterfactual", question.counterfactual.rubric))
    return rubrics
