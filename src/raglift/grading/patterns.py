"""The four kinds of pattern of a rubric, compiled (docs/rubrics.md, "The four kinds").

A compiled pattern has `find(reading)`, the first match that is not denied, and `find_denied`,
for explanations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from raglift.errors import InputError
from raglift.grading.denial import contains_denial, is_denied
from raglift.grading.expressions import Expression, Screen, read_expression
from raglift.grading.formulas import Formula, find_formulas, read_formula
from raglift.grading.phrases import Phrase
from raglift.grading.reading import Reading, Span
from raglift.grading.roles import Binding, find_bound, role_of
from raglift.grading.subjects import Skip
from raglift.grading.terms import TermTable

REACH = 30
"""How far apart the parts of an `…` pattern may be, in letters (a term counts as one)."""


class Pattern(Protocol):
    """What every kind can do."""

    source: str

    def find(self, reading: Reading, skip: Skip | None = None) -> tuple[Span, ...]:
        """The spans of the first match that is not denied (nor skipped); () where there is none."""

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        """The spans of a match that does not count because it is denied."""


@lru_cache(maxsize=8192)
def compile_pattern(source: str, table: TermTable) -> Pattern:
    """Compile one alternative or pattern.

    Raises:
        InputError: it is empty, its regular expression is not RE2, or its formula is not understood.
    """
    text = source.strip()
    if text.startswith("formula:"):
        return FormulaPattern(source, read_formula(text.removeprefix("formula:"), table))
    if text.startswith("re:"):
        return read_expression(source, text.removeprefix("re:").strip(), table)
    parts = tuple(_compile_chain(part, source, table) for part in re.split(r"\s&\s", text.strip("& ")))
    return AllParts(source, parts)


# ---------------------------------------------------------------- A … B and A & B


class Chain:
    """`A … B …`: phrases in this order in one sentence; with a role (axis, fraction) it is a binding."""

    def __init__(self, phrases: tuple[Phrase, ...], table: TermTable) -> None:
        self.phrases = phrases
        self._keeps_denial = contains_denial(" ".join(phrase.text for phrase in phrases))
        self._table = table
        self._binding: Binding | None = None
        if len(phrases) == 2:
            self._binding = role_of(phrases[0].sign, phrases[1].sign, table)

    def matches(self, reading: Reading) -> Iterator[tuple[Span, ...]]:
        """All matches, denied ones too (the last span decides where it ends)."""
        if self._binding is not None:
            other = self.phrases[1 - self._binding.place]
            yield from find_bound(reading, self._binding, other.spans(reading), self._table)
            return
        yield from self._extend((), reading, 0)

    def _extend(self, before: tuple[Span, ...], reading: Reading, number: int) -> Iterator[tuple[Span, ...]]:
        for span in self.phrases[number].spans(reading):
            if before:
                gap = span.start - before[-1].end
                if gap < 0:
                    continue
                if gap > REACH or "\n" in reading.text[before[-1].end : span.start]:
                    break
                if self._is_cut(reading, before[-1], span, number):
                    continue
            chain = (*before, span)
            if number + 1 == len(self.phrases):
                yield chain
            elif self._keeps_denial or not is_denied(reading, span, whole=False):
                yield from self._extend(chain, reading, number + 1)

    def _is_cut(self, reading: Reading, left: Span, right: Span, number: int) -> bool:
        """Whether a rival of one of the two terms becomes the subject in between (`재현율은 …, 정밀도는 … FP`)."""
        own = {phrase.sign for phrase in self.phrases}
        rivals: set[str] = set()
        for phrase in (self.phrases[number - 1], self.phrases[number]):
            for family in ("metric", "count"):
                members = self._table.families.get(family, frozenset())
                if phrase.sign in members:
                    rivals |= members
        rivals -= own
        if not rivals:
            return False
        text = reading.text
        for place in range(left.end, right.start):
            is_subject = text[place] in rivals and text[place + 1 : place + 2] in _SUBJECT_MARKS
            if is_subject and not is_denied(reading, Span(place, place + 1), whole=False):
                return True
        return False

    def find(self, reading: Reading, skip: Skip | None = None) -> tuple[Span, ...]:
        """The first match that is not denied (nor skipped)."""
        if not self.phrases[0].spans(reading):
            return ()
        for match in self.matches(reading):
            if (self._keeps_denial or not self._denied(reading, match)) and not (skip and skip(match)):
                return match
        return ()

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        if self._keeps_denial or not self.phrases[0].spans(reading):
            return ()
        return next((match for match in self.matches(reading) if self._denied(reading, match)), ())

    def _denied(self, reading: Reading, match: tuple[Span, ...]) -> bool:
        return any(is_denied(reading, span, whole=span is match[-1]) for span in match)

    def find_by_sentence(self, reading: Reading) -> dict[int, tuple[Span, ...]]:
        """The first match that is not denied, for each sentence."""
        found: dict[int, tuple[Span, ...]] = {}
        for match in self.matches(reading):
            number = reading.sentence_of(match[0].start)
            if number not in found and (self._keeps_denial or not self._denied(reading, match)):
                found[number] = match
        return found


_SUBJECT_MARKS = frozenset("은는이가:=")


def _compile_chain(text: str, source: str, table: TermTable) -> Chain:
    parts = [part for part in re.split(r"…|\.{3,}", text) if part.strip()]
    if not parts:
        raise InputError(f"pattern '{source}'", "an empty part", "words on both sides", "complete it, or remove it")
    return Chain(tuple(Phrase(part, source, table) for part in parts), table)


class AllParts:
    """`A & B`: all parts in one sentence, in any order; a lone phrase is the simplest case."""

    def __init__(self, source: str, parts: tuple[Chain, ...]) -> None:
        self.source = source
        self.parts = parts

    def find(self, reading: Reading, skip: Skip | None = None) -> tuple[Span, ...]:
        if len(self.parts) == 1:
            return self.parts[0].find(reading, skip)
        found: list[dict[int, tuple[Span, ...]]] = []
        for part in self.parts:
            by_sentence = part.find_by_sentence(reading)
            if not by_sentence:
                return ()
            found.append(by_sentence)
        common = set(found[0]).intersection(*found[1:])
        if not common:
            return ()
        number = min(common)
        return tuple(span for by_sentence in found for span in by_sentence[number])

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        return next((spans for part in self.parts if (spans := part.find_denied(reading))), ())


# ---------------------------------------------------------------- formula:


class FormulaPattern:
    """`formula:`: the same value however it is written or said."""

    def __init__(self, source: str, formula: Formula) -> None:
        self.source = source
        self.formula = formula

    def find(self, reading: Reading, skip: Skip | None = None) -> tuple[Span, ...]:
        for found in find_formulas(reading):
            counts = found.equals(self.formula) and not is_denied(reading, found.span)
            if counts and not (skip and skip((found.span,))):
                return (found.span,)
        return ()

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        for found in find_formulas(reading):
            if found.equals(self.formula) and is_denied(reading, found.span):
                return (found.span,)
        return ()


# ---------------------------------------------------------------- groups


class Alternatives:
    """A group of patterns, one of which has to match."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self.sources = tuple(one.source for one in self.patterns)
        self.plain = tuple(one for one in self.patterns if not isinstance(one, Expression))
        self.expressions = tuple(one for one in self.patterns if isinstance(one, Expression))
        self.formulas = tuple(one for one in self.patterns if isinstance(one, FormulaPattern))
        self._screen = Screen(self.expressions) if len(self.expressions) > 1 else None

    def find(self, reading: Reading, skip: Skip | None = None) -> tuple[Pattern, tuple[Span, ...]] | None:
        """The first pattern that matches, phrases before expressions, with its spans."""
        for one in self.plain:
            if spans := one.find(reading, skip):
                return one, spans
        for other in self._screen.pick(reading) if self._screen else self.expressions:
            if spans := other.find(reading, skip):
                return other, spans
        return None

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        """A match that does not count because it is denied."""
        for one in self.plain:
            if spans := one.find_denied(reading):
                return spans
        likely = self._screen.pick(reading) if self._screen else self.expressions
        return next((spans for one in likely if (spans := one.find_denied(reading))), ())
