"""The review page over HTTP on this machine only: a secret address, a strict content policy, checked JSON."""

from __future__ import annotations

import errno
import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from raglift.errors import InputError, RunError
from raglift.grading.review_state import LONGEST_NOTE, Review
from raglift.progress import say
from raglift.sanitization import clean_values

ADDRESS = "127.0.0.1"
LARGEST_BODY = 64 * 1024  # bytes
PAGE_FILES = {
    "": ("review.html", "text/html; charset=utf-8"),
    "review.css": ("review.css", "text/css; charset=utf-8"),
    "review.js": ("review.js", "text/javascript; charset=utf-8"),
    "texts.js": ("texts.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Command:
    """A checked request of the page: `grade`, `skip` or `note` one item, or `undo`."""

    action: str
    item: str = ""
    verdict: str = ""
    note: str = ""


class ReviewServer(ThreadingHTTPServer):
    """Serves one reviewer's page at `address`; use `serve_forever` and `close`."""

    daemon_threads = True

    def __init__(self, review: Review, language: str, port: int = 0) -> None:
        self.review, self.language = review, language
        self.token = secrets.token_urlsafe(24)
        self.pages = {name: files("raglift.grading") / "review_page" / file for name, (file, _) in PAGE_FILES.items()}
        try:
            super().__init__((ADDRESS, port), ReviewHandler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            found = "is in use" if error.errno == errno.EADDRINUSE else "may not be used"
            raise InputError("--port", f"port {port} {found}", "a free port", "leave --port out to get one") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def address(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def close(self) -> None:
        """Let a save that is under way end, then stop listening."""
        self.review.close()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error worth a traceback; others are told in one line."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            say(f"review: {type(error).__name__}: {error}")


class ReviewHandler(BaseHTTPRequestHandler):
    """GET the page, its files and `session`; POST `save`."""

    server: ReviewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "raglift", ""
    timeout = 30  # seconds for a connection that says nothing
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: the address holds the secret."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses by itself (a malformed request, another method), in the form of the rest."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._send(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "expected GET or POST"}, {"Allow": "GET, POST"})
        else:
            self._send(HTTPStatus(code), {"error": message or HTTPStatus(code).phrase})

    def _answer(self, handle: Callable[[str], None]) -> None:
        try:
            handle(self._check_request())
        except RefusedError as refusal:
            self._send(refusal.status, {"error": str(refusal)})
        except RunError as error:
            self._send(HTTPStatus.INSUFFICIENT_STORAGE, {"error": str(error)})

    def _check_request(self) -> str:
        """The path behind the token; RefusedError for another host (DNS rebinding) or a wrong token."""
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST, f"this server answers {ADDRESS} only")
        try:
            _, token, *rest = (urlsplit(self.path).path + "/").split("/", 2)
        except ValueError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "no address") from None
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise RefusedError(HTTPStatus.NOT_FOUND, "no such page; use the whole address that raglift review printed")
        return rest[0].rstrip("/") if rest else ""

    def _get(self, name: str) -> None:
        if name == "" and not urlsplit(self.path).path.endswith("/"):
            self._send(HTTPStatus.PERMANENT_REDIRECT, {}, {"Location": f"/{self.server.token}/"})
        elif name in PAGE_FILES:
            self._send_bytes(HTTPStatus.OK, PAGE_FILES[name][1], self.server.pages[name].read_bytes())
        elif name == "session":
            self._send(HTTPStatus.OK, describe_session(self.server.review, self.server.language))
        else:
            raise RefusedError(HTTPStatus.NOT_FOUND, "no such page")

    def _post(self, name: str) -> None:
        if name != "save":
            raise RefusedError(HTTPStatus.NOT_FOUND, "no such page")
        if self.headers.get("Origin", "").lower() not in {f"http://{host}" for host in self.server.hosts}:
            raise RefusedError(HTTPStatus.FORBIDDEN, "requests from other pages are refused")
        if self.headers.get_content_type() != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        self._send(HTTPStatus.OK, obey_command(self.server.review, read_command(self._read_body())))

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if len(length) > 9 or int(length) > LARGEST_BODY:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LARGEST_BODY} bytes")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the request ended early")
        return body

    def _send(self, status: HTTPStatus, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value, ensure_ascii=True).encode()
        self._send_bytes(status, "application/json; charset=utf-8", body, headers)

    def _send_bytes(self, status: HTTPStatus, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        extra = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        if status >= HTTPStatus.BAD_REQUEST:  # a body may be left unread: the connection cannot be used again
            extra["Connection"] = "close"
            self.close_connection = True
        for name, text in {**HEADERS, **extra}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def read_command(body: bytes) -> Command:
    """A request's JSON, checked; RefusedError says what is wrong with it."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "expected an object of texts")
    expected = {
        "grade": {"action", "item", "verdict", "note"},
        "skip": {"action", "item", "note"},
        "note": {"action", "item", "note"},
        "undo": {"action"},
    }.get(value.get("action", ""))
    if expected is None:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "expected action grade, skip, note or undo")
    if set(value) != expected:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "expected the keys " + ", ".join(sorted(expected)))
    command = Command(**value)
    if command.action == "grade" and command.verdict not in ("correct", "incorrect"):
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "expected verdict correct or incorrect")
    if len(command.note) > LONGEST_NOTE:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"expected a note of at most {LONGEST_NOTE} characters")
    return command


def obey_command(review: Review, command: Command) -> dict[str, Any]:
    """Do it, on disk, and tell where the item and the reviewer stand now."""
    item: str | None = command.item
    if command.action != "undo" and command.item not in review.items:
        raise RefusedError(HTTPStatus.NOT_FOUND, "no such item")
    if command.action == "grade":
        review.grade(command.item, command.verdict, command.note)  # type: ignore[arg-type]
    elif command.action == "skip":
        review.skip(command.item, command.note)
    elif command.action == "note":
        review.note(command.item, command.note)
    else:
        item = review.undo()
        if item is None:
            raise RefusedError(HTTPStatus.CONFLICT, "nothing to undo")
    return {"item": {"id": item, **describe_state(review, str(item))}, "progress": describe_progress(review)}


def describe_session(review: Review, language: str) -> dict[str, Any]:
    """Everything the page shows: nothing of arms, seeds, samples or other people's verdicts."""
    review.refresh()
    questions: dict[str, int] = {}
    shown: list[dict[str, str]] = []
    items = []
    for item in review.items.values():
        number = questions.setdefault(item.question.id, len(questions))
        if number == len(shown):
            texts = {"question": item.question.question, "reference": item.question.reference, "passage": item.passage}
            shown.append(clean_values(texts))
        items.append(
            {"id": item.id, "question": number, "text": clean_values(item.text), **describe_state(review, item.id)}
        )
    return {
        "reviewer": review.author,
        "language": language,
        "longest_note": LONGEST_NOTE,
        "questions": shown,
        "items": items,
        "progress": describe_progress(review),
    }


def describe_state(review: Review, item: str) -> dict[str, Any]:
    state = review.state(item)
    return {"verdict": state.verdict if state.decided else "", "note": state.note, "skipped": state.skipped}


def describe_progress(review: Review) -> dict[str, Any]:
    progress = review.measure_progress()
    return {"done": progress.done, "total": progress.total, "seconds_left": progress.seconds_left}
