"""Tune a retriever on an experiment's own (question, passage) pairs; keep what helps on held-out pairs.

Evaluation questions are never read here. The adapter also sees short questions made from the passages
themselves (their names, their single facts), so that passages without training questions keep their place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raglift.config import RetrievalConfig
from raglift.errors import InputError
from raglift.records import Example
from raglift.retrieval.adapter import Pairs, Source, apply_adapter, train_adapter
from raglift.retrieval.embedders import Vectors
from raglift.retrieval.index import EMBED_BATCH, Index, Progress, rank_top
from raglift.retrieval.search import NAME_SCALE
from raglift.retrieval.tokens import HANGUL, HEAD, find_names, normalize_text
from raglift.retrieval.tuned import TunedRetriever

FOLDS = 5
FEWEST_PAIRS = 5
POOL = 2048  # passages that training and its held-out figures look at, the hard negatives among them
NEIGHBOURS = 20
MADE_FROM = 400  # passages that questions are made from
SHARES = (0.4, 0.35, 0.25)  # of a batch: the experiment's pairs, names, facts
WEIGHTS = (0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True)
class _Task:
    """What training works on: the pool's vectors, and the questions' vectors, targets and name scores."""

    pool: Vectors
    mean: Vectors
    pairs: Pairs
    made: tuple[Source, Source]
    names: Vectors  # (pairs, pool)


@dataclass(frozen=True)
class _HeldOut:
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


def tune_retriever(
    index: Index,
    examples: Sequence[Example],
    settings: RetrievalConfig,
    seed: int = 0,
    progress: Progress | None = None,
) -> TunedRetriever:
    """Train an adapter, choose weight and threshold; all by five-fold cross-validation over the pairs.

    The adapter is kept only when held-out hit@1 is higher with it; `figures` say both. The threshold is
    chosen either way. `progress(done, total)` counts trainings.

    Raises:
        InputError: fewer than five pairs, or a search without vectors.
    """
    task = _prepare_task(index, examples, settings, seed)
    fold = np.random.default_rng(seed).permutation(len(task.pairs.targets)) % FOLDS
    adapted = np.empty_like(task.pairs.vectors)
    for number in range(FOLDS):
        outside = np.flatnonzero(fold != number)
        weights = _fit(task, outside, seed)
        held = fold == number
        adapted[held] = apply_adapter(weights, task.pairs.vectors[held])
        if progress:
            progress(number + 1, FOLDS + 1)
    grid = WEIGHTS if settings.search == "hybrid" else (0.0,)
    default = settings.weight if settings.search == "hybrid" else 0.0
    plain = _score(task, task.pairs.vectors, default)
    weight = _choose_weight(task, adapted, grid, default)
    tuned = _score(task, adapted, weight)
    keep = tuned.hit_at_1 > plain.hit_at_1
    weight = weight if keep else default
    matrix = _fit(task, np.arange(len(task.pairs.targets)), seed) if keep else None
    if progress:
        progress(FOLDS + 1, FOLDS + 1)
    return TunedRetriever(
        embedder=index.embedder.name,
        search=settings.search,
        weight=weight,
        threshold=choose_threshold(*_split_scores(tuned if keep else plain)),
        matrix=matrix,
        figures={
            "pairs": len(task.pairs.targets),
            "held_out_hit_at_1_before": plain.hit_at_1,
            "held_out_hit_at_1_after": tuned.hit_at_1,
            "held_out_mrr_before": plain.mrr,
            "held_out_mrr_after": tuned.mrr,
            "kept": keep,
        },
    )


def describe_tuning(tuned: TunedRetriever) -> str:
    """One sentence on what was decided and why."""
    f = tuned.figures
    before, after = f["held_out_hit_at_1_before"], f["held_out_hit_at_1_after"]
    figures = f"held-out hit@1 {before:.3f} before, {after:.3f} after, over {f['pairs']} training pairs"
    verdict = "kept" if f["kept"] else "not kept, because it does not find more: the search stays as it was"
    return f"adapter {verdict} ({figures}); below a score of {tuned.threshold:.3f} nothing is found"


def choose_threshold(right: Vectors, wrong: Vectors) -> float:
    """A score between what answerable and unanswerable questions reach.

    `right` are the best scores of held-out training questions, `wrong` the same with the right passage
    taken away. Those questions still have close neighbours in the index, which questions about something
    else have not; so their 30th percentile stands for the unanswerable. The threshold is the middle between
    it and the 2nd percentile of `right`, and at most the 5th percentile of `right`.
    """
    low, cap = np.quantile(right, [0.02, 0.05])
    return float(min((low + np.quantile(wrong, 0.3)) / 2, cap))


def _prepare_task(index: Index, examples: Sequence[Example], settings: RetrievalConfig, seed: int) -> _Task:
    if settings.search == "lexical":
        raise InputError(
            "retrieval.search",
            "'lexical'",
            "'dense' or 'hybrid': only a search by vectors is tuned",
            "--set retrieval.search=hybrid",
        )
    examples = [example for example in examples if example.passage_id in index.positions]
    if len(examples) < FEWEST_PAIRS:
        raise InputError(
            "train.jsonl",
            f"{len(examples)} (question, passage) pairs",
            f"at least {FEWEST_PAIRS}",
            "add training rows that name their passage_id",
        )
    texts = [normalize_text(example.question).strip() for example in examples]
    vectors = _embed(index, texts)
    rows = np.array([index.positions[example.passage_id] for example in examples])
    pool = _choose_pool(index, vectors, rows, seed)
    place = {int(row): at for at, row in enumerate(pool)}
    names = np.stack([index.names.score(text)[pool] for text in texts])
    made = _make_questions(index, pool, seed)
    return _Task(
        pool=index.vectors[pool],
        mean=index.mean_vector,
        pairs=Pairs(vectors, np.array([place[int(row)] for row in rows])),
        made=(Source(made[0], SHARES[1]), Source(made[1], SHARES[2])),
        names=names,
    )


def _choose_pool(index: Index, vectors: Vectors, rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """All passages, or of many: the right ones, the questions' nearest (hard negatives), and random ones."""
    if index.size <= POOL:
        return np.arange(index.size)
    near = [rank_top(index.vectors @ vector, NEIGHBOURS) for vector in vectors]
    chosen = np.unique(np.concatenate([rows, np.array(near).ravel()]))
    others = np.setdiff1d(np.arange(index.size), chosen)
    extra = np.random.default_rng(seed).permutation(others)[: max(0, POOL - len(chosen))]
    return np.sort(np.concatenate([chosen, extra]))


def _make_questions(index: Index, pool: NDArray[np.int64], seed: int) -> tuple[Pairs, Pairs]:
    """Questions from passages' own names (`재현율 뭐야?`), and their facts as they stand."""
    places = np.random.default_rng(seed).permutation(len(pool))[:MADE_FROM]
    by_name: list[tuple[str, int]] = []
    by_fact: list[tuple[str, int]] = []
    for place in sorted(int(p) for p in places):
        text = normalize_text(index.texts[index.ids[pool[place]]])
        ask = "{} 뭐야?" if HANGUL.search(text) else "what is {}?"
        by_name += [(ask.format(name), place) for name in find_names(text)]
        head = HEAD.match(text)
        facts = re.split(r"\s\|\s|(?<=[.!?])\s", text[head.end() :] if head else text)
        by_fact += [(fact.strip(), place) for fact in facts if fact.strip()]
    return _embed_pairs(index, by_name), _embed_pairs(index, by_fact)


def _embed_pairs(index: Index, rows: Sequence[tuple[str, int]]) -> Pairs:
    return Pairs(_embed(index, [text for text, _ in rows]), np.array([place for _, place in rows], np.int64))


def _embed(index: Index, texts: Sequence[str]) -> Vectors:
    parts = [
        index.embedder.embed_queries(texts[start : start + EMBED_BATCH]) for start in range(0, len(texts), EMBED_BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, index.embedder.dimensions), np.float32)


def _fit(task: _Task, rows: NDArray[np.int64], seed: int) -> Vectors:
    return train_adapter([Source(task.pairs.take(rows), SHARES[0]), *task.made], task.pool, seed)


def _score(task: _Task, vectors: Vectors, weight: float) -> _HeldOut:
    scores = vectors @ task.pool.T - (vectors @ task.mean)[:, None] + np.float32(weight * NAME_SCALE) * task.names
    return _HeldOut(scores, task.pairs.targets)


def _choose_weight(task: _Task, vectors: Vectors, grid: Sequence[float], default: float) -> float:
    """The weight with the highest held-out MRR; the default when none is better."""
    best, best_mrr = default, _score(task, vectors, default).mrr
    for weight in grid:
        mrr = _score(task, vectors, weight).mrr
        if mrr > best_mrr + 1e-9:
            best, best_mrr = weight, mrr
    return best


def _split_scores(held: _HeldOut) -> tuple[Vectors, Vectors]:
    """Best scores as they are, and with the right passage taken away."""
    without = held.scores.copy()
    without[np.arange(len(held.targets)), held.targets] = -np.inf
    return held.scores.max(axis=1), without.max(axis=1) if without.shape[1] > 1 else np.zeros(len(without))
