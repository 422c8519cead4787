"""What tuning a retriever leaves behind: a matrix or a model, a weight and a threshold."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from raglift.errors import InputError
from raglift.retrieval.embedders import Vectors, normalize_rows
from raglift.runfolder import hash_content, write_atomically, write_json

SETTINGS_FILE, MATRIX_FILE, MODEL_FOLDER = "tuned.json", "adapter.safetensors", "model"


@dataclass(frozen=True)
class TunedRetriever:
    """Made by `tune_retriever` for one embedder.

    `matrix` is (dimensions, dimensions) or None when it did not help; `weight` and `threshold` were chosen
    on the training questions. `model` is the folder of a trained sentence-transformers model inside the
    tuned retriever's folder, or None. `figures` are the held-out figures that decided.
    """

    embedder: str
    search: str
    weight: float
    threshold: float | None
    matrix: Vectors | None
    model: str | None = None
    figures: dict[str, Any] = field(default_factory=dict, compare=False)

    @cached_property
    def identity(self) -> str:
        """A hash of all that changes a search."""
        weights = None if self.matrix is None else hash_content(self.matrix.tobytes().hex())
        return hash_content(self.embedder, self.search, self.weight, self.threshold, self.model, weights)

    def adapt(self, vectors: Vectors) -> Vectors:
        """Question vectors q as unit vectors along q + Wq; shape (questions, dimensions)."""
        return vectors if self.matrix is None else normalize_rows(vectors + vectors @ self.matrix.T)


def save_tuned(tuned: TunedRetriever, folder: Path) -> None:
    """Write JSON and safetensors, atomically, the matrix first."""
    from safetensors.numpy import save

    if tuned.matrix is not None:
        write_atomically(folder / MATRIX_FILE, save({"matrix": np.ascontiguousarray(tuned.matrix)}))
    values = {key: value for key, value in asdict(tuned).items() if key != "matrix"}
    write_json(folder / SETTINGS_FILE, {**values, "adapted": tuned.matrix is not None})


def list_tuned_files(tuned: TunedRetriever, folder: Path) -> list[Path]:
    """The files that a search with this tuned retriever reads."""
    model = sorted(file for file in (folder / MODEL_FOLDER).rglob("*") if file.is_file()) if tuned.model else []
    matrix = [folder / MATRIX_FILE] if tuned.matrix is not None else []
    return [folder / SETTINGS_FILE, *matrix, *model]


def load_tuned(folder: Path, embedder: str) -> TunedRetriever | None:
    """What was saved for this embedder; None when nothing was, or for another embedder.

    Raises:
        InputError: the files are damaged.
    """
    from safetensors.numpy import load_file

    file = folder / SETTINGS_FILE
    if not file.exists():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        adapted = values.pop("adapted")
        if values["embedder"] != embedder:
            return None
        matrix = load_file(folder / MATRIX_FILE)["matrix"] if adapted else None
        return TunedRetriever(matrix=matrix, **values)
    except Exception as error:  # the safetensors reader has exceptions of its own
        raise InputError(
            str(folder),
            f"a damaged tuned retriever ({error})",
            f"{SETTINGS_FILE} and {MATRIX_FILE}",
            "tune it again with: raglift tune-retriever EXPERIMENT",
        ) from None
