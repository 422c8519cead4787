"""What every request passes first: whose host and origin it names, its key, its rate; and what every reply carries."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raglift.serve.failures import ApiError
from raglift.serve.metrics import Metrics

CLIENTS = 10_000  # remembered for their rate; the longest unseen is forgotten first
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
OPEN_PATHS = ("/", "/page.css", "/page.js", "/texts.js", "/icon.svg", "/health")  # need no key


@dataclass
class RateLimit:
    """A bucket for each client that holds a minute's requests at most and fills evenly."""

    per_minute: int
    buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, client: str, now: float) -> float:
        """0 when the request may pass, else the seconds until one may."""
        if not self.per_minute:
            return 0.0
        left, seen = self.buckets.pop(client, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - seen) * self.per_minute / 60)
        self.buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self.buckets) > CLIENTS:
            self.buckets.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) * 60 / self.per_minute


class Gate:
    """The application behind its checks.

    Args:
        app: what is guarded.
        metrics: counts requests and refusals.
        api_key: asked for outside of the page itself, None for none.
        rate: requests a minute a client.
        host: the address listened on. On loopback, requests that name another host are refused: a web page
            elsewhere could otherwise have its name resolve to this machine and read the answers.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, api_key: str | None, rate: int, host: str) -> None:
        self.app, self.metrics, self.api_key, self.host = app, metrics, api_key, host
        self.rate = RateLimit(rate)
        self.paths: set[str] = set()  # known paths, so that a stranger's paths make no metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, receive, send_guarded)
        except ApiError as error:
            await error.as_response()(scope, receive, send_guarded)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.count_request(path, status, time.monotonic() - started)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if is_loopback(self.host) and not is_loopback(split_host(headers.get("host", ""))):
            raise ApiError(403, "this server answers to localhost only", "wrong_host")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin and origin.partition("://")[2] != headers.get("host"):
            raise ApiError(403, f"requests from {origin[:100]} are refused", "wrong_origin")
        client = scope["client"][0] if scope.get("client") else "unknown"
        if scope["path"] == "/health":
            return
        wait = self.rate.take(client, time.monotonic())
        if wait:
            self.metrics.count("rejected", reason="rate")
            raise ApiError(
                429, f"more than {self.rate.per_minute} requests a minute", "rate_limit_exceeded",
                headers={"Retry-After": str(int(wait) + 1)},
            )  # fmt: skip
        if self.api_key is not None and scope["path"] not in OPEN_PATHS:
            self._check_key(headers.get("authorization", ""))

    def _check_key(self, authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), (self.api_key or "").encode()):
            self.metrics.count("rejected", reason="key")
            raise ApiError(401, "expected Authorization: Bearer and this server's API key", "invalid_api_key")


def split_host(header: str) -> str:
    """The Host header without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
