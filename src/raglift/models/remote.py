"""`model: openai:NAME@URL`: a model on one or several OpenAI-compatible servers as a TextModel."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from raglift.config import REMOTE_PREFIX, AnswerConfig, Config
from raglift.errors import InputError, RunError
from raglift.models.caller import Asked, Caller, Outcome, ServerPool
from raglift.models.calls import Call, CallLog
from raglift.models.completions import Completion, TokenWatch
from raglift.models.server import CallFailedError, Choice, ModelServer, ServerReply, is_address
from raglift.models.streaming import PieceStream
from raglift.runfolder import hash_content
from raglift.sanitization import clean_line

THOUGHTS = re.compile(r"\A\s*<think>.*?(</think>|\Z)", re.DOTALL)
# How servers say that they do not take a field (n: vLLM, llama.cpp and OpenAI each in its own words)
REFUSALS = {
    "n": re.compile(r"""['"`]n\\?['"`]|\bn (must|should|value|is)\b|\bone completion\b"""),
    "seed": re.compile(r"\bseed\b"),
    "stream_options": re.compile(r"\bstream_options\b"),
    "max_tokens": re.compile(r"\bmax_completion_tokens\b"),
}


@dataclass(frozen=True)
class RemoteName:
    """A model's name on its servers, and their addresses."""

    name: str
    urls: tuple[str, ...]


def parse_remote(model: str) -> RemoteName:
    """Read `openai:NAME@URL`, or with further `,URL` (or `,openai:NAME@URL`); InputError for anything else."""
    names, urls = [], []
    for number, part in enumerate(piece.strip() for piece in model.split(",")):
        if number and not part.startswith(REMOTE_PREFIX):
            urls.append(part)
            continue
        name, _, url = part.removeprefix(REMOTE_PREFIX).rpartition("@")
        names.append(name)
        urls.append(url)
    if not names[0] or len(set(names)) > 1 or not all(map(is_address, urls)):
        found = f"the names {', '.join(dict.fromkeys(names))}" if len(set(names)) > 1 else repr(model)
        raise InputError(
            "model",
            found,
            f"{REMOTE_PREFIX}NAME@URL with one name and http(s) addresses up to /v1, several with commas between",
            f"for example model: {REMOTE_PREFIX}qwen3@http://localhost:8000/v1; a key is no part of the address, "
            "it belongs into the environment variable that remote.api_key_env names",
        )
    return RemoteName(names[0], tuple(dict.fromkeys(url.rstrip("/") for url in urls)))


def identify_remote(config: Config) -> str:
    """A hash of all that decides what the model writes. The address is no part of it: a model that moves to another
    server keeps its answers, and several servers share them; `remote.revision` tells apart what a name hides."""
    settings = config.remote
    return hash_content("openai", parse_remote(config.model).name, settings.api, settings.revision, settings.extra)


class RemoteModel:
    """A model that others run.

    Args:
        config: its name, addresses and `remote` settings.
        log: the run folder's calls.
        gives_up: whether failures that would not pass end all calling; a server for people tries on.
    """

    def __init__(self, config: Config, log: CallLog, *, gives_up: bool = True) -> None:
        remote = parse_remote(config.model)
        self.name, self.settings, self.identity = remote.name, config.remote, identify_remote(config)
        servers = [ModelServer(url, remote.name, config.remote, "remote") for url in remote.urls]
        self.threads = config.remote.concurrency * len(servers)
        self.caller = Caller(ServerPool(servers), config.remote, log, "remote", gives_up=gives_up)
        self._tried = False
        self._refused: set[str] = set() if config.remote.seeds else {"seed"}

    def open_stream(self) -> PieceStream:
        """Joins the pieces that `complete_prompts` hands to its watch."""
        return PieceStream()

    def complete_prompts(
        self,
        prompts: Sequence[str],
        noise: Sequence[Sequence[str]],
        decoding: AnswerConfig,
        watch: TokenWatch | None = None,
    ) -> list[list[Completion]]:
        """As many requests at a time as the settings allow; with `watch` each sample is streamed on its own.

        Raises RunError when a text cannot be had: what came until then is kept and not paid for again.
        """
        if watch is None:
            jobs = [partial(self._sample, *asked, decoding) for asked in zip(prompts, noise, strict=True)]
            return self._run(jobs)
        flat = [(prompt, name) for prompt, names in zip(prompts, noise, strict=True) for name in names]
        rows = self._run(
            [partial(self._stream, *asked, decoding, partial(watch, row)) for row, asked in enumerate(flat)]
        )
        texts = iter(rows)
        return [[next(texts)[0] for _ in names] for names in noise]

    def _run(self, jobs: Sequence[Callable[[], list[Completion]]]) -> list[list[Completion]]:
        # The first request goes alone: what it learns (a wrong key, a field that is refused) spares the others.
        first = [] if self._tried else [jobs[0]()]
        self._tried, jobs = True, jobs[len(first) :]
        if len(jobs) < 2:
            return [*first, *(job() for job in jobs)]
        with ThreadPoolExecutor(min(self.threads, len(jobs)), thread_name_prefix="remote") as threads:
            futures = [threads.submit(job) for job in jobs]
            try:
                return [*first, *(future.result() for future in futures)]
            except BaseException as error:
                for future in futures:
                    future.cancel()
                self.caller.halt(str(error) or "interrupted")
                raise

    def _sample(self, prompt: str, names: Sequence[str], decoding: AnswerConfig) -> list[Completion]:
        """One request for all samples; one each for those that the server leaves out."""
        done: list[Completion] = []
        if len(names) > 1 and "n" not in self._refused:
            done = self._ask(prompt, names, decoding)[: len(names)]
            if len(done) < len(names):
                self._refused.add("n")
        for name in names[len(done) :]:
            done += self._ask(prompt, [name], decoding)[:1]
        return done

    def _ask(self, prompt: str, names: Sequence[str], decoding: AnswerConfig) -> list[Completion]:
        """The samples of one request, [] where the server refuses to give several. RunError where there are none."""
        request = hash_content(self.identity, prompt, list(names), describe_decoding(decoding))

        def ask() -> Asked:
            body = self._build_body(prompt, names, decoding)
            return Asked(lambda server: server.complete(body), keep="all")

        return self._obtain(request, ask, lambda call: read_completions(call, decoding), len(names))

    def _stream(
        self, prompt: str, name: str, decoding: AnswerConfig, watch: Callable[[int, str], bool]
    ) -> list[Completion]:
        """One sample, piece by piece; once a piece has come, nothing is tried again."""
        reading = Reading(decoding, watch)

        def ask() -> Asked:
            body = self._build_body(prompt, [name], decoding)
            if "stream_options" not in self._refused:
                body["stream_options"] = {"include_usage": True}
            return Asked(lambda server: reading.follow(server, body), keep="none")

        return self._obtain("", ask, lambda call: Outcome([reading.complete()]), 1)

    def _obtain(
        self, request: str, ask: Callable[[], Asked], read: Callable[[Call], Outcome[list[Completion]]], samples: int
    ) -> list[Completion]:
        """The completions, asked for without what the server refuses."""
        outcome: Outcome[list[Completion]] = Outcome(None)
        for _ in range(len(REFUSALS) + 1):
            outcome = self.caller.obtain(request, 0, ask, read)
            if outcome.value is not None:
                return outcome.value
            if outcome.failure is None or not self._learn(outcome.failure):
                break
            if samples > 1 and "n" in self._refused:
                return []
        raise self._explain(outcome)

    def _build_body(self, prompt: str, names: Sequence[str], decoding: AnswerConfig) -> dict[str, Any]:
        chat = self.settings.api == "chat"
        body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
        body |= {limit: decoding.max_new_tokens, "temperature": decoding.temperature}
        if len(names) > 1:
            body["n"] = len(names)
        if "seed" not in self._refused:
            body["seed"] = draw_seed(names)
        if self.settings.extra:
            body["extra_body"] = self.settings.extra
        return body

    def _learn(self, failure: CallFailedError) -> bool:
        """Note the fields that the server says it does not take; whether there are any."""
        if failure.status not in (400, 422, 500):
            return False
        named = {name for name, pattern in REFUSALS.items() if pattern.search(failure.raw)}
        self._refused |= named
        return bool(named)

    def _explain(self, outcome: Outcome[Any]) -> RunError:
        problem = self.caller.halt_reason or outcome.problem
        said = (
            f"\n  the server said: {clean_line(outcome.failure.raw)}" if outcome.failure and outcome.failure.raw else ""
        )
        return RunError(
            f"model '{REMOTE_PREFIX}{self.name}': {problem}{said}\n"
            "  to do: mend that and give the same command again; every reply so far is kept and not paid for again"
        )


class Reading:
    """One streamed text: what it has so far, passed on as far as it can no longer change."""

    def __init__(self, decoding: AnswerConfig, watch: Callable[[int, str], bool]) -> None:
        self.decoding, self.watch = decoding, watch
        self.raw, self.finish, self.passed = "", "", ""
        self.chunks = 0

    def follow(self, server: ModelServer, body: dict[str, Any]) -> ServerReply:
        """Read to the end, or until enough is there. CallFailedError; one that passes only before the first piece."""
        events = prompt_tokens = reply_tokens = 0
        try:
            for part in server.stream(body):
                events += 1
                prompt_tokens = part.prompt_tokens or prompt_tokens
                reply_tokens = part.reply_tokens or reply_tokens
                if not self._take(part.choices[0]):
                    break
        except CallFailedError as error:
            if self.chunks:
                raise CallFailedError(error.problem, error.raw, status=error.status, passing=False) from None
            raise
        if not events:
            raise CallFailedError(f"{server.url}: no events, though a stream was asked for", passing=False)
        # A stream that was left early, or a server that does not count: a piece is mostly one token.
        self.tokens = reply_tokens or self.chunks
        return ServerReply((Choice(self.raw, self.finish),), prompt_tokens, self.tokens)

    def complete(self) -> Completion:
        """The whole text."""
        return make_completion(Choice(self.raw, self.finish), self.tokens, self.decoding)

    def _take(self, choice: Choice) -> bool:
        self.finish = choice.finish or self.finish
        if not choice.text:
            return True
        self.raw += choice.text
        self.chunks += 1
        text = clean_reply(self.raw, self.decoding)
        piece, self.passed = text[len(self.passed) :], max(self.passed, text, key=len)
        going = self.watch(self.chunks - 1, piece)
        return going and not is_complete(self.raw, self.decoding)


def read_completions(call: Call, decoding: AnswerConfig) -> Outcome[list[Completion]]:
    """The texts of a call, its tokens shared out evenly: servers count them together."""
    try:
        choices = [Choice(text, str(finish)) for text, finish in json.loads(call.raw)]
    except (ValueError, TypeError):
        return Outcome(None, "an entry of remote.jsonl that cannot be read")
    share = round(call.reply_tokens / max(1, len(choices)))
    return Outcome([make_completion(choice, share, decoding) for choice in choices])


def make_completion(choice: Choice, tokens: int, decoding: AnswerConfig) -> Completion:
    """A reply as the local models end theirs: stripped, and at its first line break where the run says so."""
    raw = choice.text or ""
    cut = choice.finish == "length" and not is_complete(raw, decoding)
    return Completion(clean_reply(raw, decoding), tokens, cut)


def clean_reply(raw: str, decoding: AnswerConfig) -> str:
    """The answer in a text: without the thoughts in front of it, which are no part of what is graded."""
    if "<think>".startswith(raw.lstrip()):  # it may become one
        return ""
    text = THOUGHTS.sub("", raw).strip()
    return text.partition("\n")[0].strip() if decoding.stop == "line" else text


def is_complete(raw: str, decoding: AnswerConfig) -> bool:
    """Whether a first line is there and over, in a run whose answers end there."""
    return decoding.stop == "line" and "\n" in THOUGHTS.sub("", raw).lstrip()


def describe_decoding(decoding: AnswerConfig) -> list[Any]:
    """What of the decoding a request holds."""
    return [decoding.max_new_tokens, decoding.temperature]


def draw_seed(names: Sequence[str]) -> int:
    """The seed of a request, by the names of its samples' noise."""
    return int.from_bytes(hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).digest()[:4], "little") >> 1
