"""The only place where prompt text is built; training, answering, `ask` and the server all use a `PromptWriter`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raglift.config import PromptConfig
from raglift.errors import InputError
from raglift.records import Retrieved

# What chat templates may ask for: some write today's date, and a prompt must be the same tomorrow; models that
# think are asked not to, since the trained answers do not.
CHAT_VALUES = {"date_string": "01 Jan 2026", "enable_thinking": False}
PROBE = "raglift-answer"


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


class Template(Protocol):
    """The form of a prompt around a question and its passages, whose control tokens are harmless by then."""

    def write_prompt(self, question: str, passages: Sequence[str] | None) -> str:
        """The text in front of an answer; passages None: no context, empty: a search that found nothing."""
        ...

    def write_answer(self, answer: str) -> str:
        """The trained text behind the prompt."""
        ...

    def find_end_token(self) -> int | None:
        """The token behind a trained answer, None for the tokenizer's own end token."""
        ...


class PromptWriter:
    """Writes prompts and answers in a run's template.

    Args:
        settings: the template.
        tokenizer: the model's; None where it cannot be seen (a remote model), which `chat` does not allow.
    """

    def __init__(self, settings: PromptConfig, tokenizer: Any = None) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        self.template = TEMPLATES[settings.template](settings, tokenizer)

    def write_prompt(self, question: str, passages: Sequence[str] | None) -> str:
        """The text in front of an answer.

        Args:
            question: the user's question.
            passages: None for no context (the bare question), an empty sequence for a search that found
                nothing (the notice takes the passage's place), else the passages in their order.
        """
        texts = None if passages is None else [self.defuse(passage) for passage in passages]
        prompt = self.template.write_prompt(self.defuse(question), texts)
        # The tokenizer puts its begin token in front; a template that writes it too would double it.
        return prompt.removeprefix(self._own_beginning) if self._own_beginning else prompt

    def write_answer(self, answer: str) -> str:
        """The trained text behind the prompt; the end token follows it."""
        return self.template.write_answer(self.defuse(answer.strip()))

    @cached_property
    def end_token(self) -> int:
        """The token that ends a trained answer: the template's end of turn, else the tokenizer's end token."""
        found = self.template.find_end_token()
        return int(self.tokenizer.eos_token_id if found is None else found)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that prompts and answers depend on besides their texts, for the hash of what is trained on them."""
        values = self.settings.model_dump(exclude_none=True)
        if self.settings.template == "chat":
            values["chat_template"] = self.template.write_prompt("question", ["passage"])
            values["end_token"] = self.end_token
        return values

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as commands, such as the end of the answer."""
        added = {} if self.tokenizer is None else self.tokenizer.added_tokens_decoder
        return tuple(token.content for token in added.values() if token.special and len(token.content) > 1)

    def defuse(self, text: str) -> str:
        """The text with a blank inside each control token it spells, so that it is read as plain text."""
        if not any(sign in text for sign in self._signs):
            return text
        for token in self.control_tokens:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    @cached_property
    def _signs(self) -> frozenset[str]:
        return frozenset(token[0] for token in self.control_tokens)  # mostly "<" alone; models have thousands of tokens

    @cached_property
    def _own_beginning(self) -> str:
        begin = getattr(self.tokenizer, "bos_token_id", None)
        if begin is None or self.tokenizer("x").input_ids[:1] != [begin]:
            return ""
        return str(self.tokenizer.bos_token)


class FoundingTemplate:
    """The founding experiment's form: marked passage and question, then the answer mark."""

    def __init__(self, settings: PromptConfig, tokenizer: Any) -> None:
        self.settings = settings

    def write_prompt(self, question: str, passages: Sequence[str] | None) -> str:
        return write_body(self.settings, question, passages) + self.settings.answer_mark

    def write_answer(self, answer: str) -> str:
        return " " + answer

    def find_end_token(self) -> int | None:
        return None


class ChatTemplate:
    """The model's own chat template: passage and question in the user's turn, the answer in the assistant's.

    Raises InputError where the tokenizer has none.
    """

    def __init__(self, settings: PromptConfig, tokenizer: Any) -> None:
        if getattr(tokenizer, "chat_template", None) is None:
            found = "a model whose tokenizer cannot be seen" if tokenizer is None else "a tokenizer without one"
            raise InputError(
                "prompt.template: chat",
                found,
                "a model that brings a chat template, as instruction-tuned models do",
                "set prompt.template to founding or custom, or choose an instruction-tuned model",
            )
        self.settings, self.tokenizer = settings, tokenizer

    def write_prompt(self, question: str, passages: Sequence[str] | None) -> str:
        return self._render([{"role": "user", "content": write_body(self.settings, question, passages)}])

    def write_answer(self, answer: str) -> str:
        return answer

    def find_end_token(self) -> int | None:
        """The first control token that the template writes behind the assistant's text."""
        turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": PROBE}]
        behind = self._render(turns, continued=False).rpartition(PROBE)[2]
        special = set(self.tokenizer.all_special_ids) | {
            number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special
        }
        ids = self.tokenizer(behind, add_special_tokens=False).input_ids
        return next((int(number) for number in ids if number in special), None)

    def _render(self, turns: list[dict[str, str]], continued: bool = True) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=continued, **CHAT_VALUES
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise InputError(
                "prompt.template: chat",
                f"the model's chat template fails ({error})",
                "one that takes a user's turn",
                "set prompt.template to founding or custom",
            ) from None
        return text


class CustomTemplate:
    """The user's Jinja2 text in a sandbox, with `question`, `passage` (joined), `passages` and `has_context`.

    Raises InputError for a text that is no template or that asks for other variables.
    """

    VARIABLES = "question, passage, passages, has_context"

    def __init__(self, settings: PromptConfig, tokenizer: Any) -> None:
        if not settings.custom:
            raise InputError(
                "prompt.custom", "no template", "Jinja2 text, or prompt.file with a file beside experiment.yaml"
            )
        self.settings = settings
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        try:
            self.template = environment.from_string(settings.custom)
        except TemplateSyntaxError as error:
            raise InputError(f"prompt.custom: line {error.lineno}", str(error.message), "a Jinja2 template") from None
        self.gap = "" if self.write_prompt("question", None)[-1:].isspace() else " "

    def write_prompt(self, question: str, passages: Sequence[str] | None) -> str:
        values = {
            "question": question,
            "passage": join_passages(self.settings, passages or ()) if passages is not None else "",
            "passages": list(passages or ()),
            "has_context": passages is not None,
        }
        try:
            return self.template.render(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise InputError(
                "prompt.custom", str(error), f"a template of the variables {self.VARIABLES}", "docs/your-data.md"
            ) from None

    def write_answer(self, answer: str) -> str:
        return self.gap + answer

    def find_end_token(self) -> int | None:
        return None


TEMPLATES: dict[str, Callable[[PromptConfig, Any], Template]] = {
    "founding": FoundingTemplate,
    "chat": ChatTemplate,
    "custom": CustomTemplate,
}


def write_body(settings: PromptConfig, question: str, passages: Sequence[str] | None) -> str:
    """The founding words for a question, with its passages where there is a context."""
    if passages is None:
        return settings.without_passage.replace("{question}", question)
    slots = {"{passage}": join_passages(settings, passages), "{question}": question}
    # One pass over the template, so that braces inside a passage or question stay as they are.
    return "".join(slots.get(part, part) for part in _split_slots(settings.with_passage))


def join_passages(settings: PromptConfig, passages: Sequence[str]) -> str:
    """The passages as one text; the notice where there are none."""
    return settings.passage_separator.join(passages) if passages else settings.not_found


def _split_slots(template: str) -> list[str]:
    parts: list[str] = []
    for piece in template.split("{passage}"):
        parts += ["{passage}"] if parts else []
        inner = piece.split("{question}")
        for index, text in enumerate(inner):
            parts += (["{question}"] if index else []) + [text]
    return parts
