"""`RAGLIFT_OFFLINE=1`: sockets to other machines are refused, hubs and servers elsewhere too; no usage statistics."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants

from raglift.config import Config
from raglift.errors import InputError
from raglift.models.loading import load_prompts
from raglift.offline import HUBS, check_hub, is_here, require_local
from raglift.retrieval.embedders import load_embedder

ATTEMPTS = """
import socket, threading
from raglift.errors import RunError
from raglift.offline import prepare_network
prepare_network()
import os
assert os.environ["HF_HUB_OFFLINE"] == "1" and os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
def refused(act):
    try:
        act()
    except RunError as error:
        assert "RAGLIFT_OFFLINE" in str(error), error
        return True
    return False
assert refused(lambda: socket.create_connection(("192.0.2.1", 80), timeout=1))
assert refused(lambda: socket.create_connection(("example.com", 80), timeout=1))
assert refused(lambda: socket.getaddrinfo("example.com", 443))
assert refused(lambda: socket.gethostbyname("example.com"))
assert refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
assert refused(lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)))
import urllib.request
assert refused(lambda: urllib.request.urlopen("http://192.0.2.1/", timeout=1))
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), timeout=5).close()
print("all refused")
"""


def run_offline(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RAGLIFT_OFFLINE": "1", **more}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def test_sockets_to_other_machines_are_refused() -> None:
    done = run_offline("-c", ATTEMPTS)
    assert done.stdout.strip() == "all refused", done.stderr


def test_hub_is_not_asked(tiny_experiment: Path, tmp_path: Path) -> None:
    done = run_offline(
        "-m", "raglift", "run", str(tiny_experiment), "--run", str(tmp_path / "run"), "--set", "model=nobody/nothing-1b"
    )
    assert done.returncode == 2 and "to do: offline" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), (None, True), (b"127.8.8.8", True), ("192.0.2.1", False),
     ("example.com", False), ("127.0.0.1.example.com", False), ("2001:db8::1", False), ("localhost.x.com", False)],
)  # fmt: skip
def test_what_is_here(host: object, here: bool) -> None:
    assert is_here(host) is here


def test_servers_elsewhere_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_local("http://192.0.2.1:8000/v1", "judge.url")
    monkeypatch.setenv("RAGLIFT_OFFLINE", "1")
    require_local("http://127.0.0.1:8000/v1", "judge.url")
    with pytest.raises(InputError, match="another machine"):
        require_local("http://192.0.2.1:8000/v1", "judge.url")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """A hub that has nothing, in place of the real one; `asked` holds the paths that it was asked for."""
    server = HTTPServer(("127.0.0.1", 0), EmptyHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in HUBS:
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    EmptyHub.asked.clear()
    check_hub.cache_clear()
    yield server
    check_hub.cache_clear()
    server.shutdown()
    server.server_close()


class EmptyHub(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *details: object) -> None:
        pass


def test_any_answer_of_a_hub_counts_and_one_is_enough(hub: HTTPServer) -> None:
    check_hub()
    check_hub()
    assert EmptyHub.asked == ["/"] and not constants.HF_HUB_OFFLINE


def test_hub_without_an_answer_is_asked_once(
    hub: HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.shutdown()
    hub.server_close()
    pauses: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", pauses.append)
    for load in (load_embedder, lambda name: load_prompts(Config(name="x", model=name))):
        with pytest.raises(InputError, match="nobody/nothing-1b"):
            load("nobody/nothing-1b")
    assert pauses == []  # the library's own retries
    assert capsys.readouterr().err.count("no answer from http://127.0.0.1") == 1
    assert os.environ["HF_HUB_OFFLINE"] == "1"
