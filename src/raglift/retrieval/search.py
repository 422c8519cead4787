"""Search: questions in, passages out, best first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raglift.config import RetrievalConfig
from raglift.errors import InputError
from raglift.progress import say
from raglift.records import Retrieved
from raglift.retrieval.embedders import Vectors
from raglift.retrieval.index import Index, Row, rank_top
from raglift.retrieval.tokens import list_tokens, normalize_text
from raglift.retrieval.tuned import TunedRetriever
from raglift.runfolder import hash_content

NAME_SCALE = 0.1  # a full name match at weight 1 is worth a tenth in cosine
CANDIDATES = 200  # in a large index the names re-rank the nearest vectors only


class IndexRetriever:
    """Search over an index.

    `dense` and `hybrid` scores say how much nearer (cosine) a passage is to the question than the mean
    passage; `hybrid` adds `weight · 0.1 ·` how well the question names the passage (see NameTable).
    `lexical` scores are BM25, those of `hybrid-rrf` and `hybrid-linear` LanceDB's.

    What a tuned retriever learned (a matrix on question vectors, a weight, a threshold) replaces the
    settings' where those say `tuned`; a threshold in the settings always counts. Where they say `auto` and
    nothing was tuned, `calibrated` is the threshold.
    """

    def __init__(
        self,
        index: Index,
        settings: RetrievalConfig,
        tuned: TunedRetriever | None = None,
        calibrated: float | None = None,
    ) -> None:
        self.index = index
        self.settings = settings
        self.tuned = tuned if settings.tuned else None
        self.weight = self.tuned.weight if self.tuned else settings.weight
        self.threshold = self._choose_threshold(calibrated)
        self.identity = hash_content(
            index.identity,
            settings.search,
            self.weight,
            self.threshold,
            self.tuned.identity if self.tuned else None,
        )

    def _choose_threshold(self, calibrated: float | None) -> float | None:
        if self.settings.threshold != "auto":
            return self.settings.threshold
        if self.tuned is None:
            return calibrated
        return self.tuned.threshold if self.settings.search == self.tuned.search else None

    @property
    def scores_are_cosines(self) -> bool:
        """Whether one threshold fits all questions."""
        return self.settings.search in ("dense", "hybrid")

    def search(self, questions: Sequence[str], k: int) -> list[list[Retrieved]]:
        """The k best passages for each question; those below the threshold are left out.

        Raises:
            InputError: a question without text.
        """
        return [self.drop_weak(row) for row in self.rank(questions, k)]

    def drop_weak(self, ranked: Sequence[Retrieved]) -> list[Retrieved]:
        """What passes the threshold."""
        return [found for found in ranked if self.threshold is None or found.score >= self.threshold]

    def rank(self, questions: Sequence[str], k: int) -> list[list[Retrieved]]:
        """The k best passages for each question, whatever their scores. InputError for a question without text."""
        texts = [normalize_text(question).strip() for question in questions]
        if not all(texts):
            raise InputError("question", "empty", "a question with some text", "write a question")
        if self.settings.search == "lexical":
            found = [self.index.search_tokens(list_tokens(text), k) for text in texts]
        else:
            self._tell_long(texts)
            vectors = self.embed_questions(texts)
            found = [self._rank_vector(*pair, k) for pair in zip(texts, vectors, strict=True)]
        return [[Retrieved(row.passage_id, row.score) for row in rows] for rows in found]

    def _tell_long(self, texts: Sequence[str]) -> None:
        """Say how many questions the embedder does not see whole; a token is at least about a character."""
        embedder = self.index.embedder
        window = embedder.window
        long = sum(len(text) > window and embedder.count_tokens(text) > window for text in texts)
        if long:
            say(f"{long} question(s) longer than the embedder's window of {window} tokens: not searched as a whole")

    def embed_questions(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of shape (questions, dimensions), after the tuned matrix if there is one."""
        if not texts:
            return np.zeros((0, self.index.embedder.dimensions), np.float32)
        vectors = self.index.embedder.embed_queries(texts)
        return self.tuned.adapt(vectors) if self.tuned else vectors

    def score_all(self, text: str, vector: Vectors) -> Vectors:
        """The score of every passage, in the order of `index.ids`. `vector` is (dimensions,)."""
        scores = self.index.measure_cosines(vector) - float(self.index.mean_vector @ vector)
        return scores + self._score_names(text) if self._uses_names else scores

    @property
    def _uses_names(self) -> bool:
        return self.settings.search == "hybrid" and self.weight > 0

    def _score_names(self, text: str) -> Vectors:
        return np.float32(self.weight * NAME_SCALE) * self.index.names.score(text)

    def _rank_vector(self, text: str, vector: Vectors, k: int) -> list[Row]:
        if not self.scores_are_cosines:
            return self.index.search_fused(vector, list_tokens(text), k, self.settings.search)
        if not self.index.is_large:
            scores = self.score_all(text, vector)
            return [Row(self.index.ids[i], float(scores[i])) for i in rank_top(scores, k)]
        level = float(self.index.mean_vector @ vector)
        near = self.index.search_vectors(vector[None], max(k, CANDIDATES))[0]
        named = self._score_names(text) if self._uses_names else None
        extra = [float(named[self.index.positions[row.passage_id]]) if named is not None else 0.0 for row in near]
        rows = [Row(row.passage_id, row.score - level + plus) for row, plus in zip(near, extra, strict=True)]
        return sorted(rows, key=lambda row: (-row.score, row.passage_id))[:k]
