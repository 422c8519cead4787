"""Tune a retriever on an experiment's own (question, passage) pairs; keep what helps on held-out pairs.

Evaluation questions are never read here. The adapter also sees short questions made from the passages
themselves (their names, their single facts), so that passages without training questions keep their place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raglift.config import RetrievalConfig
from raglift.errors import InputError
from raglift.records import Example
from raglift.retrieval.adapter import Pairs, Source, apply_adapter, train_adapter
from raglift.retrieval.embedders import Vectors
from raglift.retrieval.heldout import NEIGHBOURS, HeldOut
from raglift.retrieval.index import EMBED_BATCH, Index, Progress, rank_top
from raglift.retrieval.search import NAME_SCALE
from raglift.retrieval.tokens import HANGUL, HEAD, find_names, normalize_text
from raglift.retrieval.tuned import TunedRetriever

FOLDS, REPEATS = 5, 3  # of the cross-validation: every repeat divides the pairs anew
FEWEST_PAIRS = 5
POOL = 2048  # passages that training and its held-out figures look at, the hard negatives among them
HARDEST = 20  # wrong passages nearest to a question that the pool holds
MADE_FROM = 400  # passages that questions are made from
SHARES = (0.4, 0.35, 0.25)  # of a batch: the experiment's pairs, names, facts
WEIGHTS = (0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True)
class TuningTask:
    """What training works on: rows of the pool's passages in the index, and for each pair its question, its
    target in the pool, the passages nearest to that (pairs, NEIGHBOURS + 1) and its name scores (pairs, pool)."""

    rows: NDArray[np.int64]
    questions: tuple[str, ...]
    pairs: Pairs
    near: NDArray[np.int64]
    names: Vectors
    default_weight: float
    weights: tuple[float, ...]

    def draw_folds(self, seed: int, folds: int) -> NDArray[np.int64]:
        """The fold of each pair."""
        return np.random.default_rng(seed).permutation(len(self.questions)) % folds

    def score(self, cosines: Vectors, level: Vectors, weight: float) -> HeldOut:
        """Search scores from cosines (repeats · pairs, pool) and each question's cosine with the mean passage."""
        repeats = len(cosines) // len(self.names)
        names = np.tile(np.float32(weight * NAME_SCALE) * self.names, (repeats, 1))
        scores = np.asarray(cosines - level[:, None] + names, np.float32)
        return HeldOut(scores, np.tile(self.pairs.targets, repeats), np.tile(self.near, (repeats, 1)))

    def choose_weight(self, cosines: Vectors, level: Vectors) -> float:
        """The name weight with the highest held-out MRR; the default when none is better. Shapes as in `score`."""
        mrr = {w: self.score(cosines, level, w).mrr for w in (self.default_weight, *self.weights)}
        return max(mrr, key=lambda weight: mrr[weight])


def tune_adapter(
    index: Index,
    examples: Sequence[Example],
    settings: RetrievalConfig,
    seed: int = 0,
    progress: Progress | None = None,
) -> TunedRetriever:
    """Train an adapter, choose weight and threshold; all by repeated cross-validation over the pairs.

    The adapter is kept only when it helps pairs that it was not trained on (see `decide`); `figures` say
    both. The threshold is chosen either way. `progress(done, total)` counts trainings.

    Raises:
        InputError: fewer than five pairs, or a search without vectors.
    """
    task = prepare_task(index, examples, settings, seed)
    pool, mean, vectors = index.vectors[task.rows], index.mean_vector, task.pairs.vectors
    made = _make_sources(index, task.rows, seed)
    total = FOLDS * REPEATS + 1
    adapted = np.empty((REPEATS, *vectors.shape), np.float32)
    for repeat in range(REPEATS):
        fold = task.draw_folds(seed + repeat, FOLDS)
        for number in range(FOLDS):
            outside, held = np.flatnonzero(fold != number), fold == number
            weights = train_adapter([Source(task.pairs.take(outside), SHARES[0]), *made], pool, seed + repeat)
            adapted[repeat, held] = apply_adapter(weights, vectors[held])
            if progress:
                progress(repeat * FOLDS + number + 1, total)
    flat = adapted.reshape(-1, vectors.shape[1])
    weight = task.choose_weight(flat @ pool.T, flat @ mean)
    plain = task.score(vectors @ pool.T, vectors @ mean, task.default_weight)
    tuned = task.score(flat @ pool.T, flat @ mean, weight)
    decided = decide(index.embedder.name, settings.search, task, plain, tuned, weight)
    if decided.figures["kept"]:
        matrix = train_adapter([Source(task.pairs, SHARES[0]), *made], pool, seed)
        decided = replace(decided, matrix=matrix)
    if progress:
        progress(total, total)
    return decided


def decide(
    embedder: str, search: str, task: TuningTask, plain: HeldOut, tuned: HeldOut, weight: float
) -> TunedRetriever:
    """Keep what was trained if held-out hit@1 improves, or stays while held-out MRR improves.

    With few pairs hit@1 moves in large steps and often ties; MRR still sees a passage that rose from the third
    rank to the second. A lower hit@1 is never traded for it. The threshold follows what is kept.
    """
    keep = tuned.rounded_figures > plain.rounded_figures
    return TunedRetriever(
        embedder=embedder,
        search=search,
        weight=weight if keep else task.default_weight,
        threshold=(tuned if keep else plain).choose_threshold(),
        matrix=None,
        figures={
            "pairs": len(task.questions),
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
    hits = f["held_out_hit_at_1_before"], f["held_out_hit_at_1_after"]
    if hits[1] > hits[0]:
        reason = "kept: it finds more at the first rank"
    elif f["kept"]:
        reason = "kept: it finds as many at the first rank and ranks the others higher"
    else:
        reason = "not kept, because it does not find more: the search stays as it was"
    figures = (
        f"held-out hit@1 {hits[0]:.3f} before, {hits[1]:.3f} after; "
        f"MRR {f['held_out_mrr_before']:.3f} before, {f['held_out_mrr_after']:.3f} after; {f['pairs']} training pairs"
    )
    return f"tuning {reason} ({figures}); below a score of {tuned.threshold:.3f} nothing is found"


def prepare_task(index: Index, examples: Sequence[Example], settings: RetrievalConfig, seed: int) -> TuningTask:
    """Embed the training questions and choose the pool; InputError when there is too little to train on."""
    if settings.search not in ("dense", "hybrid"):
        raise InputError(
            "retrieval.search",
            f"'{settings.search}'",
            "'dense' or 'hybrid': only a search scored by cosines is tuned",
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
    texts = tuple(normalize_text(example.question).strip() for example in examples)
    vectors = _embed(index, texts)
    targets = np.array([index.positions[example.passage_id] for example in examples])
    rows = _choose_pool(index, vectors, targets, seed)
    pool = index.vectors[rows]
    near = [rank_top(pool @ index.vectors[target], NEIGHBOURS + 1) for target in targets]
    hybrid = settings.search == "hybrid"
    return TuningTask(
        rows=rows,
        questions=texts,
        pairs=Pairs(vectors, np.searchsorted(rows, targets)),
        near=np.array(near, np.int64),
        names=np.stack([index.names.score(text)[rows] for text in texts]),
        default_weight=settings.weight if hybrid else 0.0,
        weights=WEIGHTS if hybrid else (),
    )


def _choose_pool(index: Index, vectors: Vectors, rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """All passages, or of many: the right ones, the questions' nearest (hard negatives), and random ones."""
    if index.size <= POOL:
        return np.arange(index.size)
    near = [rank_top(index.vectors @ vector, HARDEST) for vector in vectors]
    chosen = np.unique(np.concatenate([rows, np.array(near).ravel()]))
    others = np.setdiff1d(np.arange(index.size), chosen)
    extra = np.random.default_rng(seed).permutation(others)[: max(0, POOL - len(chosen))]
    return np.sort(np.concatenate([chosen, extra]))


def _make_sources(index: Index, pool: NDArray[np.int64], seed: int) -> tuple[Source, Source]:
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
    return (
        Source(_embed_pairs(index, by_name), SHARES[1]),
        Source(_embed_pairs(index, by_fact), SHARES[2]),
    )


def _embed_pairs(index: Index, rows: Sequence[tuple[str, int]]) -> Pairs:
    return Pairs(_embed(index, [text for text, _ in rows]), np.array([place for _, place in rows], np.int64))


def _embed(index: Index, texts: Sequence[str]) -> Vectors:
    parts = [
        index.embedder.embed_queries(texts[start : start + EMBED_BATCH]) for start in range(0, len(texts), EMBED_BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, index.embedder.dimensions), np.float32)
