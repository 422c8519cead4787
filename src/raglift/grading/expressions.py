"""Regular expressions of a rubric (`re: …`), by RE2 over the signs or the letters of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import re2

from raglift.errors import InputError
from raglift.grading.denial import contains_denial, is_denied
from raglift.grading.normalization import plain_letters
from raglift.grading.phrases import AFTER_NUMBER, spell_name
from raglift.grading.reading import Reading, Span, read_text
from raglift.grading.subjects import Skip
from raglift.grading.terms import TermTable

_RETRIES = 30

_END = "\0"
"""No letter of any text (normalization drops it)."""

Kind = Literal["signs", "letters", "both"]


class Expression:
    """`re:`: over the signs where it names terms, over the letters where it has no braces."""

    def __init__(self, source: str, by_sign: str, by_letter: str) -> None:
        self.source = source
        self.by_sign = by_sign
        self.by_letter = by_letter
        self._signs = _compile(source, by_sign)
        self._letters = _compile(source, by_letter)
        self._keeps_denial = contains_denial(source)

    def find(self, reading: Reading, skip: Skip | None = None) -> tuple[Span, ...]:
        """The first match that is not denied."""
        for span in self._matches(reading):
            if not self._denied(reading, span) and not (skip and skip((span,))):
                return (span,)
        return ()

    def find_denied(self, reading: Reading) -> tuple[Span, ...]:
        """A match that does not count because it is denied."""
        return next(((span,) for span in self._matches(reading) if self._denied(reading, span)), ())

    def _denied(self, reading: Reading, span: Span) -> bool:
        """A match by an alternative that states a negation is taken as it is; the others are not."""
        if self._keeps_denial and contains_denial(reading.quote(span)):
            return False
        return is_denied(reading, span)

    def _matches(self, reading: Reading) -> Iterator[Span]:
        """All matches, denied ones too; over letters, none that takes a piece of a whole term."""
        if self._signs is not None:
            for start, end in _search_all(self._signs, reading, "signs"):
                if _starts_word(reading, start):
                    yield Span(start, end)
        if self._letters is not None:
            for start, end in _search_all(self._letters, reading, "letters"):
                span = reading.from_letters(start, end)
                if span is not None and span.end > span.start and _starts_word(reading, span.start):
                    yield span


class Screen:
    """All expressions of a group in one search over signs and letters together, to know which may match."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self._expressions = expressions
        self._set = _join(expressions)

    def pick(self, reading: Reading) -> Sequence[Expression]:
        """The expressions that may match, in their order; no other does."""
        known = reading.memory.get(self)
        if known is None:
            known = reading.memory[self] = self._search(reading)
        return known  # type: ignore[return-value]

    def _search(self, reading: Reading) -> Sequence[Expression]:
        found = self._set.Match(_encoded(reading, "both")) if self._set else None
        last = len(self._expressions)
        if not found or last not in found:  # too large for RE2's memory
            return self._expressions
        return [self._expressions[number] for number in sorted(found) if number != last]


def _join(expressions: Sequence[Expression]) -> Any:
    """One set of all expressions, and of the text's end, which tells a finished search; None where it is too large.

    Where signs end and letters begin is a line end, so `^` and `$` match at any.
    """
    joined = re2.Set.SearchSet(_options())
    for one in expressions:
        joined.Add("|".join(f"(?m:{text})" for text in (one.by_sign, one.by_letter) if text).encode())
    joined.Add(_END.encode())
    try:
        joined.Compile()
    except re2.error:
        return None
    return joined


def _encoded(reading: Reading, kind: Kind) -> bytes:
    """The signs, the letters or both of a text in UTF-8, which RE2 reads without a copy per search."""
    known = reading.memory.get(kind)
    if known is None:
        signs, letters = reading.text, reading.letters.text
        text = signs if kind == "signs" else letters if kind == "letters" else f"{signs}\n{letters}{_END}"
        known = reading.memory[kind] = text.encode()
    return known  # type: ignore[return-value]


def _search_all(compiled: Any, reading: Reading, kind: Kind) -> Iterator[tuple[int, int]]:
    """Matches from left to right, overlapping ones too, so that one that does not count hides no other."""
    place, encoded = 0, _encoded(reading, kind)
    for _ in range(_RETRIES):
        found = compiled.search(encoded, place)
        if found is None:
            return
        start, end = found.span()
        if end > start:
            first = len(encoded[:start].decode())
            yield first, first + len(encoded[start:end].decode())
        place = start + 1
        while place < len(encoded) and encoded[place] & 0xC0 == 0x80:  # inside a letter
            place += 1
        if place > len(encoded):
            return


def _starts_word(reading: Reading, start: int) -> bool:
    """A match does not start inside a Latin word (`tp` in `http`)."""
    text = reading.text
    inside = start and "a" <= text[start] <= "z" and "a" <= text[start - 1] <= "z"
    return not inside or reading.starts_word(start)


def _options() -> Any:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    return options


def _compile(source: str, expression: str) -> Any:
    if not expression:
        return None
    try:
        return re2.compile(expression.encode(), _options())
    except UnicodeEncodeError:
        raise InputError(
            f"pattern '{source}'", "half of a character (a lone surrogate)", "text", "save the file as UTF-8"
        ) from None
    except re2.error as problem:
        detail = problem.args[0] if problem.args else problem
        detail = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else detail
        raise InputError(
            f"pattern '{source}'",
            f"not a regular expression that RE2 accepts ({detail})",
            "RE2 syntax: no look-around, no back-references, balanced brackets",
            "rewrite it, or use a phrase, `A … B` or `A & B`",
        ) from None


# ---------------------------------------------------------------- translation


def read_expression(source: str, expression: str, table: TermTable) -> Expression:
    """Compile what stands behind `re:`.

    Raises:
        InputError: it is empty, not RE2, or names an unknown term in braces.
    """
    if not expression:
        raise InputError(f"pattern '{source}'", "nothing after 're:'", "a regular expression", "write it, or remove it")
    signs = _translate(expression, source, table)
    by_letter = "" if signs.braces else _translate(expression, source, None).text
    by_sign = "" if signs.by_letter_only or not (signs.braces or signs.spelled) else signs.text
    return Expression(source, by_sign, by_letter)


_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{[^{}]*\}|\(\?[a-zA-Z:<>=!-]*|[()|?*+.^$]|\s+|[^\\\[\](){}|?*+.^$\s]+|.", re.S
)
_QUANTIFIER = re.compile(r"[?*+]|\{[0-9]")
_SPECIAL = re.compile(r"([\[\](){}|?*+.^$\\])")
_COUNT = re.compile(r"[0-9]+(,[0-9]*)?|,[0-9]+")


@dataclass(frozen=True)
class _Translation:
    """An expression over signs, or over letters: whether it has terms in braces, or spells some."""

    text: str
    braces: bool
    spelled: bool
    by_letter_only: bool


def _translate(expression: str, source: str, table: TermTable | None) -> _Translation:
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
            read = _read_literal(token, table)
            ends_in_term = bool(table) and read[-1:] in (table.term_of if table else "")
            only = only or (ends_in_term and bool(_QUANTIFIER.match(following)))
            spelled = spelled or bool(table and any(letter in table.term_of for letter in read))
            piece = read
        pieces.append(piece)
    return _Translation("".join(pieces), braces, spelled, only and not braces)


@lru_cache(maxsize=8192)
def _read_literal(token: str, table: TermTable | None) -> str:
    """Literal letters, escaped; over signs, terms are signs."""
    return _SPECIAL.sub(r"\\\1", read_text(token, table).text if table else plain_letters(token))


@lru_cache(maxsize=1024)
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
    return f"(?:{'|'.join(spell_name(name, table).replace(AFTER_NUMBER, '') for name in names)})"


def _translate_class(token: str, source: str, table: TermTable | None) -> str:
    """A class; where it names a sentence's mark (and no digits) it means the end of the sentence too."""
    read = re.sub(r"\{[^{}]*\}", lambda found: _translate_braces(found[0], source, table), token)
    read = read if "\\" in read else read.lower()
    head = 2 if read.startswith("[^") else 1
    if re.search(r"[.!]", read) and not re.search("[0-9]", read):
        first = "\\" if read[head] == "-" else ""
        return f"{read[:head]}\\n{first}{read[head:]}"
    return read
