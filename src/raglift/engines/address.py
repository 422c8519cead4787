"""Whether a Ray cluster answers at an address, told in seconds: Ray itself tries for minutes."""

from __future__ import annotations

import os
import re
import socket
from threading import Thread

from raglift.errors import InputError
from raglift.offline import require_local

SECONDS = 4.0  # for finding the machine, for the connection, and for its first word
# What a client of HTTP/2, which Ray's servers speak, says first: its preface and empty settings (RFC 9113, 3.4).
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS = 4  # the kind of frame that the server has to answer with, in its fourth byte
ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):(?P<port>[0-9]{1,5})")


def check_address(address: str) -> None:
    """InputError unless `host:port`, or what `auto` stands for, answers as the head of a Ray cluster does."""
    if address.startswith("ray://"):
        fix = "give the command on a machine of the cluster, where --address auto finds it"
        raise InputError(f"--address {address}", "an address for Ray's client", "host:port, or auto", fix)
    if address != "auto" and not is_address(address):
        raise explain_address(address, "no address of a cluster", "or leave --address out: this machine alone")
    place = find_place(address)
    require_local(f"//{place}", f"--address {address}", "a cluster on this machine")
    host, _, port = place.rpartition(":")
    reason = probe(host.strip("[]"), int(port))
    if reason is not None:
        at = "" if place == address else f" at {place}"
        raise explain_address(address, f"no Ray cluster answers{at} ({reason})", "see `ray status` on that node")


def is_address(text: str) -> bool:
    """Whether it is `host:port`."""
    parts = ADDRESS.fullmatch(text)
    return parts is not None and 0 < int(parts["port"]) < 2**16


def find_place(address: str) -> str:
    """Where Ray looks: for `auto` RAY_ADDRESS, else the cluster of this machine, which it never calls localhost."""
    from ray._private.services import canonicalize_bootstrap_address

    if address == "auto" and not is_address(named := os.environ.get("RAY_ADDRESS") or "this:1"):
        raise explain_address("auto", f"RAY_ADDRESS={named}", "set RAY_ADDRESS=host:port")
    found: str | None = canonicalize_bootstrap_address(address)
    if found is None:
        raise explain_address("auto", "no Ray cluster runs on this machine", "or leave --address out: one is started")
    return found


def explain_address(address: str, found: str, more: str) -> InputError:
    """What is wrong with an address, and where the right one stands."""
    return InputError(
        f"--address {address}", found, "host:port of a cluster's head node, or auto",
        f"`ray start --head` on that node says it; {more}",
    )  # fmt: skip


def probe(host: str, port: int) -> str | None:
    """Why nothing that could be Ray answers there, None where something does."""
    found: list[OSError | tuple[str, int]] = []
    looking = Thread(target=look_up, args=(host, port, found), daemon=True)  # a resolver knows no limit of ours
    looking.start()
    looking.join(SECONDS)
    if not found:
        return f"'{host}' was not found within {SECONDS:.0f} s"
    if isinstance(found[0], OSError):
        return f"'{host}' is not known: {found[0].strerror}"
    try:
        with socket.create_connection(found[0], timeout=SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":  # it says nothing before keys are exchanged
                return None
            connection.sendall(GREETING)
            answer = connection.recv(4)
    except TimeoutError:
        return f"silent for {SECONDS:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    return None if answer[3:] == bytes([SETTINGS]) else "another program listens there"


def look_up(host: str, port: int, found: list[OSError | tuple[str, int]]) -> None:
    """Append the machine's address, or why there is none."""
    try:
        found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][:2])  # type: ignore[arg-type]
    except (OSError, UnicodeError) as error:
        found.append(error if isinstance(error, OSError) else OSError(0, str(error)))
