"""The only place where prompt text is built; training, answering and `ask` all call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raglift.config import PromptConfig
from raglift.records import Retrieved


@dataclass(frozen=True)
class PromptContext:
    """What a context puts into one question's prompt: texts (None: no context) and where they come from."""

    texts: tuple[str, ...] | None
    passages: tuple[Retrieved, ...] = ()


@dataclass(frozen=True)
class TrainingRow:
    """One example with the passages of its prompt (None: no context)."""

    question: str
    answer: str
    passages: tuple[str, ...] | None


def build_prompt(settings: PromptConfig, question: str, passages: Sequence[str] | None) -> str:
    """The text in front of an answer.

    Args:
        settings: the template.
        question: the user's question.
        passages: None for no context (the bare question), an empty sequence for a search that found
            nothing (the notice takes the passage's place), else the passages in their order.
    """
    if passages is None:
        body = settings.without_passage.replace("{question}", question)
    else:
        passage = settings.passage_separator.join(passages) if passages else settings.not_found
        # One pass over the template, so that braces inside a passage or question stay as they are.
        body = "".join(
            {"{passage}": passage, "{question}": question}.get(part, part)
            for part in _split_slots(settings.with_passage)
        )
    return body + settings.answer_mark


def build_answer(answer: str) -> str:
    """The trained text behind the answer mark; the end token follows it."""
    return " " + answer.strip()


def _split_slots(template: str) -> list[str]:
    parts: list[str] = []
    for piece in template.split("{passage}"):
        parts += ["{passage}"] if parts else []
        inner = piece.split("{question}")
        for index, text in enumerate(inner):
            parts += (["{question}"] if index else []) + [text]
    return parts
