"""What every model gives and takes, whether its weights are here or on a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from raglift.config import AnswerConfig


@dataclass(frozen=True)
class Completion:
    """One sampled text, its number of tokens (the end token not counted), and whether it hit the limit."""

    text: str
    tokens: int
    truncated: bool


# Called for every token that is written: (row, step, token); False ends the row, whose text stays as it is.
# Rows count the completions of all prompts in their order. After out-of-memory a row may begin again at step 0.
# A token is what the model's `open_stream()` takes: a number here, a piece of text from a server.
TokenWatch = Callable[[int, int, Any], bool]


class Stream(Protocol):
    """Joins tokens to text while they come."""

    text: str

    def push(self, token: Any) -> str:
        """What this token adds to the text, often nothing."""
        ...

    def finish(self, text: str) -> str:
        """What is missing of the whole text."""
        ...


class TextModel(Protocol):
    """Anything that continues prompts: local weights or a remote server."""

    identity: str

    def complete_prompts(
        self,
        prompts: Sequence[str],
        noise: Sequence[Sequence[str]],
        decoding: AnswerConfig,
        watch: TokenWatch | None = None,
    ) -> list[list[Completion]]:
        """For each prompt as many completions as it has noise names, in their order."""
        ...

    def open_stream(self) -> Stream:
        """For the tokens of one row that `watch` sees."""
        ...
