"""A lift corrected by human verdicts on a random part of the answers.

Prediction-powered inference (Angelopoulos et al. 2023, Science 382:669; PPI++ arXiv:2311.01453) for a
paired lift, post-stratified by arm and grader verdict (Fisch et al. 2024, arXiv:2406.04291): inside
a stratum the grader says the same of every answer, so the best prediction is the stratum's human mean
and PPI++'s tuning parameter has nothing left to tune. Every answer gets

    z = m + (N / n) · labelled · (human - m)

with m the human mean of its stratum, n labelled answers of N. The corrected lift is the mean over
questions of mean(z in b) - mean(z in a), and its variance that of the questions' differences: answers
to one question may be wrong together.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from raglift.statistics.comparison import Comparison, compare_paired

Floats = npt.NDArray[np.float64]

FEWEST_LABELS = 2  # in every stratum: one label shows no variation


@dataclass(frozen=True)
class CorrectedLift:
    """The lift (points, b - a) by human verdicts, beside the grader's own.

    `disagreement_a` and `_b` are the estimated percent of answers on which human and grader
    differ; `reason` says why `lift` and `ci95` are None.
    """

    lift: float | None
    ci95: tuple[float, float] | None
    uncorrected: Comparison
    labels: int
    answers: int
    disagreement_a: float | None
    disagreement_b: float | None
    reason: str = ""


@dataclass(frozen=True)
class JudgedAnswers:
    """One entry per answer, in any order.

    `question` groups the answers; `in_b` is False for arm a; `judged` is the grader's verdict (1
    correct, 0 incorrect); `human` has shape (answers,) or (reviewers, answers), NaN where not
    reviewed; reviewers who differ count as their mean.
    """

    question: Sequence[Hashable]
    in_b: npt.ArrayLike
    judged: npt.ArrayLike
    human: npt.ArrayLike


@dataclass(frozen=True)
class _Table:
    """The same as arrays: question numbers, strata (0 to 3: arm b · 2 + judged correct), mean human."""

    question: npt.NDArray[np.int64]
    stratum: npt.NDArray[np.int64]
    human: Floats
    questions: int

    def of_arm(self, arm: int) -> npt.NDArray[np.bool_]:
        return np.asarray(self.stratum // 2 == arm)


def draw_labels(in_b: npt.ArrayLike, judged: npt.ArrayLike, labels: int, *, seed: int = 0) -> list[int]:
    """Places of `labels` answers to review: random within arm and grader verdict.

    Each stratum gets its share of the labels, but at least two (or all it has); the sum may exceed
    `labels` by that. The same arguments draw the same answers.
    """
    stratum = 2 * _read_flags(in_b, "in_b") + _read_flags(judged, "judged")
    if not 1 <= labels <= stratum.size:
        raise ValueError(f"labels is {labels}: expected 1 to {stratum.size}, the number of answers")
    generator = np.random.default_rng(seed)
    drawn: list[int] = []
    for number in np.unique(stratum):
        places = np.flatnonzero(stratum == number)
        share = round(labels * places.size / stratum.size)
        drawn += generator.permutation(places)[: max(share, FEWEST_LABELS)].tolist()
    return sorted(drawn)


def correct_lift(answers: JudgedAnswers, *, margin: float = 5.0) -> CorrectedLift:
    """Correct the grader's lift by the human verdicts; the labelled answers must be drawn at random
    within arm and grader verdict (`draw_labels`).

    `lift` is None when some stratum has fewer than two labels. Raises ValueError for arrays of unequal
    length, verdicts other than 0 and 1, or questions that one arm lacks.
    """
    table = _read_answers(answers)
    uncorrected = _compare_judged(table, margin)
    labelled = ~np.isnan(table.human)
    sizes = np.bincount(table.stratum, minlength=4)
    labels = np.bincount(table.stratum[labelled], minlength=4)
    missing = [number for number in range(4) if labels[number] < min(FEWEST_LABELS, sizes[number])]
    if missing:
        number = missing[0]
        what = f"{'correct' if number % 2 else 'incorrect'} by the grader in arm {'ab'[number // 2]}"
        reason = f"{labels[number]} of {sizes[number]} answers judged {what} have a human verdict: label 2 or more"
        return CorrectedLift(None, None, uncorrected, int(labels.sum()), int(sizes.sum()), None, None, reason)
    means = np.array([_mean(table.human[labelled & (table.stratum == number)]) for number in range(4)])
    weight = np.where(labelled, sizes[table.stratum] / np.maximum(labels[table.stratum], 1), 0.0)
    fitted = means[table.stratum]
    outcome = fitted + weight * np.where(labelled, table.human - fitted, 0.0)
    differences = _average(table, outcome, 1) - _average(table, outcome, 0)
    lift = math.fsum(differences.tolist()) / table.questions
    spread = math.fsum(((differences - lift) ** 2).tolist()) / (table.questions - 1) / table.questions
    error = math.sqrt(spread + _add_unseen_errors(table, means, sizes, labels))
    freedom = min(table.questions, labels[:2].sum(), labels[2:].sum()) - 1
    half = float(special.stdtrit(freedom, 0.975)) * error
    disagreement = [_estimate_disagreement(means, sizes, arm) for arm in (0, 1)]
    return CorrectedLift(
        lift=100.0 * lift,
        ci95=(100.0 * max(-1.0, lift - half), 100.0 * min(1.0, lift + half)),
        uncorrected=uncorrected,
        labels=int(labels.sum()),
        answers=int(sizes.sum()),
        disagreement_a=disagreement[0],
        disagreement_b=disagreement[1],
    )


def labels_needed(
    half_width: float,
    *,
    full_half_width: float,
    answers_per_arm: int,
    disagreement_a: float = 10.0,
    disagreement_b: float = 10.0,
) -> int | None:
    """Human labels, over both arms, for a corrected interval of ± `half_width` points.

    From Var = Var(all labelled) + sum over arms of d (1 - d) (1 / n - 1 / N), with d the share of
    answers on which human and grader differ (an upper bound of the variance within the strata).

    Args:
        full_half_width: what remains when every answer is labelled: half the width of the
            comparison's own interval.
        answers_per_arm: N.
        disagreement_a, disagreement_b: percent; from a pilot (`CorrectedLift`) or a guess.

    None when even labelling every answer does not reach `half_width`.
    """
    shares = (disagreement_a / 100.0, disagreement_b / 100.0)
    if not (half_width > 0 and full_half_width >= 0 and answers_per_arm >= 1):
        raise ValueError("half_width and answers_per_arm must be above 0, full_half_width not below 0")
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"disagreement {disagreement_a} and {disagreement_b}: expected percent, 0 to 100")
    left = ((half_width / 100.0) ** 2 - (full_half_width / 100.0) ** 2) / float(special.ndtri(0.975)) ** 2
    if left < 0:
        return None
    noise = sum(share * (1 - share) for share in shares)
    per_arm = math.ceil(noise / (left + noise / answers_per_arm)) if noise else 0
    return 2 * min(answers_per_arm, max(per_arm, 2 * FEWEST_LABELS))


def _read_flags(values: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    flags = np.asarray(values, dtype=float)
    if flags.ndim != 1 or not np.isin(flags, (0.0, 1.0)).all():
        raise ValueError(f"{name} must hold 0 or 1 (False or True) for every answer")
    return flags.astype(np.int64)


def _read_answers(answers: JudgedAnswers) -> _Table:
    in_b, judged = _read_flags(answers.in_b, "in_b"), _read_flags(answers.judged, "judged")
    human = np.atleast_2d(np.asarray(answers.human, dtype=float))
    if not in_b.size == judged.size == len(answers.question) == human.shape[1]:
        raise ValueError(
            f"{len(answers.question)} questions, {in_b.size} arms, {judged.size} verdicts and "
            f"{human.shape[1]} human verdicts: one of each is needed for every answer"
        )
    given = ~np.isnan(human)
    if not ((human[given] >= 0) & (human[given] <= 1)).all():
        raise ValueError("human verdicts must be from 0 to 1, or NaN where not reviewed")
    reviewers = given.sum(axis=0)
    mean = np.where(reviewers > 0, np.where(given, human, 0.0).sum(axis=0) / np.maximum(reviewers, 1), np.nan)
    names = {name: number for number, name in enumerate(dict.fromkeys(answers.question))}
    question = np.array([names[name] for name in answers.question], dtype=np.int64)
    for arm, label in enumerate("ab"):
        lacking = sorted(str(name) for name, number in names.items() if number not in set(question[in_b == arm]))
        if lacking:
            raise ValueError(f"arm {label} has no answer to {', '.join(lacking[:5])}: drop it from both arms")
    if len(names) < 2:
        raise ValueError(f"{len(names)} question: at least 2 are needed")
    return _Table(question, 2 * in_b + judged, mean, len(names))


def _compare_judged(table: _Table, margin: float) -> Comparison:
    counts = []
    for arm in (0, 1):
        inside = table.of_arm(arm)
        right = np.bincount(table.question[inside], table.stratum[inside] % 2, table.questions)
        counts += [right, np.bincount(table.question[inside], minlength=table.questions)]
    return compare_paired(*counts, margin=margin)


def _average(table: _Table, outcome: Floats, arm: int) -> Floats:
    """Mean outcome of each question in one arm, shape (questions,)."""
    inside = table.of_arm(arm)
    total = np.bincount(table.question[inside], minlength=table.questions)
    return np.asarray(np.bincount(table.question[inside], outcome[inside], table.questions) / total)


def _mean(values: Floats) -> float:
    return math.fsum(values.tolist()) / values.size if values.size else 0.0


def _add_unseen_errors(
    table: _Table, means: Floats, sizes: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> float:
    """Variance for strata whose labels show less variation than so few can exclude.

    n equal labels say that variation is rare, not that there is none: the stratum's variance is at
    least that of one more label of each kind (p = (x + 1) / (n + 2), Agresti & Coull 1998).
    """
    added = 0.0
    for number in range(4):
        size, count = int(sizes[number]), int(labels[number])
        if count in (0, size):
            continue
        careful = (means[number] * count + 1) / (count + 2)
        seen = means[number] * (1 - means[number])
        lacking = max(0.0, careful * (1 - careful) - seen)
        in_arm = int(sizes[2 * (number // 2) : 2 * (number // 2) + 2].sum())
        added += (size / in_arm) ** 2 * lacking * (1 / count - 1 / size)
    return added


def _estimate_disagreement(means: Floats, sizes: npt.NDArray[np.int64], arm: int) -> float:
    wrong, right = 2 * arm, 2 * arm + 1
    differing = means[wrong] * sizes[wrong] + (1 - means[right]) * sizes[right]
    return float(100.0 * differing / (sizes[wrong] + sizes[right]))
