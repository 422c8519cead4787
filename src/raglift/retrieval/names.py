"""How well a question names a passage: the part of the hybrid search that knows exact words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raglift.retrieval.tokens import list_tokens


class NameTable:
    """The names at the passages' heads, by their words.

    The score of a passage for a question is, over its names, the largest
    `(w / weight of the name) · (w / weight of the question's known words)` with `w` the weight of the words
    they share and a word's weight its inverse document frequency among the names (as in BM25). It is 1 when
    the question's known words are exactly a name, and 0 without a shared word.
    """

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        """`names[p]` holds passage p's names, each as its tokens joined by spaces."""
        flat = [(owner, sorted(set(name.split()))) for owner, group in enumerate(names) for name in group]
        self._size = len(names)
        self._owners = np.array([owner for owner, _ in flat], np.int64)
        holders: dict[str, list[int]] = {}
        passages: dict[str, set[int]] = {}
        for number, (owner, words) in enumerate(flat):
            for word in words:
                holders.setdefault(word, []).append(number)
                passages.setdefault(word, set()).add(owner)
        self._holders = {word: np.array(numbers, np.int64) for word, numbers in holders.items()}
        self._weights = {word: _weigh_word(len(owners), self._size) for word, owners in passages.items()}
        self._totals = np.array([sum(self._weights[w] for w in words) or 1.0 for _, words in flat], np.float32)

    def score(self, question: str) -> NDArray[np.float32]:
        """A score in 0..1 for every passage, shape (passages,)."""
        scores = np.zeros(self._size, np.float32)
        words = [word for word in dict.fromkeys(list_tokens(question)) if word in self._holders]
        if not words:
            return scores
        shared = np.zeros(len(self._owners), np.float32)
        for word in words:
            shared[self._holders[word]] += self._weights[word]
        hits = np.flatnonzero(shared)
        asked = sum(self._weights[word] for word in words)
        np.maximum.at(scores, self._owners[hits], shared[hits] / self._totals[hits] * shared[hits] / asked)
        return scores


def _weigh_word(passages: int, size: int) -> float:
    return float(np.log1p((size - passages + 0.5) / (passages + 0.5)))
