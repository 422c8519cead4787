"""Formulas as written or said in a text, compared by value (arithmetic.py reads them)."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from raglift.errors import InputError
from raglift.grading.arithmetic import MAX_TOKENS, Operand, Tokens, cut_tokens, may_hold_formula, reduce_tokens
from raglift.grading.quantities import Values, has_value, is_group, is_measured, value_of
from raglift.grading.reading import Reading, Span, read_text
from raglift.grading.terms import TermTable

_HOLDS_FORMULA = re.compile(r"[/+\-*^qnAMUDdspWSRNQ]|m.*e|f.*c")
_MAY_REDUCE = re.compile(r"[/+\-*^qnAMUDdspWSRNQ|B(]|ee|e[gj]?[mf]o?e")
_BESIDE_ROLE = re.compile(r"([NQ])[jotgfb]?(e)|(e)[ojg]?([NQ])(?![jtgf]e)")
_SHARE = re.compile(r"e[gj]?[mf]o?e(?![+*/-])")
_PIECE = re.compile("[^x=]+")

_LEGEND = re.compile(r"(?:(?<=[e)])\(e)?$")
"""What begins a legend behind a formula: `2PR / (P + R) (P: Precision, R: Recall)`."""

_LETTER_SUBJECTS = {"p": "precision", "r": "recall"}


class Formula(NamedTuple):
    """A formula: its values, its place, and the metric it is said to be of ('' if none is named)."""

    values: Values
    span: Span
    names: frozenset[str]
    operators: str
    subject: str = ""

    def equals(self, other: Formula) -> bool:
        """Whether the two have one value (or one is the other in percent)."""
        return has_value(self.values, other.values)

    @property
    def is_ratio(self) -> bool:
        """Whether it divides."""
        return "/" in self.operators

    def is_wrong_for(self, metric: str) -> bool:
        """Whether this is no formula of a metric that is made of the four counts."""
        return is_measured(metric) and not has_value(self.values, value_of(metric))

    @property
    def is_measured(self) -> bool:
        """Whether all its names are counts or metrics with a known value."""
        return all(is_measured(name) for name in self.names)


def find_formulas(reading: Reading) -> tuple[Formula, ...]:
    """All formulas of a text, in order, with what they are said to be of."""
    known = reading.memory.get("formulas")
    if known is None:
        found: list[Formula] = []
        start = 0
        for end in (*reading.sentence_ends, len(reading.text)):
            if end - start > 1:
                found += _find_in_sentence(reading, start, end)
            start = end + 1
        known = reading.memory["formulas"] = tuple(found)
    return known  # type: ignore[return-value]


def read_formula(text: str, table: TermTable) -> Formula:
    """The formula of a pattern; what stands before `=` is left out.

    Raises:
        InputError: no formula is understood, or only a part of the text is one.
    """
    reading = read_text(text.rsplit("=", 1)[-1].strip(), table)
    found = find_formulas(reading)
    covered = found[0].span.end - found[0].span.start if len(found) == 1 else 0
    if (
        not covered
        or covered < len(reading.text.strip("\n")) - 1
        or any(math.isnan(value) for value in found[0].values)
    ):
        raise InputError(
            f"pattern 'formula:{text}'",
            "no single formula that is understood",
            "terms, letters, numbers and + - * / ^ ( ), or the words for them",
            "write it like TP / (TP + FN), or use a phrase",
        )
    return found[0]


def _find_in_sentence(reading: Reading, start: int, end: int) -> list[Formula]:
    if not may_hold_formula(reading, start, end):
        return []
    tokens = cut_tokens(reading, start, end)
    if not _HOLDS_FORMULA.search(tokens.kinds):
        return []
    _name_letters(tokens)
    _join_names(tokens, reading.table)
    found: list[Formula] = []
    roles: dict[str, Operand] = {}
    for piece in _PIECE.finditer(tokens.kinds):
        if "e" not in piece[0] or not _MAY_REDUCE.search(piece[0]):
            continue
        stop = min(piece.end(), piece.start() + MAX_TOKENS)
        if tokens.kinds[stop : stop + 1] == "=":
            stop -= len(_LEGEND.search(tokens.kinds, piece.start(), stop)[0])  # type: ignore[index]
        part = Tokens(tokens.kinds[piece.start() : stop], tokens.items[piece.start() : stop])
        _close_brackets(part)
        reduce_tokens(part)
        _divide_share(part)
        made = [item for item in part.operands(0, len(part.items)) if item.operators and item.names]
        found += [Formula(item.values, item.span, item.names, item.operators) for item in made]
        _note_roles(part, roles)
    return _name_subjects(reading, _with_fraction(found, roles), start)


def _name_letters(tokens: Tokens) -> None:
    """P and R together are precision and recall."""
    letters = {
        place: item for place, item in enumerate(tokens.items) if isinstance(item, Operand) and item.literal == "letter"
    }
    if not {"p", "r"} <= {name for item in letters.values() for name in item.names}:
        return
    for place, item in letters.items():
        for letter, name in (("p", "precision"), ("r", "recall")):
            if item.names == {letter}:
                tokens.items[place] = Operand(value_of(name), item.span, frozenset({name}), literal="letter")


def _join_names(tokens: Tokens, table: TermTable) -> None:
    """`입력 크기`: general terms side by side are one name (`Precision Recall` are not)."""
    place = tokens.kinds.find("ee")
    while place >= 0:
        left, right = tokens.operands(place, place + 2)
        names = left.names | right.names
        terms = left.literal == right.literal == "term" and left.span.end == right.span.start
        if terms and not names & table.whole_terms and not any(is_group(name) or name == "x" for name in names):
            name = " ".join((*left.names, *right.names))
            span = Span(left.span.start, right.span.end)
            tokens.replace(place, place + 2, Operand(value_of(name), span, frozenset({name}), literal="term"))
            place = tokens.kinds.find("ee", place)
        else:
            place = tokens.kinds.find("ee", place + 1)


def _close_brackets(tokens: Tokens) -> None:
    """A bracket that never closes closes at the end (`TP / (TP + FN`)."""
    missing = tokens.kinds.count("(") - tokens.kinds.count(")")
    last = tokens.kinds.rfind("e")
    if 0 < missing < 4 and last >= 0:
        end = tokens.span(last, last + 1).end
        tokens.kinds = tokens.kinds[: last + 1] + ")" * missing + tokens.kinds[last + 1 :]
        tokens.items[last + 1 : last + 1] = [Span(end, end)] * missing


def _divide_share(tokens: Tokens) -> None:
    """`TP + FN 중 TP의 비율`, `TP + FN에서 TP가 차지하는 비율`: last, once all else is done."""
    found = _SHARE.search(tokens.kinds)
    if not found:
        return
    under, over = tokens.operands(*found.span())
    whole = under.operators or any(is_group(name) for name in under.names)
    if whole and all(is_measured(name) for name in over.names):
        tokens.replace(*found.span(), over.joined(under, "/", tokens.span(*found.span())))


def _note_roles(tokens: Tokens, roles: dict[str, Operand]) -> None:
    """`분자는 TP`, `TP를 분자로`: the operand beside the word, in the order of the first such pair."""
    for found in _BESIDE_ROLE.finditer(tokens.kinds):
        kind = found[1] or found[4]
        operand = tokens.items[found.start(2) if found[1] else found.start(3)]
        if isinstance(operand, Operand):
            roles.setdefault(kind, operand)


def _with_fraction(found: list[Formula], roles: dict[str, Operand]) -> list[Formula]:
    if not {"N", "Q"} <= set(roles):
        return found
    over, under = roles["N"], roles["Q"]
    span = Span(min(over.span.start, under.span.start), max(over.span.end, under.span.end))
    whole = over.joined(under, "/", span)
    outside = [one for one in found if one.span.end <= span.start or one.span.start >= span.end]
    return [*outside, Formula(whole.values, span, whole.names, whole.operators)]


def _name_subjects(reading: Reading, found: list[Formula], start: int) -> list[Formula]:
    """Give each formula the metric named last before it in its sentence, topics (`재현율은`) first."""
    text, metrics = reading.text, reading.table.families.get("metric", frozenset())
    named: list[Formula] = []
    for formula in sorted(found, key=lambda one: one.span.start):
        subject, is_topic = "", False
        for place in range(start, formula.span.start):
            sign = text[place]
            if sign not in metrics and sign not in _LETTER_SUBJECTS:
                continue
            topic = text[place + 1 : place + 2] in ("은", "는", "=", ":")
            if sign in metrics and (topic or not is_topic):
                subject, is_topic = reading.table.term_of[sign], topic
            elif sign in _LETTER_SUBJECTS and topic and not (place and "a" <= text[place - 1] <= "z"):
                subject, is_topic = _LETTER_SUBJECTS[sign], True
        named.append(Formula(formula.values, formula.span, formula.names, formula.operators, subject))
        start = formula.span.end
    return named
