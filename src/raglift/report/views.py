"""Nested parts of comparison.json as flat rows, for tables in Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raglift.report.numbers import MISSING, format_accuracy, format_interval, format_points
from raglift.report.texts import TABLE, Say


@dataclass(frozen=True)
class EstimateRow:
    """A named estimate per column; `cells` holds dicts with lift and ci95 (empty where not measured)."""

    name: str
    part: str
    cells: list[dict[str, Any]]


@dataclass(frozen=True)
class SearchMeasure:
    """A measure of the search as it is shown: the key of its name, value and interval."""

    key: str
    text: str
    interval: str


@dataclass(frozen=True)
class ShareTable:
    """What the arms did under one kind of trial: the keys of the shares, and each arm's in their order."""

    kind: str
    shares: list[str]
    rows: dict[str, list[str]]


def list_effects(comparison: dict[str, Any], say: Say) -> list[EstimateRow]:
    """Effects by tuned model, a column per split in the order of `effects`."""
    effects = comparison.get("effects") or {}
    tunings = dict.fromkeys(tuning for models in effects.values() for tuning in models or {})
    return [
        EstimateRow(tuning, say(f"effect.{part}"), [_find(effects, split, tuning, part) for split in effects])
        for tuning in tunings
        for part in ("tuning", "context", "interaction")
    ]


def list_losses(comparison: dict[str, Any]) -> list[EstimateRow]:
    """What retrieval costs, a row per tuning, columns all, hit and miss."""
    losses = (comparison.get("retrieval") or {}).get("loss") or {}
    rows = [
        EstimateRow(tuning, "", [_find(losses, tuning, part) for part in ("all", "hit", "miss")]) for tuning in losses
    ]
    return [row for row in rows if any(row.cells)]


def name_losses(rows: Sequence[EstimateRow], say: Say) -> list[str]:
    """The columns of `list_losses`, each with its number of questions."""
    columns = zip(("all", "hit", "miss"), zip(*(row.cells for row in rows), strict=True), strict=True)
    counts = {part: max(cell.get("questions") or 0 for cell in cells) for part, cells in columns}
    return [f"{say(f'retrieval.{part}')} ({count})" for part, count in counts.items()]


def list_hits(comparison: dict[str, Any]) -> Iterator[SearchMeasure]:
    """Each measure of the search that was made."""
    retrieval = comparison.get("retrieval") or {}
    for name in ("hit_at_1", "hit_at_3", "mrr", "rejected"):
        share = retrieval.get(name)
        if isinstance(share, dict) and share.get("value") is not None and f"retrieval.{name}" in TABLE:
            yield write_measure(name, share["value"], share.get("ci95"))


def list_behaviour(comparison: dict[str, Any]) -> Iterator[ShareTable]:
    """Each kind of trial that was made."""
    for kind, arms in (comparison.get("behaviour") or {}).items():
        found = dict.fromkeys(name for row in (arms or {}).values() for name in row or {})
        shares = [name for name in found if f"behaviour.{name}" in TABLE]
        if shares and f"behaviour.{kind}" in TABLE:
            rows = {arm: [format_accuracy((row or {}).get(name)) for name in shares] for arm, row in arms.items()}
            yield ShareTable(kind, shares, rows)


def write_estimate(cell: dict[str, Any]) -> str:
    """`+20.0 [+7.5, +34.2]`, a dash where nothing was measured."""
    return f"{format_points(cell.get('lift'))} {format_interval(cell.get('ci95'))}" if cell else MISSING


def write_measure(name: str, value: float, limits: Sequence[float] | None) -> SearchMeasure:
    """Shares in percent; the mean reciprocal rank, which is no share, as a number up to 1."""
    if name == "mrr":
        within = f"[{limits[0] / 100:.3f}, {limits[1] / 100:.3f}]" if limits else MISSING
        return SearchMeasure("retrieval.mrr", f"{value / 100:.3f}", within)
    return SearchMeasure(f"retrieval.{name}", format_accuracy(value), format_interval(limits, signed=False))


def _find(values: dict[str, Any], *path: str) -> dict[str, Any]:
    for key in path:
        values = values.get(key) or {}
    return values if isinstance(values, dict) else {}
