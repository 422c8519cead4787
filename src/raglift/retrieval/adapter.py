"""Contrastive training of a linear adapter on question vectors, in numpy.

The embedder stays frozen and so do the passages' vectors: a question vector q becomes q + Wq, scaled to
length 1. Each step is a softmax over the passages of the pool (InfoNCE, van den Oord et al. 2018,
arXiv:1807.03748) with temperature 0.02, by Adam. The logits are adjusted by the logarithm of how often a
passage is a target (Menon et al. 2020, arXiv:2007.07314): otherwise the adapter learns to prefer the
passages that have training questions, and questions about all the others pay for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raglift.retrieval.embedders import Vectors, normalize_rows

TEMPERATURE = 0.02
LEARNING_RATE = 1e-3
STEPS = 300
BATCH = 64


@dataclass(frozen=True)
class Pairs:
    """Question vectors (pairs, dimensions) and for each the row of its passage in the pool."""

    vectors: Vectors
    targets: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Pairs:
        return Pairs(self.vectors[rows], self.targets[rows])


@dataclass(frozen=True)
class Source:
    """Pairs with the share that they have of every batch."""

    pairs: Pairs
    share: float


def train_adapter(sources: Sequence[Source], pool: Vectors, seed: int) -> Vectors:
    """W of shape (dimensions, dimensions).

    Args:
        sources: where the batches come from; empty ones are passed over.
        pool: the passages' unit vectors (passages, dimensions); all are negatives but the target.
        seed: of the draws of batches.
    """
    generator = np.random.default_rng(seed)
    sources = [source for source in sources if len(source.pairs.targets) and source.share > 0]
    counts = [max(1, round(BATCH * source.share)) for source in sources]
    adjustment = _adjust_logits(sources, counts, len(pool))
    dimensions = pool.shape[1]
    weights, mean, square, scratch = (np.zeros((dimensions, dimensions), np.float32) for _ in range(4))
    for step in range(1, STEPS + 1):
        drawn = [
            source.pairs.take(generator.integers(len(source.pairs.targets), size=count))
            for source, count in zip(sources, counts, strict=True)
        ]
        batch = Pairs(np.concatenate([p.vectors for p in drawn]), np.concatenate([p.targets for p in drawn]))
        gradient = compute_gradient(weights, batch, pool, adjustment)
        mean += np.multiply(0.1, gradient - mean, out=scratch)
        square += np.multiply(0.001, np.square(gradient, out=gradient) - square, out=scratch)
        np.sqrt(square, out=scratch)
        scratch += 1e-8
        rate = LEARNING_RATE * (1 - step / STEPS) * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
        weights -= rate * np.divide(mean, scratch, out=scratch)
    return weights


def compute_gradient(weights: Vectors, batch: Pairs, pool: Vectors, adjustment: Vectors) -> Vectors:
    """The gradient by W of the mean cross entropy of softmax(cosine / temperature + adjustment)."""
    count = len(batch.targets)
    moved = batch.vectors + batch.vectors @ weights.T
    lengths = np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    unit = moved / lengths
    logits = unit @ pool.T / TEMPERATURE + adjustment
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(count), batch.targets] -= 1
    by_unit = shares @ pool / (TEMPERATURE * count)
    by_moved = (by_unit - (by_unit * unit).sum(axis=1, keepdims=True) * unit) / lengths
    return np.asarray(by_moved.T @ batch.vectors, np.float32)


def apply_adapter(weights: Vectors | None, vectors: Vectors) -> Vectors:
    """Unit vectors along q + Wq; the vectors themselves without weights.

    W is (dimensions, dimensions), `vectors` holds a q in each row.
    """
    return vectors if weights is None else normalize_rows(vectors + vectors @ weights.T)


def _adjust_logits(sources: Sequence[Source], counts: Sequence[int], size: int) -> Vectors:
    prior = np.zeros(size)
    for source, count in zip(sources, counts, strict=True):
        prior += count * np.bincount(source.pairs.targets, minlength=size) / len(source.pairs.targets)
    prior += 1e-3 * prior.sum() / size  # passages that are never a target
    return np.asarray(np.log(prior / prior.mean()), np.float32)
