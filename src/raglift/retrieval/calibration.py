"""The rejection threshold of a search that was not tuned, chosen on the training questions and kept in a file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raglift.progress import say
from raglift.records import Example
from raglift.retrieval.heldout import choose_threshold
from raglift.retrieval.search import IndexRetriever
from raglift.runfolder import hash_content, recover_lines, seal_line, write_atomically

CALIBRATION_FILE = "calibration.json"
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
    file, made_from = folder / CALIBRATION_FILE, hash_content(retriever.identity, pairs)
    known = _read_threshold(file, made_from)
    if known is not None:
        return known
    found = retriever.rank([question for question, _ in pairs], 2)
    best = np.array([rows[0].score for rows in found], np.float32)
    wrong = np.array(
        [
            next(row.score for row in rows if row.passage_id != right)
            for rows, (_, right) in zip(found, pairs, strict=True)
        ],
        np.float32,
    )
    threshold = choose_threshold(best, wrong)
    row = {"made_from": made_from, "threshold": threshold, "questions": len(pairs)}
    write_atomically(file, seal_line(row))
    return threshold


def _read_threshold(file: Path, made_from: str) -> float | None:
    rows = recover_lines(file)
    if not rows and file.exists():
        say(f"{file} is damaged (its checksum differs): the threshold is chosen again")
    try:
        return next((float(row["threshold"]) for row in rows if row.get("made_from") == made_from), None)
    except (KeyError, TypeError, ValueError):
        return None
