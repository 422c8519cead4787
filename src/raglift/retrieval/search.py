"""Search: questions in, passages out, best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from raglift.config import RetrievalConfig
from raglift.errors import InputError
from raglift.records import Retrieved
from raglift.retrieval.index import Index
from raglift.retrieval.tokens import list_tokens, normalize_text


class Retriever(Protocol):
    """Finds passages. An empty list for a question means: nothing found."""

    identity: str

    def search(self, questions: Sequence[str], k: int) -> list[list[Retrieved]]: ...


class IndexRetriever:
    """Search over an index by dense vectors, by words, or by both."""

    def __init__(self, index: Index, settings: RetrievalConfig) -> None:
        self.index = index
        self.settings = settings
        self.identity = index.identity

    def search(self, questions: Sequence[str], k: int) -> list[list[Retrieved]]:
        """The k best passages for each question; those below the threshold are left out."""
        ranked = self.rank(questions, k)
        threshold = self.settings.threshold
        if threshold is None:
            return ranked
        return [[found for found in row if found.score >= threshold] for row in ranked]

    def rank(self, questions: Sequence[str], k: int) -> list[list[Retrieved]]:
        """The k best passages for each question, whatever their scores."""
        texts = [normalize_text(question).strip() for question in questions]
        if not all(texts):
            raise InputError("question", "empty", "a question with some text", "write a question")
        if self.settings.search == "lexical":
            return [self._rank_words(text, k) for text in texts]
        vectors = self.index.embedder.embed_queries(texts)
        found = self.index.search_vectors(np.asarray(vectors), k)
        return [[Retrieved(row.passage_id, row.score) for row in rows] for rows in found]

    def _rank_words(self, text: str, k: int) -> list[Retrieved]:
        rows = self.index.search_tokens(list_tokens(text), k)
        return [Retrieved(row.passage_id, row.score) for row in rows]
