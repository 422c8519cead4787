"""Tokens to text while they come: pieces that join to the text that the whole answer has."""

from __future__ import annotations

from typing import Any

BROKEN = "\ufffd"  # what a tokenizer writes for the first bytes of a character


class TextStream:
    """Turns one row's tokens into pieces of text.

    A piece waits until its last character is whole. Blanks in front are left out and blanks at the end wait
    for what follows them, so that the pieces join to the stripped text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.text = ""
        self._tokens: list[int] = []
        self._start = self._read = 0  # the window that is decoded: some tokens decode differently at a start
        self._blanks = ""

    def push(self, token: int) -> str:
        """What this token adds, often nothing."""
        self._tokens.append(token)
        known = self._decode(self._tokens[self._start : self._read])
        longer = self._decode(self._tokens[self._start :])
        if len(longer) <= len(known) or longer.endswith(BROKEN):
            return ""
        self._start, self._read = self._read, len(self._tokens)
        return self._add(longer[len(known) :])

    def finish(self, text: str) -> str:
        """What is missing of the whole text: a last character that never became whole, mostly nothing."""
        return text[len(self.text) :] if text.startswith(self.text) else ""

    def _add(self, piece: str) -> str:
        piece = self._blanks + piece
        if not self.text:
            piece = piece.lstrip()
        whole = piece.rstrip()
        self._blanks = piece[len(whole) :]
        self.text += whole
        return whole

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)) if tokens else ""


class PieceStream:
    """Joins pieces of text that a server sends, stripped already."""

    def __init__(self) -> None:
        self.text = ""

    def push(self, token: str) -> str:
        """The piece."""
        self.text += token
        return token

    def finish(self, text: str) -> str:
        """What is missing of the whole text: all of it where it came without pieces."""
        return text[len(self.text) :] if text.startswith(self.text) else ""
