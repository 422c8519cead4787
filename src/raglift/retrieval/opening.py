"""Open or tune an experiment's retriever in one call: the settings, the tuned parts and the index together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raglift.config import RetrievalConfig
from raglift.records import Example, Passage
from raglift.retrieval.calibration import calibrate_threshold
from raglift.retrieval.embedders import EMBEDDERS, Embedder, load_embedder
from raglift.retrieval.index import Progress, build_index
from raglift.retrieval.search import IndexRetriever
from raglift.retrieval.sentence_training import load_tuned_model, tune_sentence_model
from raglift.retrieval.tuned import TunedRetriever, load_tuned, save_tuned
from raglift.retrieval.tuning import tune_adapter


def open_retriever(
    passages: Sequence[Passage],
    settings: RetrievalConfig,
    index_folder: Path | str,
    tuned_folder: Path,
    progress: Progress | None = None,
    examples: Sequence[Example] = (),
) -> IndexRetriever:
    """The retriever that the settings describe, its index brought in step with the passages.

    What `tune_retriever` left in `tuned_folder` is used where `settings.tuned` and the embedder is its own.
    Without it the threshold is chosen on the examples' questions, where the settings leave it open.
    What the build has to say is in `retriever.index.report`.
    """
    tuned = load_tuned(tuned_folder, settings.embedder) if settings.tuned else None
    embedder = _load(settings, tuned, tuned_folder)
    plain = IndexRetriever(build_index(passages, embedder, index_folder, progress), settings, tuned)
    if tuned or settings.threshold != "auto":
        return plain
    return IndexRetriever(plain.index, settings, None, calibrate_threshold(plain, examples, tuned_folder))


def tune_retriever(
    passages: Sequence[Passage],
    examples: Sequence[Example],
    settings: RetrievalConfig,
    index_folder: Path | str,
    tuned_folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> TunedRetriever:
    """Tune on the training pairs and save to `tuned_folder`; `describe_tuning` says what was decided."""
    index = build_index(passages, load_embedder(settings.embedder), index_folder)
    if settings.embedder in EMBEDDERS:
        tuned = tune_adapter(index, examples, settings, seed, progress)
    else:
        tuned = tune_sentence_model(index, examples, settings, tuned_folder, seed, progress)
    save_tuned(tuned, tuned_folder)
    return tuned


def _load(settings: RetrievalConfig, tuned: TunedRetriever | None, folder: Path) -> Embedder:
    return load_tuned_model(tuned, folder) if tuned and tuned.model else load_embedder(settings.embedder)
