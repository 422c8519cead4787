"""What a search ranks first for each text, kept in a file so that planning needs no embedder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from raglift.records import Retrieved
from raglift.runfolder import write_json


@dataclass(frozen=True)
class Ranking:
    """The passages that the search ranks first for each text, and the score below which nothing is found."""

    made_from: str
    threshold: float | None
    rows: Mapping[str, tuple[Retrieved, ...]]

    def find(self, text: str, k: int) -> tuple[Retrieved, ...]:
        """What a deployed search hands over: the k best at or above the threshold."""
        floor = float("-inf") if self.threshold is None else self.threshold
        return tuple(row for row in self.rows[text][:k] if row.score >= floor)


def write_ranking(file: Path, ranking: Ranking) -> None:
    """Write atomically as JSON."""
    rows = {text: [asdict(row) for row in found] for text, found in ranking.rows.items()}
    write_json(file, {"made_from": ranking.made_from, "threshold": ranking.threshold, "rows": rows})


def read_ranking(file: Path) -> Ranking | None:
    """A ranking written before; None when it is missing or torn."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        rows = {text: tuple(Retrieved(**row) for row in found) for text, found in value["rows"].items()}
        return Ranking(value["made_from"], value["threshold"], rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
