"""A small trained run and a server on it, in this process: what the tests of `ask` and `serve` share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from raglift.ask import Asker
from raglift.experiment import Run, open_run, train_adapters
from raglift.serve.application import Service, create_application
from raglift.serve.batching import Batcher, BatchLimits
from raglift.serve.metrics import Metrics
from raglift.serve.requests import Limits
from raglift.serve.server import ServerOptions, create_batcher, load_models, open_listener


def make_run(experiment: Path, folder: Path) -> Run:
    """The tiny experiment, trained, its index built."""
    run = open_run(str(experiment), folder)
    train_adapters(run)
    run.contexts.open_retriever()
    return run


def make_asker(run: Run) -> Asker:
    return Asker(run.experiment, run.config, run.contexts, run.models)


@contextmanager
def serve(
    run: Run,
    limits: Limits | None = None,
    batches: BatchLimits | None = None,
    api_key: str | None = None,
    rate: int = 0,
) -> Iterator[tuple[str, Service]]:
    """A server in a thread: its address and its service."""
    asker = make_asker(run)
    batcher = Batcher(load_models(asker), batches, Metrics()) if batches else create_batcher(asker, BatchLimits.queue)
    service = Service(asker, run.folder, batcher, limits)
    app = create_application(service, api_key, rate, "127.0.0.1")
    listener = open_listener(ServerOptions(port=0))
    settings: dict[str, Any] = {"log_level": "warning", "access_log": False, "lifespan": "on", "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(app, **settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until = time.monotonic() + 240
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", service
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
