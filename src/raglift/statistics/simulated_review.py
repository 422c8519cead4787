"""Simulated grading with a known truth: a biased judge, two human reviewers, and the corrected lift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raglift.statistics.ppi import CorrectedLift, JudgedAnswers, correct_lift, draw_labels


@dataclass(frozen=True)
class Review:
    """An experiment, its judge and its reviewers; chances from 0 to 1.

    `overlooks` is the judge's chance to fail a right answer in arms a and b, `accepts` to pass a
    wrong one; `slips` is each reviewer's chance to be wrong.
    """

    name: str
    overlooks: tuple[float, float]
    accepts: tuple[float, float]
    accuracy: tuple[float, float] = (0.6, 0.8)
    questions: int = 30
    samples: int = 4
    labels: int = 60
    slips: float = 0.01


@dataclass(frozen=True)
class ReviewCoverage:
    """Shares over the repetitions, 0 to 1; widths in points."""

    review: Review
    corrected: float
    uncorrected: float
    corrected_width: float
    uncorrected_width: float


def build_reviews() -> list[Review]:
    """The judges that are simulated: harsh or lenient on one side, near the ceiling, with few labels, fair."""
    return [
        Review("judge harsh on b", overlooks=(0.05, 0.3), accepts=(0.05, 0.05)),
        Review("judge lenient on a", overlooks=(0.05, 0.05), accepts=(0.4, 0.05)),
        Review("lenient judge, ceiling", (0.02, 0.02), (0.5, 0.5), accuracy=(0.9, 0.97)),
        Review("judge harsh on b, 120 labels", (0.05, 0.3), (0.05, 0.05), labels=120),
        Review("judge harsh on b, 100 questions", (0.05, 0.3), (0.05, 0.05), questions=100, labels=100),
        Review("fair judge", overlooks=(0.05, 0.05), accepts=(0.05, 0.05)),
    ]


def simulate_review(review: Review, generator: np.random.Generator) -> CorrectedLift:
    """Draw answers, judge all of them, let both reviewers grade the drawn part, correct the lift."""
    per_arm = review.questions * review.samples
    chances = [
        np.repeat(generator.beta(2 * mean, 2 * (1 - mean), review.questions), review.samples)
        for mean in review.accuracy
    ]
    question = np.tile(np.repeat(np.arange(review.questions), review.samples), 2)
    in_b = np.repeat([0, 1], per_arm)
    truth = generator.random(2 * per_arm) < np.concatenate(chances)
    luck = generator.random(truth.size)
    judged = np.where(truth, luck >= np.array(review.overlooks)[in_b], luck < np.array(review.accepts)[in_b])
    drawn = draw_labels(in_b, judged, review.labels, seed=int(generator.integers(2**31)))
    human: npt.NDArray[np.float64] = np.full((2, truth.size), np.nan)
    for reviewer in range(2):
        slipped = generator.random(len(drawn)) < review.slips
        human[reviewer, drawn] = truth[drawn] ^ slipped
    return correct_lift(JudgedAnswers(question.tolist(), in_b, judged, human))


def measure_review(review: Review, *, repetitions: int, seed: int = 1) -> ReviewCoverage:
    """Repeat the review; the same arguments give the same figures."""
    generator = np.random.default_rng(seed)
    truth = 100.0 * (review.accuracy[1] - review.accuracy[0])
    rows = []
    for _ in range(repetitions):
        found = simulate_review(review, generator)
        corrected, uncorrected = found.ci95 or (-100.0, 100.0), found.uncorrected.ci95 or (-100.0, 100.0)
        rows.append(
            [
                corrected[0] <= truth <= corrected[1],
                uncorrected[0] <= truth <= uncorrected[1],
                corrected[1] - corrected[0],
                uncorrected[1] - uncorrected[0],
            ]
        )
    return ReviewCoverage(review, *np.mean(np.array(rows, dtype=float), axis=0).tolist())


def format_reviews(rows: Sequence[ReviewCoverage]) -> str:
    """A Markdown table."""
    lines = [
        "| judge | questions × samples | labels | corrected covers | uncorrected covers | widths |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        review = row.review
        lines.append(
            f"| {review.name} | {review.questions} × {review.samples} | {review.labels} "
            f"| {100 * row.corrected:.1f} % | {100 * row.uncorrected:.1f} % "
            f"| {row.corrected_width:.1f}, {row.uncorrected_width:.1f} |"
        )
    return "\n".join(lines)
