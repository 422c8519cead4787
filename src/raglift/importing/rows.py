"""What the readers give and the builder takes: rows with their place, and notices of what was done with them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Part = Literal["train", "eval"]

PARTS: Mapping[str, Part] = {
    "train": "train", "training": "train", "학습": "train", "훈련": "train",
    "valid": "eval", "validation": "eval", "val": "eval", "dev": "eval", "eval": "eval", "evaluation": "eval",
    "test": "eval", "검증": "eval", "평가": "eval", "시험": "eval",
}  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class TableRow:
    """One row of a table as it was read; `where` names file and line, `part` the dataset's own split."""

    where: str
    values: Mapping[str, Any]
    part: Part | None = None


@dataclass(frozen=True)
class Table:
    """A table that was read: its columns in their order, its rows, and what reading it took."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportedRow:
    """One question with its answer. `passage` '' means that nothing answers it; `part` None: not told."""

    where: str
    question: str
    answer: str
    passage: str
    part: Part | None = None
    rubric: dict[str, Any] | None = None


@dataclass(frozen=True)
class Document:
    """One passage cut from a document; `title` is what its id is made of."""

    title: str
    text: str


@dataclass
class Material:
    """All that an experiment is built from, and what was done on the way."""

    sources: list[str] = field(default_factory=list)
    rows: list[ImportedRow] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def tidy_text(text: str) -> str:
    """The text in NFC with plain line ends, without control characters and outer blanks."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub("", text).strip()


def count_rows(number: int, noun: str = "row") -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
