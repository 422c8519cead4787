"""A language model as grader: several votes for every different answer, asked concurrently, never guessed.

What cannot be settled (no reply, an unreadable one, no majority) is `unscored` and says why.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raglift.config import Config, JudgeConfig, require_judge
from raglift.engines import Engine
from raglift.engines.local import LocalEngine
from raglift.errors import InputError, RunError
from raglift.grading.grades import Task
from raglift.grading.judge_prompt import (
    UnreadableReplyError,
    Vote,
    build_messages,
    build_response_format,
    collect_material,
    draw_code,
    read_reply,
)
from raglift.models.caller import Asked, Caller, Outcome, ServerPool
from raglift.models.calls import Call, CallLog, format_spending
from raglift.models.server import ModelServer, send_body
from raglift.progress import say
from raglift.records import Experiment, Question, Rubric, Verdict
from raglift.runfolder import hash_content

SHOWN_REPLY = 200  # characters of an unreadable reply in a grade's reason; judge.jsonl holds all of it

Ballot = Outcome[Vote]  # one vote of one request: the vote, or why there is none


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


class JudgeGrader:
    """Grades by a chat model; see `JudgeConfig`.

    Args:
        settings: server, model, votes, limits.
        experiment: for passages.
        log: the calls so far, both cache and account.
        seed: of the order of asking, so that no arm comes first.
    """

    name = "judge"

    def __init__(self, settings: JudgeConfig, experiment: Experiment, log: CallLog, seed: int = 0) -> None:
        self.settings, self.experiment, self.log, self.seed = settings, experiment, log, seed
        self.engine: Engine = LocalEngine()  # where the calls wait; their account is kept here
        server = ModelServer(settings.url, settings.model, settings, "judge")
        self.caller = Caller(ServerPool([server]), settings, log, "judge")

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
        """Who judged and what all calls cost so far."""
        settings = self.settings
        return {"model": settings.model, "url": settings.url, "votes": settings.votes, **self.log.describe(settings)}

    def finish(self) -> None:
        """Say what was spent; RunError where judging had to stop."""
        now, ever = (format_spending(spent, self.settings) for spent in (self.log.spent_now, self.log.spent))
        say(f"judge: {now}; in all so far: {ever}")
        if self.caller.halt_reason:
            raise RunError(
                f"judge stopped: {self.caller.halt_reason}\n"
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
                f"{spent} calls spent ({self.log.file}) and {needed} more needed; nothing was asked",
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
                self.caller.halt("interrupted")
                raise

    def _obtain_vote(self, request: Request, number: int) -> Ballot:
        """A vote that was paid for, else a new one with retries."""

        def ask() -> Asked:
            code = draw_code(request.material)
            settings = self.settings
            body: dict[str, Any] = {
                "messages": build_messages(request.material, code),
                "temperature": 0,
                "max_tokens": settings.reply_tokens,
            }
            response_format = build_response_format(settings.reply_format)
            if response_format is not None:
                body["response_format"] = response_format
            return Asked(lambda server: self.engine.call(send_body, (server, body)), code)

        ballot = self.caller.obtain(request.id, number, ask, read_ballot)
        failure = ballot.failure
        if failure is not None and failure.status in (400, 422) and "response_format" in failure.raw:
            hint = "it does not take this reply format, set judge.reply_format to json_object or text"
            return Outcome(None, f"{ballot.problem}: {hint}", failure)
        return ballot


def build_judge(experiment: Experiment, config: Config, calls: Path) -> JudgeGrader:
    """The judge of a config, with the file of its calls; InputError where its server or model is not set."""
    return JudgeGrader(require_judge(config), experiment, CallLog(calls), config.seed)


def read_ballot(call: Call) -> Ballot:
    """The vote in a call's reply, else what is wrong with it."""
    if call.error:
        return Outcome(None, f"no reply: {call.error}")
    try:
        return Outcome(read_reply(call.raw, call.code))
    except UnreadableReplyError as error:
        cut = " (cut at judge.reply_tokens)" if call.finish == "length" else ""
        return Outcome(None, f"unreadable reply{cut}, {error}: {call.raw[:SHOWN_REPLY]!r}")


def decide_verdict(ballots: Sequence[Ballot]) -> Judgement:
    """What more than half of all votes say, votes that failed included in the count; else unscored."""
    votes = [ballot.value for ballot in ballots if ballot.value is not None]
    for verdict in ("correct", "incorrect"):
        agreeing = [vote for vote in votes if vote.verdict == verdict]
        if 2 * len(agreeing) > len(ballots):
            return Judgement(verdict, f"{len(agreeing)} of {len(ballots)} votes: {agreeing[0].reason}")  # type: ignore[arg-type]
    problems = [ballot.problem for ballot in ballots if ballot.problem]
    said = ", ".join(f"{sum(v.verdict == one for v in votes)} {one}" for one in ("correct", "incorrect"))
    return Judgement("unscored", f"no majority of {len(ballots)} votes ({said}); " + "; ".join(problems[:1]))
