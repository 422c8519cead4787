"""An answer as the patterns see it: letters, with every known term as one sign."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from raglift.grading.normalization import SENTENCE_END, Letters, read_letters
from raglift.grading.terms import TermTable

_SIGNS = "\ue000-\uf8ff"
_APPOSITION = re.compile(rf"([{_SIGNS}])(?:[(\[](?:\1[,/=]?)+[)\]]|[/]?\1)+")
_COMPLEMENT = re.compile(rf"([{_SIGNS}])[이가]?아(닌|니라고)")
_CLASS = re.compile(
    rf"(true|false|참|거짓)(?=인|이[고며지었아]|였|일|이?라(?!는)|이?면|중|가운데|[을를]|(?:으로|로)[{_SIGNS}판분잘맞봤말답잡]|[{_SIGNS}])"
)
_END = re.compile(SENTENCE_END)
_VALUE_WORDS = ("값", "수치")


class Span(NamedTuple):
    """From sign `start` up to sign `end` of a reading's text."""

    start: int
    end: int


@dataclass(eq=False, slots=True)
class Reading:
    """`text` has one sign per term; `place[i]` is the letter at which sign i starts (and one more for the end).

    `memory` keeps what several patterns look for in this text.
    """

    letters: Letters
    text: str
    place: list[int]
    sentence_ends: list[int]
    table: TermTable
    memory: dict[object, object] = field(default_factory=dict, repr=False)

    def sentence_of(self, position: int) -> int:
        """The number of the sentence that holds `position`."""
        return bisect_right(self.sentence_ends, position)

    def sentence_span(self, position: int) -> Span:
        """The sentence that holds `position`, without its end mark."""
        number = self.sentence_of(position)
        start = self.sentence_ends[number - 1] + 1 if number else 0
        end = self.sentence_ends[number] if number < len(self.sentence_ends) else len(self.text)
        return Span(start, end)

    def quote(self, span: Span) -> str:
        """The words of the original text."""
        return self.letters.quote(self.place[span.start], self.place[span.end])

    def starts_word(self, position: int) -> bool:
        """Whether white space stands before sign `position`."""
        return self.letters.starts_word(self.place[position])

    def from_letters(self, start: int, end: int) -> Span | None:
        """The span of letters as signs; None where it would match a piece of a whole term."""
        first = bisect_right(self.place, start) - 1
        last = bisect_right(self.place, end) - 1
        whole = self.table.whole
        if self.place[first] != start and self.text[first] in whole:
            return None
        if self.place[last] != end:
            if self.text[last] in whole:
                return None
            last += 1
        return Span(first, last)


def read_text(text: str, table: TermTable) -> Reading:
    """Read a text; never raises."""
    return read_terms(read_letters(text), table)


def read_terms(letters: Letters, table: TermTable) -> Reading:
    """Put one sign for each term, and one for a term with its own name in parentheses."""
    signs: list[str] = []
    place: list[int] = []
    done = 0
    text = letters.text
    for mention in table.find_mentions(letters):
        signs.append(text[done : mention.start])
        place += range(done, mention.start)
        signs.append(mention.sign)
        place.append(mention.start)
        done = mention.end
        if text.startswith(_VALUE_WORDS, done):
            done += 1 if text[done] == "값" else 2
    signs.append(text[done:])
    place += range(done, len(text) + 1)
    joined = "".join(signs)
    if len(signs) > 3 and _APPOSITION.search(joined):
        joined, place = _join_appositions(joined, place)
    if _CLASS.search(joined):
        joined, place = _name_classes(joined, place, letters, table)
    if "아닌" in joined or "아니라고" in joined:
        joined, place = _name_complements(joined, place, table)
    ends = [found.start() for found in _END.finditer(joined)] if SENTENCE_END in joined else []
    return Reading(letters, joined, place, ends, table)


def _join_appositions(text: str, place: list[int]) -> tuple[str, list[int]]:
    pieces: list[str] = []
    kept: list[int] = []
    done = 0
    for found in _APPOSITION.finditer(text):
        pieces.append(text[done : found.start()] + found[1])
        kept += place[done : found.start() + 1]
        done = found.end()
    pieces.append(text[done:])
    kept += place[done:]
    return "".join(pieces), kept


def _name_classes(text: str, place: list[int], letters: Letters, table: TermTable) -> tuple[str, list[int]]:
    """`실제 True 인 것`, `참으로 예측`: the class positive; `False`, `거짓` the class negative."""
    positive, negative, data = (table.sign_of.get(name, "") for name in ("positive", "negative", "data"))
    pieces: list[str] = []
    kept: list[int] = []
    done = 0
    for found in _CLASS.finditer(text):
        before, after = text[found.start() - 1 : found.start()], text[found.end()]
        alone = letters.starts_word(place[found.start()]) or re.match(rf"[{_SIGNS}]", before)
        if not alone or (re.match(rf"[{_SIGNS}]", after) and after != data):
            continue
        pieces += [text[done : found.start()], positive if found[1] in ("true", "참") else negative]
        kept += place[done : found.start() + 1]
        done = found.end()
    pieces.append(text[done:])
    kept += place[done:]
    return "".join(pieces), kept


def _name_complements(text: str, place: list[int], table: TermTable) -> tuple[str, list[int]]:
    """`양성이 아닌 것` is `음성인 것`, `양성이 아니라고` is `음성라고`, and the other way round."""
    pair = [table.sign_of.get(name, "") for name in ("positive", "negative")]
    other = dict(zip(pair, pair[::-1], strict=True))
    pieces: list[str] = []
    kept: list[int] = []
    done = 0
    for found in _COMPLEMENT.finditer(text):
        if found[1] in other:
            ending = "인" if found[2] == "닌" else "라고"
            pieces += [text[done : found.start()], other[found[1]], ending]
            kept += [*place[done : found.start() + 1], *place[found.end() - len(ending) : found.end()]]
            done = found.end()
    pieces.append(text[done:])
    kept += place[done:]
    return "".join(pieces), kept
