"""From any text to the letters that are compared: one spelling, no white space, sentence ends kept.

Nothing here knows of terms or rubrics. The result remembers where each letter came from, so
that a grade can show the words that decided.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

MAX_CHARACTERS = 20_000
"""Only so much of an answer is read: an answer is a sentence or two, and time stays bounded."""

SENTENCE_END = "\n"
SPACE = " "
_SUPERSCRIPTS = str.maketrans({"²": "^2", "³": "^3", "⁻": "^-", "ⁿ": "^n", "…": ". "})
_SAME = {
    **dict.fromkeys("−–—‐‑‒―－﹣➖", "-"),
    **dict.fromkeys("×·∙⋅•✕✖＊ㆍ・", "*"),
    **dict.fromkeys("÷∕⁄➗", "/"),
    **dict.fromkeys("∥‖", "|"),
    **dict.fromkeys("、，", ","),
    **dict.fromkeys("［〔【", "["),
    **dict.fromkeys("］〕】", "]"),
    **dict.fromkeys("≒≈", "="),
    **dict.fromkeys("∼〜～˜", "~"),
    **dict.fromkeys("!?。！？", SENTENCE_END),
    **dict.fromkeys("\"'`“”‘’«»「」『』《》〈〉´", ""),
    "_": SPACE,
    "^": "^",
    "√": "루트",
    "➕": "+",
    "〖": "[",
    "〗": "]",
}
_DROPPED = {"Cc", "Cf", "Co", "Cn", "Cs", "So", "Sk", "Mn", "Me"}
_NUMBER = re.compile(r"(마이너스|플러스|[+\-])?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)")
_BEFORE_SIGN = re.compile(r"[0-9a-z)\]|%]")
_BEFORE_PLUS = re.compile(r"[^가-힣]|[은는이가을를에서의로고며면때인나]")
_TWO_AXES = re.compile(r"([xX가]로?)(\s*(?:[,/·&-]|와|과|랑|하고|및)\s*)(?=([yY세]로?)\s*축)")
_LATEX = (
    (re.compile(r"\\(?:text|mathrm|mathbf|mathit|operatorname|textbf)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[dt]?frac\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*\{((?:[^{}]|\{[^{}]*\})*)\}"), r"((\1)/(\2))"),
    (re.compile(r"\\(?:cdot|times|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\(?:left|right|quad|qquad|displaystyle|big|Big)(?![a-zA-Z])|\\[,;!()\[\] ]"), " "),
    (re.compile(r"\\(?=[a-zA-Z])"), ""),
)


class _LetterTable(dict[str, str]):
    """How each character is read; filled on demand."""

    def __missing__(self, character: str) -> str:
        read = self._read(character)
        if len(self) < 100_000:
            self[character] = read
        return read

    @staticmethod
    def _read(character: str) -> str:
        if character in _SAME:
            return _SAME[character]
        if character.isspace():
            return SPACE
        category = unicodedata.category(character)
        if category in _DROPPED:
            return SPACE if category in {"So", "Cc"} else ""
        return character.lower()


_LETTERS = _LetterTable()


@dataclass(frozen=True)
class Letters:
    """A text as compared: `text` without white space; `origin[i]` is the place of letter i in `source`.

    `starts[i]` is 1 where white space (or nothing) stands before letter i.
    `source` is the text that was read, NFKC, at most MAX_CHARACTERS long.
    """

    source: str
    text: str
    origin: tuple[int, ...]
    starts: bytes

    def quote(self, start: int, end: int) -> str:
        """The words of the source from letter `start` up to letter `end`."""
        if start >= end or start >= len(self.origin):
            return ""
        return self.source[self.origin[start] : self.origin[end - 1] + 1]


def compose(text: str) -> str:
    """Unicode NFKC, with powers kept as powers, LaTeX as plain signs, lone surrogates gone."""
    text = text[:MAX_CHARACTERS].translate(_SUPERSCRIPTS)
    if "\\" in text:
        text = _unfold_latex(text)
    if "**" in text:
        text = re.sub(r"\*\*(?=\s*[0-9])", "^", text).replace("**", " ")
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text)
    return _TWO_AXES.sub(r"\1축\2", text) if "축" in text else text


def _unfold_latex(text: str) -> str:
    for _ in range(4):
        for pattern, plain in _LATEX[:2]:
            text = pattern.sub(plain, text)
    for pattern, plain in _LATEX[2:]:
        text = pattern.sub(plain, text)
    return text.replace("$", " ")


def read_letters(text: str) -> Letters:
    """Read a text of any kind; never raises."""
    source = compose(text)
    letters: list[str] = []
    origin: list[int] = []
    starts = bytearray()
    gap = 1
    for place, character in enumerate(source):
        letter = _LETTERS[character]
        if letter == SPACE:
            gap = 1
            continue
        if not letter:
            continue
        if letter == "." and _ends_sentence(source, place):
            letter = SENTENCE_END
        for one in letter:
            letters.append(one)
            origin.append(place)
            starts.append(gap)
            gap = 0
    read = Letters(source, "".join(letters), tuple(origin), bytes(starts))
    return _unify_numbers(read)


def _ends_sentence(source: str, place: int) -> bool:
    """Whether the dot is no decimal point and does not stand inside a Latin word."""
    after = source[place + 1 : place + 2]
    if after.isdigit():
        return False
    before = source[place - 1 : place] if place else ""
    return not (after.isascii() and after.isalpha() and before.isascii() and before.isalnum())


def _unify_numbers(read: Letters) -> Letters:
    """`+1.0`, `1.0` → `1`; `−1.0`, `마이너스 1` → `-1`; `0-1` → `0~1`; `1,000` → `1000`."""
    text = read.text
    pieces: list[str] = []
    origin: list[int] = []
    starts = bytearray()
    done = 0
    for found in _NUMBER.finditer(text):
        start, end = found.span()
        number = _plain_number(read, found)
        if number == text[start:end]:
            continue
        pieces += [text[done:start], number]
        origin += read.origin[done:start]
        starts += read.starts[done:start]
        last = read.origin[end - 1]
        origin += [read.origin[start]] * (len(number) - 1) + [last]
        starts += bytes([read.starts[start]]) + bytes(len(number) - 1)
        done = end
    if not pieces:
        return read
    pieces.append(text[done:])
    origin += read.origin[done:]
    starts += read.starts[done:]
    return Letters(read.source, "".join(pieces), tuple(origin), bytes(starts))


def _plain_number(read: Letters, found: re.Match[str]) -> str:
    sign, digits = found[1], found[2]
    start, digits_start = found.start(), found.start(2)
    if "," in digits and any(read.starts[digits_start + 1 : found.end()]):
        return found[0]
    value = digits.replace(",", "")
    if "." in value:
        value = value.rstrip("0").rstrip(".") or "0"
        value = "0" + value if value.startswith(".") else value
    before = read.text[start - 1 : start] if start else ""
    binary = bool(before) and bool(_BEFORE_SIGN.match(before))
    if sign is None:
        return value
    if binary:
        if sign == "-" and before.isdigit():
            return "~" + value
        return {"마이너스": "-", "플러스": "+"}.get(sign, sign) + value
    if sign in ("+", "플러스"):
        return value if not before or _BEFORE_PLUS.match(before) else "+" + value
    return "-" + value if value != "0" else value


@lru_cache(maxsize=4096)
def plain_letters(text: str) -> str:
    """Only the letters of `text`, for patterns and names."""
    return read_letters(text).text
