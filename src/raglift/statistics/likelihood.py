"""Empirical-likelihood limits for the mean of bounded differences over questions.

Owen (1988, Biometrika 75:237; 2001, Empirical Likelihood, chapters 2 and 3): the limits are the
means that some re-weighting of the observed values reaches with a likelihood ratio R of
-2 log R <= t²(n - 1), the small-sample calibration of Owen (2001). Two changes make it honest
where few questions differ:

* weight may also go to the unseen values -reach and +reach, where `reach` is the largest difference
  that was seen (for a difference of 0 or `reach` this is the multinomial profile likelihood), and at
  least 2 · bound / m when only m questions differ, since m values say little about the largest;
* when every question gave the same value there is no variation to learn from: the share of
  questions that would give another is bounded exactly, 1 - (alpha / 2)^(1 / n) (Clopper & Pearson
  1934), and each of them is taken to be as far away as it can be.

Everything here is in units of accuracy (1 = all answers), not points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.optimize import brentq

FEW = 2.0  # m differing questions leave a difference of FEW / m of the bound credible
SMALLEST = 1e-300  # p-values are never 0
EDGE = 1e-12  # how near the tilt comes to its pole


@dataclass(frozen=True)
class _Tilt:
    """One re-weighting: its mean and the logarithm of its likelihood ratio."""

    mean: float
    log_ratio: float


@dataclass(frozen=True)
class Spread:
    """The distinct differences (ascending), how many questions gave each, and their bound.

    `bound` is the largest absolute value that a difference can have (1 for two arms).
    """

    values: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    bound: float

    @cached_property
    def questions(self) -> int:
        return int(self.counts.sum())

    @property
    def differing(self) -> int:
        return int(self.counts[self.values != 0].sum())

    @cached_property
    def mean(self) -> float:
        return math.fsum(self.values * self.counts) / self.questions

    @cached_property
    def variance(self) -> float:
        """Sample variance (n - 1)."""
        return math.fsum(self.counts * (self.values - self.mean) ** 2) / (self.questions - 1)

    @cached_property
    def reach(self) -> float:
        seen = float(np.abs(self.values).max())
        return min(self.bound, max(seen, FEW * self.bound / max(self.differing, 1)))

    @cached_property
    def scaled(self) -> npt.NDArray[np.float64]:
        """The values as shares of `reach`."""
        return self.values / self.reach

    @cached_property
    def edge(self) -> _Tilt:
        """The strongest tilt towards +reach that uses seen values only."""
        return _tilt(self, 1.0 - EDGE)

    def mirrored(self) -> Spread:
        return Spread(-self.values[::-1], self.counts[::-1], self.bound)


def _tilt(spread: Spread, strength: float) -> _Tilt:
    """Weights proportional to count / (1 - strength · value / reach): the mean grows with strength."""
    questions = spread.questions
    denominators = 1.0 - strength * spread.scaled
    weights = spread.counts / denominators
    scale = float(weights.sum())
    log_ratio = -float(spread.counts @ np.log(denominators)) - questions * math.log(scale / questions)
    return _Tilt(float(weights @ spread.values) / scale, log_ratio)


def find_upper_limit(spread: Spread, level: float, freedom: float | None = None) -> float:
    """Upper limit of the two-sided interval of confidence `level`.

    `freedom` replaces n - 1 as the degrees of freedom of t².
    """
    if spread.values.size == 1:
        value = float(spread.values[0])
        share: float = 1.0 - ((1.0 - level) / 2) ** (1 / spread.questions)
        return value + share * (spread.bound - value)
    freedom = freedom or spread.questions - 1
    allowed = -0.5 * float(special.stdtrit(freedom, (1 + level) / 2)) ** 2
    edge = spread.edge
    if edge.log_ratio <= allowed:
        strength = float(brentq(lambda s: _tilt(spread, s).log_ratio - allowed, 0.0, 1.0 - EDGE, xtol=1e-13))
        return _tilt(spread, strength).mean
    unseen: float = 1.0 - math.exp((allowed - edge.log_ratio) / spread.questions)
    return (1.0 - unseen) * edge.mean + unseen * spread.reach


def find_lower_limit(spread: Spread, level: float, freedom: float | None = None) -> float:
    """Lower limit of the two-sided interval of confidence `level`; see `find_upper_limit`."""
    return -find_upper_limit(spread.mirrored(), level, freedom)


def compute_reach_p_value(spread: Spread, limit: float) -> float:
    """One-sided p-value of "the mean is at least `limit`", by the same likelihood as the limits.

    `limit` is below the upper limit of confidence 1 - 2α exactly when p >= α.
    """
    questions = spread.questions
    smallest = max(SMALLEST, 0.5**questions)
    if spread.values.size == 1:
        value = float(spread.values[0])
        if limit <= value:
            return 1.0
        share = (limit - value) / (spread.bound - value) if spread.bound > value else 1.0
        return max(smallest, (1.0 - min(1.0, share)) ** questions)
    reached = limit <= spread.mean
    root = -_signed_root(spread.mirrored(), -limit) if reached else _signed_root(spread, limit)
    return max(smallest, float(special.stdtr(questions - 1, -root)))


def _signed_root(spread: Spread, limit: float) -> float:
    """sqrt(-2 log R) of a mean of `limit`, which is at or above the observed mean."""
    if limit >= spread.reach:
        return math.inf
    edge = spread.edge
    if limit >= edge.mean:
        unseen = (limit - edge.mean) / (spread.reach - edge.mean)
        log_ratio = edge.log_ratio + spread.questions * math.log1p(-unseen)
    elif limit <= _tilt(spread, 0.0).mean:
        return 0.0
    else:
        strength = brentq(lambda s: _tilt(spread, s).mean - limit, 0.0, 1.0 - EDGE, xtol=1e-13)
        log_ratio = _tilt(spread, strength).log_ratio
    return math.sqrt(max(0.0, -2.0 * log_ratio))
