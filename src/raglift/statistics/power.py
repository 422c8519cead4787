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


@dataclass(frozen=True)
class Plan:
    """How a run is to be made and judged; ValueError for what cannot be.

    Args:
        samples: per question, arm and seed; `math.inf` removes the sampling variance.
        seeds: training seeds.
        power, alpha: the wanted probability to find the lift, and of a false positive (two-sided).
    """

    samples: float
    seeds: int = 1
    assumed: AssumedVariance = MILLER
    power: float = POWER
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        if not self.samples >= 1:
            raise ValueError(f"samples is {self.samples}: expected at least 1")
        if self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds}: expected at least 1")
        if not min(self.assumed.question, self.assumed.sampling, self.assumed.seed) >= 0:
            raise ValueError(f"{self.assumed}: a variance cannot be negative")
        if not (0 < self.alpha < 1 and 0 < self.power < 1):
            raise ValueError(f"power {self.power} and alpha {self.alpha}: expected numbers between 0 and 1")

    @property
    def quantiles(self) -> float:
        """z_{α/2} + z_β."""
        return sum_of_quantiles(self.power, self.alpha)

    @property
    def over_questions(self) -> float:
        """ω² + σ_A²/K + σ_B²/K, with K samples of each of the seeds."""
        return self.assumed.question + 2 * self.assumed.sampling / (self.samples * self.seeds)

    @property
    def over_seeds(self) -> float:
        """τ²/S."""
        return self.assumed.seed / self.seeds


def detectable_lift(questions: int, plan: Plan) -> float | None:
    """Smallest true lift, in points, that is found with the plan's power.

    None when there are fewer than 6 questions or no lift up to 100 points would be found.
    """
    if questions < FEWEST_QUESTIONS:
        return None
    lift = 100.0 * plan.quantiles * math.sqrt(plan.over_questions / questions + plan.over_seeds)
    return lift if lift <= 100.0 else None


def questions_needed(lift: float, plan: Plan) -> int | None:
    """Questions that find a true lift of `lift` points (either sign) with the plan's power.

    None when no number of questions is enough, because the seeds alone vary too much.
    """
    if not 0 < abs(lift) <= 100:
        raise ValueError(f"lift is {lift} points: expected a number from -100 to 100 other than 0")
    left = (lift / 100.0 / plan.quantiles) ** 2 - plan.over_seeds
    return max(FEWEST_QUESTIONS, math.ceil(plan.over_questions / left - 1e-9)) if left > 0 else None


def sum_of_quantiles(power: float, alpha: float) -> float:
    """z_{α/2} + z_β."""
    return float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
