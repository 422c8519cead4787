"""`bench retrieve`: one question over many passages, its embedding included, beside the plain library ways."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raglift.benchmarks.growth import SyntheticEmbedder, write_text
from raglift.config import RetrievalConfig
from raglift.records import Passage
from raglift.retrieval.embedders import Embedder, Vectors
from raglift.retrieval.index import Index, Progress, build_index
from raglift.retrieval.search import IndexRetriever

DEPTH = 10
PAUSE = 0.03  # seconds between calls, for questions come one by one
READS = 20  # of the vectors, for the fastest sum of them


@dataclass(frozen=True)
class QueryFigures:
    """Medians in milliseconds of one question at a time; each way embeds the question itself.

    Those of the embedding are its part of our own queries, not of calls on their own.
    `lancedb` searches LanceDB's table by the vector alone, `numpy` multiplies by all vectors and sorts.
    The scan is the search without the embedding and without names; its share is of the rate at which this
    machine sums the same vectors.
    """

    embedder: str
    passages: int
    questions: int
    query_milliseconds: float
    slowest_tenth_milliseconds: float
    embedding_milliseconds: float
    lancedb_milliseconds: float
    numpy_milliseconds: float
    ratio_to_lancedb: float
    ratio_to_numpy: float
    scan_gigabytes_per_second: float
    peak_gigabytes_per_second: float
    share_of_peak: float


class SyntheticPassages(SyntheticEmbedder):
    """Synthetic vectors for the passages, a real embedder for the questions: its speed counts, not its finds."""

    def __init__(self, questions: Embedder) -> None:
        super().__init__(questions.dimensions)
        self.name = self.identity = f"synthetic+{questions.name}"
        self._questions = questions
        self.milliseconds: list[float] = []  # of each call for questions

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        started = time.perf_counter()
        vectors = self._questions.embed_queries(texts)
        self.milliseconds.append((time.perf_counter() - started) * 1000)
        return vectors

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """By the number that a text begins with, behind the words of its name."""
        return super().embed_passages([text.split(" : ", 1)[1] for text in texts])


def bench_queries(
    embedder: Embedder, questions: Sequence[str], size: int, rounds: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Ask every question each way by turns, `rounds` times, over `size` passages with names of two words."""
    passages = []
    for number in range(size):
        text = write_text(number)
        passages.append(Passage(f"p{number:07d}", f"{' '.join(text.split()[1:3])} : {text}"))
    with tempfile.TemporaryDirectory() as scratch:
        timed = SyntheticPassages(embedder)
        index = build_index(passages, timed, Path(scratch), progress)
        retriever = IndexRetriever(index, RetrievalConfig(threshold=None))
        ways: dict[str, Callable[[str], Any]] = {
            "ours": lambda question: retriever.search([question], DEPTH),
            "lancedb": lambda question: search_lancedb(index, embedder.embed_queries([question])[0]),
            "numpy": lambda question: search_numpy(index.vectors, embedder.embed_queries([question])[0]),
        }
        for ask in ways.values():
            ask(questions[0])  # loads what is loaded once
        timed.milliseconds.clear()
        times = time_by_turns(ways, questions, rounds)
        scan = _measure_scan(index, embedder.embed_queries(questions))
        peak = _measure_read_peak(index.vectors)
    median = {way: statistics.median(found) for way, found in times.items()}
    figures = QueryFigures(
        embedder=embedder.name,
        passages=size,
        questions=len(times["ours"]),
        query_milliseconds=median["ours"],
        slowest_tenth_milliseconds=float(np.quantile(times["ours"], 0.9)),
        embedding_milliseconds=statistics.median(timed.milliseconds),
        lancedb_milliseconds=median["lancedb"],
        numpy_milliseconds=median["numpy"],
        ratio_to_lancedb=median["lancedb"] / median["ours"],
        ratio_to_numpy=median["numpy"] / median["ours"],
        scan_gigabytes_per_second=scan,
        peak_gigabytes_per_second=peak,
        share_of_peak=scan / peak,
    )
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in asdict(figures).items()}


def time_by_turns(
    ways: dict[str, Callable[[str], Any]], questions: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of every call; the ways take turns round by round.

    Not question by question: the workers of a threaded product spin on, and the next way would pay for it.
    """
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, ask in ways.items():
            for question in questions:
                time.sleep(PAUSE)
                started = time.perf_counter()
                ask(question)
                times[way].append((time.perf_counter() - started) * 1000)
    return times


def search_lancedb(index: Index, query: Vectors) -> list[str]:
    """The library's own exact search by cosine. `query` is (dimensions,)."""
    found = index.table.search(query).distance_type("cosine").limit(DEPTH).select(["id", "_distance"]).to_arrow()
    return [str(name) for name in found["id"].to_pylist()]


def search_numpy(vectors: Vectors, query: Vectors) -> list[int]:
    """All cosines, sorted. `vectors` is (passages, dimensions), `query` (dimensions,)."""
    return [int(row) for row in np.argsort(-(vectors @ query))[:DEPTH]]


def _measure_scan(index: Index, queries: Vectors) -> float:
    """Gigabytes of vectors a second that the cosines of one question read."""
    rates = []
    for query in queries:
        started = time.perf_counter()
        index.measure_cosines(query)
        rates.append(index.vectors.nbytes / (time.perf_counter() - started) / 1e9)
    return statistics.median(rates)


def _measure_read_peak(vectors: Vectors) -> float:
    """Gigabytes a second of the fastest plain sum over the vectors."""
    best = 0.0
    for _ in range(READS):
        started = time.perf_counter()
        vectors.sum()
        best = max(best, vectors.nbytes / (time.perf_counter() - started) / 1e9)
    return best
