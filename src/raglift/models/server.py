"""One call to an OpenAI-compatible server; whatever goes wrong becomes one kind of error with what to do about it."""

from __future__ import annotations

import email.utils
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from raglift.config import ServerConfig
from raglift.errors import InputError
from raglift.offline import is_here, require_local

LARGEST_REPLY = 2**20  # bytes; a server that sends more is not answering
SHOWN_ERROR = 2000  # characters of a failed call's body that are kept
PASSING = {408, 409, 425, 429}  # and 5xx: the same call may succeed later
HOPELESS = {401, 402, 403, 404}  # every other call would fail the same way
PAIRS = "RAGLIFT_KEYS"  # the environment variable in which the user says which key goes where
OWN_PAIR = ("OPENAI_API_KEY", "api.openai.com")  # goes without saying
# The client sends these from the environment to whatever server it is given.
OWN_VARIABLES = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")


@dataclass(frozen=True)
class Choice:
    """One text of a reply and why it ended; `refusal` is what came where the text is None."""

    text: str | None
    finish: str
    refusal: str = ""


@dataclass(frozen=True)
class ServerReply:
    """The texts of one call and what it cost; tokens are 0 where the server does not say."""

    choices: tuple[Choice, ...]
    prompt_tokens: int
    reply_tokens: int


class CallFailedError(Exception):
    """No reply came.

    Args:
        problem: one line for people.
        raw: what the server sent instead.
        status: its HTTP status, 0 without one.
        wait: seconds that the server asks to wait, None where it does not say.
        passing: whether the same call may succeed later.
    """

    def __init__(
        self, problem: str, raw: str = "", *, status: int = 0, wait: float | None = None, passing: bool = True
    ) -> None:
        super().__init__(problem)
        self.problem, self.raw, self.status, self.wait, self.passing = problem, raw, status, wait, passing

    @property
    def hopeless(self) -> bool:
        """Whether every other call would fail too (a wrong key, model or address)."""
        return self.status in HOPELESS


class ModelServer:
    """A client for many threads. It never retries by itself: every call is the caller's to count.

    Args:
        url: the address up to `/v1`.
        model: the name that the server lists.
        settings: key, time-out.
        section: the section of the config that errors name.
    """

    def __init__(self, url: str, model: str, settings: ServerConfig, section: str) -> None:
        import openai  # heavy: only where a server is used

        if not is_address(url):
            raise InputError(f"{section}: {url}", "no plain address", "for example http://localhost:8000/v1")
        require_local(url, f"{section}: {url}")

        self.url, self.model, self.settings, self.section = url, model, settings, section
        self._openai = openai
        host = urlsplit(url).hostname or ""
        self._key = read_key(settings.api_key_env, host, section)
        with hide_variables(() if may_receive(host, OWN_PAIR[0]) else OWN_VARIABLES):
            self._client = openai.OpenAI(
                base_url=url,
                api_key=self._key or "none",  # local servers want none, the client wants one
                timeout=settings.timeout,
                max_retries=0,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """As its address and settings: a process that gets it from another opens one, with the key of its own
        environment, and keeps it."""
        return open_server, (self.url, self.model, self.settings, self.section)

    def complete(self, body: Mapping[str, Any]) -> ServerReply:
        """The reply to a chat (a body with `messages`) or to a text to go on with (with `prompt`).

        Raises CallFailedError.
        """
        deadline = time.monotonic() + self.settings.timeout
        request: Any = self._client.chat.completions if "messages" in body else self._client.completions
        with (
            self._explain_failures(),
            request.with_streaming_response.create(model=self.model, **body) as response,
        ):
            data = self._read_body(response, deadline)
        return read_completion(self._hide_key(data))

    def stream(self, body: Mapping[str, Any]) -> Iterator[ServerReply]:
        """The pieces of one text while it is written, each a reply with one choice; costs come with the last."""
        deadline = time.monotonic() + self.settings.timeout
        request: Any = self._client.chat.completions if "messages" in body else self._client.completions
        with self._explain_failures(), request.create(model=self.model, stream=True, **body) as chunks:
            for chunk in chunks:
                if time.monotonic() > deadline:
                    raise CallFailedError(self._name_limit("no whole reply"))
                yield read_chunk(chunk)

    @contextmanager
    def _explain_failures(self) -> Iterator[None]:
        try:
            yield
        except CallFailedError:
            raise
        except self._openai.APITimeoutError:
            raise CallFailedError(self._name_limit("no reply")) from None
        except self._openai.APIStatusError as error:
            raise self._explain_status(error.status_code, error.response) from None
        except self._openai.APIConnectionError as error:
            raise CallFailedError(f"no connection to {self.url} ({error.__cause__ or error})") from None
        except self._openai.APIError as error:  # an error event in a stream
            raise CallFailedError(f"{self.url}: {self._hide_key(_shorten(str(error)))}") from None

    def _name_limit(self, what: str) -> str:
        return f"{what} within {self.settings.timeout:g} s ({self.section}.timeout)"

    def _read_body(self, response: Any, deadline: float) -> str:
        """The body by its deadline: the client's own limit starts anew with every byte of a dripping server."""
        data = bytearray()
        try:
            for part in response.iter_bytes():
                data += part
                if time.monotonic() > deadline:
                    raise CallFailedError(self._name_limit("no whole reply"))
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
        response.read()
        raw = _shorten(self._hide_key(response.text))
        problem = f"HTTP {status} from {self.url}"
        if status in (401, 403):
            problem += f": the key in ${self.settings.api_key_env} is " + ("refused" if self._key else "not set")
        elif status == 404:
            problem += f": no model '{self.model}' or a wrong address"
        passing = status in PASSING or status >= 500
        wait = read_retry_after(response.headers) if passing else None
        return CallFailedError(problem, raw, status=status, wait=wait, passing=passing)

    def _hide_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def is_address(url: str) -> bool:
    """Whether all who read the address find the same host in it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and not set("@\\") & set(parts.netloc + parts.query)


def read_key(name: str, host: str, section: str) -> str:
    """The key in the environment variable `name` for a server; '' where it is not set.

    An experiment names both, and it may be a stranger's: InputError where the user has not paired them.
    """
    key = os.environ.get(name, "")
    if not key or may_receive(host, name):
        return key
    raise InputError(
        f"{section}.api_key_env: {name}",
        f"the value of ${name} would be sent to {host}",
        f"{name}@{host} in ${PAIRS}: an experiment may be a stranger's, so what it may send is said outside of it",
        f"export {PAIRS}={name}@{host} where you trust that server (several with commas between), "
        f"or send no key: --set {section}.api_key_env=''",
    )


def may_receive(host: str, name: str) -> bool:
    """Whether the value of an environment variable may go to a host: this machine, or paired by the user."""
    said = (pair.rpartition("@") for pair in os.environ.get(PAIRS, "").split(","))
    pairs = {OWN_PAIR, *((variable.strip(), to.strip().casefold()) for variable, _, to in said)}
    return is_here(host) or (name, host.casefold()) in pairs


@contextmanager
def hide_variables(names: Sequence[str]) -> Iterator[None]:
    """Environment variables that are not there for a while."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def read_completion(body: str) -> ServerReply:
    """The texts of a completion. Raises CallFailedError where the body is none (a proxy's page, half of one)."""
    try:
        value = json.loads(body)
        choices = tuple(map(_read_choice, value["choices"]))
        usage = value.get("usage") or {}
        if not choices:
            raise LookupError("no choices")
        tokens = [_read_tokens(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CallFailedError(f"no completion ({type(error).__name__}: {error})", _shorten(body)) from None
    return ServerReply(choices, *tokens)


def read_chunk(chunk: Any) -> ServerReply:
    """One event of a stream; its text is '' where it brings none."""
    usage = getattr(chunk, "usage", None)
    tokens = [int(getattr(usage, name, 0) or 0) for name in ("prompt_tokens", "completion_tokens")]
    text, finish = "", ""
    for choice in (chunk.choices or ())[:1]:
        delta = getattr(choice, "delta", None)
        text = (getattr(choice, "text", None) if delta is None else delta.content) or ""
        finish = choice.finish_reason or ""
    return ServerReply((Choice(text, finish),), *tokens)


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


def _read_choice(choice: Mapping[str, Any]) -> Choice:
    finish = str(choice.get("finish_reason") or "")
    if "message" not in choice:
        if not isinstance(choice["text"], str):
            raise TypeError(f"text is a {type(choice['text']).__name__}")
        return Choice(choice["text"], finish)
    message = choice["message"]
    text = message.get("content")
    if text is None:  # a refusal, a call of a tool, or thoughts without an answer
        return Choice(None, finish, json.dumps(message, ensure_ascii=False))
    if not isinstance(text, str):
        raise TypeError(f"content is a {type(text).__name__}")
    return Choice(text, finish)


def _read_tokens(usage: Mapping[str, Any], name: str) -> int:
    count = usage.get(name)
    return count if isinstance(count, int) and count > 0 else 0


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_ERROR else text[:SHOWN_ERROR] + " …"


def open_server(url: str, model: str, settings: ServerConfig, section: str) -> ModelServer:
    """This process's client for a server of another process."""
    wanted = (url, model, settings.model_dump_json(), section)
    if wanted not in _opened:
        _opened[wanted] = ModelServer(url, model, settings, section)
    return _opened[wanted]


_opened: dict[tuple[str, str, str, str], ModelServer] = {}


def send_body(asked: tuple[ModelServer, Mapping[str, Any]]) -> ServerReply:
    """An engine's call: the reply to a body."""
    server, body = asked
    return server.complete(body)
