"""What an answer says against itself or against what is known of a metric, after all its rubric asks for.

Formulas and names of the known metrics are facts, so that no rubric has to list what is wrong about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from raglift.grading.denial import is_denied
from raglift.grading.formulas import Formula, find_formulas
from raglift.grading.quantities import is_measured, metrics_worth
from raglift.grading.reading import Reading, Span
from raglift.grading.subjects import list_other_subjects, skip_other_subjects

_TERM = "[\ue000-\uf8ff]"
_IS = r"(?:이?라고|이야|야|이지|지|예요|이에요|입니다|이다|\n|$)"
_SAME = re.compile(
    rf"(?P<also>{_TERM})이?라고도(?:해|하|불|부르|말|알려)"
    rf"|(?:다른말로|다른이름으로|바꿔말하면|다시말해|다시말하면)(?:는|하면)?,?(?P<words>{_TERM}){_IS}"
    rf"|(?P<name>{_TERM})의(?:다른|또다른)(?:이름|말|표현)"
    rf"|(?P<equal>{_TERM})(?:과|와|이랑|랑|하고)(?:완전히|사실|결국)?(?:같은|똑같은|동일한)"
    r"(?:거|것|값|말|뜻|의미|지표|개념|비율|이름)"
)
_BETTER = re.compile(
    r"(?:(?P<high>높|크|클|커|많|늘|(?<![0-9.])1에(?:더)?가까)|(?P<low>낮|작|적|줄|(?<![0-9.])0에(?:더)?가까))"
    r"[가-힣]{0,3}수록[^\n]{0,10}?(?:(?P<bad>나쁘|나빠|안좋)|좋|우수|뛰어|훌륭)"
)
_BEST_LOW = frozenset({"fp", "fn", "fpr", "fnr"})
_OF_WHAT = ("-", "의", "한", "쪽")
"""Before a name that is not taken as it is: `1 - 특이도`, `Negative 쪽의 Recall`."""
_DIVIDES = re.compile("/|나[누눈눠]|분의")


@dataclass(frozen=True)
class Contradiction:
    """What is wrong, in short, and where."""

    reason: str
    span: Span


def find_contradiction(
    wanted: Sequence[Formula], answer: Reading, question: Reading, met: Iterable[Span] = ()
) -> Contradiction | None:
    """The first contradiction of an answer, None where there is none.

    Args:
        wanted: the formulas that the rubric asks for.
        met: where the answer meets its rubric; what stands there is no contradiction (an altered passage may
            state what is wrong elsewhere).
    """
    kept = tuple(met)
    for find in (_find_rivals, _find_wrong_formulas, _find_wrong_names, _find_wrong_directions):
        for one in find(wanted, answer, question):
            asked = find is not _find_rivals and any(
                span.start < one.span.end and one.span.start < span.end for span in kept
            )
            if not asked and not is_denied(answer, one.span):
                return one
    return None


def _find_rivals(wanted: Sequence[Formula], answer: Reading, question: Reading) -> Iterator[Contradiction]:
    """Other formulas for the thing that a `must` group has a formula for."""
    if not wanted:
        return
    found = find_formulas(answer)
    right = [one for one in found if any(one.equals(formula) for formula in wanted)]
    metrics = answer.table.families.get("metric", frozenset())
    asked = {answer.table.term_of[sign] for sign in question.text if sign in metrics}
    about = asked | {one.subject for one in right} | {""}
    if not right and not asked:
        about |= {name for formula in wanted for name in metrics_worth(formula.values)}
    for one in found:
        if one not in right and one.subject in about and _is_rival(one, wanted):
            yield Contradiction("gives another formula too", one.span)


def _is_rival(one: Formula, wanted: Sequence[Formula]) -> bool:
    """Of the same names and shape (both divide, or neither), and more than a list with slashes."""
    if set(one.operators) <= {"/"} and len(one.names) + len(one.operators) != 3:
        return False
    if set(one.operators) <= {"/"} and not any(set(formula.operators) <= {"/"} for formula in wanted):
        return False
    return any(
        one.is_ratio == formula.is_ratio and (one.names == formula.names or (one.is_measured and formula.is_measured))
        for formula in wanted
    )


def _find_wrong_formulas(wanted: Sequence[Formula], answer: Reading, question: Reading) -> Iterator[Contradiction]:
    """Formulas said of a metric (`Precision 은 TP / (TP + FN)`) that are another metric's."""
    if not _DIVIDES.search(answer.text):
        return
    for one in find_formulas(answer):
        owners = metrics_worth(one.values) if one.is_ratio and one.is_measured else frozenset()
        if one.subject and owners and one.is_wrong_for(one.subject) and not any(one.equals(other) for other in wanted):
            yield Contradiction(f"gives {one.subject} the formula of {min(owners)}", one.span)


def _find_wrong_names(wanted: Sequence[Formula], answer: Reading, question: Reading) -> Iterator[Contradiction]:
    """Names of another metric or count for what the question asks for (`Recall 은 … 정밀도라고도 해`)."""
    others = list_other_subjects(question)
    if not others:
        return
    skip: Callable[[Sequence[Span]], bool] | None = skip_other_subjects(answer, question)
    for found in _SAME.finditer(answer.text):
        group = found.lastgroup or ""
        start = found.start(group)
        sign, before = found[group], answer.text[start - 1 : start] if start else ""
        span = Span(start, min(found.end(), len(answer.text)))
        if sign in others and before not in _OF_WHAT and not (skip and skip([Span(start, start + 1)])):
            yield Contradiction(f"calls it {answer.table.term_of[sign]}", span)


def _find_wrong_directions(wanted: Sequence[Formula], answer: Reading, question: Reading) -> Iterator[Contradiction]:
    """`FPR … 높을수록 좋아`, `Recall … 0 에 가까울수록 좋아`, in a sentence that names no other metric or count."""
    table = question.table
    known = {sign for family in ("metric", "count") for sign in table.families.get(family, ())}
    asked = {sign for sign in question.text if sign in known}
    if len(asked) != 1 or not is_measured(term := table.term_of[next(iter(asked))]):
        return
    for found in _BETTER.finditer(answer.text):
        before = answer.text[answer.sentence_span(found.start()).start : found.start()]
        says_high = bool(found["high"]) != bool(found["bad"])
        if says_high is (term in _BEST_LOW) and not (known - asked) & set(before):
            yield Contradiction(f"says {term} is best {'high' if says_high else 'low'}", Span(*found.span()))
