"""A language model as grader: several votes for every different answer, asked concurrently, never guessed.

What cannot be settled (no reply, an unreadable one, no majority) is `unscored` and says why.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from raglift.config import Config, JudgeConfig, require_judge
from raglift.errors import InputError, RunError
from raglift.grading.grades import Task
from raglift.grading.judge_cache import Call, CallLog, Spending
from raglift.grading.judge_prompt import (
    UnreadableReplyError,
    Vote,
    build_messages,
    collect_material,
    draw_code,
    read_reply,
)
from raglift.grading.judge_server import CallFailedError, JudgeServer
from raglift.progress import say
from raglift.records import Experiment, Question, Rubric, Verdict
from raglift.runfolder import RunFolder, hash_content

LONGEST_WAIT = 300.0  # seconds; a server that asks for more is not waited for
MOST_FAILURES = 10  # votes given up in a row, none between them obtained: then the server is down
SHOWN_REPLY = 200  # characters of an unreadable reply in a grade's reason; judge.jsonl holds all of it


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason; `evidence` is empty, for a judge's quotations are not checked."""

    verdict: Verdict
    reason: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """All that is asked about one different answer; `id` hashes it with the model and how it is asked."""

    id: str
    material: dict[str, str]


@dataclass(frozen=True)
class Ballot:
    """One vote of one request: the vote, or why there is none."""

    vote: Vote | None
    problem: str = ""


class JudgeGrader:
    """Grades by a chat model; see `JudgeConfig`.

    Args:
        settings: server, model, votes, limits.
        experiment: for passages.
        log: the run folder's calls, both cache and account.
        seed: of the order of asking, so that no arm comes first.
    """

    name = "judge"

    def __init__(self, settings: JudgeConfig, experiment: Experiment, log: CallLog, seed: int = 0) -> None:
        self.settings, self.experiment, self.log, self.seed = settings, experiment, log, seed
        self.server = JudgeServer(settings)
        self._halted = threading.Event()
        self._halt_reason = ""
        self._failures_in_a_row = 0
        self._lock = threading.Lock()

    def grade(self, question: Question, answer_text: str, rubric: Rubric | None = None) -> Judgement:
        """Grade one answer."""
        return self.grade_many([Task(question, answer_text, rubric)], lambda: None)[0]

    def grade_many(self, tasks: Sequence[Task], advance: Callable[[], None]) -> list[Judgement]:
        """Grade answers in their order; identical ones are asked about once. `advance` is called once for each.

        Raises InputError before anything is spent where the limits cannot suffice.
        """
        requests = [self.build_request(task) for task in tasks]
        shares: dict[str, int] = {}
        for request in requests:
            shares[request.id] = shares.get(request.id, 0) + 1
        unique = list({request.id: request for request in requests}.values())
        self._check_limits(unique)
        random.Random(self.seed).shuffle(unique)
        judged: dict[str, Judgement] = {}
        for request, ballots in self._collect_ballots(unique):
            judged[request.id] = decide_verdict(ballots)
            for _ in range(shares[request.id]):
                advance()
        return [judged[request.id] for request in requests]

    def build_request(self, task: Task) -> Request:
        """What is asked about an answer, identified by its content."""
        material = collect_material(self.experiment, task.question, task.text, task.rubric)
        settings = self.settings
        asked = build_messages(material, "code")
        identity = hash_content(settings.url, settings.model, settings.reply_format, settings.reply_tokens, asked)
        return Request(identity, material)

    def describe_spending(self) -> dict[str, Any]:
        """Who judged and what the run folder's calls cost so far."""
        settings = self.settings
        return {"model": settings.model, "url": settings.url, "votes": settings.votes, **self.log.describe()}

    def finish(self) -> None:
        """Say what was spent; RunError where judging had to stop."""
        say(f"judge: {format_spending(self.log.spent_now)}; this run folder so far: {format_spending(self.log.spent)}")
        if self._halt_reason:
            raise RunError(
                f"judge stopped: {self._halt_reason}\n"
                "  to do: mend that and give the same command again; every reply so far is kept and not paid again"
            )

    def _check_limits(self, requests: Sequence[Request]) -> None:
        votes = self.settings.votes
        needed = sum(not self.log.list_replies(one.id, vote) for one in requests for vote in range(votes))
        limit, spent = self.settings.max_calls, self.log.spent.calls
        say(
            f"judge {self.settings.model}: {len(requests)} different answers × {votes} votes, "
            f"{len(requests) * votes - needed} of them known, {needed} calls to make; {spent} of {limit} calls spent"
        )
        if spent + needed > limit:
            raise InputError(
                f"judge.max_calls is {limit}",
                f"{spent} calls spent in this run folder and {needed} more needed; nothing was asked",
                f"at least {spent + needed}",
                f"--set judge.max_calls={spent + needed + needed // 10} (retries count too), or fewer judge.votes",
            )

    def _collect_ballots(self, requests: Sequence[Request]) -> Iterator[tuple[Request, list[Ballot]]]:
        """(request, ballots) for each request as its last vote comes in."""
        votes = self.settings.votes
        with ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="judge") as pool:
            try:
                waiting = {
                    pool.submit(lambda one: [self._obtain_vote(one, vote) for vote in range(votes)], request): request
                    for request in requests
                }
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
            except BaseException:
                self._halt("interrupted")
                raise

    def _obtain_vote(self, request: Request, number: int) -> Ballot:
        """A vote that was paid for, else a new one with retries."""
        ballot = Ballot(None, "not asked")
        known = self.log.list_replies(request.id, number)
        for call in known:
            ballot = read_ballot(call)
            if ballot.vote is not None:
                return ballot
        if len(known) >= self.settings.attempts:
            return ballot
        wait: float | None = None
        for attempt in range(len(known), self.settings.attempts):
            if attempt > len(known) and not self._wait(attempt - len(known), wait):
                break
            refused = self._halt_reason or self.log.reserve(self.settings.max_calls, self.settings.max_tokens)
            if refused:
                self._halt(refused)
                return ballot if ballot.problem != "not asked" else Ballot(None, f"not asked: {refused}")
            ballot, failure = self._ask(request, number)
            if ballot.vote is not None or (failure and not failure.passing):
                break
            wait = failure.wait if failure else None
            if wait is not None and wait > LONGEST_WAIT:
                ballot = Ballot(None, f"{ballot.problem}; the server asks to wait {wait:.0f} s")
                break
        self._note_outcome(ballot)
        return ballot

    def _ask(self, request: Request, number: int) -> tuple[Ballot, CallFailedError | None]:
        """One call, on the disk before its vote is used."""
        code, started, moment = draw_code(request.material), monotonic(), datetime.now(UTC).isoformat("T", "seconds")
        failure = None
        reply = {"raw": ""}
        try:
            found = self.server.complete(build_messages(request.material, code))
            reply = {"raw": found.text, "finish": found.finish}
            tokens = (found.prompt_tokens, found.reply_tokens)
        except CallFailedError as error:
            failure, tokens = error, (0, 0)
            reply = {"raw": error.raw, "error": error.problem}
            if error.hopeless:
                self._halt(error.problem)
        seconds = round(monotonic() - started, 3)
        call = Call(
            request.id, number, code, **reply,
            prompt_tokens=tokens[0], reply_tokens=tokens[1], seconds=seconds, time=moment,
        )  # fmt: skip
        self.log.record(call)
        return read_ballot(call), failure

    def _wait(self, retry: int, asked: float | None) -> bool:
        """Wait as long as the server asks, else twice as long each time; False when judging stops meanwhile."""
        jitter = 1 - 0.5 * random.random()  # so that the threads do not come back together
        backed_off = min(self.settings.first_wait * 2 ** (retry - 1), LONGEST_WAIT) * jitter
        return not self._halted.wait(asked if asked is not None else backed_off)

    def _note_outcome(self, ballot: Ballot) -> None:
        with self._lock:
            self._failures_in_a_row = 0 if ballot.vote else self._failures_in_a_row + 1
            down = self._failures_in_a_row >= MOST_FAILURES
        if down:
            self._halt(f"{MOST_FAILURES} votes in a row could not be obtained, the last: {ballot.problem}")

    def _halt(self, reason: str) -> None:
        with self._lock:
            self._halt_reason = self._halt_reason or reason
        self._halted.set()


def build_judge(experiment: Experiment, config: Config, folder: RunFolder) -> JudgeGrader:
    """The judge of a run; InputError where its server or model is not set."""
    return JudgeGrader(require_judge(config), experiment, CallLog(folder.path / "judge.jsonl"), config.seed)


def read_ballot(call: Call) -> Ballot:
    """The vote in a call's reply, else what is wrong with it."""
    if call.error:
        return Ballot(None, f"no reply: {call.error}")
    try:
        return Ballot(read_reply(call.raw, call.code))
    except UnreadableReplyError as error:
        cut = " (cut at judge.reply_tokens)" if call.finish == "length" else ""
        return Ballot(None, f"unreadable reply{cut}, {error}: {call.raw[:SHOWN_REPLY]!r}")


def decide_verdict(ballots: Sequence[Ballot]) -> Judgement:
    """What more than half of all votes say, votes that failed included in the count; else unscored."""
    votes = [ballot.vote for ballot in ballots if ballot.vote is not None]
    for verdict in ("correct", "incorrect"):
        agreeing = [vote for vote in votes if vote.verdict == verdict]
        if 2 * len(agreeing) > len(ballots):
            return Judgement(verdict, f"{len(agreeing)} of {len(ballots)} votes: {agreeing[0].reason}")  # type: ignore[arg-type]
    problems = [ballot.problem for ballot in ballots if ballot.problem]
    said = ", ".join(f"{sum(v.verdict == one for v in votes)} {one}" for one in ("correct", "incorrect"))
    return Judgement("unscored", f"no majority of {len(ballots)} votes ({said}); " + "; ".join(problems[:1]))


def format_spending(spending: Spending) -> str:
    """One line for people."""
    failed = f" ({spending.failed} failed)" if spending.failed else ""
    return (
        f"{spending.calls} calls{failed}, {spending.prompt_tokens:,} + {spending.reply_tokens:,} tokens, "
        f"{spending.seconds:.1f} s of waiting"
    )
