"""What a clause is about: in an answer on recall, `정밀도는 …` says something of another metric.

A true remark about a neighbour (`Recall 은 …이고, Precision 은 …`) holds the neighbour's fact, which
`must_not` names. It is no fault of the answer, so such a match does not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from raglift.grading.quantities import is_measured, value_of
from raglift.grading.reading import Reading, Span
from raglift.grading.terms import TermTable

_FAMILIES = ("metric", "count")
CURVES = ("pr-auc", "roc-auc")
_TOPIC_MARKS = ("은", "는", "이", "가", "란", "=", ":", "의경우")
_SET_ASIDE = re.compile("[은는](?:고려|반영|무시|신경|상관|빼|제외)")
"""Said of no subject but of what the subject does with it (`F1 은 Recall 은 고려하지 않고 …`)."""

_LEADS_TO = ("면", "은", "는", "건", "게", "걸", "을", "를", "것이", "경우", "경우가")
_IS_CALLED = re.compile("[이가]?(?:된|됩|되|돼)|이?(?:라고|라|야)|이[고며지다]|이?에요|예요|입니다|죠|[,\n]|$")
_CALLED_WITHIN = 16

Skip = Callable[[Sequence[Span]], bool]
"""Whether a match does not count, by its spans."""


def skip_other_subjects(answer: Reading, question: Reading) -> Skip | None:
    """A test for matches about another metric (or count) than the question's; None where it asks for none.

    Only for metrics and counts with a value of their own; a curve is made of other metrics, so only another
    curve is another subject.
    """
    rivals, others = _list_subjects(question.text, question.table)
    return (lambda spans: _topic_of(answer, spans, rivals) in others) if others else None


def list_other_subjects(question: Reading) -> frozenset[str]:
    """The signs of the metrics (or counts) with a value of their own that are not what the question asks for."""
    _, others = _list_subjects(question.text, question.table)
    terms = question.table.term_of
    return frozenset(sign for sign in others if terms[sign] in CURVES or is_measured(terms[sign]))


@lru_cache(maxsize=4096)
def _list_subjects(question: str, table: TermTable) -> tuple[frozenset[str], frozenset[str]]:
    """All signs of the families of what a question asks for, and those of them that are worth something else."""
    families = [table.families.get(family, frozenset()) for family in _FAMILIES]
    asked = frozenset(question) & frozenset().union(*families)
    curves = frozenset(sign for name in CURVES if (sign := table.sign_of.get(name)))
    if asked and asked <= curves:
        return curves, curves - asked
    if not asked or not all(is_measured(table.term_of[sign]) for sign in asked):
        return frozenset(), frozenset()
    worth = {value_of(table.term_of[sign]) for sign in asked}
    rivals: frozenset[str] = frozenset().union(*(family for family in families if asked & family))
    return rivals, frozenset(sign for sign in rivals if value_of(table.term_of[sign]) not in worth)


def _topic_of(answer: Reading, spans: Sequence[Span], rivals: frozenset[str]) -> str:
    """The metric (or count) that is the subject where a match ends, or what the match is then called; or ''."""
    text, end = answer.text, max(span.end for span in spans)
    for place in range(end - 2, answer.sentence_span(end - 1).start - 1, -1):
        is_topic = text[place] in rivals and text.startswith(_TOPIC_MARKS, place + 1)
        if is_topic and not _SET_ASIDE.match(text, place + 1):
            return text[place]
    return _name_after(text, end, rivals)


def _name_after(text: str, end: int, rivals: frozenset[str]) -> str:
    """`음성인데 양성이라고 하면 FP 야`: what stands before is said of FP, where no subject was named."""
    for place in range(end, min(end + _CALLED_WITHIN, len(text))):
        if text[place] == "\n":
            return ""
        if text[place] in rivals:
            is_called = text.endswith(_LEADS_TO, end, place) and _IS_CALLED.match(text, place + 1)
            return text[place] if is_called else ""
    return ""
