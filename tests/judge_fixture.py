"""A local OpenAI-compatible server that behaves, or misbehaves, as told."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback_fixture import serve_on_loopback


@dataclass
class Seen:
    """One request as the server got it."""

    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def text(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def code(self) -> str:
        return self.text.splitlines()[0].removeprefix("code: ")

    @property
    def answer(self) -> str:
        """What a reader of the fence finds inside it."""
        found = re.search(
            rf"^<<answer {self.code}>>\n(.*)\n<<end answer {self.code}>>$", self.text, re.DOTALL | re.MULTILINE
        )
        assert found is not None
        return found[1]


@dataclass
class Response:
    """What the server sends; `drip` sends the body a byte at a time with that pause."""

    body: str | bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    cut: bool = False  # promise more bytes than are sent


def complete(content: str | None, finish: str = "stop") -> Response:
    """A whole chat completion."""
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return Response(json.dumps({"choices": [{"message": message, "finish_reason": finish}], "usage": usage}))


def judge_by(verdict: str, reason: str = "it fits") -> Callable[[Seen, int], Response]:
    """A server that always replies as asked, with one verdict."""
    return lambda seen, number: reply_verdict(seen, verdict, reason)


def reply_verdict(seen: Seen, verdict: str, reason: str = "it fits") -> Response:
    return complete(json.dumps({"code": seen.code, "reason": reason, "verdict": verdict}))


@dataclass
class FakeServer:
    """`behave(request, number)` decides each response; `seen` holds all requests."""

    url: str
    seen: list[Seen]
    behave: Callable[[Seen, int], Response]


@contextmanager
def run_server(behave: Callable[[Seen, int], Response]) -> Iterator[FakeServer]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen = Seen(body, {name.lower(): value for name, value in self.headers.items()})
            with lock:
                fake.seen.append(seen)
                number = len(fake.seen) - 1
            self.respond(fake.behave(seen, number))

        def respond(self, response: Response) -> None:
            time.sleep(response.delay)
            data = response.body.encode() if isinstance(response.body, str) else response.body
            try:
                self.send_response(response.status)
                headers = {"content-type": "application/json", **response.headers}
                headers["content-length"] = str(len(data) + (50 if response.cut else 0))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for start in range(0, len(data), 1 if response.drip else max(1, len(data))):
                    time.sleep(response.drip)
                    self.wfile.write(data[start : start + (1 if response.drip else len(data))])
                if response.cut:
                    self.close_connection = True
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serve_on_loopback(Handler) as address:
        fake = FakeServer(f"{address}/v1", [], behave)
        yield fake
