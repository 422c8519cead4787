"""A phrase of a pattern: letters and terms in a row, where a space accepts a particle."""

from __future__ import annotations

import re
from functools import lru_cache

from raglift.errors import InputError
from raglift.grading.normalization import Letters, read_letters
from raglift.grading.reading import Reading, Span, read_text
from raglift.grading.terms import TermTable

_FILLER = "값|클래스|라벨|레이블|정답|결과|데이터|들|부분"
_JOSA = (
    "이라는|라는|이라고|라고|이란|란|이나|나|으로는|로는|으로서|로서|으로써|로써|으로부터|로부터|으로의|로의|으로|로|에서는|에서의|에서|"
    "에게|에는|에도|에|께|이|가|은|는|을|를|의|와의|과의|와는|과는|와|과|이랑|랑|하고|도|만|까지|부터|보다는|보다|처럼|마다|"
    "인데|인것을|인걸|인|이고|이며|이지만|이면|일때|일|이었던|였던|이거나|거나|한|하는|할|된|되는|될"
)
_LOOSE = r"[,:=()\[\]~*&]{0,2}"
AFTER_NUMBER = r"(?![0-9]|\.[0-9])"


class Phrase:
    """Letters and terms in a row; a space accepts a particle; a compound accepts all its names."""

    def __init__(self, text: str, source: str, table: TermTable) -> None:
        self.text = text.strip()
        whole = read_text(self.text, table).text.strip("\n")
        if not whole:
            raise InputError(f"pattern '{source}'", "no letters to match", "a phrase", "write the words, or remove it")
        self.sign = whole if whole in table.term_of else ""
        spelled = [_spell(self.text, table), _guarded(whole)]
        self.key = "|".join(dict.fromkeys(spelled))
        self._by_letter = not any(letter in table.term_of for letter in self.key.replace(_gap(table), ""))
        if self._by_letter:
            self.key = self.key.replace(_gap(table), _gap(None))
        self._search = re.compile(self.key)

    def spans(self, reading: Reading) -> list[Span]:
        """All places of the phrase, denied or not."""
        known = reading.memory.get(self.key)
        if known is None:
            known = reading.memory[self.key] = self._find_all(reading)
        return known  # type: ignore[return-value]

    def _find_all(self, reading: Reading) -> list[Span]:
        text = reading.letters.text if self._by_letter else reading.text
        spans: list[Span] = []
        for found in self._search.finditer(text):
            start, end = found.span()
            span = reading.from_letters(start, end) if self._by_letter else Span(start, end)
            if span is not None and _stands_alone(reading, span):
                spans.append(span)
        return spans


def _stands_alone(reading: Reading, span: Span) -> bool:
    """A match does not start or end inside a Latin word (a plural s apart)."""
    text, start, end = reading.text, span.start, span.end
    if start and "a" <= text[start] <= "z" and "a" <= text[start - 1] <= "z" and not reading.starts_word(start):
        return False
    if end < len(text) and "a" <= text[end - 1] <= "z" and "a" <= text[end] <= "z":
        return reading.starts_word(end) or text[end] == "s"
    return True


def _spell(text: str, table: TermTable) -> str:
    """The words of a phrase with gaps between; a compound is the choice of its names."""
    letters = read_letters(text)
    pieces: list[str] = []
    done = 0
    for mention, names in table.names_in(letters):
        pieces += _spell_words(letters, done, mention.start, table)
        choice = sorted({spell_name(name, table) for name in names}, key=len, reverse=True)
        pieces.append(f"(?:{'|'.join(choice)})")
        done = mention.end
    pieces += _spell_words(letters, done, len(letters.text), table)
    return _gap(table).join(pieces)


def _spell_words(letters: Letters, start: int, end: int, table: TermTable) -> list[str]:
    words: list[str] = []
    for place in range(start, end):
        if place == start or letters.starts_word(place):
            words.append("")
        words[-1] += letters.text[place]
    read = (read_text(word, table).text.strip("\n") for word in words)
    return [_guarded(word) for word in read if word]


def spell_name(name: str, table: TermTable) -> str:
    words = [read_text(word, table).text for word in re.split(r"[\s\-]+", name)]
    return "-?".join(_guarded(word) for word in words if word)


@lru_cache(maxsize=8)
def _gap(table: TermTable | None) -> str:
    """A space: a particle, or a general noun with one (`실제 값이 양성`); a noun that is a term is its sign."""
    nouns = _FILLER.split("|")
    read = nouns if table is None else [read_text(noun, table).text for noun in nouns]
    return f"{_LOOSE}(?:{'|'.join(read)})?(?:{_JOSA})?{_LOOSE}"


def _guarded(word: str) -> str:
    """The word, escaped; a number is a whole number."""
    before = after = ""
    if word[0].isdigit():
        before = r"(?<![0-9.\-])"
    elif word[0] == "-" and word[1:2].isdigit():
        before = "(?<![0-9])"
    if word[-1].isdigit():
        after = AFTER_NUMBER
    return before + re.escape(word) + after
