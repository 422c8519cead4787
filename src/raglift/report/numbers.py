"""Numbers as the report writes them; what could not be estimated is a dash, never NaN or None."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

MISSING = "–"
MINUS = "−"
SMALLEST_P = 1e-9


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def format_accuracy(value: float | None) -> str:
    """`80.0%` of a value from 0 to 100."""
    return f"{round(value, 1) + 0.0:.1f}%" if value is not None and is_number(value) else MISSING


def format_points(value: float | None) -> str:
    """`+20.0`: signed points."""
    if value is None or not is_number(value):
        return MISSING
    rounded = round(value, 1) + 0.0
    return f"{rounded:+.1f}".replace("-", MINUS) if rounded else "0.0"


def format_interval(limits: Sequence[float | None] | None, signed: bool = True) -> str:
    """`[+7.5, +34.2]` in points, or without signs for shares."""
    known = [limit for limit in limits or () if limit is not None and is_number(limit)]
    if len(known) != 2:
        return MISSING
    low, high = (format_points(limit) if signed else f"{round(limit, 1) + 0.0:.1f}" for limit in known)
    return f"[{low}, {high}]"


def format_p(value: float | None) -> str:
    """`0.015625`: six decimals, and two significant digits below 0.0001."""
    if value is None or not is_number(value):
        return MISSING
    if value < SMALLEST_P:
        return f"< {SMALLEST_P:.9f}"
    places = 6 if value >= 1e-4 else 1 - math.floor(math.log10(value))
    return f"{value:.{places}f}".rstrip("0").rstrip(".")


def format_count(value: float | None) -> str:
    return f"{value:,.0f}" if value is not None and is_number(value) else MISSING


def format_decimal(value: float | None, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if value is not None and is_number(value) else MISSING


def format_seconds(value: float | None) -> str:
    """`1.24 s`, `3 min 20 s`, `2 h 5 min`: units that English and Korean readers share."""
    if value is None or not is_number(value):
        return MISSING
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def format_cell(correct: int | None, total: int | None) -> str:
    """A cell of the founding table: `✅ 4 / 4`, `⚠ 3 / 4`, below half `❌ 1 / 4`."""
    if not total or correct is None:
        return MISSING
    mark = "✅" if correct == total else "❌" if 2 * correct < total else "⚠"
    return f"{mark} {correct} / {total}"


def format_tally(correct: int | None, total: int | None) -> str:
    return f"{correct} / {total}" if total and correct is not None else MISSING
