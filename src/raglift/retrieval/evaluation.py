"""How well a retriever finds: hit@1, hit@3, MRR over questions with a passage, rejected share over others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from raglift.records import Question
from raglift.retrieval.index import hash_text
from raglift.retrieval.search import IndexRetriever

DEPTH = 50  # ranks that MRR looks at


def evaluate_retriever(retriever: IndexRetriever, questions: Sequence[Question]) -> dict[str, Any]:
    """Figures for `retrieve --all`.

    hit@k and MRR are figures of the ranking, before the threshold; `wrongly_rejected` is the share of the
    questions with a passage for which nothing passed the threshold, `rejected` the same over the questions
    without. A share over no questions is None. A passage with the right one's very text counts as right.
    Milliseconds are the median over questions asked one by one.
    """
    texts = retriever.index.texts
    ranks: list[int | None] = []
    kept: list[bool] = []
    times: list[float] = []
    if questions:
        retriever.rank([questions[0].question], 1)  # loads what is loaded once
    for question in questions:
        started = time.perf_counter()
        found = retriever.rank([question.question], DEPTH)[0]
        times.append((time.perf_counter() - started) * 1000)
        kept.append(bool(retriever.drop_weak(found[:1])))
        ranks.append(_find_rank([row.passage_id for row in found], question.passage_id, texts))
    answerable = [i for i, question in enumerate(questions) if question.passage_id is not None]
    absent = [i for i, question in enumerate(questions) if question.passage_id is None]
    return {
        "questions": len(questions),
        "with_passage": len(answerable),
        "hit_at_1": _average([ranks[i] == 1 for i in answerable]),
        "hit_at_3": _average([(ranks[i] or DEPTH + 1) <= 3 for i in answerable]),
        "mrr": _average([1 / rank if (rank := ranks[i]) else 0.0 for i in answerable]),
        "rejected": _average([not kept[i] for i in absent]),
        "wrongly_rejected": _average([not kept[i] for i in answerable]),
        "threshold": retriever.threshold,
        "tuned": retriever.tuned is not None,
        "milliseconds_per_query": round(sorted(times)[len(times) // 2], 2) if times else None,
        "ranks": {question.id: rank for question, rank in zip(questions, ranks, strict=True)},
    }


def _find_rank(found: Sequence[str], right: str | None, texts: dict[str, str]) -> int | None:
    """The rank, from 1, of the right passage or one with the same text."""
    if right is None:
        return None
    wanted = hash_text(texts[right]) if right in texts else None
    for rank, passage_id in enumerate(found, start=1):
        if passage_id == right or (wanted is not None and hash_text(texts[passage_id]) == wanted):
            return rank
    return None


def _average(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
