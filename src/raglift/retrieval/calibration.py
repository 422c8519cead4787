"""The rejection threshold of a search that was not tuned, chosen on the training questions and kept in a file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raglift.progress import say
from raglift.records import Example, Retrieved
from raglift.retrieval.heldout import NEIGHBOURS, choose_threshold
from raglift.retrieval.index import Row
from raglift.retrieval.search import IndexRetriever
from raglift.runfolder import hash_content, recover_lines, seal_line, write_atomically

CALIBRATION_FILE = "calibration.json"
FORMULA = 2  # of the threshold: one that an older formula chose is chosen anew
FEWEST, MOST = 20, 100  # training questions: with fewer the lowest of them decides, more are a sample


def calibrate_threshold(retriever: IndexRetriever, examples: Sequence[Example], folder: Path) -> float | None:
    """The score below which nothing is found, see `choose_threshold`; None where it cannot be chosen soundly.

    That is with fewer than 20 training questions (one odd question would decide), in a lexical search (BM25
    grows with the length of the question) and in a tuned one (it has seen the questions; tuning chose its own).
    """
    pairs = sorted({(e.question, e.passage_id) for e in examples if e.passage_id in retriever.index.positions})
    if len(pairs) < FEWEST or retriever.index.size < 2 or retriever.tuned or not retriever.scores_are_cosines:
        return None
    pairs = random.Random(0).sample(pairs, min(MOST, len(pairs)))
    file, made_from = folder / CALIBRATION_FILE, hash_content(FORMULA, retriever.identity, pairs)
    known = _read_threshold(file, made_from)
    if known is not None:
        return known
    found = retriever.rank([question for question, _ in pairs], NEIGHBOURS + 2)
    near = retriever.index.search_vectors(retriever.index.read_vectors([right for _, right in pairs]), NEIGHBOURS + 1)
    best = np.array([rows[0].score for rows in found], np.float32)
    wrong = np.array([_find_best_of_others(*pair) for pair in zip(found, near, strict=True)], np.float32)
    threshold = choose_threshold(best, wrong)
    row = {"made_from": made_from, "threshold": threshold, "questions": len(pairs)}
    write_atomically(file, seal_line(row))
    return threshold


def _find_best_of_others(found: Sequence[Retrieved], near: Sequence[Row]) -> float:
    """The best score outside of the right passage's neighbourhood; that of the mean passage, 0, where all are in it."""
    left_out = {row.passage_id for row in near}
    return max(0.0, next((row.score for row in found if row.passage_id not in left_out), 0.0))


def _read_threshold(file: Path, made_from: str) -> float | None:
    rows = recover_lines(file)
    if not rows and file.exists():
        say(f"{file} is damaged (its checksum differs): the threshold is chosen again")
    try:
        return next((float(row["threshold"]) for row in rows if row.get("made_from") == made_from), None)
    except (KeyError, TypeError, ValueError):
        return None
