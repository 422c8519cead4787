"""The audit of dependencies: a known vulnerability fails it, and it never claims what no service has told it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import audit_dependencies as audit

# pip-audit's addresses are its own: in its process, requests go to the fake service instead.
REDIRECT = """
import os, re, requests
send = requests.Session.send
def redirect(self, request, **options):
    request.url = re.sub("^https://[^/]+", os.environ["FAKE_SERVICE"], request.url)
    return send(self, request, **options)
requests.Session.send = redirect
"""
FLAW = {
    "id": "PYSEC-1-1",
    "aliases": ["CVE-1-1"],
    "summary": "a hole",
    "fixed_in": ["9.9"],
    "affected": [{"package": {"name": "leaky", "ecosystem": "PyPI"}}],
}


class FakeService(ThreadingHTTPServer):
    """PyPI's JSON by package name, None for 404; OSV's by the same table, or 503 where it is not there."""

    pypi: dict[str, dict[str, Any] | None]
    osv: dict[str, dict[str, Any]] | None = None
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: FakeService

    def do_GET(self) -> None:
        name = self.path.split("/")[2]
        self.server.asked.append(name)
        self.reply(self.server.pypi.get(name))

    def do_POST(self) -> None:
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        self.server.asked.append(name)
        self.reply(None if self.server.osv is None else self.server.osv.get(name, {}), missing=503)

    def reply(self, answer: dict[str, Any] | None, missing: int = 404) -> None:
        body = json.dumps(answer or {}).encode()
        self.send_response(missing if answer is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    (tmp_path / "sitecustomize.py").write_text(REDIRECT)
    server = FakeService(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FAKE_SERVICE", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(audit, "PROBE", 600)
    monkeypatch.setattr(audit, "list_pins", lambda: ["tight==1.0", "leaky==2.0", "unknown==3.0"])
    yield server
    server.shutdown()
    thread.join(timeout=30)
    server.server_close()


def test_a_known_vulnerability_fails_and_unknown_packages_are_named(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.pypi = {name: {"vulnerabilities": [FLAW]} for name in ("jinja2", "leaky")} | {"tight": {}}
    assert audit.audit_dependencies() == 1
    shown = capsys.readouterr().out
    assert "vulnerable: leaky 2.0: PYSEC-1-1 (fixed in 9.9): a hole" in shown
    assert "not audited: Dependency not found on PyPI and could not be audited: unknown (3.0)" in shown
    assert "audited: 2 of 3 packages with pypi, 1 with a known vulnerability" in shown


def test_an_index_without_vulnerabilities_is_not_believed_and_the_next_service_is_asked(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.pypi = {name: {"info": {}} for name in ("jinja2", "tight", "leaky", "unknown")}
    service.osv = {"jinja2": {"vulns": [FLAW]}}
    assert audit.audit_dependencies() == 0
    assert service.asked == ["jinja2", "jinja2", "tight", "leaky", "unknown"]
    assert capsys.readouterr().out == "audited: 3 of 3 packages with osv, 0 with a known vulnerability\n"


def test_where_no_service_tells_anything_nothing_is_claimed(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.pypi = {"jinja2": {"info": {}}}
    assert audit.audit_dependencies() == 0
    first, *reasons = capsys.readouterr().out.splitlines()
    assert first == "not audited: no service tells known vulnerabilities"
    assert reasons[0] == "  pypi: answers, but knows no vulnerability of jinja2==2.10"
    assert "ServiceError" in reasons[1]


def test_a_service_out_of_reach_or_lost_on_the_way_is_said(
    service: FakeService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.osv = {"jinja2": {"vulns": [FLAW]}, "tight": {}, "leaky": {"vulns": "nonsense"}}
    monkeypatch.setattr(audit, "SERVICES", ("osv",))
    assert audit.audit_dependencies() == 0
    assert capsys.readouterr().out.startswith("not audited: osv: ")
    monkeypatch.setenv("FAKE_SERVICE", "http://127.0.0.1:9")
    assert audit.audit_dependencies() == 0
    shown = capsys.readouterr().out
    assert shown.startswith("not audited: no service")
    assert "Connection refused" in shown


def test_all_installed_packages_are_asked_about() -> None:
    pins = audit.list_pins()
    assert "torch==2.13.0" in pins
    assert not any("raglift" in pin or "+" in pin for pin in pins)
