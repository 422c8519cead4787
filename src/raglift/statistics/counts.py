"""Validated counts of correct answers: the arrays that every comparison starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SHOWN = 5  # places named in an error before "and N more"


@dataclass(frozen=True)
class Counts:
    """Correct and scored answers of one arm, both integers of shape (seeds, questions)."""

    correct: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]

    @property
    def seeds(self) -> int:
        return int(self.correct.shape[0])

    @property
    def questions(self) -> int:
        return int(self.correct.shape[1])

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Shape (questions,): whether every seed has a scored answer."""
        return np.asarray((self.total > 0).all(axis=0))

    def select(self, questions: npt.NDArray[np.bool_]) -> Counts:
        return Counts(self.correct[:, questions], self.total[:, questions])

    @property
    def accuracy(self) -> float:
        """Mean over questions (and seeds) of correct / total; 0 to 1."""
        return math.fsum((self.correct / self.total).ravel().tolist()) / self.correct.size


def read_counts(correct: npt.ArrayLike, total: npt.ArrayLike, name: str, ids: Sequence[str] | None = None) -> Counts:
    """Check two arrays of shape (questions,) or (seeds, questions); ValueError says what and where."""
    right, scored = (
        _read_whole(correct, f"correct of {name}", ids),
        _read_whole(total, f"total of {name}", ids),
    )
    if right.shape != scored.shape:
        raise ValueError(f"correct of {name} has shape {right.shape} but total has {scored.shape}: they must be equal")
    if ids is not None and len(ids) != right.shape[1]:
        raise ValueError(f"{len(ids)} question ids for {right.shape[1]} questions of {name}: they must be equal")
    above = right > scored
    if above.any():
        raise ValueError(f"correct of {name} is above its total {_name_places(above, ids)}")
    return Counts(right, scored)


def _read_whole(values: npt.ArrayLike, what: str, ids: Sequence[str] | None) -> npt.NDArray[np.int64]:
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be whole numbers in rows of equal length: {error}") from None
    if numbers.ndim not in (1, 2):
        raise ValueError(f"{what} has {numbers.ndim} dimensions: expected (questions,) or (seeds, questions)")
    table = np.atleast_2d(numbers)
    if table.shape[0] == 0:
        raise ValueError(f"{what} has no seeds")
    for wrong, message in (
        (~np.isfinite(table), "is not a number"),
        (table < 0, "is negative"),
        (table != np.floor(table), "is not a whole number"),
        (table > 2**31, "is too large"),
    ):
        if wrong.any():
            raise ValueError(f"{what} {message} {_name_places(wrong, ids)}")
    return table.astype(np.int64)


def _name_places(wrong: npt.NDArray[np.bool_], ids: Sequence[str] | None) -> str:
    places = np.flatnonzero(wrong.any(axis=0)).tolist()
    names = [f"'{ids[place]}'" if ids is not None and place < len(ids) else f"number {place + 1}" for place in places]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "at question " + ", ".join(names[:SHOWN]) + more
