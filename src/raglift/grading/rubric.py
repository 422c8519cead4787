"""The rubric grader: deterministic, and every verdict says which requirement decided and by which words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from raglift.errors import InputError
from raglift.grading.contradictions import find_contradiction
from raglift.grading.formulas import Formula
from raglift.grading.patterns import Alternatives, compile_pattern
from raglift.grading.reading import Reading, Span, read_text
from raglift.grading.subjects import Skip, skip_other_subjects
from raglift.grading.terms import TermTable, load_terms
from raglift.records import Passage, Question, Rubric

RubricVerdict = Literal["correct", "incorrect"]
SHOWN_PATTERNS, SHOWN_LETTERS = 3, 60


@dataclass(frozen=True)
class RubricResult:
    """A verdict, the requirement that decided in one short sentence, and the answer's words that did."""

    verdict: RubricVerdict
    reason: str
    evidence: tuple[str, ...] = ()

    @property
    def is_correct(self) -> bool:
        """Whether the answer fulfils its rubric."""
        return self.verdict == "correct"


@dataclass(frozen=True)
class Requirement:
    """One requirement of a rubric beside an answer, for `raglift grade --explain`.

    `kind` is "general", "must", "must_not" or "contradiction". `matched` is the alternative or pattern
    that matched ('' if none), `words` the answer's words it matched, `places` where they stand in the
    answer's NFKC text, `denied` the words of a match that does not count because it is denied.
    """

    kind: Literal["general", "must", "must_not", "contradiction"]
    number: int
    patterns: tuple[str, ...]
    fulfilled: bool
    matched: str = ""
    words: tuple[str, ...] = ()
    places: tuple[tuple[int, int], ...] = ()
    denied: str = ""


@dataclass(frozen=True)
class CompiledRubric:
    """A rubric with its patterns compiled."""

    must: tuple[Alternatives, ...]
    must_not: Alternatives
    formulas: tuple[Formula, ...]
    """The formulas that `must` asks for."""


@lru_cache(maxsize=8192)
def compile_rubric(rubric: Rubric, table: TermTable) -> CompiledRubric:
    """Compile all patterns of a rubric, once: it is checked, checked against its neighbours, and grades.

    Raises:
        InputError: a pattern is not understood.
    """
    must = tuple(Alternatives([compile_pattern(one, table) for one in group]) for group in rubric.must)
    must_not = Alternatives([compile_pattern(one, table) for one in rubric.must_not])
    return CompiledRubric(must, must_not, tuple(one.formula for group in must for one in group.formulas))


@lru_cache(maxsize=4)
def _learn_terms(passages: tuple[Passage, ...]) -> TermTable:
    return load_terms().extended(passages)


class RubricGrader:
    """Grades answers by their question's rubric; knows the experiment's own names of terms.

    Args:
        passages: the knowledge base; its heads `name (한글 이름) : …` add names of terms.
    """

    name = "rubric"

    def __init__(self, passages: Sequence[Passage] = ()) -> None:
        self.table = _learn_terms(tuple(passages))
        self._titles = {passage.id: title_of(passage.text) for passage in passages}

    def grade(self, question: Question, answer_text: str, rubric: Rubric | None = None) -> RubricResult:
        """Grade one answer, by the question's rubric or by `rubric` (a counterfactual's)."""
        title = self._titles.get(question.passage_id or "", "")
        return grade_rubric(rubric or question.rubric, answer_text, question.question, title, self.table)

    def explain(self, question: Question, answer_text: str, rubric: Rubric | None = None) -> tuple[Requirement, ...]:
        """Every requirement, with what matched and where."""
        title = self._titles.get(question.passage_id or "", "")
        return explain_rubric(rubric or question.rubric, answer_text, question.question, title, self.table)


def grade_rubric(
    rubric: Rubric, answer: str, question: str = "", title: str = "", table: TermTable | None = None
) -> RubricResult:
    """Grade one answer by a rubric, with the shipped terms or the table's.

    Raises:
        InputError: a pattern of the rubric is not understood.
    """
    table = table or load_terms()
    compiled = compile_rubric(rubric, table)
    return _grade(compiled, read_text(answer, table), _said(question, table), _said(title, table))


def explain_rubric(
    rubric: Rubric, answer: str, question: str = "", title: str = "", table: TermTable | None = None
) -> tuple[Requirement, ...]:
    """Every requirement of a rubric beside an answer; otherwise as `grade_rubric`."""
    table = table or load_terms()
    compiled = compile_rubric(rubric, table)
    return _explain(compiled, read_text(answer, table), _said(question, table), _said(title, table))


def check_rubric(rubric: Rubric, question: str = "", title: str = "", table: TermTable | None = None) -> list[str]:
    """What is wrong with a rubric: no `must`, an unreadable pattern, or an example that disagrees."""
    table = table or load_terms()
    problems: list[str] = []
    if not rubric.must:
        problems.append("must is empty: every rubric needs at least one group")
    problems += [f"must[{number}] has no alternative" for number, group in enumerate(rubric.must) if not group]
    problems += _check_patterns(rubric, table)
    if problems:
        return problems
    for key, examples, wanted in (("pass", rubric.passes, "correct"), ("fail", rubric.fails, "incorrect")):
        for number, example in enumerate(examples):
            result = grade_rubric(rubric, example, question, title, table)
            if result.verdict != wanted:
                problems.append(f"{key}[{number}] '{example}' is graded {result.verdict}: {result.reason}")
    return problems


def _check_patterns(rubric: Rubric, table: TermTable) -> list[str]:
    problems: list[str] = []
    places = [(f"must[{g}][{n}]", one) for g, group in enumerate(rubric.must) for n, one in enumerate(group)]
    places += [(f"must_not[{n}]", one) for n, one in enumerate(rubric.must_not)]
    for place, pattern in places:
        try:
            compile_pattern(pattern, table)
        except InputError as problem:
            problems.append(f"{place}: {problem.where}: {problem.found} (expected {problem.expected}; {problem.fix})")
    return problems


# ---------------------------------------------------------------- grading


@lru_cache(maxsize=8192)
def _said(text: str, table: TermTable) -> Reading:
    return read_text(text, table)


def _grade(compiled: CompiledRubric, answer: Reading, question: Reading, title: Reading) -> RubricResult:
    empty = _general_fault(answer, question, title)
    if empty:
        return RubricResult("incorrect", empty, _words(answer, (Span(0, len(answer.text)),)))
    met: list[Span] = []
    for number, group in enumerate(compiled.must):
        found = group.find(answer)
        if found is None:
            denied = group.find_denied(answer)
            return RubricResult("incorrect", _missing(number, group, bool(denied)), _words(answer, denied))
        met += found[1]
    said = compiled.must_not.find(answer, skip_other_subjects(answer, question))
    if said is not None:
        number = compiled.must_not.patterns.index(said[0])
        return RubricResult(
            "incorrect", f"must_not[{number}]: says '{shorten(said[0].source)}'", _words(answer, said[1])
        )
    against = find_contradiction(compiled.formulas, answer, question, met)
    if against:
        return RubricResult("incorrect", f"contradiction: {against.reason}", _words(answer, (against.span,)))
    return RubricResult("correct", "every requirement is met", _words(answer, met))


def _missing(number: int, group: Alternatives, denied: bool) -> str:
    named = name_patterns(group.sources)
    return f"must[{number}]: " + (f"denied, {named}" if denied else f"none of {named} found")


@lru_cache(maxsize=4096)
def name_patterns(sources: tuple[str, ...]) -> str:
    """The first patterns of a group, in short, expressions last since few read them."""
    ordered = sorted(sources, key=lambda source: source.lstrip().startswith("re:"))
    more = f" and {len(ordered) - SHOWN_PATTERNS} more" if len(ordered) > SHOWN_PATTERNS else ""
    return ", ".join(f"'{shorten(source)}'" for source in ordered[:SHOWN_PATTERNS]) + more


def shorten(source: str) -> str:
    """A pattern that fits on a line."""
    return source if len(source) <= SHOWN_LETTERS else source[: SHOWN_LETTERS - 1] + "…"


def _words(answer: Reading, spans: Sequence[Span]) -> tuple[str, ...]:
    return tuple(words for span in spans if (words := answer.quote(span).strip()))


# ---------------------------------------------------------------- general checks

_BARE = re.compile("[^0-9a-z가-힣\ue000-\uf8ff]+")
_ASKING = re.compile(
    r"에대해서?|에관해서?|알려(?:줘|줄래|줄게|달라)|설명(?:해줘|해줄게|할게)|뭐[야지냐]|뭘까|뭔지|무엇(?:인지|이야|일까)?|"
    r"궁금(?:해|하다|하구나|하네|한거|했구나)|정말|아주|자세히|자세하게|(?:이?라는)게(?:있는데)?|그게|그럼|이거|"
    r"어떻게|하는거지|하지|하는지|구하는|방법을|방법|질문(?:이네|이야|이구나)?|물어봤(?:구나|네)|말이[지야]|좋은|맞아|그래|응|네|음"
)
_ASKING_LETTERS = "야이" + "".join(re.findall("[가-힣]", _ASKING.pattern))
_ENDING = re.compile(
    r"이란|란|이?라는|이에요|예요|이야|이지|이다|입니다|이네|이고|"
    r"[야지다요은는이가을를의도에로와과그것거건값말]"
)
_CHOICE = re.compile(r"중에|중뭐|중어|vs|아니면|둘중|어느|어떤게더|뭐가더|뭘더")


def title_of(passage_text: str) -> str:
    """What stands before the colon of a passage, its name; '' where there is none."""
    head, colon, _ = passage_text.partition(":")
    return head.strip() if colon and len(head) <= 120 else ""


def _bare(reading: Reading) -> str:
    known = reading.memory.get("bare")
    if known is None:
        known = reading.memory["bare"] = _BARE.sub("", reading.text)
    return str(known)


def _general_fault(answer: Reading, question: Reading, title: Reading) -> str:
    bare, asked, named = _bare(answer), _bare(question), _bare(title)
    if not bare:
        return "the answer is empty"
    if asked and _repeats(bare, asked):
        return "the answer only repeats the question"
    if named and _names_only(bare, named, asked, answer.table):
        return "the answer only repeats the title"
    return ""


def _repeats(bare: str, asked: str) -> bool:
    if len(bare) > len(asked) + 25:
        return False
    if asked in bare:
        return _ASKING.sub("", bare.replace(asked, "", 1)) == ""
    core = _core_of(asked)
    if not core or bare.strip(core + _ASKING_LETTERS):
        return False
    rest = _ASKING.sub("", bare)
    return rest != bare and rest in (core, core + "야", core + "이야")


@lru_cache(maxsize=4096)
def _core_of(asked: str) -> str:
    """A question without its words of asking."""
    return _ASKING.sub("", asked)


def _names_only(bare: str, named: str, asked: str, table: TermTable) -> bool:
    signs = _signs_of_title(named, asked, table) if len(bare) <= len(named) + 25 else None
    if signs is None:
        return False
    rest = bare.replace(named, "")
    for sign in signs:
        rest = rest.replace(sign, "")
    return len(rest) < 12 and rest != bare and _ENDING.sub("", _ASKING.sub("", rest)) == ""


@lru_cache(maxsize=4096)
def _signs_of_title(named: str, asked: str, table: TermTable) -> frozenset[str] | None:
    """The terms of a title; None where it is no part of the question, or one of several to choose from."""
    signs = frozenset(sign for sign in named if sign in table.term_of)
    if not asked:
        return signs
    is_asked = all(sign in asked for sign in signs) if signs else named in asked
    return signs if is_asked and not _CHOICE.search(asked) else None


# ---------------------------------------------------------------- explanation


def _explain(compiled: CompiledRubric, answer: Reading, question: Reading, title: Reading) -> tuple[Requirement, ...]:
    fault = _general_fault(answer, question, title)
    rows = [Requirement("general", 0, ("not empty, not the question, not the title",), not fault, fault)]
    rows += [_explain_group("must", number, group, answer) for number, group in enumerate(compiled.must)]
    skip = skip_other_subjects(answer, question)
    for number, pattern in enumerate(compiled.must_not.patterns):
        rows.append(_explain_group("must_not", number, Alternatives([pattern]), answer, skip))
    met = [span for group in compiled.must for span in (group.find(answer) or ("", ()))[1]]
    against = find_contradiction(compiled.formulas, answer, question, met)
    formulas = tuple(one.source for group in compiled.must for one in group.formulas)
    if formulas or against:
        spans = (against.span,) if against else ()
        words, places = _words(answer, spans), _places(answer, spans)
        matched = against.reason if against else ""
        rows.append(Requirement("contradiction", 0, formulas, not against, matched, words, places))
    return tuple(rows)


def _explain_group(
    kind: Literal["must", "must_not"], number: int, group: Alternatives, answer: Reading, skip: Skip | None = None
) -> Requirement:
    sources = group.sources
    found = group.find(answer, skip)
    if found is not None:
        pattern, spans = found
        words, places = _words(answer, spans), _places(answer, spans)
        return Requirement(kind, number, sources, kind == "must", pattern.source, words, places)
    denied = " ".join(_words(answer, group.find_denied(answer)))
    return Requirement(kind, number, sources, kind == "must_not", denied=denied)


def _places(answer: Reading, spans: Sequence[Span]) -> tuple[tuple[int, int], ...]:
    read, place = answer.letters, answer.place
    return tuple((read.origin[place[one.start]], read.ends[place[one.end] - 1]) for one in spans if one.end > one.start)
