"""Tokens of a written or said formula, and their reduction to operands.

A sentence is cut into tokens, each of one kind (a letter), and rules over the string of kinds
reduce them, innermost first: `TP와 FN의 합` → one operand, `TP를 … 으로 나눈` → one operand.
An operand carries its values (quantities.py) instead of a tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from raglift.grading.quantities import POINTS, TOTAL, Values, agree, combine, value_of
from raglift.grading.reading import Reading, Span
from raglift.grading.terms import TermTable

MAX_TOKENS = 120
"""The longest stretch that is read as one formula."""
OPERAND, BREAK = "e", "x"

_WORDS: tuple[tuple[str, str], ...] = (
    ("B", r"이두(?:값|지표|수치|개|가지) 두(?:값|지표|수치|개|가지) 이둘 둘 이들"),
    ("q", r"나누기"),
    ("/", r"/"),
    ("+", r"더하기 플러스 \+"),
    ("-", r"빼기 마이너스 -"),
    ("*", r"곱하기 \*"),
    ("^", r"\^"),
    ("(", r"[(\[{]"),
    (")", r"[)\]}]"),
    ("|", r"\|"),
    ("=", r"[=:]"),
    ("n", r"분의"),
    ("A", r"더[한할해하](?:서|여|고|면|준|주고|줘서)? 합[한해하친치쳐](?:서|여|고|면)?"),
    ("M", r"곱[한할해하](?:서|여|고|면|준|주고|줘서)?"),
    ("U", r"뺀 빼(?:고|서|준|주고|면)?"),
    ("D", r"나[눈눠눔](?:서)? 나누(?:어서|어|는|면|고|었을때)?"),
    ("d", r"차이 차(?!지)"),
    ("s", r"총합 합계 합"),
    ("p", r"곱"),
    ("S", r"제곱"),
    ("m", r"중에서 중에 중의 중 가운데 대비 에대한"),
    ("c", r"차지하는 해당하는"),
    ("k", r"것 걸 결과 다음 이후 후 뒤 모두 전부 각각 다시 그 숫자 수 서로 건수 한(?=뒤|다음|후|값) 하고"),
    ("v", r"값"),
    ("b", r"으로 로"),
    ("f", r"에서"),
    ("t", r"에"),
    ("o", r"[을를]"),
    ("a", r"[와과] 이랑 랑 및 그리고 ,"),
    ("g", r"의"),
    ("j", r"[은는이가]"),
)
"""Words by kind, the alternatives with a space between; what comes first is read first."""
_OPERATORS = "Bq/+-*^()|nAMUDdspS"
_FILLER_AFTER = set("eAMUDspWSkdBvgo)")
_FIXED = {
    "actualp": "#actual positive",
    "actualn": "#actual negative",
    "predp": "#predicted positive",
    "predn": "#predicted negative",
    "total": TOTAL,
    "item": "x",
}
_LETTER_NAMES = {"μ": "mean", "σ": "std", "mu": "mean", "sigma": "std", "e": "euler", "∑": "sum"}


class Operand(NamedTuple):
    """A value, where it stands, the names it holds, and the operators that made it.

    `literal` is "number", "letter" or "term" for a lone one, "closed" for one in brackets.
    """

    values: Values
    span: Span
    names: frozenset[str]
    operators: str = ""
    literal: str = ""

    def joined(self, other: Operand, operator: str, span: Span) -> Operand:
        """The outcome of `operator` on the two."""
        values = combine(operator, self.values, other.values)
        return Operand(values, span, self.names | other.names, self.operators + operator + other.operators)

    def made(self, values: Values, span: Span, operator: str) -> Operand:
        """The outcome of an operator on this one."""
        return Operand(values, span, self.names, self.operators + operator)


@dataclass
class Tokens:
    """Kinds as a string beside the operands and spans; reduced in place."""

    kinds: str
    items: list[Operand | Span]

    def span(self, start: int, end: int) -> Span:
        """From the first to the last token of a slice."""
        first, last = self.items[start], self.items[end - 1]
        left = first.span if isinstance(first, Operand) else first
        right = last.span if isinstance(last, Operand) else last
        return Span(left.start, right.end)

    def operands(self, start: int, end: int) -> list[Operand]:
        """The operands in a slice."""
        return [item for item in self.items[start:end] if isinstance(item, Operand)]

    def replace(self, start: int, end: int, *operands: Operand) -> None:
        """Put operands in place of a slice."""
        self.kinds = self.kinds[:start] + OPERAND * len(operands) + self.kinds[end:]
        self.items[start:end] = operands

    def mark(self, place: int, kind: str) -> None:
        """Make the token at `place` one of another kind, without a value."""
        self.kinds = self.kinds[:place] + kind + self.kinds[place + 1 :]
        self.items[place] = self.span(place, place + 1)


# ---------------------------------------------------------------- tokens


@lru_cache(maxsize=8)
def _token_pattern(table: TermTable) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """What matches any one token, and what each of its groups stands for.

    Each alternative begins with a letter or a class, so that the engine passes it over at once, and is told
    by an empty group at its end.
    """
    sign = table.sign_of
    thing = "|".join([sign["data"], sign["sample"], sign["count"], sign["test"], sign["class"]])
    things = rf"(?:{thing}|샘플|항목|경우|것|수|의|케이스|인|들|문항|건수|건|값|(?:모든|전체|총)(?={thing}|것|수|건))*"
    named = ("data", "actual", "predict", "positive", "negative")
    data, actual, predict, positive, negative = (sign[name] for name in named)
    said = rf"(?:으로|로|이라고|라고)?{predict}(?:한|된|했던|되는)?"
    thing_of = rf"의?(?:{data}|값)(?:값|포인트)?"
    groups: list[tuple[str, str]] = [
        ("actualp", rf"전체{actual}로?{positive}{things} {actual}로?{positive}{things}"),
        ("actualn", rf"전체{actual}로?{negative}{things} {actual}로?{negative}{things}"),
        ("predp", rf"{positive}{said}{things} {predict}[한된]?{positive}{things}"),
        ("predn", rf"{negative}{said}{things} {predict}[한된]?{negative}{things}"),
        ("total", " ".join(word + things for word in ("전체", "모든", "총", "total", "all"))),
        (
            "item",
            " ".join(f"{word}{thing_of}" for word in ("원래", "각각의", "각", "원본", "개별", "기존", "해당", "관측")),
        ),
        ("item", f"{data}(?:값|포인트)?"),
        ("k", rf"{sign['count']} {sign['model']}[이은는가]?"),
        (BREAK, rf"[a-z]-?{sign['score']} {sign['min']}-?{sign['max']}"),
        ("W", "두배 2배"),
        ("number", r"[0-9]+(?:\.[0-9]+)?"),
        ("R", sign["square-root"]),
        ("N", sign["numerator"]),
        ("Q", sign["denominator"]),
        ("term", "[\ue000-\uf8ff]"),
        ("latin", r"∑ [a-zα-ω]+(?:_[a-z0-9])?"),
        *_WORDS,
        ("", r"[\s\S]"),
    ]
    flat = [(name, one) for name, alternatives in groups for one in alternatives.split(" ")]
    return re.compile("|".join(f"{one}()" for _, one in flat)), ("", *(name for name, _ in flat))


@lru_cache(maxsize=8)
def _operator_pattern(table: TermTable) -> re.Pattern[str]:
    """What every sentence with a formula holds: an operator, a number or letter, or a share (`중 TP`)."""
    operators = [one for kind, words in _WORDS if kind in _OPERATORS for one in words.split(" ")]
    shares = [one for kind, words in _WORDS if kind in "mf" for one in words.split(" ")]
    signs = "".join(table.sign_of[name] for name in ("square-root", "numerator", "denominator"))
    operand = "[\ue000-\uf8ff전모총원각개기해관값]"
    return re.compile(rf"[0-9a-zα-ω∑{signs}]|두배|{'|'.join(operators)}|(?:{'|'.join(shares)})[을를]?(?={operand})")


def may_hold_formula(reading: Reading, start: int, end: int) -> bool:
    """False for a sentence that cutting into tokens would find no formula in."""
    return _operator_pattern(reading.table).search(reading.text, start, end) is not None


def cut_tokens(reading: Reading, start: int, end: int) -> Tokens:
    """The tokens of a sentence; whatever is no part of a formula is a BREAK."""
    pattern, groups = _token_pattern(reading.table)
    kinds: list[str] = []
    items: list[Operand | Span] = []
    for found in pattern.finditer(reading.text, start, end):
        group = groups[found.lastindex or 0]
        if group:
            _add_token(kinds, items, group, found, reading.table)
        elif kinds[-1:] != [BREAK]:
            kinds.append(BREAK)
            items.append(Span(*found.span()))
    return Tokens("".join(kinds), items)


def _add_token(
    kinds: list[str], items: list[Operand | Span], group: str, found: re.Match[str], table: TermTable
) -> None:
    word, span = found[0], Span(*found.span())
    after = kinds[-1] if kinds else BREAK
    if group == "latin":
        _add_letters(kinds, items, word, span)
    elif group == "number":
        kinds.append(OPERAND)
        items.append(Operand((float(word),) * POINTS, span, frozenset(), literal="number"))
    elif group == "term":
        _add_name(kinds, items, table.term_of.get(word, word), span)
    elif group in _FIXED:
        _add_name(kinds, items, _FIXED[group], span)
    elif group in "kv" and (after in _FILLER_AFTER or (group == "k" and after in "oa")):
        return
    elif group == "v":
        _add_name(kinds, items, "x", span)
    else:
        kinds.append(BREAK if group == "k" else group)
        items.append(span)


def _add_name(kinds: list[str], items: list[Operand | Span], name: str, span: Span) -> None:
    kinds.append(OPERAND)
    items.append(Operand(value_of(name), span, frozenset({name}), literal="term"))


def _add_letters(kinds: list[str], items: list[Operand | Span], word: str, span: Span) -> None:
    """A letter, or a run of two such as `pr`; `exp` is a power."""
    if word == "exp":
        kinds += [OPERAND, "^"]
        items += [Operand(value_of("euler"), span, frozenset({"euler"}), literal="letter"), span]
        return
    names = list(word) if word in {"pr", "rp", "ab", "xy", "wx"} else [word]
    for number, letter in enumerate(names):
        name = _LETTER_NAMES.get(letter, letter)
        place = Span(span.start + number, span.start + number + 1) if len(names) > 1 else span
        kinds.append(OPERAND)
        items.append(Operand(value_of(name), place, frozenset({name}), literal="letter"))


# ---------------------------------------------------------------- reduction


def reduce_tokens(tokens: Tokens) -> None:
    """Apply the first rule that fits, until none does."""
    for _ in range(2 * MAX_TOKENS):
        _multiply_juxtaposed(tokens)
        _resolve_both(tokens)
        for mark, pattern, action in _RULES:
            if mark in tokens.kinds and (found := pattern.search(tokens.kinds)):
                action(tokens, *found.span())
                break
        else:
            return


def _fold(tokens: Tokens, start: int, end: int, operator: str, *, swap: bool = False) -> None:
    """Reduce a slice to its operands joined by `operator`, in order (or the second by the first)."""
    operands = tokens.operands(start, end)
    if swap:
        operands = operands[::-1]
    span = tokens.span(start, end)
    outcome = operands[0]
    for operand in operands[1:]:
        outcome = outcome.joined(operand, operator, span)
    tokens.replace(start, end, outcome)


def _folder(operator: str, *, swap: bool = False) -> Callable[[Tokens, int, int], None]:
    return lambda tokens, start, end: _fold(tokens, start, end, operator, swap=swap)


def _change(operator: str, change: Callable[[float], float]) -> Callable[[Tokens, int, int], None]:
    """An action on the one operand of a slice."""

    def act(tokens: Tokens, start: int, end: int) -> None:
        operand = tokens.operands(start, end)[0]
        values = tuple(change(value) for value in operand.values)
        tokens.replace(start, end, operand.made(values, tokens.span(start, end), operator))

    return act


def _open(tokens: Tokens, start: int, end: int) -> None:
    """`(e)` → e, marked as closed so that `2(P+R)` multiplies."""
    inner = tokens.operands(start, end)[0]
    tokens.replace(start, end, Operand(inner.values, tokens.span(start, end), inner.names, inner.operators, "closed"))


def _length(tokens: Tokens, start: int, end: int) -> None:
    """`|a|` is a number of its own."""
    inner = tokens.operands(start, end)[0]
    values = value_of("|" + ",".join(f"{value:.6f}" for value in inner.values) + "|")
    tokens.replace(start, end, Operand(values, tokens.span(start, end), inner.names, inner.operators + "|", "closed"))


def _subtract_from_item(tokens: Tokens, start: int, end: int) -> None:
    """`평균을 빼고`: from the value itself."""
    operand = tokens.operands(start, end)[0]
    span = tokens.span(start, end)
    item = Operand(value_of("x"), span, frozenset({"x"}), literal="term")
    tokens.replace(start, end, item.joined(operand, "-", span))


def _differ(tokens: Tokens, start: int, end: int) -> None:
    """`최댓값과 최솟값의 차이`."""
    left, right = tokens.operands(start, end)[:2]
    span = tokens.span(start, end)
    outcome = left.joined(right, "-", span)
    tokens.replace(start, end, Operand(tuple(abs(v) for v in outcome.values), span, outcome.names, outcome.operators))


def _root_of(value: float) -> float:
    return value**0.5 if value >= 0 else float("nan")


_SIGNED = r"(?<![*/^\-])"
_RULES: tuple[tuple[str, re.Pattern[str], Callable[[Tokens, int, int], None]], ...] = tuple(
    (mark, re.compile(pattern), action)
    for mark, pattern, action in (
        ("(", r"\(e\)", _open),
        ("|", r"\|e\|", _length),
        ("s", r"e(?:a+e)+j?g?s", _folder("+")),
        ("p", r"e(?:a+e)+j?g?p", _folder("*")),
        ("d", r"e(?:a+e)+j?g?d", _differ),
        ("R", r"eSg?R", _change("", lambda value: value)),
        ("R", r"R[(]?e", _change("^", _root_of)),
        ("R", r"e[gt]?R(?![(e])", _change("^", _root_of)),
        ("^", r"e\^e", _folder("^")),
        ("S", r"e[og]?S", _change("^", lambda value: value * value)),
        ("-", r"(?:(?<=[(*/+\-=^])|^)-e(?!\^)", _change("", lambda value: -value)),
        ("e", r"e[*/]e(?!\^)", lambda tokens, start, end: _fold(tokens, start, end, tokens.kinds[start + 1])),
        ("+", _SIGNED + r"e\+e(?![*/^])", _folder("+")),
        ("-", r"(?<![*/^\-+])e-e(?![*/^])", _folder("-")),
        ("q", r"(?<![*/^\-+])eqe(?![*/^+\-])", _folder("/")),
        ("W", r"e[og]?W", _change("*", lambda value: 2 * value)),
        ("A", r"e(?:a+e)+[og]?A", _folder("+")),
        ("M", r"e(?:a+e)+[og]?M", _folder("*")),
        ("A", r"e[tf]eo?A", _folder("+")),
        ("M", r"e[tf]eo?M", _folder("*")),
        ("U", r"efeo?U", _folder("-")),
        ("M", r"ea?eo?M", _folder("*")),
        ("A", r"ea?eo?A", _folder("+")),
        ("U", r"^eo?U", _subtract_from_item),
        ("n", r"eneo?", _folder("/", swap=True)),
        ("D", r"eo?a*eba*o?D", _folder("/")),
        ("D", r"ebeo?D", _folder("/", swap=True)),
        ("D", r"eoeo?D", _folder("/")),
    )
)
"""In order: a kind that the rule needs (most need one that is not there), where it fits, what it does."""


_BETWEEN_OPERANDS = re.compile(r"(?<=[e)])e(?=[e(])")


def _multiply_juxtaposed(tokens: Tokens) -> None:
    """`2PR`, `2(P+R)`, `2 x (`, and `실제 양성(TP+FN)` or `실제 양성인 TP + FN`, which say one thing twice."""
    if ")e" not in tokens.kinds and "ee" not in tokens.kinds:
        return
    for found in _BETWEEN_OPERANDS.finditer(tokens.kinds):
        item = tokens.items[found.start()]
        if isinstance(item, Operand) and item.literal == "letter" and item.names == frozenset({"x"}):
            tokens.mark(found.start(), "*")
    place = tokens.kinds.find("ee")
    while place >= 0:
        left, right = tokens.operands(place, place + 2)
        if (right.literal == "closed" or right.operators) and left.names and agree(left.values, right.values):
            said_twice = Operand(left.values, tokens.span(place, place + 2), left.names, left.operators)
            tokens.replace(place, place + 2, said_twice)
        elif _is_product(left, right, tokens.kinds[place - 1] if place else ""):
            tokens.kinds = tokens.kinds[: place + 1] + "*" + tokens.kinds[place + 1 :]
            tokens.items.insert(place + 1, Span(right.span.start, right.span.start))
        place = tokens.kinds.find("ee", place + 1)


def _is_product(left: Operand, right: Operand, before: str) -> bool:
    if right.span.start > left.span.end:
        return False
    if left.literal == "number":
        return right.literal in ("term", "letter", "closed")
    if left.literal == "closed":
        return right.literal in ("closed", "letter")
    if left.literal == "letter" and right.literal == "letter":
        return True
    return before == "*" and left.literal in ("letter", "term") and right.literal in ("letter", "term", "closed")


def _resolve_both(tokens: Tokens) -> None:
    """`두 값의 합`: the two names seen before."""
    place = tokens.kinds.find("B")
    if place < 0:
        return
    names: list[str] = []
    for operand in tokens.operands(0, place):
        names += sorted(operand.names - set(names))
    span = tokens.span(place, place + 1)
    if len(names) != 2:
        tokens.mark(place, BREAK)
        return
    first, second = (Operand(value_of(name), span, frozenset({name}), literal="term") for name in names)
    tokens.replace(place, place + 1, first, second)
    tokens.kinds = tokens.kinds[: place + 1] + "a" + tokens.kinds[place + 1 :]
    tokens.items.insert(place + 1, span)
