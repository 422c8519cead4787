"""Which quantity is on which axis, in the numerator or the denominator.

`x축이 재현율, y축이 정밀도`, `재현율을 x축, 정밀도를 y축으로`, `x축과 y축이 각각 재현율과 정밀도` say the
same, so distance and order alone decide nothing. Roles and quantities of a sentence are
linked to their neighbours by the words between, and the best set of links is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from raglift.grading.denial import is_denied
from raglift.grading.reading import Reading, Span
from raglift.grading.terms import TermTable

_FAMILIES = ("axis", "fraction")
PLOTTED = ("recall", "precision", "specificity", "tpr", "fpr", "fnr", "accuracy", "npv", "tp", "tn", "fp", "fn")
_REACH = 30
_JOINTS = ("+", "더하기", "*", "(", "=")
_LIST = re.compile(r"(?:와|과|랑|이랑|하고|및|,|/|&|\*|그리고)?$")
_ROLE_FIRST = re.compile(
    r"(?:이|가|은|는|에|에는|에다|에다가|으로|로|으로는|로는|을|를|의|=|:|\(|\[|->|에서|값은|값이)$"
)
_QUANTITY_FIRST = re.compile(r"(?:을|를|이|가|은|는|=|:|\(|\[|->|인|값을|의)$")
_CLAUSE_END = re.compile(
    r",|;|[)\]]|(?:고|며|면|데|지만|반면|그리고|또|또한)$|(?:이고|이며|하고|두고|놓고|잡고|되고|이지만|그리고)"
)
_LINKED, _NEAR, _TOUCHING, _FAR = 4.0, 3.0, 2.0, 1.5


@dataclass(frozen=True)
class Binding:
    """An `A … B` pattern one of whose parts is a role: which part, its sign, the other's sign, and its rivals."""

    place: int
    sign: str
    other: str
    family: frozenset[str]


@dataclass(frozen=True)
class _Item:
    """A role or a quantity (a sum of several is one) in a sentence."""

    span: Span
    is_role: bool
    members: tuple[Span, ...]


def role_of(first: str, second: str, table: TermTable) -> Binding | None:
    """The binding of a two-part pattern, from the signs of its parts ('' where a part is no lone term)."""
    for family in _FAMILIES:
        signs = table.families.get(family, frozenset())
        if first in signs and second not in signs:
            return Binding(0, first, second, signs)
        if second in signs and first not in signs:
            return Binding(1, second, first, signs)
    return None


def find_bound(
    reading: Reading, binding: Binding, others: Sequence[Span], table: TermTable
) -> Iterator[tuple[Span, Span]]:
    """The places where the role carries one of `others`, as (role, other)."""
    text = reading.text
    if binding.sign not in text:
        return
    wanted = _with_complements(reading, others, binding, table)
    plotted = {table.sign_of[term] for term in PLOTTED if term in table.sign_of}
    for number in sorted({reading.sentence_of(place) for place, sign in enumerate(text) if sign == binding.sign}):
        inside = [span for span in wanted if reading.sentence_of(span.start) == number]
        if inside:
            sentence = reading.sentence_span(inside[0].start)
            items = _collect_items(reading, sentence, inside, binding, plotted)
            yield from _bound_in_sentence(reading, items, frozenset(inside), binding)


def _with_complements(reading: Reading, others: Sequence[Span], binding: Binding, table: TermTable) -> list[Span]:
    """`1-특이도` is the false positive rate and no specificity."""
    specificity, text = table.sign_of.get("specificity", ""), reading.text
    if "1-" + specificity not in text:
        return list(others)
    ends = [found.end() for found in re.finditer(re.escape("1-" + specificity), text)]
    if binding.other == table.sign_of.get("fpr"):
        return sorted([*others, *(Span(end - 3, end) for end in ends)], key=lambda span: span.start)
    return [span for span in others if not (span.end in ends and text[span.start : span.end] == specificity)]


def _collect_items(
    reading: Reading, sentence: Span, inside: list[Span], binding: Binding, plotted: set[str]
) -> list[_Item]:
    text = reading.text
    covered = {place for span in inside for place in range(span.start, span.end)}
    found = [_Item(span, False, (span,)) for span in inside]
    for place in range(sentence.start, sentence.end):
        if place in covered:
            continue
        if text[place] in binding.family or text[place] in plotted:
            span = Span(place, place + 1)
            found.append(_Item(span, text[place] in binding.family, (span,)))
    kept = [item for item in found if not is_denied(reading, item.span, whole=False)]
    kept.sort(key=lambda item: item.span.start)
    return _join_sums(text, kept)


def _join_sums(text: str, items: list[_Item]) -> list[_Item]:
    """`TP + FN` and `민감도(TPR)` are one quantity with two members."""
    groups: list[list[_Item]] = []
    for item in items:
        last = groups[-1][-1] if groups else None
        both = last is not None and not last.is_role and not item.is_role
        if last is not None and both and text[last.span.end : item.span.start] in _JOINTS:
            groups[-1].append(item)
        else:
            groups.append([item])
    return [
        _Item(Span(group[0].span.start, group[-1].span.end), group[0].is_role, tuple(item.span for item in group))
        for group in groups
    ]


def _bound_in_sentence(
    reading: Reading, items: list[_Item], inside: frozenset[Span], binding: Binding
) -> Iterator[tuple[Span, Span]]:
    text = reading.text
    listed = _pair_lists(text, items)
    taken = {item.span for pair in listed for item in pair}
    linked = _best_links(text, [item for item in items if item.span not in taken])
    for role, quantity in [*listed, *linked]:
        if text[role.span.start] == binding.sign:
            yield from ((role.span, member) for member in quantity.members if member in inside)


def _pair_lists(text: str, items: list[_Item]) -> list[tuple[_Item, _Item]]:
    """`x축과 y축이 각각 재현율과 정밀도`: two lists of one length, side by side."""
    runs: list[list[_Item]] = []
    for item in items:
        last = runs[-1][-1] if runs else None
        if last and last.is_role == item.is_role and _LIST.match(text[last.span.end : item.span.start]):
            runs[-1].append(item)
        else:
            runs.append([item])
    pairs: list[tuple[_Item, _Item]] = []
    paired = -1
    for number, (left, right) in enumerate(pairwise(runs)):
        if paired < number and len(left) == len(right) > 1 and left[0].is_role != right[0].is_role:
            roles, quantities = (left, right) if left[0].is_role else (right, left)
            pairs += zip(roles, quantities, strict=True)
            paired = number + 1
    return pairs


def _best_links(text: str, items: list[_Item]) -> list[tuple[_Item, _Item]]:
    """The heaviest set of links between neighbours, each item in one link at most."""
    best, linked = [0.0, 0.0], [False]
    for left, right in pairwise(items):
        weight = _weigh(text[left.span.end : right.span.start], left, right)
        linked.append(weight > 0 and best[-2] + weight > best[-1])
        best.append(best[-2] + weight if linked[-1] else best[-1])
    pairs: list[tuple[_Item, _Item]] = []
    place = len(items) - 1
    while place > 0:
        if linked[place]:
            left, right = items[place - 1], items[place]
            pairs.append((left, right) if left.is_role else (right, left))
        place -= 2 if linked[place] else 1
    return pairs[::-1]


def _weigh(between: str, left: _Item, right: _Item) -> float:
    if left.is_role == right.is_role or len(between) > _REACH:
        return 0.0
    if not between:
        return _TOUCHING if left.is_role else _TOUCHING - 0.1
    exact = _ROLE_FIRST if left.is_role else _QUANTITY_FIRST
    if exact.match(between):
        return _LINKED
    if _CLAUSE_END.search(between) or between in ("와", "과", "랑", "하고", "및"):
        return 0.0
    return _NEAR if between[0] in ("을를이가" if not left.is_role else "은는이가에") else _FAR
