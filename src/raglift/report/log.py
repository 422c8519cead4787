"""answers.log: every answer to read through, with its seconds, tokens and verdict."""

from __future__ import annotations

from raglift.report.content import Content, ShownAnswer, ShownQuestion
from raglift.report.numbers import format_cell, format_seconds
from raglift.report.reasons import say_reason, shorten_reason
from raglift.report.sentences import say_verdict_of
from raglift.report.texts import Say, speak

MARKS = {"correct": "✅", "incorrect": "❌", "unscored": "❔"}


def write_log(content: Content) -> str:
    """The log as text, question by question in the experiment's order, arm by arm."""
    say = speak(content.language)
    lines = [f"{content.experiment} · {content.settings.get('model', '')}", say("log.note"), ""]
    for question in content.questions:
        lines += _write_question(question, (*content.arms, *content.trials), say)
    return "\n".join(lines) + "\n"


def _write_question(question: ShownQuestion, arms: tuple[str, ...], say: Say) -> list[str]:
    lines = [f"■ {question.id} · {question.split} · {question.question}"]
    if question.reference:
        lines.append(f"  {say('word.reference')}: {_indent(question.reference, 2)}")
    for arm in arms:
        answers = question.list_answers(arm)
        if answers:
            counts = question.arms.get(arm) or {}
            lines.append(f"  ── {arm}  {format_cell(counts.get('correct'), counts.get('total'))}")
            lines += [_write_answer(answer, len({a.seed for a in answers}) > 1, say) for answer in answers]
    return [*lines, ""]


def _write_answer(answer: ShownAnswer, several_seeds: bool, say: Say) -> str:
    facts = [format_seconds(answer.seconds), say("word.tokens", count=answer.tokens)]
    if several_seeds:
        facts.insert(0, say("word.seed", seed=answer.seed))
    if answer.truncated:
        facts.append(say("word.truncated"))
    if answer.follows:
        facts.append(say_verdict_of(say, answer))
    elif answer.verdict != "correct" and answer.reason:
        facts.append(shorten_reason(say_reason(say, answer.reason)))
    mark = "→" if answer.follows else MARKS.get(answer.verdict, "❔")
    text = _indent(answer.text or say("word.empty"), 5)
    return f"  {answer.sample + 1} {mark} {text}\n     ({', '.join(facts)})"


def _indent(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)
