"""What names are worth at a few fixed random points, so that formulas are compared by value.

Precision, recall and the like are evaluated from the four counts, so `2PR/(P+R)` and
`2TP/(2TP+FP+FN)` are one formula. Any other name is a free variable.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache
from operator import add, mul, sub

Values = tuple[float, ...]
POINTS = 5
TOTAL = "#total"
NOT_A_NUMBER = float("nan")
_TOLERANCE = 1e-7

_QUOTIENTS = {
    "recall": ("tp", "tp fn"),
    "tpr": ("tp", "tp fn"),
    "precision": ("tp", "tp fp"),
    "specificity": ("tn", "tn fp"),
    "fpr": ("fp", "fp tn"),
    "fnr": ("fn", "fn tp"),
    "npv": ("tn", "tn fn"),
    "accuracy": ("tp tn", "tp tn fp fn"),
    "f1": ("tp tp", "tp tp fp fn"),
    "dice": ("tp tp", "tp tp fp fn"),
    "iou": ("tp", "tp fp fn"),
    "jaccard": ("tp", "tp fp fn"),
}
_COMPLEMENTS = {frozenset(pair) for pair in (("specificity", "fpr"), ("recall", "fnr"), ("tpr", "fnr"))}
_SUMS = {
    TOTAL: "tp tn fp fn",
    "#actual positive": "tp fn",
    "#actual negative": "tn fp",
    "#predicted positive": "tp fp",
    "#predicted negative": "tn fn",
    "#true": "tp tn",
}
_SHIFTED = {"max": 10.0}
_CONSTANTS = {"euler": 2.718281828459045}


def is_group(name: str) -> bool:
    """Whether the name stands for several counts (`실제 양성`, `전체`)."""
    return name in _SUMS


def is_measured(name: str) -> bool:
    """Whether the name is a count, a group of counts, or a metric made of them."""
    return name in _SUMS or name in _QUOTIENTS or name in ("tp", "tn", "fp", "fn")


def effect_of(cause: str, metric: str) -> int:
    """Whether `metric` rises (1) or falls (-1) with a count or its complement; 0 where neither is sure."""
    if frozenset((cause, metric)) in _COMPLEMENTS:
        return -1
    over, under = (counts.split() for counts in _QUOTIENTS.get(metric, ("", "")))
    return 1 if cause in over else -1 if cause in under else 0


@lru_cache(maxsize=4096)
def value_of(name: str) -> Values:
    """The values of a term, letter or group at the fixed points."""
    if name in _CONSTANTS:
        return (_CONSTANTS[name],) * POINTS
    if name in _QUOTIENTS:
        over, under = (_add_up(counts) for counts in _QUOTIENTS[name])
        return tuple(a / b for a, b in zip(over, under, strict=True))
    if name in _SUMS:
        return _add_up(_SUMS[name])
    source = random.Random(f"raglift {name}")
    return tuple(source.uniform(0.7, 9.0) + _SHIFTED.get(name, 0.0) for _ in range(POINTS))


def _add_up(counts: str) -> Values:
    drawn = [value_of(count) for count in counts.split()]
    return tuple(sum(one[point] for one in drawn) for point in range(POINTS))


def agree(left: Values, right: Values, factor: float = 1.0) -> bool:
    """Whether `left` is `factor` times `right` at every point (not a number agrees with nothing)."""
    for a, b in zip(left, right, strict=True):
        if not (math.isfinite(a) and math.isfinite(b) and abs(a - factor * b) <= _TOLERANCE * max(1.0, abs(a))):
            return False
    return True


def has_value(left: Values, right: Values) -> bool:
    """Whether the two agree, or one is the other in percent."""
    return agree(left, right) or agree(left, right, 100.0) or agree(left, right, 0.01)


def metrics_worth(values: Values) -> frozenset[str]:
    """The known metrics that have these values."""
    return frozenset(name for name in _QUOTIENTS if agree(value_of(name), values))


def combine(operator: str, left: Values, right: Values) -> Values:
    """`left operator right`, point by point; not a number where it is undefined."""
    return tuple(map(_OPERATIONS[operator], left, right))


def _divide(a: float, b: float) -> float:
    return a / b if b else NOT_A_NUMBER


def _raise(a: float, b: float) -> float:
    try:
        power = a**b if abs(b) <= 50 else NOT_A_NUMBER
    except (ZeroDivisionError, OverflowError):
        return NOT_A_NUMBER
    return power if isinstance(power, float) else NOT_A_NUMBER


_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": _divide,
    "^": _raise,
}
