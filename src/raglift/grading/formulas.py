"""Formulas as written or said, compared by value.

A text is cut into tokens (terms, numbers, signs, and the Korean words of arithmetic), and the
tokens are reduced, innermost first: `TP와 FN의 합` → one operand, `TP를 … 으로 나눈` → one
operand. Operands carry their value at a few fixed random points instead of a tree, so that two
formulas are the same when their values agree, whatever the order or layout. Precision, recall
and the like are evaluated from the four counts, so `2PR/(P+R)` equals `2TP/(2TP+FP+FN)`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from raglift.errors import InputError
from raglift.grading.reading import Reading, Span, read_text
from raglift.grading.terms import TermTable

Values = tuple[float, ...]
POINTS = 5
_TOLERANCE = 1e-7
_MAX_TOKENS = 160
_TOTAL = "#total"

# One letter per kind of token; the rules below are regular expressions over these letters.
_OPERAND, _BREAK = "e", "x"
_WORDS: tuple[tuple[str, str], ...] = (
    ("/", r"나누기|÷|/"),
    ("+", r"더하기|플러스|\+"),
    ("-", r"빼기|마이너스|-"),
    ("*", r"곱하기|\*"),
    ("^", r"\^"),
    ("(", r"[(\[{]"),
    (")", r"[)\]}]"),
    ("|", r"\|"),
    ("=", r"=|:"),
    ("n", r"분의"),
    ("A", r"더했을때|더한|더해서|더해|더하여|더하고|더하면|더한뒤|합한|합해서|합하여|합하고|합친|합쳐서|합쳐"),
    ("M", r"곱한|곱해서|곱해|곱하여|곱하고|곱했을때"),
    ("U", r"뺀|빼고|빼서|빼준|빼"),
    ("D", r"나눈|나누어|나눠서|나눠|나누는|나누면|나누고|나눔|나누|나눗셈"),
    ("s", r"총합|합계|합"),
    ("p", r"곱"),
    ("W", r"두배|2배"),
    ("B", r"두값|둘|두지표|두수치|두개|이둘|이두값|두가지"),
    ("S", r"제곱"),
    ("m", r"중에서|중에|중의|중|가운데|대비|에대한"),
    ("c", r"차지하는|해당하는"),
    ("k", r"값|것|걸|결과|다음|후|뒤|모두|전부|각각|다시|그|개수|갯수|숫자|수|서로|실제로|건수"),
    ("b", r"으로|로"),
    ("f", r"에서"),
    ("t", r"에"),
    ("o", r"을|를"),
    ("a", r"와|과|랑|이랑|하고|및|그리고|,"),
    ("g", r"의"),
    ("j", r"은|는|이|가"),
)
_KEPT_AFTER = set("eAMUspWSk)B")


@dataclass(frozen=True)
class Operand:
    """A value at the fixed points, and how it was made."""

    values: Values
    span: Span
    names: frozenset[str]
    operators: str = ""
    literal: str = ""

    def joined(self, other: Operand, values: Values, operator: str, span: Span) -> Operand:
        """The outcome of `operator` on the two."""
        return Operand(values, span, self.names | other.names, self.operators + operator + other.operators)


@dataclass(frozen=True)
class Formula:
    """A formula found in a text: its value, and the metric it is said to be of ('' if none)."""

    values: Values
    span: Span
    names: frozenset[str]
    operators: str
    subject: str = ""

    def equals(self, other: Formula) -> bool:
        """Whether the two have one value (or one is the other in percent)."""
        return any(_agree(self.values, other.values, factor) for factor in (1.0, 100.0, 0.01))

    @property
    def is_ratio(self) -> bool:
        """Whether it divides."""
        return "/" in self.operators


def _agree(left: Values, right: Values, factor: float) -> bool:
    return all(
        a == a and b == b and abs(a - factor * b) <= _TOLERANCE * max(1.0, abs(a)) for a, b in zip(left, right, strict=True)
    )


# ---------------------------------------------------------------- values of names


@lru_cache(maxsize=4096)
def _drawn(name: str) -> Values:
    source = random.Random(f"raglift {name}")
    return tuple(source.uniform(0.7, 9.0) for _ in range(POINTS))


def _ratio(over: str, under: str) -> Callable[[], Values]:
    """Values of a quotient of sums of names."""

    def values() -> Values:
        tops = [_drawn(name) for name in over.split()]
        bottoms = [_drawn(name) for name in under.split()]
        return tuple(sum(t[i] for t in tops) / sum(b[i] for b in bottoms) for i in range(POINTS))

    return values


DERIVED: dict[str, Callable[[], Values]] = {
    "recall": _ratio("tp", "tp fn"),
    "tpr": _ratio("tp", "tp fn"),
    "precision": _ratio("tp", "tp fp"),
    "specificity": _ratio("tn", "tn fp"),
    "fpr": _ratio("fp", "fp tn"),
    "fnr": _ratio("fn", "fn tp"),
    "npv": _ratio("tn", "tn fn"),
    "accuracy": _ratio("tp tn", "tp tn fp fn"),
    "f1": _ratio("tp tp", "tp tp fp fn"),
    "dice": _ratio("tp tp", "tp tp fp fn"),
    "iou": _ratio("tp", "tp fp fn"),
    "jaccard": _ratio("tp", "tp fp fn"),
}
_SUMS = {_TOTAL: "tp tn fp fn", "#actual positive": "tp fn", "#actual negative": "tn fp",
         "#predicted positive": "tp fp", "#predicted negative": "tn fn"}


@lru_cache(maxsize=4096)
def value_of(name: str) -> Values:
    """The value of a term, letter or sum at the fixed points."""
    if name in DERIVED:
        return DERIVED[name]()
    if name in _SUMS:
        parts = [_drawn(part) for part in _SUMS[name].split()]
        return tuple(sum(part[i] for part in parts) for i in range(POINTS))
    if name == "euler":
        return (2.718281828459045,) * POINTS
    return _drawn(name)


# ---------------------------------------------------------------- tokens


@dataclass(frozen=True)
class _Scanner:
    """The token pattern of a table, and the names of its signs."""

    pattern: re.Pattern[str]
    table: TermTable


@lru_cache(maxsize=8)
def _scanner(table: TermTable) -> _Scanner:
    sign = table.sign_of
    data = f"(?:{sign['data']}|샘플|{sign['sample']}|항목|경우|것|{sign['count']}|수|{sign['test']}|의|케이스|인|들|문항|건수|건|{sign['class']})*"
    actual, predict, positive, negative = (sign[n] for n in ("actual", "predict", "positive", "negative"))
    said = rf"(?:으로|로)?{predict}(?:한|된|했던|되는)?"
    groups = [
        ("actualp", rf"{actual}(?:로)?{positive}{data}"),
        ("actualn", rf"{actual}(?:로)?{negative}{data}"),
        ("predp", rf"(?:{positive}{said}|{predict}(?:한|된)?{positive}){data}"),
        ("predn", rf"(?:{negative}{said}|{predict}(?:한|된)?{negative}){data}"),
        ("total", rf"(?:전체|모든|총|total|all){data}"),
        ("number", r"[0-9]+(?:\.[0-9]+)?"),
        ("root", rf"{sign['square-root']}"),
        ("role", f"[{sign['numerator']}{sign['denominator']}]"),
        ("term", "[\ue000-\uf8ff]"),
        ("latin", r"[a-zα-ωσμ]+(?:_[a-z0-9])?"),
    ]
    words = [(f"w{number}", pattern) for number, (_, pattern) in enumerate(_WORDS)]
    every = "|".join(f"(?P<{name}>{pattern})" for name, pattern in groups + words)
    return _Scanner(re.compile(every), table)


@dataclass
class _Tokens:
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

    def replace(self, start: int, end: int, operand: Operand) -> None:
        """Put one operand in place of a slice."""
        self.kinds = self.kinds[:start] + _OPERAND + self.kinds[end:]
        self.items[start:end] = [operand]


_FIXED = {"actualp": "#actual positive", "actualn": "#actual negative", "predp": "#predicted positive",
          "predn": "#predicted negative", "total": _TOTAL}
_LETTER_NAMES = {"μ": "mean", "σ": "std", "mu": "mean", "sigma": "std", "e": "euler"}


def _tokenize(reading: Reading, start: int, end: int) -> _Tokens:
    scanner = _scanner(reading.table)
    kinds: list[str] = []
    items: list[Operand | Span] = []
    place = start
    while place < end:
        found = scanner.pattern.match(reading.text, place, end)
        if found is None or found.end() == place:
            kinds.append(_BREAK)
            items.append(Span(place, place + 1))
            place += 1
            continue
        _add_token(kinds, items, found, scanner.table)
        place = found.end()
    return _Tokens("".join(kinds), items)


def _add_token(kinds: list[str], items: list[Operand | Span], found: re.Match[str], table: TermTable) -> None:
    group, word, span = found.lastgroup or "", found[0], Span(*found.span())
    if group.startswith("w") and group[1:].isdigit():
        kind = _WORDS[int(group[1:])][0]
        if kind == "k" and kinds and kinds[-1] in _KEPT_AFTER:
            return
        kinds.append(_BREAK if kind == "k" else kind)
        items.append(span)
    elif group == "number":
        kinds.append(_OPERAND)
        items.append(Operand((float(word),) * POINTS, span, frozenset(), literal="number"))
    elif group == "root":
        kinds.append("R")
        items.append(span)
    elif group == "role":
        kinds.append("N" if word == table.sign_of["numerator"] else "Q")
        items.append(span)
    elif group == "term" or group in _FIXED:
        name = table.term_of.get(word, word) if group == "term" else _FIXED[group]
        kinds.append(_OPERAND)
        items.append(Operand(value_of(name), span, frozenset({name}), literal="term"))
    else:
        _add_letters(kinds, items, word, span)


def _add_letters(kinds: list[str], items: list[Operand | Span], word: str, span: Span) -> None:
    """A lone letter or a run such as `pr`; `x` between operands is a times sign (seen later)."""
    names = list(word) if word in {"pr", "rp", "ab", "xy"} else [word]
    for number, name in enumerate(names):
        whole = _LETTER_NAMES.get(name, name)
        kinds.append(_OPERAND)
        place = Span(span.start + number, span.start + number + 1) if len(names) > 1 else span
        items.append(Operand(value_of(whole), place, frozenset({whole}), literal="letter"))


# ---------------------------------------------------------------- reduction


def _combine(operator: str, left: Values, right: Values) -> Values:
    out: list[float] = []
    for a, b in zip(left, right, strict=True):
        try:
            out.append(_apply(operator, a, b))
        except (ZeroDivisionError, OverflowError, ValueError):
            out.append(float("nan"))
    return tuple(out)


def _apply(operator: str, a: float, b: float) -> float:
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    if operator == "*":
        return a * b
    if operator == "/":
        return a / b
    power = a**b if abs(b) <= 50 else float("nan")
    return power if isinstance(power, float) else float("nan")


def _fold(tokens: _Tokens, start: int, end: int, operator: str, *, swap: bool = False) -> None:
    """Reduce a slice to its operands joined by `operator`, in order (or the second by the first)."""
    operands = tokens.operands(start, end)
    if swap:
        operands = operands[::-1]
    span = tokens.span(start, end)
    outcome = operands[0]
    for operand in operands[1:]:
        outcome = outcome.joined(operand, _combine(operator, outcome.values, operand.values), operator, span)
    tokens.replace(start, end, outcome)


def _open(tokens: _Tokens, start: int, end: int) -> None:
    """`(e)` → e, marked as closed so that `2(P+R)` multiplies."""
    inner = tokens.operands(start, end)[0]
    span = tokens.span(start, end)
    tokens.replace(start, end, Operand(inner.values, span, inner.names, inner.operators, "closed"))


def _length(tokens: _Tokens, start: int, end: int) -> None:
    """`|a|` is a number of its own."""
    inner = tokens.operands(start, end)[0]
    name = f"|{','.join(f'{value:.6f}' for value in inner.values)}|"
    span = tokens.span(start, end)
    tokens.replace(start, end, Operand(value_of(name), span, inner.names, inner.operators + "|", "closed"))


def _negate(tokens: _Tokens, start: int, end: int) -> None:
    operand = tokens.operands(start, end)[0]
    span = Span(tokens.span(start, start + 1).start, operand.span.end)
    tokens.replace(start, end, Operand(tuple(-v for v in operand.values), span, operand.names, operand.operators))


def _double(tokens: _Tokens, start: int, end: int) -> None:
    operand = tokens.operands(start, end)[0]
    span = tokens.span(start, end)
    tokens.replace(start, end, Operand(tuple(2 * v for v in operand.values), span, operand.names, operand.operators + "*"))


def _square(tokens: _Tokens, start: int, end: int) -> None:
    operand = tokens.operands(start, end)[0]
    values = tuple(v * v for v in operand.values)
    tokens.replace(start, end, Operand(values, tokens.span(start, end), operand.names, operand.operators + "^"))


def _root(tokens: _Tokens, start: int, end: int) -> None:
    operand = tokens.operands(start, end)[0]
    values = tuple(abs(v) ** 0.5 if v >= 0 else float("nan") for v in operand.values)
    tokens.replace(start, end, Operand(values, tokens.span(start, end), operand.names, operand.operators + "^"))


def _folder(operator: str, *, swap: bool = False) -> Callable[[_Tokens, int, int], None]:
    return lambda tokens, start, end: _fold(tokens, start, end, operator, swap=swap)


_RULES: tuple[tuple[re.Pattern[str], Callable[[_Tokens, int, int], None]], ...] = tuple(
    (re.compile(pattern), action)
    for pattern, action in (
        (r"\(e\)", _open),
        (r"\|e\|", _length),
        (r"e(?:a+e)+j?g?s", _folder("+")),
        (r"e(?:a+e)+j?g?p(?!e)", _folder("*")),
        (r"eSg?R", _root),
        (r"Re", _root),
        (r"e\^e", _folder("^")),
        (r"eo?S", _square),
        (r"(?<=[(*/+\-=^])-e|^-e|(?<=x)-e(?=[/)^])", _negate),
        (r"e[*/]e(?!\^)", lambda tokens, start, end: _fold(tokens, start, end, tokens.kinds[start + 1])),
        (r"(?<![*/^\-])e\+e(?![*/^])", _folder("+")),
        (r"(?<![*/^\-+])e-e(?![*/^])", _folder("-")),
        (r"(?<=e)-e(?![*/^])", _negate),
        (r"eg?W", _double),
        (r"eo?W", _double),
        (r"e(?:a+e)+[og]?A", _folder("+")),
        (r"e(?:a+e)+[og]?M", _folder("*")),
        (r"e[tf]eo?A", _folder("+")),
        (r"e[tf]eo?M", _folder("*")),
        (r"efeo?U", _folder("-")),
        (r"e[oa,]?eb?M", _folder("*")),
        (r"eneo?", _folder("/", swap=True)),
        (r"eo?a*ebo?D", _folder("/")),
        (r"ebeo?D", _folder("/", swap=True)),
        (r"eo?eo?D", _folder("/")),
    )
)


def _reduce(tokens: _Tokens) -> None:
    """Apply the first rule that fits, until none does."""
    for _ in range(_MAX_TOKENS):
        _multiply_juxtaposed(tokens)
        _resolve_both(tokens)
        for pattern, action in _RULES:
            found = pattern.search(tokens.kinds)
            if found:
                action(tokens, *found.span())
                break
        else:
            return


def _join_names(tokens: _Tokens, whole: frozenset[str]) -> None:
    """`입력 크기`: general terms side by side are one name (`Precision Recall` are not)."""
    place = tokens.kinds.find("ee")
    while place >= 0:
        left, right = tokens.items[place], tokens.items[place + 1]
        if isinstance(left, Operand) and isinstance(right, Operand) and _is_one_name(left, right, whole):
            name = " ".join((*left.names, *right.names))
            span = Span(left.span.start, right.span.end)
            tokens.replace(place, place + 2, Operand(value_of(name), span, frozenset({name}), literal="term"))
            place = tokens.kinds.find("ee", place)
        else:
            place = tokens.kinds.find("ee", place + 1)


def _is_one_name(left: Operand, right: Operand, whole: frozenset[str]) -> bool:
    touching = left.span.end == right.span.start and left.literal == right.literal == "term"
    return touching and not (left.names | right.names) & whole and not any(n.startswith("#") for n in left.names | right.names)


def _multiply_juxtaposed(tokens: _Tokens) -> None:
    """`2PR`, `2(P+R)`, `2 x P`: operands side by side; a term is followed by no product of its own."""
    place = tokens.kinds.find("ee")
    while place >= 0:
        left, right = tokens.items[place], tokens.items[place + 1]
        assert isinstance(left, Operand) and isinstance(right, Operand)
        if left.names == frozenset({"x"}) and left.literal == "letter" and place and tokens.kinds[place - 1] == "e":
            tokens.kinds = tokens.kinds[:place] + "*" + tokens.kinds[place + 1 :]
            tokens.items[place] = left.span
        elif right.names == frozenset({"x"}) and tokens.kinds[place + 2 : place + 3] == "e":
            tokens.kinds = tokens.kinds[: place + 1] + "*" + tokens.kinds[place + 2 :]
            tokens.items[place + 1] = right.span
        elif _is_product(left, right, tokens.kinds[place - 1 : place] if place else ""):
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


def _resolve_both(tokens: _Tokens) -> None:
    """`두 값의 합`: the sum of the two names seen before."""
    place = tokens.kinds.find("B")
    if place < 0:
        return
    names: list[str] = []
    for operand in tokens.operands(0, place):
        names += sorted(operand.names - set(names))
    if len(names) != 2:
        tokens.kinds = tokens.kinds[:place] + _BREAK + tokens.kinds[place + 1 :]
        return
    span = tokens.items[place]
    assert isinstance(span, Span)
    pair = [Operand(value_of(name), span, frozenset({name}), literal="term") for name in names]
    tokens.kinds = tokens.kinds[:place] + "eae" + tokens.kinds[place + 1 :]
    tokens.items[place : place + 1] = [pair[0], span, pair[1]]


# ---------------------------------------------------------------- formulas of a text


def find_formulas(reading: Reading) -> tuple[Formula, ...]:
    """All formulas of a text, in order, with what they are said to be of."""
    known = reading.memory.get("formulas")
    if known is None:
        known = tuple(_find_all(reading))
        reading.memory["formulas"] = known
    return known  # type: ignore[return-value]


def _find_all(reading: Reading) -> list[Formula]:
    found: list[Formula] = []
    start = 0
    for end in (*reading.sentence_ends, len(reading.text)):
        if end - start > 2:
            found += _find_in_sentence(reading, start, end)
        start = end + 1
    return found


def _find_in_sentence(reading: Reading, start: int, end: int) -> list[Formula]:
    tokens = _tokenize(reading, start, end)
    if not _READS_FORMULA.search(tokens.kinds):
        return []
    _name_letters(tokens)
    _join_names(tokens, frozenset(reading.table.term_of[sign] for sign in reading.table.whole))
    found: list[Formula] = []
    roles: dict[str, Operand] = {}
    for piece in re.finditer(r"[^x=]+", tokens.kinds):
        if "e" not in piece[0]:
            continue
        part = _Tokens(piece[0][:_MAX_TOKENS], tokens.items[piece.start() : piece.start() + _MAX_TOKENS])
        _close_open(part)
        _reduce(part)
        part = _divide_said(part)
        found += [
            Formula(item.values, item.span, item.names, item.operators)
            for item in part.items
            if isinstance(item, Operand) and item.operators and item.names
        ]
        _note_roles(part, roles)
    if "N" in roles and "Q" in roles:
        top, bottom = roles["N"], roles["Q"]
        span = Span(min(top.span.start, bottom.span.start), max(top.span.end, bottom.span.end))
        whole = top.joined(bottom, _combine("/", top.values, bottom.values), "/", span)
        found = [one for one in found if one.span.start < span.start or one.span.end > span.end]
        found.append(Formula(whole.values, span, whole.names, whole.operators))
    return _with_subjects(reading, found, start)


_READS_FORMULA = re.compile(r"[/+\-*^nAMUDspWSRNQm]|f.*c")


def _name_letters(tokens: _Tokens) -> None:
    """P and R together are precision and recall."""
    letters = {name for item in tokens.items if isinstance(item, Operand) and item.literal == "letter" for name in item.names}
    if not {"p", "r"} <= letters:
        return
    for place, item in enumerate(tokens.items):
        if isinstance(item, Operand) and item.literal == "letter" and item.names <= {"p", "r"}:
            name = "precision" if "p" in item.names else "recall"
            tokens.items[place] = Operand(value_of(name), item.span, frozenset({name}), literal="letter")


def _close_open(tokens: _Tokens) -> None:
    """A bracket that never closes closes at the end (`TP / (TP + FN`)."""
    missing = tokens.kinds.count("(") - tokens.kinds.count(")")
    if 0 < missing < 4:
        last = max((i for i, kind in enumerate(tokens.kinds) if kind == "e"), default=-1)
        if last >= 0:
            place = tokens.items[last]
            assert isinstance(place, Operand)
            tokens.kinds = tokens.kinds[: last + 1] + ")" * missing + tokens.kinds[last + 1 :]
            tokens.items[last + 1 : last + 1] = [Span(place.span.end, place.span.end)] * missing


def _divide_said(tokens: _Tokens) -> _Tokens:
    """`TP + FN 중 TP의 비율`, `TP + FN에서 TP가 차지하는 비율`: the last rule, once all else is done."""
    found = re.search(r"e[gj]?[mf]o?e(?![+*/-])", tokens.kinds)
    if found:
        left, right = tokens.operands(*found.span())
        if left.operators or left.names & set(_SUMS):
            _fold(tokens, *found.span(), "/", swap=True)
            del right
    return tokens


def _note_roles(tokens: _Tokens, roles: dict[str, Operand]) -> None:
    for found in re.finditer(r"([NQ])[jotgfb=]?(e)|(e)[ojg]?([NQ])", tokens.kinds):
        kind = found[1] or found[4]
        place = found.start(2) if found[1] else found.start(3)
        operand = tokens.items[place]
        if isinstance(operand, Operand) and kind not in roles:
            roles[kind] = operand


def _with_subjects(reading: Reading, found: list[Formula], start: int) -> list[Formula]:
    """Give each formula the metric named last before it in its sentence, topics first."""
    metrics = reading.table.families.get("metric", frozenset())
    named: list[Formula] = []
    for formula in sorted(found, key=lambda one: one.span.start):
        subject, is_topic = "", False
        for place in range(start, formula.span.start):
            sign = reading.text[place]
            if sign in metrics:
                topic = reading.text[place + 1 : place + 2] in tuple("은는=:")
                if topic or not is_topic:
                    subject, is_topic = reading.table.term_of[sign], topic
        named.append(Formula(formula.values, formula.span, formula.names, formula.operators, subject))
        start = formula.span.end
    return named


def read_formula(text: str, table: TermTable) -> Formula:
    """The formula of a pattern; what stands before `=` is left out.

    Raises:
        InputError: no formula is understood, or only a part of the text is one.
    """
    right = text.rsplit("=", 1)[-1].strip()
    reading = read_text(right, table)
    found = find_formulas(reading)
    if len(found) != 1 or found[0].span.end - found[0].span.start < len(reading.text.strip("\n")) - 6:
        raise InputError(
            f"pattern 'formula:{text}'",
            "no single formula that is understood",
            "terms, numbers and + - * / ^ ( ), or the words for them",
            "write it like TP / (TP + FN), or use a phrase",
        )
    return found[0]


def subjects_of(values: Values) -> frozenset[str]:
    """The known metrics that have this value."""
    return frozenset(name for name in DERIVED if _agree(value_of(name), values, 1.0))
