"""Power before the run: what an experiment of this size can detect.

Miller (2024), "Adding Error Bars to Evals", arXiv:2411.00640:

    n = (z_{α/2} + z_β)² (ω² + σ_A²/K_A + σ_B²/K_B) / δ²

for n questions, K samples of each, true lift δ, and two-sided α. With training seeds (not in the
paper) the seed variance τ² adds to the variance of the mean lift: τ²/S, which no number of questions
makes smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

ALPHA = 0.05
POWER = 0.80
FEWEST_QUESTIONS = 6  # 2 · 2^-n < 0.05 first at n = 6: with fewer the sign-flip test cannot reject


@dataclass(frozen=True)
class AssumedVariance:
    """Variances on the 0-to-1 scale; the defaults are Miller's illustration.

    Args:
        question: ω², variance over questions of the difference of the two expected scores.
        sampling: σ², variance of one sample of a question, averaged over questions, in each arm.
        seed: τ², variance of the mean lift over training seeds.
    """

    question: float = 1 / 9
    sampling: float = 1 / 6
    seed: float = 0.0


MILLER = AssumedVariance()


def detectable_lift(
    questions: int,
    samples: float,
    *,
    seeds: int = 1,
    assumed: AssumedVariance = MILLER,
    power: float = POWER,
    alpha: float = ALPHA,
) -> float | None:
    """Smallest true lift, in points, that is found with probability `power`.

    `samples` is per question, arm and seed; `math.inf` removes the sampling variance.
    None when there are fewer than 6 questions or no lift up to 100 points would be found.
    """
    _check_plan(samples, seeds, assumed, power, alpha)
    if questions < FEWEST_QUESTIONS:
        return None
    variance = _spread_over_questions(samples, seeds, assumed) / questions + assumed.seed / seeds
    lift = 100.0 * sum_of_quantiles(power, alpha) * math.sqrt(variance)
    return lift if lift <= 100.0 else None


def questions_needed(
    lift: float,
    samples: float,
    *,
    seeds: int = 1,
    assumed: AssumedVariance = MILLER,
    power: float = POWER,
    alpha: float = ALPHA,
) -> int | None:
    """Questions that find a true lift of `lift` points (either sign) with probability `power`.

    None when no number of questions is enough, because the seeds alone vary too much.
    """
    _check_plan(samples, seeds, assumed, power, alpha)
    if not 0 < abs(lift) <= 100:
        raise ValueError(f"lift is {lift} points: expected a number from -100 to 100 other than 0")
    left = (lift / 100.0 / sum_of_quantiles(power, alpha)) ** 2 - assumed.seed / seeds
    if left <= 0:
        return None
    return max(FEWEST_QUESTIONS, math.ceil(_spread_over_questions(samples, seeds, assumed) / left - 1e-9))


def sum_of_quantiles(power: float, alpha: float) -> float:
    """z_{α/2} + z_β."""
    return float(special.ndtri(1 - alpha / 2) + special.ndtri(power))


def _spread_over_questions(samples: float, seeds: int, assumed: AssumedVariance) -> float:
    """ω² + σ_A²/K + σ_B²/K, with K samples of each of the seeds."""
    return assumed.question + 2 * assumed.sampling / (samples * seeds)


def _check_plan(samples: float, seeds: int, assumed: AssumedVariance, power: float, alpha: float) -> None:
    if not samples >= 1:
        raise ValueError(f"samples is {samples}: expected at least 1")
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}: expected at least 1")
    if not min(assumed.question, assumed.sampling, assumed.seed) >= 0:
        raise ValueError(f"{assumed}: a variance cannot be negative")
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError(f"power {power} and alpha {alpha}: expected numbers between 0 and 1")
