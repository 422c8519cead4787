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

from raglift.grading.quantities import POINTS, TOTAL, Values, agree, combine, value_of
from raglift.grading.reading import Reading, Span
from raglift.grading.terms import TermTable

MAX_TOKENS = 120
"""The longest stretch that is read as one formula."""
OPERAND, BREAK = "e", "x"

_WORDS: tuple[tuple[str, str], ...] = (
    ("W", r"두배|2배"),
    ("B", r"이?두(?:값|지표|수치|개|가지)|이?둘|이들"),
    ("q", r"나누기"),
    ("/", r"/"),
    ("+", r"더하기|플러스|\+"),
    ("-", r"빼기|마이너스|-"),
    ("*", r"곱하기|\*"),
    ("^", r"\^"),
    ("(", r"[(\[{]"),
    (")", r"[)\]}]"),
    ("|", r"\|"),
    ("=", r"=|:"),
    ("n", r"분의"),
    ("A", r"더[한할해하](?:서|여|고|면|준|주고|줘서)?|합[한해하친치쳐](?:서|여|고|면)?"),
    ("M", r"곱[한할해하](?:서|여|고|면|준|주고|줘서)?"),
    ("U", r"뺀|빼(?:고|서|준|주고|면)?"),
    ("D", r"나[눈눠눔](?:서)?|나누(?:어서|어|는|면|고|었을때)?"),
    ("d", r"차이|차(?!지)"),
    ("s", r"총합|합계|합"),
    ("p", r"곱"),
    ("S", r"제곱"),
    ("m", r"중에서|중에|중의|중|가운데|대비|에대한"),
    ("c", r"차지하는|해당하는"),
    ("k", r"것|걸|결과|다음|이후|후|뒤|모두|전부|각각|다시|그|숫자|수|서로|건수|한(?=뒤|다음|후|값)|하고"),
    ("v", r"값"),
    ("b", r"으로|로"),
    ("f", r"에서"),
    ("t", r"에"),
    ("o", r"을|를"),
    ("a", r"와|과|이?랑|및|그리고|,"),
    ("g", r"의"),
    ("j", r"은|는|이|가"),
)
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


@dataclass(frozen=True)
class Operand:
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
def _token_pattern(table: TermTable) -> re.Pattern[str]:
    sign = table.sign_of
    thing = "|".join([sign["data"], sign["sample"], sign["count"], sign["test"], sign["class"]])
    things = rf"(?:{thing}|샘플|항목|경우|것|수|의|케이스|인|들|문항|건수|건|값|(?:모든|전체|총)(?={thing}|것|수|건))*"
    named = ("data", "actual", "predict", "positive", "negative")
    data, actual, predict, positive, negative = (sign[name] for name in named)
    said = rf"(?:으로|로|이라고|라고)?{predict}(?:한|된|했던|되는)?"
    groups = [
        ("actualp", rf"(?:전체)?{actual}(?:로)?{positive}{things}"),
        ("actualn", rf"(?:전체)?{actual}(?:로)?{negative}{things}"),
        ("predp", rf"(?:{positive}{said}|{predict}(?:한|된)?{positive}){things}"),
        ("predn", rf"(?:{negative}{said}|{predict}(?:한|된)?{negative}){things}"),
        ("total", rf"(?:전체|모든|총|total|all){things}"),
        ("item", rf"(?:원래|각각의|각|원본|개별|기존|해당|관측)의?(?:{data}|값)(?:값|포인트)?|{data}(?:값|포인트)?"),
        ("filler", rf"{sign['count']}|{sign['model']}(?:이|은|는|가)?"),
        ("name", rf"[a-z]-?{sign['score']}|{sign['min']}-?{sign['max']}"),
        ("twice", "두배|2배"),
        ("number", r"[0-9]+(?:\.[0-9]+)?"),
        ("root", sign["square-root"]),
        ("role", f"[{sign['numerator']}{sign['denominator']}]"),
        ("term", "[\ue000-\uf8ff]"),
        ("latin", r"∑|[a-zα-ω](?:[a-zα-ω]*)(?:_[a-z0-9])?"),
    ]
    words = [(f"w{number}", pattern) for number, (_, pattern) in enumerate(_WORDS)]
    return re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in groups + words))


def cut_tokens(reading: Reading, start: int, end: int) -> Tokens:
    """The tokens of a sentence; whatever is no part of a formula is a BREAK."""
    pattern = _token_pattern(reading.table)
    tokens = Tokens("", [])
    kinds: list[str] = []
    place = start
    while place < end:
        found = pattern.match(reading.text, place, end)
        if found is None:
            kinds.append(BREAK)
            tokens.items.append(Span(place, place + 1))
            place += 1
        else:
            _add_token(kinds, tokens.items, found, reading.table)
            place = found.end()
    tokens.kinds = "".join(kinds)
    return tokens


def _add_token(kinds: list[str], items: list[Operand | Span], found: re.Match[str], table: TermTable) -> None:
    group, word, span = found.lastgroup or "", found[0], Span(*found.span())
    if group == "latin":
        _add_letters(kinds, items, word, span)
        return
    if group == "number":
        kinds.append(OPERAND)
        items.append(Operand((float(word),) * POINTS, span, frozenset(), literal="number"))
        return
    if group == "term" or group in _FIXED:
        _add_name(kinds, items, table.term_of.get(word, word) if group == "term" else _FIXED[group], span)
        return
    kind = {"root": "R", "filler": "k", "twice": "W", "name": BREAK}.get(group, "")
    if group == "role":
        kind = "N" if word == table.sign_of["numerator"] else "Q"
    kind = kind or _WORDS[int(group[1:])][0]
    after = kinds[-1] if kinds else ""
    if after and kind in "kv" and (after in _FILLER_AFTER or (kind == "k" and after in "oa")):
        return
    if kind == "v":
        _add_name(kinds, items, "x", span)
        return
    kinds.append(BREAK if kind == "k" else kind)
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
        for pattern, action in _RULES:
            found = pattern.search(tokens.kinds)
            if found:
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
_RULES: tuple[tuple[re.Pattern[str], Callable[[Tokens, int, int], None]], ...] = tuple(
    (re.compile(pattern), action)
    for pattern, action in (
        (r"\(e\)", _open),
        (r"\|e\|", _length),
        (r"e(?:a+e)+j?g?s", _folder("+")),
        (r"e(?:a+e)+j?g?p", _folder("*")),
        (r"e(?:a+e)+j?g?d", _differ),
        (r"eSg?R", _change("", lambda value: value)),
        (r"R[(]?e", _change("^", _root_of)),
        (r"e[gt]?R(?![(e])", _change("^", _root_of)),
        (r"e\^e", _folder("^")),
        (r"e[og]?S", _change("^", lambda value: value * value)),
        (r"(?:(?<=[(*/+\-=^])|^)-e(?!\^)", _change("", lambda value: -value)),
        (r"e[*/]e(?!\^)", lambda tokens, start, end: _fold(tokens, start, end, tokens.kinds[start + 1])),
        (_SIGNED + r"e\+e(?![*/^])", _folder("+")),
        (r"(?<![*/^\-+])e-e(?![*/^])", _folder("-")),
        (r"(?<![*/^\-+])eqe(?![*/^+\-])", _folder("/")),
        (r"e[og]?W", _change("*", lambda value: 2 * value)),
        (r"e(?:a+e)+[og]?A", _folder("+")),
        (r"e(?:a+e)+[og]?M", _folder("*")),
        (r"e[tf]eo?A", _folder("+")),
        (r"e[tf]eo?M", _folder("*")),
        (r"efeo?U", _folder("-")),
        (r"ea?eo?M", _folder("*")),
        (r"ea?eo?A", _folder("+")),
        (r"^eo?U", _subtract_from_item),
        (r"eneo?", _folder("/", swap=True)),
        (r"eo?a*eba*o?D", _folder("/")),
        (r"ebeo?D", _folder("/", swap=True)),
        (r"eoeo?D", _folder("/")),
    )
)


def _multiply_juxtaposed(tokens: Tokens) -> None:
    """`2PR`, `2(P+R)`, `2 x (`, and `실제 양성(TP+FN)` or `실제 양성인 TP + FN`, which say one thing twice."""
    for found in re.finditer(r"(?<=[e)])e(?=[e(])", tokens.kinds):
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
