"""The part of report.md on the graders: answers on which they differ, pair by pair, the corrected lift."""

from __future__ import annotations

from typing import Any

from raglift.report.content import Content
from raglift.report.markdown_table import draw_table
from raglift.report.texts import Say
from raglift.report.trust import (
    list_confusion,
    list_corrected_facts,
    list_corrected_rows,
    list_verdicts,
    rank_pairs,
    say_alpha,
    say_pair,
)
from raglift.sanitization import clean_line, escape_markdown, quote_code

SHOWN_DIFFERENCES = 10  # report.json has all
SHOWN_TEXT = 160  # characters of an answer


def write_trust(content: Content, say: Say) -> list[str]:
    """Blocks of Markdown; none where one grader alone has graded."""
    trust = content.trust
    if not trust.pairs and not trust.corrected:
        return []
    blocks = [f"## {say('section.trust')}"]
    if trust.pairs:
        blocks += [*_write_differences(content, say), escape_markdown(say("trust.note"))]
        for pair in rank_pairs(trust, content.comparison.get("grader")):
            blocks += _write_pair(pair, say)
        blocks.append(escape_markdown(say_alpha(trust, say)))
    return [*blocks, *_write_corrected(content, say)]


def _write_differences(content: Content, say: Say) -> list[str]:
    trust = content.trust
    if trust.is_stale:
        return [escape_markdown(say("agreement.stale"))]
    rows = [
        [
            f"{escape_markdown(str(row.get('question', '')))} {quote_code(str(row.get('arm', '')))}",
            escape_markdown(_cut(str(row.get("text", "")) or say("word.empty"))),
            "<br>".join(
                escape_markdown(f"{given.grader}: {given.word}" + (f" ({_cut(given.reason)})" if given.reason else ""))
                for given in list_verdicts(row, say)
            ),
        ]
        for row in trust.disagreements[:SHOWN_DIFFERENCES]
    ]
    if not rows:
        return []
    heads = [say("word.question"), say("word.answer"), say("word.verdict")]
    count, more = len(trust.disagreements), len(trust.disagreements) - len(rows)
    left = [escape_markdown(say("agreement.differing.more", count=more))] if more else []
    return [f"### {say('agreement.differing', count=count)}", draw_table(heads, rows, right=False), *left]


def _write_pair(pair: dict[str, Any], say: Say) -> list[str]:
    table = [[escape_markdown(cell) for cell in row] for row in list_confusion(pair, say)]
    title = f"### {quote_code(str(pair.get('a')))} / {quote_code(str(pair.get('b')))}"
    return [title, escape_markdown(say_pair(pair, say)), draw_table(table[0], table[1:]) if table else ""]


def _write_corrected(content: Content, say: Say) -> list[str]:
    corrected = content.trust.corrected
    if not corrected:
        return []
    rows = [[escape_markdown(cell) for cell in row] for row in list_corrected_rows(corrected, say)]
    table = draw_table(["", say("word.lift"), say("word.interval")], rows) if rows else ""
    facts = " ".join(escape_markdown(fact) for fact in list_corrected_facts(content.comparison, say))
    return [f"### {say('corrected.title')}", table, facts]


def _cut(text: str) -> str:
    line = clean_line(text)
    return line if len(line) <= SHOWN_TEXT else line[:SHOWN_TEXT].rstrip() + "…"
