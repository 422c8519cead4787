"""What an answer says against itself or against what is known of a metric, after all its rubric asks for.

Formulas and names of the known metrics are facts, so that no rubric has to list what is wrong about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from raglift.grading.denial import is_denied
from raglift.grading.formulas import Formula, find_formulas
from raglift.grading.quantities import effect_of, is_measured, metrics_worth
from raglift.grading.reading import Reading, Span
from raglift.grading.subjects import CURVES, list_other_subjects, skip_other_subjects
from raglift.grading.terms import TermTable

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
_EFFECT = re.compile(
    r"(?:(?P<more>많|늘|높|커|증가|올라)|(?:적|줄|낮|작|감소))[가-힣]{0,4}?(?:수록|면)"
    rf"[가-힣,]{{0,6}}?(?P<effect>{_TERM})?[가-힣]{{0,6}}?(?:(?P<up>높|올라|커|증가)|(?:낮|떨어|줄|감소|작아|내려))"
)
_BEST_LOW = frozenset({"fp", "fn", "fpr", "fnr"})
_OF_WHAT = ("-", "의", "한", "쪽")
"""Before a name that is not taken as it is: `1 - 특이도`, `Negative 쪽의 Recall`."""
_DIVIDES = re.compile("/|나[누눈눠]|분의")
_NAMES = re.compile("라고도|다른|다시말|바꿔말|같은|동일한")
_MOVES = re.compile("수록|면")
_MAY_CONTRADICT = re.compile("|".join(one.pattern for one in (_DIVIDES, _NAMES, _MOVES)))


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
    if not wanted and not _MAY_CONTRADICT.search(answer.text):
        return None
    kept = tuple(met)
    for find in (_find_rivals, _find_wrong_formulas, _find_wrong_names, _find_wrong_directions, _find_wrong_effects):
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
    others = list_other_subjects(question) if _NAMES.search(answer.text) else frozenset()
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
    """`FPR … 높을수록 좋아`: of what the sentence names last, of what is asked, or of all that is named before."""
    known = _list_known(question.table) if _MOVES.search(answer.text) else {}
    for found in _BETTER.finditer(answer.text) if known else ():
        before = answer.text[: found.start()]
        named = [sign for sign in before[answer.sentence_span(found.start()).start :] if sign in known]
        asked = [sign for sign in question.text if sign in known]
        about = {known[sign] for sign in named[-1:] or asked or before if sign in known}
        wants_low = {term in _BEST_LOW for term in about}
        says_high = bool(found["high"]) != bool(found["bad"])
        if wants_low == {says_high}:
            yield Contradiction(f"says {min(about)} is best {'high' if says_high else 'low'}", Span(*found.span()))


def _find_wrong_effects(wanted: Sequence[Formula], answer: Reading, question: Reading) -> Iterator[Contradiction]:
    """`FN 이 많을수록 Recall 이 높아`: a metric said to move against a count that it is made of."""
    known = _list_known(question.table) if _MOVES.search(answer.text) else {}
    asked = [sign for sign in question.text if sign in known]
    for found in _EFFECT.finditer(answer.text) if known else ():
        start = answer.sentence_span(found.start()).start
        before = [(place, answer.text[place]) for place in range(start, found.start()) if answer.text[place] in known]
        cause = before[-1][1] if before else asked[0] if len(set(asked)) == 1 and found.start() - start < 6 else ""
        topics = [sign for place, sign in before[:-1] if answer.text[place + 1] in "은는"]
        effect = found["effect"] or (topics[-1] if topics else asked[0] if asked and before else "")
        sign = effect_of(known.get(cause, ""), known.get(effect, ""))
        if sign == (-1 if bool(found["more"]) == bool(found["up"]) else 1):
            yield Contradiction(f"moves {known[effect]} the wrong way with {known[cause]}", Span(*found.span()))


@lru_cache(maxsize=64)
def _list_known(table: TermTable) -> dict[str, str]:
    """The terms of all measured metrics and counts, and of the curves, by their signs."""
    signs = {sign for family in ("metric", "count") for sign in table.families.get(family, ())}
    terms = {sign: table.term_of[sign] for sign in signs}
    return {sign: term for sign, term in terms.items() if is_measured(term) or term in CURVES}
