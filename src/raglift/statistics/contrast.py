"""A weighted difference of arms over the same questions: estimate, interval, p-value, verdict.

One machine serves the lift (b - a), main effects and interactions. docs/statistics.md gives the
reasons and the simulation that chose the interval.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from raglift.statistics.counts import Counts
from raglift.statistics.likelihood import Spread
from raglift.statistics.planning import find_detectable_lift, find_questions_needed
from raglift.statistics.power import FEWEST_QUESTIONS
from raglift.statistics.signflip import permute_signs
from raglift.statistics.twolevel import (
    LEVEL,
    Limits,
    TwoLevel,
    Variance,
    measure_seed_variance,
    measure_variance,
)

Verdict = Literal["improves", "harms", "equivalent", "inconclusive", "not estimable"]

LARGEST_DENOMINATOR = 1_000_000  # beyond it, differences are kept as floats and drawn, not enumerated


@dataclass(frozen=True)
class Estimate:
    """A difference in points with all that is known about it.

    `lift`, `ci95`, `standard_error`, `margin` and `minimum_detectable_lift` are points (0 to 100);
    `p_value` is two-sided for "no difference", `equivalence_p` for "the margin or more away from 0".
    `questions_needed` is given only for `inconclusive`. None always means: not estimable; `reason` says why.
    """

    lift: float | None
    ci95: tuple[float, float] | None
    p_value: float | None
    test: str
    verdict: Verdict
    reason: str
    questions: int
    excluded: int
    excluded_ids: tuple[str, ...]
    differing: int
    seeds: int
    margin: float
    equivalence_p: float | None
    standard_error: float | None
    minimum_detectable_lift: float | None
    questions_needed: int | None
    variance: Variance

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: tuples become lists."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


@dataclass(frozen=True)
class Settings:
    """Settings of one estimate: the equivalence margin in points, ids to name, the Monte-Carlo seed."""

    margin: float = 5.0
    ids: Sequence[str] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Differences:
    """Per seed and question, shape (seeds, questions): numerators over one denominator.

    Numerators are whole numbers unless the totals have no workable common multiple.
    """

    numerators: npt.NDArray[Any]
    denominator: int
    bound: float
    sampling: float | None

    @property
    def values(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.numerators / self.denominator, dtype=float)


def take_differences(cells: Sequence[Counts], weights: Sequence[Fraction]) -> Differences:
    """Sum of weight · correct / total over the cells, exactly where the totals allow it.

    `sampling` is the variance of one question's difference that comes from drawing a finite number
    of answers: the mean of sum weight² p(1 - p) / (total - 1), unbiased for binomial samples
    (Miller 2024); None when some total is 1.
    """
    totals = {int(total) for cell in cells for total in np.unique(cell.total)}
    scale = math.lcm(*(weight.denominator for weight in weights))
    common = math.lcm(*totals)
    bound = float(sum(weight for weight in weights if weight > 0))
    whole = common * scale <= LARGEST_DENOMINATOR
    parts: list[npt.NDArray[Any]] = []
    for cell, weight in zip(cells, weights, strict=True):
        if whole:
            parts.append(int(weight * scale) * cell.correct * (common // cell.total))
        else:
            parts.append(float(weight) * (cell.correct / cell.total))
    numerators = np.sum(parts, axis=0)
    if not whole:
        numerators = np.round(numerators, 12) + 0.0  # equal differences must be equal numbers
    return Differences(numerators, common * scale if whole else 1, bound, _measure_sampling(cells, weights))


def _measure_sampling(cells: Sequence[Counts], weights: Sequence[Fraction]) -> float | None:
    if any(cell.total.size and int(cell.total.min()) < 2 for cell in cells):
        return None
    size = cells[0].total.size
    total = 0.0
    for cell, weight in zip(cells, weights, strict=True):
        share = cell.correct / cell.total
        spread = share * (1 - share) / (cell.total - 1)
        total += float(weight) ** 2 * math.fsum(spread.ravel().tolist()) / size
    return total


def estimate_contrast(
    cells: Sequence[Counts], weights: Sequence[Fraction], settings: Settings | None = None
) -> Estimate:
    """Estimate sum(weight · accuracy) over questions that every cell has answers to.

    Weights must sum to 0. Questions without a scored answer in some cell (or seed) are left out and
    counted. Raises ValueError when the cells do not hold the same questions and seeds.
    """
    settings = settings or Settings()
    _check_cells(cells, settings)
    complete = np.logical_and.reduce([cell.complete for cell in cells])
    left_out = np.flatnonzero(~complete).tolist()
    ids = settings.ids
    excluded_ids = tuple(str(ids[place]) for place in left_out) if ids is not None else ()
    kept = [cell.select(complete) for cell in cells]
    questions = int(complete.sum())
    shared = {
        "questions": questions,
        "excluded": len(left_out),
        "excluded_ids": excluded_ids,
        "seeds": cells[0].seeds,
        "margin": settings.margin,
    }
    if questions == 0:
        return _refuse_estimate(None, 0, "no question has a scored answer in every arm", shared)
    differences = take_differences(kept, weights)
    summed = differences.numerators.sum(axis=0)
    differing = int(np.count_nonzero(summed))
    ordered = summed if np.issubdtype(summed.dtype, np.integer) else np.sort(summed)
    mean = math.fsum(ordered.tolist()) / (differences.denominator * differences.numerators.size)
    if questions < FEWEST_QUESTIONS:
        reason = (
            f"{questions} question{'s' if questions > 1 else ''} compared: "
            f"with fewer than {FEWEST_QUESTIONS} no result can reach p < 0.05"
        )
        return _refuse_estimate(100.0 * mean, differing, reason, shared)
    return _judge_differences(differences, summed, mean, settings, shared)


def _check_cells(cells: Sequence[Counts], settings: Settings) -> None:
    shapes = {cell.correct.shape for cell in cells}
    if len(shapes) > 1:
        found = " and ".join(str(shape) for shape in sorted(shapes))
        raise ValueError(f"the arms differ in (seeds, questions): {found}; compare the same questions and seeds")
    if not (math.isfinite(settings.margin) and 0 < settings.margin < 100):
        raise ValueError(f"margin is {settings.margin} points: expected a number between 0 and 100")
    if settings.ids is not None and len(set(settings.ids)) != len(settings.ids):
        twice = [name for name, times in Counter(settings.ids).items() if times > 1][:5]
        raise ValueError(f"question ids occur more than once: {', '.join(map(str, twice))}")


def _refuse_estimate(lift: float | None, differing: int, reason: str, shared: dict[str, Any]) -> Estimate:
    return Estimate(
        lift=lift,
        ci95=None,
        p_value=None,
        test="none",
        verdict="not estimable",
        reason=reason,
        differing=differing,
        equivalence_p=None,
        standard_error=None,
        minimum_detectable_lift=None,
        questions_needed=None,
        variance=Variance(),
        **shared,
    )


def _judge_differences(
    differences: Differences,
    summed: npt.NDArray[Any],
    mean: float,
    settings: Settings,
    shared: dict[str, Any],
) -> Estimate:
    seeds = int(shared["seeds"])
    unique, counts = np.unique(summed, return_counts=True)
    spread = Spread(unique / (differences.denominator * seeds), counts, differences.bound)
    variance = measure_variance(differences.values, spread.variance, differences.sampling)
    level = TwoLevel(spread, mean, seeds, measure_seed_variance(differences.values))
    flips = permute_signs(summed, seed=settings.seed)
    p_value, test = flips.p_value, flips.test
    from_seeds = level.zero_p_value() if level.seed_error > 0 else 0.0
    if from_seeds > p_value:
        p_value, test = from_seeds, "two-level interval over questions and training seeds, inverted"
    limits = reconcile_limits(level.limits(LEVEL), mean, p_value, spread)
    margin = settings.margin / 100.0
    equivalence_p = level.equivalence_p_value(margin)
    verdict: Verdict = "inconclusive"
    if p_value < 1 - LEVEL:
        verdict = "improves" if mean > 0 else "harms"
    elif equivalence_p < 1 - LEVEL:
        verdict = "equivalent"
    needed = find_questions_needed(level, margin) if verdict == "inconclusive" else None
    detectable = find_detectable_lift(level)
    return Estimate(
        lift=100.0 * mean,
        ci95=(100.0 * limits.low, 100.0 * limits.high),
        p_value=p_value,
        test=test,
        verdict=verdict,
        reason=_explain(verdict, shared, spread.differing, equivalence_p, needed),
        differing=spread.differing,
        equivalence_p=equivalence_p,
        standard_error=100.0 * level.standard_error,
        minimum_detectable_lift=None if detectable is None else 100.0 * detectable,
        questions_needed=needed,
        variance=variance,
        **shared,
    )


def reconcile_limits(limits: Limits, mean: float, p_value: float, spread: Spread) -> Limits:
    """Make the interval exclude 0 exactly when p < 0.05.

    Likelihood and permutation rarely disagree, but then a reader would see p = 0.049 beside an
    interval that holds 0. The permutation test is exact, so it decides, and the limit next to 0
    becomes the test-based one (Miettinen 1976, Am. J. Epidemiology 103:226):
    mean · (1 - t_{0.975} / t_{1 - p/2}), which touches 0 at p = 0.05.
    """
    excludes = limits.low > 0 or limits.high < 0
    rejects = p_value < 1 - LEVEL
    if excludes == rejects:
        return limits
    freedom = spread.questions - 1
    observed = float(special.stdtrit(freedom, 1 - p_value / 2))
    edge = mean * (1 - float(special.stdtrit(freedom, (1 + LEVEL) / 2)) / max(observed, 1e-3))
    if not rejects:
        edge = edge if edge * mean <= 0 else 0.0
    edge = max(-spread.bound, min(spread.bound, edge))
    return Limits(edge, limits.high) if mean > 0 else Limits(limits.low, edge)


def _explain(verdict: Verdict, shared: dict[str, Any], differing: int, equivalence_p: float, needed: int | None) -> str:
    questions, margin = shared["questions"], shared["margin"]
    if verdict in ("improves", "harms"):
        small = f"; yet within {margin:g} points of 0" if equivalence_p < 1 - LEVEL else ""
        return f"{differing} of {questions} questions differ{small}"
    if verdict == "equivalent":
        return f"within {margin:g} points of 0 in both directions (two one-sided tests)"
    if differing == 0:
        reason = f"none of {questions} questions differs, which does not exclude {margin:g} points"
    else:
        reason = f"{differing} of {questions} questions differ: neither a lift nor its absence is shown"
    if needed is None:
        return reason + "; more questions alone would not settle it, more training seeds would"
    return reason + f"; about {needed} questions would settle it"
