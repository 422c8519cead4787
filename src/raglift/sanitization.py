"""The one place where foreign text becomes safe to show: control characters are seen, never obeyed."""

from __future__ import annotations

import math
import re
import shlex
from typing import Any

# Escape sequences start with a C0 or C1 control; bidi controls reorder what is read; the others are
# invisible, break lines or cannot be encoded (lone surrogates, non-characters, tag characters).
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\U000e0000-\U000e007f]"
)
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#&])")
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r")


def clean_text(text: str) -> str:
    """Replace control, bidi and unencodable characters by visible placeholders; line ends become \\n."""
    return _UNSAFE.sub(_show_character, text.replace("\r\n", "\n"))


def clean_line(text: str) -> str:
    """`clean_text` on one line: breaks and tabs become single spaces."""
    return " ".join(clean_text(text).split())


def escape_json(text: str) -> str:
    """JSON text of the same value in which no character is obeyed by a terminal or cannot be encoded."""
    return _UNSAFE.sub(_escape_character, text)


def quote_command(*words: object) -> str:
    """A command to type: no shell obeys what stands in the name of a folder."""
    return shlex.join(str(word) for word in words)


def clean_values(value: Any) -> Any:
    """`clean_text` over every text (keys too) of a JSON value; NaN and infinities become None."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean_values(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def escape_markdown(text: str) -> str:
    """Text for a Markdown table cell or line: one line, no markup, no HTML."""
    return _MARKDOWN.sub(r"\\\1", clean_line(text))


def quote_code(text: str) -> str:
    """Text as a Markdown code span; backticks in it would end the span, so they become primes."""
    return "`" + clean_line(text).replace("`", "′").replace("|", "¦") + "`"


def clean_cell(text: str) -> str:
    """Text for a CSV cell that spreadsheet programs never run as a formula (OWASP, CSV injection)."""
    line = clean_line(text)
    return "'" + line if line.startswith(_FORMULA_START) or text.startswith(_FORMULA_START) else line


def _escape_character(match: re.Match[str]) -> str:
    if match.group() in "\r\n\t":  # between values; inside texts JSON has escaped them
        return match.group()
    units = match.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def _show_character(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures: ESC becomes ␛
    return "␡" if code == 0x7F else f"⟦U+{code:04X}⟧"
