"""Held-out figures of a search, and the threshold that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raglift.retrieval.embedders import Vectors


@dataclass(frozen=True)
class HeldOut:
    """Scores (pairs, pool) that each pair got from a model that had not seen it."""

    scores: Vectors
    targets: NDArray[np.int64]

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
        without[np.arange(len(self.targets)), self.targets] = -np.inf
        best_wrong = without.max(axis=1) if without.shape[1] > 1 else np.zeros(len(without), np.float32)
        return choose_threshold(self.scores.max(axis=1), best_wrong)


def choose_threshold(right: Vectors, wrong: Vectors) -> float:
    """A score between what answerable and unanswerable questions reach.

    `right` are the best scores of held-out training questions, `wrong` the same with the right passage
    taken away. Those questions still have close neighbours in the index, which questions about something
    else have not; so their 30th percentile stands for the unanswerable. The threshold is the middle between
    it and the 2nd percentile of `right`, and at most the 5th percentile of `right`.
    """
    low, cap = np.quantile(right, [0.02, 0.05])
    return float(min((low + np.quantile(wrong, 0.3)) / 2, cap))
