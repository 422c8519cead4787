"""Train a sentence-transformers model on the pairs, with that library's own trainer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from raglift.config import RetrievalConfig
from raglift.errors import InputError
from raglift.records import Example
from raglift.retrieval.embedders import SentenceTransformerEmbedder, load_sentence_transformer
from raglift.retrieval.index import Index, Progress, rank_top
from raglift.retrieval.tuned import MODEL_FOLDER, TunedRetriever
from raglift.retrieval.tuning import TuningTask, decide, prepare_task
from raglift.runfolder import hash_content, hash_file

FOLDS = 3
EPOCHS = 5
BATCH = 16
LEARNING_RATE = 2e-5


def tune_sentence_model(
    index: Index,
    examples: Sequence[Example],
    settings: RetrievalConfig,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> TunedRetriever:
    """Like `tune_adapter`, but the model itself is trained, by three-fold cross-validation over the pairs.

    Each pair brings its nearest wrong passage as a hard negative; the other passages of a batch are
    negatives too (MultipleNegativesRankingLoss). The model is written to `folder/model` when it is kept.
    """
    task = prepare_task(index, examples, settings, seed)
    base = index.embedder.name
    pool = index.vectors[task.rows]
    texts = [index.texts[index.ids[row]] for row in task.rows]
    fold = task.draw_folds(seed, FOLDS)
    cosines, level = task.pairs.vectors @ pool.T, task.pairs.vectors @ index.mean_vector
    after, after_level = cosines.copy(), level.copy()
    for number in range(FOLDS):
        model = train_sentence_model(base, _list_triples(task, cosines, texts, fold != number), seed)
        held = np.flatnonzero(fold == number)
        embedder = SentenceTransformerEmbedder(base, model=model)
        passages = embedder.embed_passages(texts)
        questions = embedder.embed_queries([task.questions[i] for i in held])
        after[held], after_level[held] = questions @ passages.T, questions @ passages.mean(axis=0)
        if progress:
            progress(number + 1, FOLDS + 1)
    weight = task.choose_weight(after, after_level)
    plain = task.score(cosines, level, task.default_weight)
    decided = decide(base, settings.search, task, plain, task.score(after, after_level, weight), weight)
    if decided.figures["kept"]:
        everything = np.ones(len(fold), bool)
        model = train_sentence_model(base, _list_triples(task, cosines, texts, everything), seed)
        decided = replace(decided, model=_save_model(model, folder))
    if progress:
        progress(FOLDS + 1, FOLDS + 1)
    return decided


def train_sentence_model(base: str, triples: dict[str, list[str]], seed: int) -> Any:
    """A SentenceTransformer trained from `base` on columns anchor, positive, negative.

    InputError without the package datasets.
    """
    try:
        from datasets import Dataset
    except ImportError:
        raise InputError(
            "tune-retriever",
            "the package datasets is missing",
            "what the sentence-transformers trainer needs",
            "pip install 'sentence-transformers[train]'",
        ) from None
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    model = load_sentence_transformer(base)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup_steps=0,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        loss = MultipleNegativesRankingLoss(model)
        SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict(triples), loss=loss
        ).train()
    return model


def load_tuned_model(tuned: TunedRetriever, folder: Path) -> SentenceTransformerEmbedder:
    """The trained model as an embedder; its name carries the hash of its weights, so old indexes are rebuilt."""
    path = folder / MODEL_FOLDER
    return SentenceTransformerEmbedder(str(path), name=f"{tuned.embedder}+{tuned.model}")


def _list_triples(task: TuningTask, cosines: Any, texts: Sequence[str], chosen: Any) -> dict[str, list[str]]:
    triples: dict[str, list[str]] = {"anchor": [], "positive": [], "negative": []}
    for i in np.flatnonzero(chosen):
        target = int(task.pairs.targets[i])
        wrong = next((row for row in rank_top(cosines[i], 2) if row != target), target)
        triples["anchor"].append(task.questions[i])
        triples["positive"].append(texts[target])
        triples["negative"].append(texts[wrong])
    return triples


def _save_model(model: Any, folder: Path) -> str:
    """Write the model beside its place, then move it there; returns a hash of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".model."))
    model.save_pretrained(str(scratch), safe_serialization=True)
    weights = sorted(scratch.rglob("*.safetensors"))
    shutil.rmtree(folder / MODEL_FOLDER, ignore_errors=True)
    mark = hash_content([hash_file(file) for file in weights])
    scratch.rename(folder / MODEL_FOLDER)
    return mark
