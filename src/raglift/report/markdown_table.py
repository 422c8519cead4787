"""Tables in GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def draw_table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: bool = True) -> str:
    """A Markdown table of cells that are already escaped; all columns but the first are aligned right."""
    rule = [":---", *(["---:" if right else ":---"] * (len(heads) - 1))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))
