"""What is wrong with a command is said before Ray starts, and a wrong address in seconds."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raglift.cli import main
from raglift.engines import address as module
from raglift.engines import open_engine
from raglift.engines.address import check_address
from raglift.errors import InputError

pytest.importorskip("ray", reason="the extra raglift[ray] is not installed")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The addresses of the clusters that were asked for; none is started."""
    asked: list[str | None] = []

    def start_ray(address: str | None, module: str | None) -> None:
        assert module is None or importlib.util.find_spec(module)
        asked.append(address)

    monkeypatch.setattr("raglift.engines.ray.start_ray", start_ray)
    return asked


@contextmanager
def listen(reply: bytes | None = None) -> Iterator[int]:
    """The port of a server that says the same to everybody, or nothing."""
    with socket.create_server(("", 0)) as server:
        kept = []

        def serve() -> None:
            connection, _ = server.accept()
            kept.append(connection)
            if reply is not None:
                connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)
        for connection in kept:
            connection.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken and does not listen."""
    with socket.socket() as held:
        held.bind(("", 0))
        yield held.getsockname()[1]


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["raglift", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "train.epoch=5"], "did you mean 'epochs'"),
        (["--set", "train.epoch=5,10"], "did you mean 'epochs'"),
        (["--arms", "sft.nun"], "sft.nun"),
        (["--set", "model=/no/such/model"], "cannot be loaded from path /no/such/model"),
        (["--set", "compare.a=base.irrelevant"], "not among the arms"),
    ],
)
def test_bad_input_is_told_before_ray_starts(
    arguments: list[str],
    words: str,
    started: list[str | None],
    tiny_experiment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = ["run", str(tiny_experiment), "--run", str(tmp_path / "run"), "--engine", "ray"]
    assert run_command(monkeypatch, *given, *arguments) == 2
    assert words in capfd.readouterr().err
    assert started == []


@pytest.mark.parametrize("command", ["run", "train", "answer"])
def test_an_experiment_that_is_none_is_told_before_ray_starts(
    command: str, started: list[str | None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, command, "NOSUCH", "--engine", "ray") == 2
    assert "NOSUCH" in capfd.readouterr().err
    assert started == []


def test_ray_starts_when_the_input_is_right(
    started: list[str | None], tiny_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raglift.experiment.run_experiment", lambda run: sys.exit("far enough"))
    given = ["run", str(tiny_experiment), "--run", str(tmp_path / "run"), "--engine", "ray"]
    assert run_command(monkeypatch, *given) == "far enough"
    assert started == [None]


@pytest.mark.parametrize(
    "address", ["head", "head:", ":6379", "head:port", "head:0", "head:65536", "http://head:6379", "a b:1", "local"]
)
def test_an_address_that_is_none(address: str, started: list[str | None]) -> None:
    with pytest.raises(InputError, match="no address of a cluster"):
        open_engine("ray", address)
    assert started == []


def test_an_address_of_rays_client() -> None:
    with pytest.raises(InputError, match="on a machine of the cluster"):
        check_address("ray://head:10001")


def test_nobody_listens(closed_port: int, started: list[str | None]) -> None:
    with pytest.raises(InputError, match=r"no Ray cluster answers .*\(Connection refused\)") as caught:
        open_engine("ray", f"127.0.0.1:{closed_port}")
    assert caught.value.where == f"--address 127.0.0.1:{closed_port}"
    assert started == []


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*given: object, **more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(InputError, match="'head' is not known: Name or service not known"):
        check_address("head:6379")


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def look_up(*given: object, **more: object) -> None:
        ended.wait(60)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(module, "SECONDS", 0.1)
    with pytest.raises(InputError, match="'head' was not found within"):
        check_address("head:6379")
    ended.set()


def test_another_program_listens() -> None:
    with listen(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port, pytest.raises(InputError, match="another program"):
        check_address(f"localhost:{port}")


def test_a_program_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.2)
    with listen() as port, pytest.raises(InputError, match="silent for"):
        check_address(f"127.0.0.1:{port}")


def test_what_auto_stands_for(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    with listen(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))) as port:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        check_address("auto")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    with pytest.raises(InputError, match=f"no Ray cluster answers at .*:{closed_port}"):
        check_address("auto")
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(InputError, match="RAY_ADDRESS=nonsense"):
        check_address("auto")
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", lambda address: None)
    with pytest.raises(InputError, match="no Ray cluster runs on this machine"):
        check_address("auto")


def test_another_machine_while_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLIFT_OFFLINE", "1")
    with pytest.raises(InputError, match="another machine"):
        check_address("192.0.2.77:6379")
