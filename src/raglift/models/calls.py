"""Every call to a server in a file, written before it is used: nothing is paid for twice."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from raglift.config import ServerConfig
from raglift.runfolder import append_lines, recover_lines


@dataclass(frozen=True)
class Call:
    """One call. `request` hashes all that was asked but the code; `error` is set where no reply came.

    `number` tells calls with the same request apart (a judge's votes); `code` is what this one call drew anew.
    `raw` is the text as it came (of a failed call what the server sent instead; of several texts a JSON list).
    """

    request: str
    number: int
    code: str
    raw: str
    error: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0
    time: str = ""


@dataclass(frozen=True)
class Spending:
    """Calls (with those that failed), tokens in and out, and seconds of waiting for replies, summed over calls."""

    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.reply_tokens

    def cost(self, settings: ServerConfig) -> float:
        """What the tokens cost by the settings' prices of a million, in their currency."""
        return (self.prompt_tokens * settings.input_price + self.reply_tokens * settings.output_price) / 1e6

    def add(self, call: Call) -> Spending:
        return Spending(
            self.calls + 1,
            self.failed + bool(call.error),
            self.prompt_tokens + call.prompt_tokens,
            self.reply_tokens + call.reply_tokens,
            self.seconds + call.seconds,
        )


class CallLog:
    """The calls in a file. Safe for threads; a process killed while writing loses at most its last line.

    `spent` counts all calls of the file, `spent_now` those of this object.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.spent = self.spent_now = Spending()
        self._replies: dict[tuple[str, int], list[Call]] = defaultdict(list)
        self._lock = threading.Lock()
        self._reserved = 0
        known = {field.name for field in fields(Call)}
        for row in recover_lines(file):
            if {"request", "number", "code", "raw"} <= row.keys():
                self._count(Call(**{key: value for key, value in row.items() if key in known}))

    def list_replies(self, request: str, number: int) -> list[Call]:
        """The replies that this call already got, readable or not, oldest first."""
        with self._lock:
            return list(self._replies[request, number])

    def reserve(self, settings: ServerConfig, section: str) -> str:
        """'' and one call set aside, or why no call is left. `record` uses it up."""
        with self._lock:
            tokens, cost = self.spent.tokens, self.spent.cost(settings)
            if self.spent.calls + self._reserved >= settings.max_calls:
                return f"the limit {section}.max_calls={settings.max_calls} is reached"
            if settings.max_tokens is not None and tokens >= settings.max_tokens:
                return f"the limit {section}.max_tokens={settings.max_tokens} is reached ({tokens} spent)"
            if settings.max_cost is not None and cost >= settings.max_cost:
                return f"the limit {section}.max_cost={settings.max_cost:g} is reached ({cost:.4f} spent)"
            self._reserved += 1
            return ""

    def record(self, call: Call) -> None:
        """Write a reserved call to the disk, then count it."""
        with self._lock:
            append_lines(self.file, [asdict(call)])
            self._reserved -= 1
            self.spent_now = self.spent_now.add(call)
            self._count(call)

    def describe(self, settings: ServerConfig) -> dict[str, Any]:
        """What the file's calls cost, as plain values; without prices no cost."""
        described = {**asdict(self.spent), "seconds": round(self.spent.seconds, 1)}
        return described | ({"cost": round(self.spent.cost(settings), 6)} if has_prices(settings) else {})

    def _count(self, call: Call) -> None:
        self.spent = self.spent.add(call)
        if call.request and not call.error:
            self._replies[call.request, call.number].append(call)


def has_prices(settings: ServerConfig) -> bool:
    """Whether tokens cost something."""
    return bool(settings.input_price or settings.output_price)


def format_spending(spending: Spending, settings: ServerConfig) -> str:
    """One line for people."""
    failed = f" ({spending.failed} failed)" if spending.failed else ""
    cost = f", cost {spending.cost(settings):.4f}" if has_prices(settings) else ""
    return (
        f"{spending.calls} calls{failed}, {spending.prompt_tokens:,} + {spending.reply_tokens:,} tokens, "
        f"{spending.seconds:.1f} s of waiting{cost}"
    )
