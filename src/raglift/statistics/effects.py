"""What tuning bought, what the context bought, and what they bought together.

Four arms of the grid, a tuning without and with against a context without and with:

    tuning effect   = mean over the contexts of (tuned - base)
    context effect  = mean over the tunings of (with - without)
    interaction     = (tuned with - tuned without) - (base with - base without)

Each is a weighted difference per question, judged by the machine that judges the lift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from raglift.statistics.contrast import Estimate, Settings, estimate_contrast
from raglift.statistics.counts import Counts

HALF = Fraction(1, 2)
# weights of base without, base with, tuned without, tuned with
TUNING = (-HALF, -HALF, HALF, HALF)
CONTEXT = (-HALF, HALF, -HALF, HALF)
INTERACTION = (Fraction(1), Fraction(-1), Fraction(-1), Fraction(1))


@dataclass(frozen=True)
class Grid:
    """Counts of the four arms over the same questions (and seeds); see `read_counts`."""

    base_without: Counts
    base_with: Counts
    tuned_without: Counts
    tuned_with: Counts

    @property
    def cells(self) -> tuple[Counts, ...]:
        return self.base_without, self.base_with, self.tuned_without, self.tuned_with


@dataclass(frozen=True)
class Effects:
    """Tuning and context effect in points of accuracy; interaction in points, from -200 to 200."""

    tuning: Estimate
    context: Estimate
    interaction: Estimate

    def as_dict(self) -> dict[str, Any]:
        return {
            "tuning": self.tuning.as_dict(),
            "context": self.context.as_dict(),
            "interaction": self.interaction.as_dict(),
        }


def estimate_effects(grid: Grid, *, ids: Sequence[str] | None = None, margin: float = 5.0, seed: int = 0) -> Effects:
    """Main effects and interaction over the questions that all four arms have scored answers to.

    Raises ValueError when the arms do not hold the same questions and seeds.
    """
    settings = Settings(margin=margin, ids=ids, seed=seed)
    return Effects(
        tuning=estimate_contrast(grid.cells, TUNING, settings),
        context=estimate_contrast(grid.cells, CONTEXT, settings),
        interaction=estimate_contrast(grid.cells, INTERACTION, settings),
    )
