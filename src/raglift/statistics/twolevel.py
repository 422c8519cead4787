"""Two sources of error: which questions were asked, and which training seeds were run.

With one seed the interval is the likelihood interval over questions and speaks of these trained
weights only. With several, every question's difference is averaged over the seeds first, the
variance of the seeds' means is added, and Student's t has the degrees of freedom of the sum
(Satterthwaite 1946, Biometrics Bulletin 2:110). The two half-widths are combined as the root of the sum
of their squares, which keeps the likelihood's asymmetry (MOVER: Zou & Donner 2008, Statistics in
Medicine 27:1693). The seeds' part also holds chance that the questions' part holds already; taking
that out would be unbiased, but the rest is cut off at 0 and rejects true hypotheses too often.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.optimize import brentq

from raglift.statistics.likelihood import (
    Spread,
    compute_reach_p_value,
    find_lower_limit,
    find_upper_limit,
)

LEVEL = 0.95
POINTS = 100.0**2  # variances are told in points squared


@dataclass(frozen=True)
class Variance:
    """Variance of one question's difference with one seed, in points squared, by its source.

    `question`: true differences vary over questions (with one seed: of these trained weights).
    `sampling`: a finite number of answers was drawn; None when some question has a single answer.
    `seed`: the mean lift varies over training seeds; None with one seed.
    `seed_by_question`: seeds change single questions; None with one seed.
    """

    question: float | None = None
    sampling: float | None = None
    seed: float | None = None
    seed_by_question: float | None = None


@dataclass(frozen=True)
class Limits:
    """An interval, in units of accuracy."""

    low: float
    high: float


def measure_variance(values: npt.NDArray[np.float64], over_questions: float, sampling: float | None) -> Variance:
    """Split the variance of differences of shape (seeds, questions) into its sources.

    Two-way random effects (Searle, Casella & McCulloch 1992, Variance Components, chapter 4), no
    part below 0.

    `over_questions` is the sample variance of the questions' means over the seeds.
    """
    seeds, questions = values.shape
    drawn = None if sampling is None else POINTS * sampling
    if seeds == 1:
        question = POINTS * over_questions if sampling is None else POINTS * (over_questions - sampling)
        return Variance(question=max(0.0, question), sampling=drawn)
    mean = math.fsum(values.ravel().tolist()) / values.size
    total = math.fsum(((values - mean) ** 2).ravel().tolist())
    between_seeds = questions * seeds * (seeds - 1) * measure_seed_variance(values)
    between_questions = seeds * (questions - 1) * over_questions
    rest = max(0.0, total - between_seeds - between_questions) / ((seeds - 1) * (questions - 1))
    by_question = rest if sampling is None else rest - sampling
    return Variance(
        question=POINTS * max(0.0, over_questions - rest / seeds),
        sampling=drawn,
        seed=POINTS * max(0.0, (between_seeds / (seeds - 1) - rest) / questions),
        seed_by_question=POINTS * max(0.0, by_question),
    )


def measure_seed_variance(values: npt.NDArray[np.float64]) -> float:
    """Squared standard error of the mean over seeds, of differences of shape (seeds, questions)."""
    seeds, questions = values.shape
    if seeds == 1:
        return 0.0
    means = [math.fsum(row.tolist()) / questions for row in values]
    middle = math.fsum(means) / seeds
    return float(math.fsum((value - middle) ** 2 for value in means) / (seeds - 1) / seeds)


@dataclass(frozen=True)
class TwoLevel:
    """The spread over questions, the mean, and the seeds' part of its variance (0 with one seed)."""

    spread: Spread
    mean: float
    seeds: int
    seed_variance: float

    @property
    def seed_error(self) -> float:
        return math.sqrt(self.seed_variance)

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.spread.variance / self.spread.questions + self.seed_variance)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of the squared standard error."""
        of_questions = self.spread.variance / self.spread.questions
        if self.seed_variance == 0:
            return self.spread.questions - 1
        parts = of_questions**2 / (self.spread.questions - 1) + self.seed_variance**2 / (self.seeds - 1)
        return (of_questions + self.seed_variance) ** 2 / parts

    def limits(self, level: float) -> Limits:
        """Two-sided limits of confidence `level`."""
        freedom = self.freedom
        low = find_lower_limit(self.spread, level, freedom)
        high = find_upper_limit(self.spread, level, freedom)
        if self.seed_error > 0:
            wide = float(special.stdtrit(freedom, (1 + level) / 2)) * self.seed_error
            low = max(-self.spread.bound, self.mean - math.hypot(self.mean - low, wide))
            high = min(self.spread.bound, self.mean + math.hypot(high - self.mean, wide))
        return Limits(low, high)

    def zero_p_value(self) -> float:
        """Two-sided p-value of 0: the level at which the interval first holds it."""
        if self.mean == 0:
            return 1.0
        return 2.0 * (self._upper_p(0.0) if self.mean < 0 else self._lower_p(0.0))

    def equivalence_p_value(self, margin: float) -> float:
        """Two one-sided tests (Schuirmann 1987): the larger p of "at least margin" and "at most -margin".

        Below 0.05 exactly when the 90 % interval lies within the margin.
        """
        return max(self._upper_p(margin), self._lower_p(-margin))

    def _upper_p(self, limit: float) -> float:
        """One-sided p-value of "the mean is at least `limit`"."""
        if self.seed_error == 0 or limit <= self.mean:
            return compute_reach_p_value(self.spread, limit)
        return self._invert(lambda level: self.limits(level).high - limit)

    def _lower_p(self, limit: float) -> float:
        """One-sided p-value of "the mean is at most `limit`"."""
        mirrored = TwoLevel(self.spread.mirrored(), -self.mean, self.seeds, self.seed_variance)
        return mirrored._upper_p(-limit)

    @staticmethod
    def _invert(excess: Callable[[float], float]) -> float:
        """Half of 1 - the level at which `excess`, which grows with the level, crosses 0."""
        least, most = 1e-6, 1 - 1e-9
        if excess(most) <= 0:
            return (1 - most) / 2
        if excess(least) >= 0:
            return 0.5
        return (1 - float(brentq(excess, least, most, xtol=1e-12))) / 2
