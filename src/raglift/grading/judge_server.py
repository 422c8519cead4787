"""One call to an OpenAI-compatible server; whatever goes wrong becomes one kind of error with what to do about it."""

from __future__ import annotations

import email.utils
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raglift.config import JudgeConfig
from raglift.grading.judge_prompt import build_response_format

LARGEST_REPLY = 2**20  # bytes; a server that sends more is not answering
SHOWN_ERROR = 2000  # characters of a failed call's body that are kept
PASSING = {408, 409, 425, 429}  # and 5xx: the same call may succeed later
HOPELESS = {401, 402, 403, 404}  # every other call would fail the same way


@dataclass(frozen=True)
class ServerReply:
    """A chat completion's text, why it ended and what it cost."""

    text: str
    finish: str
    prompt_tokens: int
    reply_tokens: int


class CallFailedError(Exception):
    """No reply came.

    Args:
        problem: one line for people.
        raw: what the server sent instead.
        wait: seconds that the server asks to wait, None where it does not say.
        passing: whether the same call may succeed later.
        hopeless: whether every other call would fail too (a wrong key, model or address).
    """

    def __init__(
        self, problem: str, raw: str = "", *, wait: float | None = None, passing: bool = True, hopeless: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem, self.raw, self.wait, self.passing, self.hopeless = problem, raw, wait, passing, hopeless


class JudgeServer:
    """A client for many threads. It never retries by itself: every call is the caller's to count."""

    def __init__(self, settings: JudgeConfig) -> None:
        import openai  # heavy: only where a judge is used

        self.settings = settings
        self._key = os.environ.get(settings.api_key_env, "")
        self._openai = openai
        self._client = openai.OpenAI(
            base_url=settings.url,
            api_key=self._key or "none",  # local servers want none, the client wants one
            timeout=settings.timeout,
            max_retries=0,
        )

    def complete(self, messages: list[dict[str, str]]) -> ServerReply:
        """The reply to one chat at temperature 0. Raises CallFailedError."""
        try:
            body = self._send(messages)
        except self._openai.APITimeoutError:
            raise CallFailedError(f"no reply within {self.settings.timeout:g} s (judge.timeout)") from None
        except self._openai.APIStatusError as error:
            raise self._explain_status(error.status_code, error.response) from None
        except self._openai.APIConnectionError as error:
            raise CallFailedError(f"no connection to {self.settings.url} ({error.__cause__ or error})") from None
        return read_completion(self._hide_key(body))

    def _send(self, messages: list[dict[str, str]]) -> str:
        response_format = build_response_format(self.settings.reply_format)
        extra: dict[str, Any] = {} if response_format is None else {"response_format": response_format}
        deadline = time.monotonic() + self.settings.timeout
        request: Any = self._client.chat.completions.with_streaming_response  # typed for literal messages only
        with request.create(
            model=self.settings.model,
            messages=messages,
            temperature=0,
            max_tokens=self.settings.reply_tokens,
            **extra,
        ) as response:
            return self._read_body(response, deadline)

    def _read_body(self, response: Any, deadline: float) -> str:
        """The body by its deadline: the client's own limit starts anew with every byte of a dripping server."""
        data = bytearray()
        try:
            for part in response.iter_bytes():
                data += part
                if time.monotonic() > deadline:
                    raise CallFailedError(f"no whole reply within {self.settings.timeout:g} s (judge.timeout)")
                if len(data) > LARGEST_REPLY:
                    raise CallFailedError(
                        f"a reply of more than {LARGEST_REPLY} bytes", _shorten(data.decode("latin-1"))
                    )
        except CallFailedError:
            raise
        except Exception as error:  # the transport's own errors, which the client does not wrap here
            broken = self._hide_key(data.decode("utf-8", "replace"))
            raise CallFailedError(f"the reply broke off ({type(error).__name__}: {error})", _shorten(broken)) from None
        return data.decode("utf-8", "replace")

    def _explain_status(self, status: int, response: Any) -> CallFailedError:
        raw = _shorten(self._hide_key(response.text))
        problem = f"HTTP {status} from {self.settings.url}"
        if status in (401, 403):
            problem += f": the key in ${self.settings.api_key_env} is " + ("refused" if self._key else "not set")
        elif status == 404:
            problem += f": no model '{self.settings.model}' or a wrong judge.url"
        elif status in (400, 422) and "response_format" in raw:
            problem += ": it does not take this reply format, set judge.reply_format to json_object or text"
        passing = status in PASSING or status >= 500
        wait = read_retry_after(response.headers) if passing else None
        return CallFailedError(problem, raw, wait=wait, passing=passing, hopeless=status in HOPELESS)

    def _hide_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def read_completion(body: str) -> ServerReply:
    """The text of a chat completion. Raises CallFailedError where the body is none (a proxy's page, half of one)."""
    try:
        value = json.loads(body)
        choice = value["choices"][0]
        message, usage = choice["message"], value.get("usage") or {}
        text = message.get("content")
        if text is None:  # a refusal: a reply, though no verdict
            text = json.dumps(message, ensure_ascii=False)
        if not isinstance(text, str):
            raise TypeError(f"content is a {type(text).__name__}")
        finish = str(choice.get("finish_reason") or "")
        tokens = [_read_tokens(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CallFailedError(f"no chat completion ({type(error).__name__}: {error})", _shorten(body)) from None
    return ServerReply(text, finish, *tokens)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms` or `retry-after` (seconds or an HTTP date); None without a usable one."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        moment = email.utils.parsedate_to_datetime(headers["retry-after"])
        return max(0.0, moment.timestamp() - time.time())
    except (KeyError, ValueError, OverflowError):
        return None


def _read_tokens(usage: Mapping[str, Any], name: str) -> int:
    count = usage.get(name)
    return count if isinstance(count, int) and count > 0 else 0


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_ERROR else text[:SHOWN_ERROR] + " …"
