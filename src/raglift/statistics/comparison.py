"""Compare two arms over the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from raglift.statistics.contrast import Estimate, Settings, estimate_contrast
from raglift.statistics.counts import read_counts

DIFFERENCE = (Fraction(-1), Fraction(1))


@dataclass(frozen=True)
class Comparison(Estimate):
    """The lift of b over a with what each arm scored on the compared questions.

    Accuracies are percent: the mean over questions (and seeds) of correct / total, so that a
    question counts once however many of its answers were scored. None without questions.
    """

    accuracy_a: float | None
    accuracy_b: float | None
    correct_a: int
    correct_b: int
    total_a: int
    total_b: int


def compare_paired(
    correct_a: npt.ArrayLike,
    total_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    total_b: npt.ArrayLike,
    *,
    ids: Sequence[str] | None = None,
    margin: float = 5.0,
    seed: int = 0,
) -> Comparison:
    """Compare arm b with arm a, paired over questions; a positive lift means that b is better.

    Args:
        correct_a, total_a, correct_b, total_b: whole numbers of shape (questions,) or
            (seeds, questions), the same in both arms. Totals may differ by question.
        ids: names of the questions, for messages and `excluded_ids`.
        margin: of equivalence, in points.
        seed: of the Monte-Carlo test, used only where enumeration is not feasible.

    Raises:
        ValueError: counts that cannot be (negative, above their total, not whole, NaN), unequal
            shapes, repeated ids. Too few questions is no error: the verdict is `not estimable`.
    """
    cells = read_counts(correct_a, total_a, "a", ids), read_counts(correct_b, total_b, "b", ids)
    estimate = estimate_contrast(cells, DIFFERENCE, Settings(margin=margin, ids=ids, seed=seed))
    complete = np.logical_and(cells[0].complete, cells[1].complete)
    a, b = (cell.select(complete) for cell in cells)
    return Comparison(
        **{field.name: getattr(estimate, field.name) for field in fields(Estimate)},
        accuracy_a=100.0 * a.accuracy if a.questions else None,
        accuracy_b=100.0 * b.accuracy if b.questions else None,
        correct_a=int(a.correct.sum()),
        correct_b=int(b.correct.sum()),
        total_a=int(a.total.sum()),
        total_b=int(b.total.sum()),
    )
