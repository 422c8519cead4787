"""`RAGLIFT_OFFLINE=1`: nothing leaves this machine. And without it too, no library tells its makers anything.

A hub that gives no answer is asked once: then its cache is all there is.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from raglift.errors import InputError, RunError
from raglift.progress import say

# Usage statistics of the libraries in use, switched off before they are imported.
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "LANCEDB_TELEMETRY": "0",
    "WANDB_MODE": "disabled",
}
HUBS = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
# Python tells these to its auditors (docs.python.org/3/library/audit_events.html) before it does them.
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname"}
SENDINGS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
HERE = "a server on this machine, for example http://127.0.0.1:8000/v1"


def is_offline() -> bool:
    """Whether the user wants that nothing leaves the machine."""
    return os.environ.get("RAGLIFT_OFFLINE", "") not in ("", "0")


@cache
def prepare_network() -> None:
    """Once, before heavy imports: no usage statistics; offline no hub, and no socket that reaches another machine.

    The guard sees what Python code connects to. Libraries in other languages open sockets by themselves; those
    of this package do so for object storage and clusters only, whose addresses are refused by `require_local`.
    """
    os.environ.update(QUIET)
    if is_offline():
        os.environ.update(HUBS)
        sys.addaudithook(refuse_connection)


@cache
def check_hub() -> None:
    """Once, before something is loaded by a hub's id: where the hub gives no answer, only its cache is looked at.

    The hub's library would try again for a minute, file by file. Any answer counts, and a slow one has the time
    that the library itself gives it (HF_HUB_ETAG_TIMEOUT, 10 seconds); proxies and mirrors are those that it uses.
    """
    import httpx2
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT, follow_redirects=False)
    except httpx2.TransportError as error:
        reason = str(error) or type(error).__name__
        say(f"no answer from {constants.ENDPOINT} ({reason}): only what its cache holds on this machine is used")
        constants.HF_HUB_OFFLINE = True
        os.environ.update(HUBS)  # for the processes that begin here


def refuse_connection(event: str, details: tuple[Any, ...]) -> None:
    """An auditor: RunError for a name to look up or an address to reach that is not this machine's."""
    if event in LOOKUPS:
        host = details[0]
    elif event in SENDINGS and details[0].family in (socket.AF_INET, socket.AF_INET6) and details[1]:
        host = details[1][0]
    else:
        return
    if not is_here(host):
        raise RunError(
            f"a connection to {_decode(host)} is refused, for RAGLIFT_OFFLINE is set\n"
            "  to do: use what lies on this machine, or unset RAGLIFT_OFFLINE"
        )


def require_local(url: str, where: str, expected: str = HERE) -> None:
    """InputError for an address on another machine while offline; `expected` is what would do."""
    host = urlsplit(url).hostname
    if is_offline() and not is_here(host):
        raise InputError(
            where,
            f"{host} is another machine, and RAGLIFT_OFFLINE is set",
            expected,
            "unset RAGLIFT_OFFLINE to reach it",
        )


def is_here(host: Any) -> bool:
    """Whether a name or an address stays on this machine."""
    name = _decode(host).partition("%")[0].casefold()
    if name in ("", "none", "localhost", "0.0.0.0", "::"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == socket.gethostname().casefold()
    return address.is_loopback or name in list_own_addresses()


@cache
def list_own_addresses() -> frozenset[str]:
    """The addresses of this machine's own interfaces."""
    import psutil

    return frozenset(
        one.address.partition("%")[0].casefold()
        for several in psutil.net_if_addrs().values()
        for one in several
        if one.family in (socket.AF_INET, socket.AF_INET6)
    )


def _decode(host: Any) -> str:
    return host.decode("utf-8", "replace") if isinstance(host, bytes | bytearray) else str(host)
