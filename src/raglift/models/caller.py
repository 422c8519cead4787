"""Calls that are counted, limited, retried with back-off, spread over servers, and given up when there is no hope."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Generic, Literal, TypeVar

from raglift.config import ServerConfig
from raglift.models.calls import Call, CallLog
from raglift.models.server import CallFailedError, Choice, ModelServer, ServerReply
from raglift.progress import say

LONGEST_WAIT = 300.0  # seconds; a server that asks for more is not waited for
MOST_FAILURES = 10  # requests given up in a row, none between them obtained: then the server is down
RESTS_AFTER = 3  # failures in a row of one server among several
REST_SECONDS = 60.0  # for which it is then left out

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """How one call is made, the code that it draws anew, and what of its texts is kept (see `dump_choices`)."""

    send: Callable[[ModelServer], ServerReply]
    code: str = ""
    keep: Literal["first", "all", "none"] = "first"


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a request came to: the value, or why there is none; `failure` where the last call got no reply."""

    value: T | None
    problem: str = ""
    failure: CallFailedError | None = None


@dataclass
class _Member:
    server: ModelServer
    busy: int = 0
    failures: int = 0
    rests_until: float = 0.0


class ServerPool:
    """Servers of the same model: each call goes to the least busy one, a dead one is left out while others live."""

    def __init__(self, servers: Sequence[ModelServer]) -> None:
        self._members = [_Member(server) for server in servers]
        self._lock = threading.Lock()

    def take(self, avoid: ModelServer | None = None) -> ModelServer:
        """The least busy server, another than `avoid` where there is one."""
        with self._lock:
            awake = self._list_awake() or self._members
            others = [member for member in awake if member.server is not avoid]
            chosen = min(others or awake, key=lambda member: member.busy)
            chosen.busy += 1
            return chosen.server

    def release(self, server: ModelServer, failure: CallFailedError | None) -> bool:
        """The call has ended; whether another server may do better with it."""
        with self._lock:
            member = next(one for one in self._members if one.server is server)
            member.busy -= 1
            if failure is None or failure.status == 429 or not (failure.passing or failure.hopeless):
                member.failures = 0
                return False
            member.failures += 1
            others = [one for one in self._list_awake() if one is not member]
            if others and (failure.hopeless or member.failures >= RESTS_AFTER) and member in self._list_awake():
                member.rests_until = monotonic() + REST_SECONDS
                say(f"{server.url} is left out for {REST_SECONDS:.0f} s ({failure.problem}), {len(others)} go on")
            return bool(others)

    def _list_awake(self) -> list[_Member]:
        return [member for member in self._members if member.rests_until <= monotonic()]


class Caller:
    """Calls to one model, for many threads; see `ServerConfig`.

    Args:
        pool: the servers.
        settings: limits, attempts, waits.
        log: the run folder's calls, both cache and account.
        section: the section of the config that messages name.
        gives_up: whether many failures, or one that no call would be spared, end all calling.
    """

    def __init__(
        self, pool: ServerPool, settings: ServerConfig, log: CallLog, section: str, *, gives_up: bool = True
    ) -> None:
        self.pool, self.settings, self.log, self.section, self.gives_up = pool, settings, log, section, gives_up
        self.halt_reason = ""
        self._halted = threading.Event()
        self._failures_in_a_row = 0
        self._lock = threading.Lock()

    def obtain(
        self, request: str, number: int, ask: Callable[[], Asked], read: Callable[[Call], Outcome[T]]
    ) -> Outcome[T]:
        """The value of a reply that was paid for, else of a new one, asked for `settings.attempts` times.

        Calls with the `request` '' are not looked up again.
        """
        outcome: Outcome[T] = Outcome(None, "not asked")
        known = self.log.list_replies(request, number)
        for call in known:
            outcome = read(call)
            if outcome.value is not None:
                return outcome
        wait, avoid = 0.0, None
        for attempt in range(len(known), self.settings.attempts):
            if wait and not self._wait(wait):
                break
            refused = self.halt_reason or self.log.reserve(self.settings, self.section)
            if refused:
                self.halt(refused)
                return outcome if outcome.problem != "not asked" else Outcome(None, f"not asked: {refused}")
            call, failure, avoid = self._call(request, number, ask(), avoid)
            outcome = read(call) if failure is None else Outcome(None, f"no reply: {failure.problem}", failure)
            if outcome.value is not None or (failure is not None and not failure.passing and avoid is None):
                break
            wait = 0.0 if avoid is not None else self._choose_wait(attempt - len(known), failure)
            if wait > LONGEST_WAIT:
                outcome = Outcome(None, f"{outcome.problem}; the server asks to wait {wait:.0f} s", failure)
                break
        if len(known) < self.settings.attempts:
            self.note_outcome(outcome)
        return outcome

    def _call(
        self, request: str, number: int, asked: Asked, avoid: ModelServer | None
    ) -> tuple[Call, CallFailedError | None, ModelServer | None]:
        """One call, on the disk before it is used; with its failure and the server that another may do better than."""
        server, started, moment = self.pool.take(avoid), monotonic(), name_moment()
        failure, reply = None, ServerReply((), 0, 0)
        try:
            reply = asked.send(server)
        except CallFailedError as error:
            failure = error
        try_another = self.pool.release(server, failure)
        if failure is not None and failure.hopeless and not try_another:
            self.halt(failure.problem)
        texts = {"raw": failure.raw, "error": failure.problem} if failure else dump_choices(reply.choices, asked.keep)
        call = Call(
            request, number, asked.code, **texts, prompt_tokens=reply.prompt_tokens, reply_tokens=reply.reply_tokens,
            seconds=round(monotonic() - started, 3), time=moment,
        )  # fmt: skip
        self.record(call)
        return call, failure, server if try_another else None

    def record(self, call: Call) -> None:
        """Write a reserved call down; without a count of tokens no limit on them can be kept, so calling stops."""
        self.log.record(call)
        limit = "max_tokens" if self.settings.max_tokens else "max_cost" if self.settings.max_cost else ""
        if limit and not call.error and not call.prompt_tokens + call.reply_tokens:
            self.halt(f"the server does not say how many tokens it used, so {self.section}.{limit} cannot be kept")

    def note_outcome(self, outcome: Outcome[Any]) -> None:
        """Give up when too many requests in a row came to nothing."""
        with self._lock:
            self._failures_in_a_row = 0 if outcome.value is not None else self._failures_in_a_row + 1
            down = self._failures_in_a_row >= MOST_FAILURES
        if down:
            self.halt(f"{MOST_FAILURES} requests in a row came to nothing, the last: {outcome.problem}")

    def halt(self, reason: str) -> None:
        """No more calls; those that wait stop waiting."""
        if not self.gives_up:
            return
        with self._lock:
            self.halt_reason = self.halt_reason or reason
        self._halted.set()

    def _choose_wait(self, retry: int, failure: CallFailedError | None) -> float:
        """As long as the server asks, else twice as long each time."""
        if failure is not None and failure.wait is not None:
            return failure.wait
        jitter = 1 - 0.5 * random.random()  # so that the threads do not come back together
        return min(self.settings.first_wait * 2.0**retry, LONGEST_WAIT) * jitter

    def _wait(self, seconds: float) -> bool:
        return not self._halted.wait(seconds)


def dump_choices(choices: Sequence[Choice], keep: str) -> dict[str, str]:
    """The first text as it came (or what came in its place), or all as a JSON list of [text, why it ended]."""
    if keep == "none":
        return {"raw": ""}
    if keep == "all":
        return {"raw": json.dumps([[one.text, one.finish] for one in choices], ensure_ascii=False)}
    first = choices[0]
    return {"raw": first.refusal if first.text is None else first.text, "finish": first.finish}


def name_moment() -> str:
    """Now, for the log."""
    return datetime.now(UTC).isoformat("T", "seconds")
