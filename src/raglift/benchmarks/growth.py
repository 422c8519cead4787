"""How the index grows: build, search and memory from 1,000 to 100,000 passages with synthetic vectors."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raglift.machine import read_peak_memory
from raglift.records import Passage
from raglift.retrieval.embedders import Vectors, normalize_rows
from raglift.retrieval.index import Index, build_index, rank_top

SIZES = (1_000, 10_000, 100_000)
QUERIES = 100
DEPTH = 10
TOPICS = 500
WORDS = 20_000


@dataclass(frozen=True)
class Growth:
    """One row of the table; milliseconds are medians of one query, megabytes the process's peak so far."""

    passages: int
    build_seconds: float
    dense_milliseconds: float
    lexical_milliseconds: float
    exact_milliseconds: float
    recall_at_10: float
    disk_megabytes: float
    peak_megabytes: float


class SyntheticEmbedder:
    """Vectors drawn around TOPICS directions, decided by the number that a text holds.

    Real embeddings are clustered; vectors drawn evenly on the sphere have no neighbours to find.
    """

    name = identity = "synthetic"
    window = 512

    def __init__(self, dimensions: int = 384) -> None:
        self.dimensions = dimensions
        self._topics = np.random.default_rng(0).standard_normal((TOPICS, dimensions)).astype(np.float32)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return normalize_rows(np.stack([self._draw(int(text.split()[0])) for text in texts]))

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Near the passage of the same number, but not at it."""
        return normalize_rows(
            self.embed_passages(texts)
            + 0.02 * np.random.default_rng(1).standard_normal((len(texts), self.dimensions)).astype(np.float32)
        )

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def _draw(self, number: int) -> Vectors:
        generator = np.random.default_rng(number)
        noise = generator.standard_normal(self.dimensions, dtype=np.float32)
        return np.asarray(self._topics[number % TOPICS] + noise, np.float32)


def bench_retrieval(
    sizes: Sequence[int] = SIZES, folder: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> list[dict[str, Any]]:
    """A row of `Growth` for each size, as dictionaries; `progress(done, total)` counts passages."""
    embedder, rows, done = SyntheticEmbedder(), [], 0
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for size in sizes:
            start = done
            report = (lambda n, _, start=start: progress(start + n, sum(sizes))) if progress else None
            rows.append(asdict(_measure_size(size, embedder, Path(scratch) / str(size), report)))
            done += size
    return rows


def _measure_size(
    size: int, embedder: SyntheticEmbedder, folder: Path, report: Callable[[int, int], None] | None
) -> Growth:
    passages = [Passage(f"p{number:07d}", write_text(number)) for number in range(size)]
    started = time.perf_counter()
    index = build_index(passages, embedder, folder, report)
    built = time.perf_counter() - started
    peak = read_peak_memory()  # before the exact search, which holds every vector
    asked = [passages[i].text for i in np.random.default_rng(2).integers(size, size=QUERIES)]
    queries = embedder.embed_queries(asked)
    dense = _time_each(lambda i: index.search_vectors(queries[i : i + 1], DEPTH))
    lexical = _time_each(lambda i: index.search_tokens(asked[i].split()[1:4], DEPTH))
    peak = max(peak, read_peak_memory())
    exact_rows, exact = _search_exactly(index, queries)
    recall = _measure_recall(index, queries, exact_rows)
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    return Growth(
        passages=size,
        build_seconds=round(built, 2),
        dense_milliseconds=round(dense, 2),
        lexical_milliseconds=round(lexical, 2),
        exact_milliseconds=round(exact, 2),
        recall_at_10=round(recall, 4),
        disk_megabytes=round(disk, 1),
        peak_megabytes=round(peak / 1e6, 1),
    )


def write_text(number: int) -> str:
    """Twelve words of a long-tailed vocabulary behind the passage's number."""
    draws = np.random.default_rng(number + 10_000_000).random(12) ** 3 * WORDS
    return " ".join([str(number), *(f"w{int(word)}" for word in draws)])


def _search_exactly(index: Index, queries: Vectors) -> tuple[list[set[str]], float]:
    vectors, ids = index.vectors, index.ids
    found: list[set[str]] = []
    milliseconds = _time_each(lambda i: found.append({ids[row] for row in rank_top(vectors @ queries[i], DEPTH)}))
    return found, milliseconds


def _measure_recall(index: Index, queries: Vectors, exact: Sequence[set[str]]) -> float:
    hits = [
        len({row.passage_id for row in index.search_vectors(query[None], DEPTH)[0]} & right) / DEPTH
        for query, right in zip(queries, exact, strict=True)
    ]
    return float(np.mean(hits))


def _time_each(ask: Callable[[int], Any]) -> float:
    times = []
    for number in range(QUERIES):
        started = time.perf_counter()
        ask(number)
        times.append((time.perf_counter() - started) * 1000)
    return float(np.median(times))
