"""The benches of the search, at a size where only their sums and their answers are tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raglift.benchmarks.growth import bench_retrieval, write_text
from raglift.benchmarks.querying import SyntheticPassages, bench_queries, search_lancedb, search_numpy
from raglift.records import Passage
from raglift.retrieval.index import build_index
from retrieval_fixture import LetterEmbedder


def test_figures_of_queries_beside_the_plain_ways() -> None:
    steps: list[int] = []
    figures = bench_queries(LetterEmbedder(), ["w1 w2 뭐야?", "재현율"], 120, 3, lambda done, _: steps.append(done))
    assert figures["passages"] == steps[-1] == 120
    assert figures["questions"] == 6
    assert figures["embedder"] == "letters"
    assert 0 < figures["query_milliseconds"] <= figures["slowest_tenth_milliseconds"]
    assert figures["ratio_to_numpy"] > 0
    assert figures["peak_gigabytes_per_second"] > 0


def test_the_plain_ways_find_what_the_exact_search_finds(tmp_path: Path) -> None:
    passages = [Passage(f"p{number:03d}", f"w{number} : {write_text(number)}") for number in range(60)]
    index = build_index(passages, SyntheticPassages(LetterEmbedder()), tmp_path)
    query = index.embedder.embed_queries(["w1 w2"])[0]
    right = [row.passage_id for row in index.search_vectors(query[None], 10)[0]]
    assert search_lancedb(index, query) == right
    assert [index.ids[row] for row in search_numpy(index.vectors, query)] == right
    assert np.unique(index.vectors, axis=0).shape[0] == 60


def test_the_growth_table(tmp_path: Path) -> None:
    (row,) = bench_retrieval([150], tmp_path)
    assert row["passages"] == 150
    assert row["recall_at_10"] == 1.0
    assert row["disk_megabytes"] > 0
