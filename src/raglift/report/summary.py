"""What the terminal shows after a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from raglift.records import SPLITS
from raglift.report.founding import FoundingTable, build_founding_tables
from raglift.report.numbers import MISSING, format_accuracy, format_tally
from raglift.report.sentences import say_basis, say_excluded, say_lift, say_verdict
from raglift.report.texts import Say, say_split, speak
from raglift.report.trust import say_doubts
from raglift.report.views import list_behaviour, list_hits, list_losses, name_losses, write_estimate
from raglift.sanitization import clean_line, clean_values


def print_summary(
    comparison: dict[str, Any], language: str, report: Path | str | None = None, console: Console | None = None
) -> None:
    """Print the summary to standard output (or to `console`)."""
    (console or Console(highlight=False)).print(render_summary(comparison, language, report))


def render_summary(comparison: dict[str, Any], language: str, report: Path | str | None = None) -> RenderableType:
    """The founding table, the arms side by side, the lift and its verdict; last, where the report is."""
    say = speak(language)
    comparison = clean_values(comparison)
    parts: list[RenderableType] = []
    tables = build_founding_tables(comparison)
    if tables:
        parts += [_draw_founding(tables[0], say), Text()]
    sides = _draw_arms if comparison.get("arms") else _draw_sides
    parts += [sides(comparison, say), Text(), *_draw_search(comparison, say), *_draw_behaviour(comparison, say)]
    if comparison["a"].get("arm") != comparison["b"].get("arm"):
        parts.append(Text(f"{comparison['a'].get('arm')} → {comparison['b'].get('arm')}", style="dim"))
        parts.append(Text(say_lift(comparison, say)))
    parts.append(Text(say_verdict(comparison, say), style="bold"))
    parts += [Text(sentence) for sentence in say_basis(comparison, say)]
    if left_out := say_excluded(comparison, say):
        parts.append(Text(left_out))
    parts += [Text(sentence, style="yellow") for sentence in say_doubts(comparison, say)]
    if report is not None:
        parts += [Text(), Text(say("summary.report", file=clean_line(str(report))), overflow="fold")]
    return Group(*parts)


def _draw_founding(founding: FoundingTable, say: Say) -> Table:
    table = Table(title=Text(say_split(say, founding.split)), title_justify="left", show_footer=True)
    compared = founding.a != founding.b
    table.add_column(say("word.question"), Text(say("word.overall")), overflow="fold")
    table.add_column(Text(founding.b), Text(founding.mean_b), no_wrap=True)
    if compared:
        table.add_column(Text(founding.a), Text(founding.mean_a), no_wrap=True)
    for row in founding.rows:
        cells = [row.b, row.a] if compared else [row.b]
        table.add_row(Text(row.question), *cells)
    return table


def _draw_arms(comparison: dict[str, Any], say: Say) -> Table:
    arms = comparison.get("arms") or {}
    splits = [split for split in SPLITS if any(split in (cells or {}) for cells in arms.values())]
    table = Table(title=Text(say("section.arms")), title_justify="left")
    table.add_column(say("word.arm"), no_wrap=True)
    for split in splits:
        table.add_column(say_split(say, split), justify="right", no_wrap=True)
    for arm, cells in arms.items():
        marked = arm in (comparison["a"].get("arm"), comparison["b"].get("arm"))
        row = [Text(_write_accuracy((cells or {}).get(split) or {})) for split in splits]
        table.add_row(Text(arm, style="bold" if marked else ""), *row)
    return table


def _draw_search(comparison: dict[str, Any], say: Say) -> list[RenderableType]:
    hits = [f"{say(one.key)} {one.text}" for one in list_hits(comparison)]
    parts: list[RenderableType] = [Text(f"{say('section.retrieval')}: " + ", ".join(hits)), Text()] if hits else []
    if losses := list_losses(comparison):
        table = Table("", caption=Text(say("retrieval.loss")), caption_justify="left")
        for name in name_losses(losses, say):
            table.add_column(name, justify="right")
        for row in losses:
            table.add_row(Text(row.name), *(Text(write_estimate(cell)) for cell in row.cells))
        parts += [table, Text()]
    return parts


def _draw_behaviour(comparison: dict[str, Any], say: Say) -> list[RenderableType]:
    """What the table of the arms does not show: its column of absent questions is the share that declines."""
    parts: list[RenderableType] = []
    for found in list_behaviour(comparison):
        if found.kind != "absent":
            table = Table(title=Text(say(f"behaviour.{found.kind}")), title_justify="left")
            table.add_column(say("word.arm"), no_wrap=True)
            for name in found.shares:
                table.add_column(say(f"behaviour.{name}"), justify="right", no_wrap=True)
            for arm, cells in found.rows.items():
                table.add_row(Text(arm), *(Text(cell) for cell in cells))
            parts += [table, Text()]
    return parts


def _draw_sides(comparison: dict[str, Any], say: Say) -> Table:
    """The two arms alone, for a comparison that comes from a table."""
    table = Table("", say("word.accuracy"))
    for side in ("b", "a"):
        table.add_row(Text(str(comparison[side].get("arm"))), Text(_write_accuracy(comparison[side])))
    return table


def _write_accuracy(cell: dict[str, Any]) -> str:
    tally = format_tally(cell.get("correct"), cell.get("total"))
    return f"{format_accuracy(cell.get('accuracy'))}  {tally}" if cell else MISSING
