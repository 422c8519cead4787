"""Several comparisons at once: Holm's step-down correction."""

from __future__ import annotations

import math
from collections.abc import Sequence


def adjust_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the order given; reject where one is below α.

    Holm (1979, Scandinavian Journal of Statistics 6:65): the i-th smallest of m is multiplied by
    m - i + 1, made monotone and at most 1; the chance of any false rejection stays below α under
    any dependence. None (not estimable) is no test: it stays None and is not counted in m.
    """
    tested = [(p, place) for place, p in enumerate(p_values) if p is not None]
    for p, place in tested:
        if math.isnan(p) or not 0 <= p <= 1:
            raise ValueError(f"p-value number {place + 1} is {p}: expected a number from 0 to 1, or None")
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for step, (p, place) in enumerate(sorted(tested)):
        largest = max(largest, min(1.0, (len(tested) - step) * p))
        adjusted[place] = largest
    return adjusted
