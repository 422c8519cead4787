"""Held-out figures of a search, and the threshold that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raglift.retrieval.embedders import Vectors

NEIGHBOURS = 4  # of a right passage, taken away with it


@dataclass(frozen=True)
class HeldOut:
    """Scores (pairs, pool) that each pair got from a model that had not seen it.

    `near` (pairs, NEIGHBOURS + 1) are the rows nearest to each target, itself among them.
    """

    scores: Vectors
    targets: NDArray[np.int64]
    near: NDArray[np.int64]

    def find_ranks(self) -> NDArray[np.int64]:
        right = self.scores[np.arange(len(self.targets)), self.targets]
        return np.asarray((self.scores > right[:, None]).sum(axis=1), np.int64)

    @property
    def hit_at_1(self) -> float:
        return float((self.find_ranks() == 0).mean())

    @property
    def mrr(self) -> float:
        return float((1 / (1 + self.find_ranks())).mean())

    @property
    def rounded_figures(self) -> tuple[float, float]:
        """hit@1, then MRR, for comparison: rounded so that the order of a sum decides nothing."""
        return round(self.hit_at_1, 9), round(self.mrr, 9)

    def choose_threshold(self) -> float:
        """The score below which nothing is found, see `choose_threshold`."""
        without = self.scores.copy()
        np.put_along_axis(without, self.near, -np.inf, axis=1)
        wrong = (
            np.maximum(without.max(axis=1), 0.0) if without.shape[1] > self.near.shape[1] else np.zeros(len(without))
        )
        return choose_threshold(self.scores.max(axis=1), np.asarray(wrong, np.float32))


def choose_threshold(right: Vectors, wrong: Vectors) -> float:
    """A score between what answerable and unanswerable questions reach.

    `right` are the best scores of held-out training questions, `wrong` the same with the right passage and its
    NEIGHBOURS nearest taken away: a question about what the knowledge base lacks has no close neighbours there
    either. The threshold is the middle between the median of `wrong` and the 10th percentile of `right`, and at
    most the latter. With some thirty training questions neither hangs on a single odd one.
    """
    low = float(np.quantile(right, 0.1))
    return min((low + float(np.median(wrong))) / 2, low)
