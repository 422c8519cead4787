"""From any text to the letters that are compared: one spelling, no white space, sentence ends kept.

Nothing here knows of terms or rubrics. The result remembers where each letter came from, so
that a grade can show the words that decided.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MAX_CHARACTERS = 20_000
"""Only so much of an answer is read: an answer is a sentence or two, and time stays bounded."""

SENTENCE_END = "\n"
SPACE = " "
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_ODD = re.compile("[²³⁻ⁿ…√①-⑨]")
_ODD_SIGNS = str.maketrans(
    {"²": "^2", "³": "^3", "⁻": "^-", "ⁿ": "^n", "…": ". ", "√": "루트", **dict.fromkeys("①②③④⑤⑥⑦⑧⑨", ", ")}
)
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
    "Σ": "∑",
    "➕": "+",
    "〖": "[",
    "〗": "]",
}
_DROPPED = {"Cc", "Cf", "Co", "Cn", "Cs", "So", "Sk", "Mn", "Me"}
_NUMBER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9])|[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
_SIGNS = {"+": "+", "-": "-", "플러스": "+", "마이너스": "-"}
_BEFORE_SIGN = re.compile(r"[0-9a-z)\]|%]")
_BEFORE_PLUS = re.compile(r"[^가-힣]|[은는이가을를에서의로고며면때인나]")
_TWO_AXES = re.compile(r"([xX]|가로)(\s*(?:[,/·&-]|와|과|랑|하고|및)\s*)(?=(?:[yY]|세로)\s*축)")
_LATEX = (
    (re.compile(r"\\(?:text|mathrm|mathbf|mathit|operatorname|textbf)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[dt]?frac\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*\{((?:[^{}]|\{[^{}]*\})*)\}"), r"((\1)/(\2))"),
    (re.compile(r"\\(?:cdot|times|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\(?:left|right|quad|qquad|displaystyle|big|Big)(?![a-zA-Z])|\\[,;!()\[\] ]"), " "),
    (re.compile(r"\\(?=[a-zA-Z])"), ""),
)


_NOTHING = "\0"
_UNREAD = frozenset({SPACE, _NOTHING})
_DIGIT = re.compile("[0-9]")
_DOT = re.compile(r"\.")
_ITEM = re.compile(r"(?<!\S)\(?([1-9])[.)](?=\s*[^\s\d.)])")
_BETWEEN_NUMBERS = re.compile(r"(?<=[0-9]) (?=[0-9])")


class _LetterTable(dict[int, str]):
    """How each character is read, one letter for one (for str.translate); filled on demand."""

    def __missing__(self, code: int) -> str:
        read = self._read(chr(code))
        if len(self) < 100_000:
            self[code] = read
        return read

    @staticmethod
    def _read(character: str) -> str:
        if character in _SAME:
            return _SAME[character] or _NOTHING
        if character.isspace():
            return SPACE
        category = unicodedata.category(character)
        if category in _DROPPED:
            return SPACE if category in {"So", "Cc"} else _NOTHING
        return character.lower()[0]


_LETTERS = _LetterTable()


@dataclass(eq=False, slots=True)
class Letters:
    """A text as compared: `text` without white space; letter i is read from `mapped[origin[i]:ends[i]]`.

    `source` is the text that was read (NFKC, at most MAX_CHARACTERS long), `mapped` the same, sign
    for sign, as read.
    """

    source: str
    mapped: str
    text: str
    origin: Sequence[int]
    ends: Sequence[int]

    def quote(self, start: int, end: int) -> str:
        """The words of the source from letter `start` up to letter `end`."""
        return self.source[self.origin[start] : self.ends[end - 1]] if start < end <= len(self.origin) else ""

    def starts_word(self, letter: int) -> bool:
        """Whether white space (or nothing) stands before a letter."""
        if not 0 < letter < len(self.origin):
            return True
        gap = self.origin[letter] - self.ends[letter - 1]
        return gap > 0 and SPACE in self.mapped[self.ends[letter - 1] : self.origin[letter]]

    def has_space(self, start: int, end: int) -> bool:
        """Whether white space stands between letter `start` and letter `end - 1`."""
        if self.origin[end - 1] - self.origin[start] == end - 1 - start:
            return False
        return SPACE in self.mapped[self.origin[start] : self.origin[end - 1]]


def compose(text: str) -> str:
    """Unicode NFKC, with powers kept as powers, LaTeX as plain signs, lone surrogates gone."""
    text = _INVISIBLE.sub("", text[:MAX_CHARACTERS])
    if _ODD.search(text):
        text = text.translate(_ODD_SIGNS)
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
    mapped = _drop_item_numbers(source, source.translate(_LETTERS))
    if "." in mapped:
        mapped = _DOT.sub(lambda dot: SENTENCE_END if _ends_sentence(source, dot.start()) else ".", mapped)
    letters = mapped.replace(SPACE, "").replace(_NOTHING, "")
    origin = [place for place, letter in enumerate(mapped) if letter not in _UNREAD]
    read = Letters(source, mapped, letters, origin, [place + 1 for place in origin])
    return _unify_numbers(read) if _DIGIT.search(letters) else read


def _drop_item_numbers(source: str, mapped: str) -> str:
    """The numbers of a list (`1. … 2. …`) as commas, and numbers that only a space parts (`0.0 2`) kept apart."""
    if not _DIGIT.search(mapped):
        return mapped
    items = list(_ITEM.finditer(source)) if "2" in source else []
    if len(items) > 1 and [int(item[1]) for item in items] == list(range(1, len(items) + 1)):
        for item in items:
            mapped = mapped[: item.start()] + ",".rjust(len(item[0])) + mapped[item.end() :]
    return _BETWEEN_NUMBERS.sub(",", mapped)


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
    ends: list[int] = []
    done = 0
    for found in _NUMBER.finditer(text):
        written = next((sign for sign in _SIGNS if text.endswith(sign, done, found.start())), "")
        start, end = found.start() - len(written), found.end()
        number = _plain_number(read, start, written, found)
        if number == text[start:end]:
            continue
        pieces += [text[done:start], number]
        origin += [*read.origin[done:start], *[read.origin[start]] * len(number)]
        ends += [*read.ends[done:start], *[read.ends[end - 1]] * len(number)]
        done = end
    if not pieces:
        return read
    pieces.append(text[done:])
    origin += read.origin[done:]
    ends += read.ends[done:]
    return Letters(read.source, read.mapped, "".join(pieces), origin, ends)


def _plain_number(read: Letters, start: int, written: str, found: re.Match[str]) -> str:
    """The number that begins at letter `start` with the sign `written` ('' if none), as it is compared."""
    digits = found[0]
    if "," in digits and read.has_space(*found.span()):
        return written + digits
    value = digits.replace(",", "")
    if "." in value:
        value = value.rstrip("0").rstrip(".") or "0"
        value = "0" + value if value.startswith(".") else value
    sign = _SIGNS.get(written, "")
    before = read.text[start - 1 : start] if start else ""
    if before and _BEFORE_SIGN.match(before):
        return ("~" if sign == "-" and before.isdigit() else sign) + value
    if sign == "+":
        return value if not before or _BEFORE_PLUS.match(before) else sign + value
    return sign + value if value != "0" else value


@lru_cache(maxsize=4096)
def plain_letters(text: str) -> str:
    """Only the letters of `text`, for patterns and names."""
    return read_letters(text).text
