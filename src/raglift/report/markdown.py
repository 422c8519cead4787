"""report.md: the founding table among the verdict, the arms, the lifts and what the run cannot say."""

from __future__ import annotations

from typing import Any

from raglift.report.content import Content
from raglift.report.founding import FoundingTable, build_founding_tables
from raglift.report.markdown_table import draw_table
from raglift.report.markdown_trust import write_trust
from raglift.report.numbers import (
    format_accuracy,
    format_decimal,
    format_interval,
    format_p,
    format_points,
    format_seconds,
    format_tally,
)
from raglift.report.reasons import say_kind
from raglift.report.sentences import list_limits, say_basis, say_lift, say_verdict
from raglift.report.settings import list_run_facts
from raglift.report.texts import Say, say_split, say_verdict_word, speak
from raglift.report.trust import say_doubts
from raglift.report.views import list_behaviour, list_effects, list_hits, list_losses, name_losses, write_estimate
from raglift.sanitization import escape_markdown, quote_code

SHOWN_REASONS = 5  # for each arm; report.json has all


def write_markdown(content: Content) -> str:
    """The report as GitHub-flavoured Markdown."""
    say = speak(content.language)
    blocks = [
        f"# {escape_markdown(say('title', name=content.experiment))}",
        f"**{escape_markdown(say_verdict(content.comparison, say))}**",
        *_write_headline(content, say),
        *_write_arms(content, say),
        *(_write_founding(table, say) for table in build_founding_tables(content.comparison)),
        *_write_contrasts(content, say),
        *_write_effects(content, say),
        *write_trust(content, say),
        *_write_retrieval(content, say),
        *_write_behaviour(content, say),
        *_write_failures(content, say),
        *_write_training(content, say),
        f"## {say('section.limits')}",
        "\n".join(f"- {escape_markdown(sentence)}" for sentence in list_limits(content, say)),
        f"## {say('section.run')}",
        *_write_run(content, say),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _write_headline(content: Content, say: Say) -> list[str]:
    if content.a == content.b:
        return []
    sentences = "\n".join(escape_markdown(sentence) + "  " for sentence in say_basis(content.comparison, say))
    lift = escape_markdown(say_lift(content.comparison, say))
    doubts = [f"> {escape_markdown(sentence)}" for sentence in say_doubts(content.comparison, say)]
    return [f"{quote_code(content.a)} → {quote_code(content.b)}: {lift}", sentences.rstrip(), "\n>\n".join(doubts)]


def _write_founding(table: FoundingTable, say: Say) -> str:
    compared = table.a != table.b
    heads = [say("word.question"), quote_code(table.b), *([quote_code(table.a)] if compared else [])]
    rows = [[escape_markdown(row.question), row.b, *([row.a] if compared else [])] for row in table.rows]
    means = [table.mean_b, *([table.mean_a] if compared else [])]
    rows.append([f"**{say('word.overall')}**", *(f"**{mean}**" for mean in means)])
    return f"## {say('section.questions')}: {say_split(say, table.split)}\n\n{draw_table(heads, rows)}"


def _write_arms(content: Content, say: Say) -> list[str]:
    arms = content.comparison.get("arms") or {}
    rows = []
    for arm in content.arms:
        cells = [(arms[arm] or {}).get(split) or {} for split in content.splits]
        rows.append([quote_code(arm), *(_write_accuracy(cell) for cell in cells)])
    if not rows:
        return []
    heads = [say("word.arm"), *(say_split(say, split) for split in content.splits)]
    return [f"## {say('section.arms')}", draw_table(heads, rows), say("arm.how")]


def _write_accuracy(cell: dict[str, Any]) -> str:
    if not cell:
        return "–"
    tally = format_tally(cell.get("correct"), cell.get("total"))
    return f"{format_accuracy(cell.get('accuracy'))} {format_interval(cell.get('ci95'), signed=False)} ({tally})"


def _write_contrasts(content: Content, say: Say) -> list[str]:
    rows = [
        [
            quote_code(str(row.get("name", ""))),
            say_split(say, row.get("split")),
            format_points(row.get("lift")),
            format_interval(row.get("ci95")),
            format_p(row.get("p_value")),
            format_p(row.get("p_holm")),
            say_verdict_word(say, row.get("verdict")),
        ]
        for row in content.comparison.get("contrasts") or []
    ]
    if not rows:
        return []
    words = ("split", "lift", "interval", "p", "p_holm", "verdict")
    heads = [say("word.arm"), *(say(f"word.{word}") for word in words)]
    return [f"## {say('section.lift')}", draw_table(heads, rows)]


def _write_effects(content: Content, say: Say) -> list[str]:
    rows = [
        [quote_code(row.name), row.part, *(write_estimate(cell) for cell in row.cells)]
        for row in list_effects(content.comparison, say)
    ]
    splits = [say_split(say, split) for split in content.comparison.get("effects") or {}]
    heads = ["", say("word.effect"), *splits]
    return [f"## {say('section.effects')}", draw_table(heads, rows), say("effects.note")] if rows else []


def _write_retrieval(content: Content, say: Say) -> list[str]:
    if not content.comparison.get("retrieval"):
        return []
    shares = [[say(one.key), one.text, one.interval] for one in list_hits(content.comparison)]
    rows = list_losses(content.comparison)
    losses = [[quote_code(row.name), *(write_estimate(cell) for cell in row.cells)] for row in rows]
    blocks = [f"## {say('section.retrieval')}", draw_table(["", say("run.value"), say("word.interval")], shares)]
    return [*blocks, say("retrieval.loss"), draw_table(["", *name_losses(rows, say)], losses)] if losses else blocks


def _write_behaviour(content: Content, say: Say) -> list[str]:
    blocks = []
    for table in list_behaviour(content.comparison):
        heads = [say("word.arm"), *(say(f"behaviour.{name}") for name in table.shares)]
        rows = [[quote_code(arm), *cells] for arm, cells in table.rows.items()]
        blocks += [f"### {say(f'behaviour.{table.kind}')}", draw_table(heads, rows)]
    return [f"## {say('section.behaviour')}", *blocks] if blocks else []


def _write_failures(content: Content, say: Say) -> list[str]:
    rows = []
    for failures in content.failures:
        for reason in failures.reasons[:SHOWN_REASONS]:
            rows.append(
                [quote_code(failures.arm), str(reason["count"]), escape_markdown(say_kind(say, reason["reason"]))]
            )
    if not rows:
        return []
    heads = [say("word.arm"), say("word.count"), say("word.reason")]
    return [f"## {say('section.failures')}", draw_table(heads, rows, right=False)]


def _write_training(content: Content, say: Say) -> list[str]:
    rows = []
    for log in content.training:
        first, last = log.rows[0], log.rows[-1]
        losses = f"{format_decimal(first.get('loss'), 3)} → {format_decimal(last.get('loss'), 3)}"
        name = f"{log.tuning} {say('word.seed', seed=log.seed)}"
        rows.append([quote_code(name), str(last.get("step")), losses, format_seconds(last.get("seconds"))])
    heads = ["", "step", say("training.loss"), say("run.times")]
    return [f"## {say('section.training')}", draw_table(heads, rows)] if rows else []


def _write_run(content: Content, say: Say) -> list[str]:
    heads = [say("run.key"), say("run.value")]
    return [
        f"<details><summary>{escape_markdown(group.title)}</summary>\n\n"
        + draw_table(heads, [[escape_markdown(k), quote_code(v)] for k, v in group.facts], right=False)
        + "\n\n</details>"
        for group in list_run_facts(content, say)
    ]
