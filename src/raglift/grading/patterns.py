"""The four kinds of pattern of a rubric, compiled (docs/rubrics.md, "The four kinds").

A compiled pattern has `find(reading)`, the first match that is not denied, and `find_denied`,
for explanations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import re2

from raglift.errors import InputError
from raglift.grading.denial import contains_denial, is_denied
from raglift.grading.formulas import Formula, find_formulas, read_formula
from raglift.grading.normalization import Letters, plain_letters, read_letters
from raglift.grading.reading import Reading, Span, read_text
from raglift.grading.roles import Binding, find_bound, role_of
from raglift.grading.terms import TermTable

ELLIPSIS = "…"
REACH = 30
"""How far apart the parts of an `…` pattern may be, in letters (a term counts as one)."""

_FILLER = "값|클래스|라벨|레이블|정답|결과|데이터|들|부분"
_JOSA = (
    "이라는|라는|이라고|라고|이란|란|이나|나|으로는|로는|으로서|로서|으로써|로써|으로부터|로부터|으로의|로의|으로|로|에서는|에서의|에서|"
    "에게|에는|에도|에|께|이|가|은|는|을|를|의|와의|과의|와는|과는|와|과|이랑|랑|하고|도|만|까지|부터|보다는|보다|처럼|마다|"
    "인데|인것을|인걸|인|이고|이며|이지만|이면|일때|일|이었던|였던|이거나|거나|한|하는|할|된|되는|될"
)
_LOOSE = r"[,:=()\[\]~*&]{0,2}"
_AFTER_NUMBER = r"(?![0-9]|\.[0-9])"


class Pattern(Protocol):
    """What every kind can do."""

    source: str

    def find(self, reading: Reading) -> tuple[Span, ...]:
        """The spans of the first match that is not denied; () where there is none."""

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        """The spans of a match that does not count because it is denied."""


def compile_pattern(source: str, table: TermTable) -> Pattern:
    """Compile one alternative or pattern.

    Raises:
        InputError: it is empty, its regular expression is not RE2, or its formula is not understood.
    """
    text = source.strip()
    if text.startswith("formula:"):
        return FormulaPattern(source, read_formula(text.removeprefix("formula:"), table))
    if text.startswith("re:"):
        return _compile_expression(source, text.removeprefix("re:").strip(), table)
    parts = tuple(_compile_chain(part, source, table) for part in re.split(r"\s&\s", text.strip("& ")))
    return AllParts(source, parts)


# ---------------------------------------------------------------- phrases


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
            known = reading.memory[self.key] = list(self._find_all(reading))
        return known  # type: ignore[return-value]

    def _find_all(self, reading: Reading) -> Iterator[Span]:
        text = reading.letters.text if self._by_letter else reading.text
        for found in self._search.finditer(text):
            start, end = found.span()
            span = reading.from_letters(start, end) if self._by_letter else Span(start, end)
            if span is not None and _stands_alone(reading, span):
                yield span


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
        choice = sorted({_spell_name(name, table) for name in names}, key=len, reverse=True)
        pieces.append(f"(?:{'|'.join(choice)})")
        done = mention.end
    pieces += _spell_words(letters, done, len(letters.text), table)
    return _gap(table).join(pieces)


def _spell_words(letters: Letters, start: int, end: int, table: TermTable) -> list[str]:
    words: list[str] = []
    for place in range(start, end):
        if place == start or letters.starts[place]:
            words.append("")
        words[-1] += letters.text[place]
    read = (read_text(word, table).text.strip("\n") for word in words)
    return [_guarded(word) for word in read if word]


def _spell_name(name: str, table: TermTable) -> str:
    words = [read_text(word, table).text for word in re.split(r"[\s\-]+", name)]
    return "-?".join(_guarded(word) for word in words if word)


@lru_cache(maxsize=8)
def _gap(table: TermTable | None) -> str:
    """A space: a particle, or a general noun with one (`실제 값이 양성`); over signs, nouns that are terms are signs."""
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
        after = _AFTER_NUMBER
    return before + re.escape(word) + after


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
            for pair in find_bound(reading, self._binding, other.spans(reading), self._table):
                yield pair
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
            if text[place] in rivals and text[place + 1 : place + 2] in _SUBJECT_MARKS:
                if not is_denied(reading, Span(place, place + 1), whole=False):
                    return True
        return False

    def find(self, reading: Reading) -> tuple[Span, ...]:
        for match in self.matches(reading):
            if self._keeps_denial or not self._denied(reading, match):
                return match
        return ()

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        if self._keeps_denial:
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

    def find(self, reading: Reading) -> tuple[Span, ...]:
        if len(self.parts) == 1:
            return self.parts[0].find(reading)
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


# ---------------------------------------------------------------- re:


class Expression:
    """`re:`: RE2 over the signs, or over the letters where it spells no term."""

    def __init__(self, source: str, by_sign: object | None, by_letter: object | None) -> None:
        self.source = source
        self._by_sign = by_sign
        self._by_letter = by_letter
        self._keeps_denial = contains_denial(source)

    def matches(self, reading: Reading) -> Iterator[Span]:
        """All matches, denied ones too; a match over letters takes no piece of a whole term."""
        if self._by_sign is not None:
            for found in self._by_sign.finditer(reading.text):  # type: ignore[attr-defined]
                if found.end() > found.start():
                    yield Span(*found.span())
        if self._by_letter is not None:
            for found in self._by_letter.finditer(reading.letters.text):  # type: ignore[attr-defined]
                span = reading.from_letters(*found.span())
                if span is not None and span.end > span.start:
                    yield span

    def find(self, reading: Reading) -> tuple[Span, ...]:
        for span in self.matches(reading):
            if self._starts_word(reading, span) and (self._keeps_denial or not is_denied(reading, span)):
                return (span,)
        return ()

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        if self._keeps_denial:
            return ()
        return next(((span,) for span in self.matches(reading) if is_denied(reading, span)), ())

    @staticmethod
    def _starts_word(reading: Reading, span: Span) -> bool:
        """A match does not start inside a Latin word (`tp` in `http`)."""
        text = reading.text
        if not span.start or not ("a" <= text[span.start] <= "z" and "a" <= text[span.start - 1] <= "z"):
            return True
        return reading.starts_word(span.start)


def _compile_expression(source: str, expression: str, table: TermTable) -> Expression:
    if not expression:
        raise InputError(f"pattern '{source}'", "no expression after 're:'", "a regular expression", "write it, or remove it")
    signs = translate_expression(expression, source, table)
    letters = None if signs.braces else _compile_re2(source, translate_expression(expression, source, None).text)
    by_sign = None if signs.by_letter_only or not (signs.braces or signs.spelled) else _compile_re2(source, signs.text)
    return Expression(source, by_sign, letters)


def _compile_re2(source: str, expression: str) -> object:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except re2.error as problem:
        detail = problem.args[0] if problem.args else problem
        detail = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else detail
        raise InputError(
            f"pattern '{source}'",
            f"not a regular expression that RE2 accepts ({detail})",
            "RE2 syntax: no look-around, no back-references, balanced brackets",
            "rewrite it, or use a phrase, `A … B` or `A & B`",
        ) from None


_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{[^{}]*\}|\(\?[a-zA-Z:<>=!-]*|[()|?*+.^$]|\s+|[^\\\[\](){}|?*+.^$\s]+|.", re.S
)
_QUANTIFIER = re.compile(r"[?*+]|\{[0-9]")
_SPECIAL = re.compile(r"([\[\](){}|?*+.^$\\])")
_COUNT = re.compile(r"[0-9]+(,[0-9]*)?|,[0-9]+")


@dataclass(frozen=True)
class Translation:
    """An expression over signs, or over letters: whether it has terms in braces, or spells some."""

    text: str
    braces: bool
    spelled: bool
    by_letter_only: bool


def translate_expression(expression: str, source: str, table: TermTable | None) -> Translation:
    """The expression over signs; over letters without a table.

    It is by letter only where it spells letters in a class (`[^정]`) or repeats the last letter of a term.
    """
    pieces: list[str] = []
    braces = spelled = only = False
    tokens = _TOKEN.findall(expression.replace("\\{", "{").replace("\\}", "}"))
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token.startswith("[") and token.endswith("]") and len(token) > 1:
            piece = _translate_class(token, source, table)
            only = only or bool(re.search(r"[가-힣]|(?<!\\)[a-z]", re.sub(r"\{[^{}]*\}", "", token.lower())))
        elif token.startswith("{") and not _COUNT.fullmatch(token[1:-1]):
            piece, braces = _translate_braces(token, source, table), True
        elif token.isspace():
            piece = ""
        elif token == "\\.":
            piece = "[.\\n]"
        elif token.startswith(("\\", "(?", "{")) or token in "()|?*+.^$":
            piece = token
        else:
            read = _SPECIAL.sub(r"\\\1", read_text(token, table).text if table else plain_letters(token))
            ends_in_term = bool(table) and read[-1:] in (table.term_of if table else "")
            only = only or (ends_in_term and bool(_QUANTIFIER.match(following)))
            spelled = spelled or bool(table and any(letter in table.term_of for letter in read))
            piece = read
        pieces.append(piece)
    return Translation("".join(pieces), braces, spelled, only and not braces)


def _translate_braces(token: str, source: str, table: TermTable | None) -> str:
    if table is None:
        return _SPECIAL.sub(r"\\\1", token)
    inside = token[1:-1].strip()
    sign = table.sign_of.get(inside) or table.sign_for(inside)
    if sign:
        return sign
    names = table.names_for(inside)
    if not names:
        raise InputError(
            f"pattern '{source}'",
            f"no known term '{inside}'",
            "a term or one of its names in braces",
            "write the words themselves, or a name from terms.json",
        )
    return f"(?:{'|'.join(_spell_name(name, table).replace(_AFTER_NUMBER, '') for name in names)})"


def _translate_class(token: str, source: str, table: TermTable | None) -> str:
    """A class; where it names a sentence's mark it means the end of the sentence too."""
    read = re.sub(r"\{[^{}]*\}", lambda found: _translate_braces(found[0], source, table), token)
    read = read if "\\" in read else read.lower()
    head = 2 if read.startswith("[^") else 1
    return read[:head] + "\\n" + read[head:] if re.search(r"[.!]", read) else read


# ---------------------------------------------------------------- formula:


class FormulaPattern:
    """`formula:`: the same value however it is written or said."""

    def __init__(self, source: str, formula: Formula) -> None:
        self.source = source
        self.formula = formula

    def find(self, reading: Reading) -> tuple[Span, ...]:
        for found in find_formulas(reading):
            if found.equals(self.formula) and not is_denied(reading, found.span):
                return (found.span,)
        return ()

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        for found in find_formulas(reading):
            if found.equals(self.formula) and is_denied(reading, found.span):
                return (found.span,)
        return ()
