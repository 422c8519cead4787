"""After the run: what it could have found, and how many questions would have settled it."""

from __future__ import annotations

import math

from scipy import special

from raglift.statistics.power import ALPHA, FEWEST_QUESTIONS, POWER, sum_of_quantiles
from raglift.statistics.twolevel import TwoLevel


def find_detectable_lift(level: TwoLevel) -> float | None:
    """Smallest true lift found with 80 % power at α = 0.05, from the variance that was observed.

    Miller (2024) with the observed standard error: (z_{0.975} + z_{0.8}) · SE. When fewer than six
    questions differ, or all by the same, the standard error is no guide (the exact test could not
    reject at all, or there is no variation to learn from): then it is at least the share of questions
    that must differ, one way and by as much as is credible (`Spread.reach`), for six or more to
    differ with 80 % probability. None above the largest possible lift.
    """
    spread = level.spread
    lift = sum_of_quantiles(POWER, ALPHA) * level.standard_error
    alike = spread.values.size == 1
    if alike or spread.differing < FEWEST_QUESTIONS:
        # the binomial tail P(X >= 6) as the inverse of the incomplete beta function
        share = float(special.betaincinv(FEWEST_QUESTIONS, spread.questions - FEWEST_QUESTIONS + 1, POWER))
        lift = max(lift, share * (spread.bound if alike else spread.reach))
    return lift if lift <= spread.bound else None


def find_questions_needed(level: TwoLevel, margin: float) -> int | None:
    """Questions of the same kind that would have settled an inconclusive comparison.

    The smaller of two numbers, each for 80 % power if the truth is what was observed: to show that
    the lift is not 0, or to show that it is within the margin. Never below n + 1. None when the
    seeds alone leave too much error.
    """
    spread = level.spread
    ways = [_questions_for(level, abs(level.mean), sum_of_quantiles(POWER, ALPHA))]
    # with the lift near 0 both one-sided tests can fail, so each gets half of the 20 %
    within = float(special.ndtri(1 - ALPHA) + special.ndtri(1 - (1 - POWER) / 2))
    ways.append(_questions_for(level, margin - abs(level.mean), within))
    if spread.differing < 3:
        # until more differ, only the number of questions speaks against rare large differences
        rare = math.ceil(math.log(ALPHA) / math.log1p(-margin / spread.bound)) + 1
        ways = [max(way, rare) for way in ways if way is not None]
    possible = [way for way in ways if way is not None]
    return max(min(possible), spread.questions + 1) if possible else None


def _questions_for(level: TwoLevel, distance: float, quantiles: float) -> int | None:
    """Questions for a standard error of distance / quantiles, the seeds' part left as it is."""
    if distance <= 0:
        return None
    left = (distance / quantiles) ** 2 - level.seed_variance
    return math.ceil(level.spread.variance / left) if left > 0 else None
