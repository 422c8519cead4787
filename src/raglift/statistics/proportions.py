"""Intervals for a share: hits among questions, or correct answers of one arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from raglift.statistics.counts import read_counts


@dataclass(frozen=True)
class Share:
    """A share in percent with its 95 % interval; None without observations.

    `effective` is the number of independent observations that the interval rests on.
    """

    percent: float | None
    ci95: tuple[float, float] | None
    count: int
    total: int
    effective: float


def estimate_share(count: int, total: int) -> Share:
    """Share of independent yes-or-no outcomes (such as hit@1) with Wilson's interval.

    Wilson (1927, JASA 22:209); the same as `scipy.stats.binomtest(...).proportion_ci(method="wilson")`.
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total}: expected 0 <= count <= total")
    if total == 0:
        return Share(None, None, 0, 0, 0.0)
    limits = _find_wilson_limits(count / total, float(total), float(special.ndtri(0.975)))
    return Share(100.0 * count / total, limits, int(count), int(total), float(total))


def estimate_clustered_share(correct: npt.ArrayLike, total: npt.ArrayLike, ids: Sequence[str] | None = None) -> Share:
    """Mean over questions of correct / total, where the samples of a question resemble each other.

    Wilson's interval with the effective sample size p(1 - p) / v, v being the variance of the mean
    over questions, and Student's t in place of the normal quantile (Dean & Pagano 2015, Survey
    Methodology 41:1; Korn & Graubard 1998 for the effective size). It is never taken above the number of
    answers, and is the number of questions where all agree. Shapes as in `read_counts`; answers of
    several seeds to one question count as its samples.
    """
    counts = read_counts(correct, total, "the share", ids)
    right, scored = counts.correct.sum(axis=0), counts.total.sum(axis=0)
    right, scored = right[scored > 0], scored[scored > 0]
    questions, answers = int(right.size), int(scored.sum())
    if questions == 0:
        return Share(None, None, 0, 0, 0.0)
    shares = right / scored
    mean = math.fsum(shares.tolist()) / questions
    if questions == 1:
        return Share(100.0 * mean, None, int(right.sum()), answers, 1.0)
    variance = math.fsum(((shares - mean) ** 2).tolist()) / (questions - 1) / questions
    effective = float(questions)
    if variance > 0:
        effective = min(mean * (1 - mean) / variance, float(answers))
    quantile = float(special.stdtrit(questions - 1, 0.975))
    limits = _find_wilson_limits(mean, effective, quantile)
    return Share(100.0 * mean, limits, int(right.sum()), answers, effective)


def _find_wilson_limits(share: float, size: float, quantile: float) -> tuple[float, float]:
    """Wilson's score limits in percent."""
    square = quantile**2 / size
    middle = (share + square / 2) / (1 + square)
    half = quantile * np.sqrt(share * (1 - share) / size + square / (4 * size)) / (1 + square)
    low = 0.0 if share == 0 else max(0.0, float(middle - half))  # exact at the ends, where rounding is not
    high = 1.0 if share == 1 else min(1.0, float(middle + half))
    return 100.0 * low, 100.0 * high
