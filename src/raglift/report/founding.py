"""The founding table: question · cells for arm a and arm b · overall means; as data for each form of the report."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from raglift.report.numbers import format_accuracy, format_cell
from raglift.sanitization import clean_cell, clean_line


@dataclass(frozen=True)
class FoundingRow:
    """One question and its two cells."""

    question: str
    a: str
    b: str


@dataclass(frozen=True)
class FoundingTable:
    """The rows of one split with the arms' overall means."""

    split: str
    a: str
    b: str
    rows: tuple[FoundingRow, ...]
    mean_a: str
    mean_b: str


def build_founding_tables(comparison: dict[str, Any]) -> list[FoundingTable]:
    """A table per split, the headline's first; the order of questions is the experiment's."""
    a, b = str(comparison["a"]["arm"]), str(comparison["b"]["arm"])
    rows = comparison.get("table") or []
    splits = list(dict.fromkeys(str(row.get("split", "")) for row in rows))
    splits.sort(key=lambda split: split != comparison.get("split"))
    arms = comparison.get("arms") or {}
    return [
        FoundingTable(
            split=split,
            a=a,
            b=b,
            rows=tuple(
                FoundingRow(clean_line(str(row.get("question", ""))), _write_cell(row, a), _write_cell(row, b))
                for row in rows
                if str(row.get("split", "")) == split
            ),
            mean_a=_write_mean(arms, a, split),
            mean_b=_write_mean(arms, b, split),
        )
        for split in splits
    ]


def write_table(comparison: dict[str, Any]) -> str:
    """table.csv: question and correct/total of every arm, b and a first; `raglift compare --table` reads it."""
    a, b = str(comparison["a"]["arm"]), str(comparison["b"]["arm"])
    arms = list(dict.fromkeys((b, a, *(comparison.get("arms") or {}))))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    prefixes = [arm.replace(".", "_") for arm in arms]
    writer.writerow(["question", *(f"{prefix}_{part}" for prefix in prefixes for part in ("correct", "total"))])
    rows = comparison.get("table") or []
    for row, question in zip(rows, _name_apart(rows), strict=True):
        counts = [(row.get("arms") or {}).get(arm) or {} for arm in arms]
        writer.writerow([question, *(cell.get(part, 0) for cell in counts for part in ("correct", "total"))])
    return out.getvalue()


def _name_apart(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Questions as cells; those asked twice carry their id, because a table's questions must differ."""
    cells = [(clean_cell(str(row.get("question", ""))), clean_line(str(row.get("question_id", "")))) for row in rows]
    often = Counter(question for question, _ in cells)
    return [f"{question} ({identifier})" if often[question] > 1 else question for question, identifier in cells]


def _write_cell(row: dict[str, Any], arm: str) -> str:
    counts = (row.get("arms") or {}).get(arm) or {}
    return format_cell(counts.get("correct"), counts.get("total"))


def _write_mean(arms: dict[str, Any], arm: str, split: str) -> str:
    return format_accuracy(((arms.get(arm) or {}).get(split) or {}).get("accuracy"))
