"""`raglift serve`: load what the run's arms need, listen, stop without losing what is being answered."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass

import uvicorn

from raglift.ask import Asker
from raglift.errors import InputError, Interruption
from raglift.models.completions import TextModel
from raglift.progress import say
from raglift.runfolder import RunFolder
from raglift.serve.application import Service, create_application
from raglift.serve.batching import Batcher, BatchLimits
from raglift.serve.gate import is_loopback
from raglift.serve.metrics import Metrics

STOP_SECONDS = 60  # that running requests have to finish


@dataclass(frozen=True)
class ServerOptions:
    """Where to listen, whom to let in and how much may wait."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_key_env: str | None = None
    rate: int = 1200
    queue: int = 256

    def read_key(self) -> str | None:
        """The API key; InputError when it is named but not set, or needed and not named."""
        if self.api_key_env is None:
            if is_loopback(self.host):
                return None
            fix = "RAGLIFT_KEY=… raglift serve … --api-key-env RAGLIFT_KEY"
            raise InputError(f"--host {self.host}", "open to other machines without a key", "--api-key-env NAME", fix)
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            where = f"--api-key-env {self.api_key_env}"
            raise InputError(where, "not set or empty", "an environment variable with a key")
        return key


def serve_run(asker: Asker, folder: RunFolder, options: ServerOptions) -> None:
    """Serve until SIGINT or SIGTERM; then refuse new requests and finish those that run."""
    key = options.read_key()
    listener = open_listener(options)
    batcher = create_batcher(asker, options.queue)
    app = create_application(Service(asker, folder, batcher), key, options.rate, options.host)
    logging.getLogger("raglift.serve").addHandler(logging.StreamHandler())
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on",
        timeout_graceful_shutdown=STOP_SECONDS, timeout_keep_alive=30, ws="none",
    )  # fmt: skip
    server = uvicorn.Server(settings)
    host, port = listener.getsockname()[:2]
    say(f"serving on http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C stops)")
    try:
        server.run(sockets=[listener])
    except (KeyboardInterrupt, Interruption):  # uvicorn raises the signal again once all is finished
        say("stopped")
    finally:
        listener.close()


class ModelsOfRun:
    """Gives the batches their models."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker

    def __call__(self, tuning: str) -> TextModel:
        return self.asker.models.provide(tuning, self.asker.seed)


def load_models(asker: Asker) -> ModelsOfRun:
    """Load index and weights now, so that no request waits for them: as many tunings as memory holds."""
    say(f"index: {asker.retriever.index.size} passages")
    tunings = list(dict.fromkeys(arm.tuning for arm in asker.list_arms()))
    asker.models.preload(tunings, asker.seed)
    return ModelsOfRun(asker)


def create_batcher(asker: Asker, queue: int) -> Batcher:
    """Batches where the weights are here, single requests side by side where another server has them."""
    models, at_once = load_models(asker), asker.models.requests_at_once
    if at_once is None:
        return Batcher(models, BatchLimits(queue=queue), Metrics())
    return Batcher(models, BatchLimits(rows=1, queue=queue), Metrics(), at_once)


def open_listener(options: ServerOptions) -> socket.socket:
    """The socket, bound before the models load; InputError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
    except OSError as error:
        where = f"--host {options.host} --port {options.port}"
        reason = f"cannot listen there ({error.strerror or error})"
        raise InputError(where, reason, "a free address", "--port 0 takes a free port") from None
    return listener
