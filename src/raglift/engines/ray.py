"""The engine that computes units as Ray tasks on the nodes of a cluster, again where a worker or a node dies.

A task costs a few milliseconds, a worker process some seconds once: it stays between tasks, and what it loaded
(a model, say) stays with it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read at import: nothing is reported to anybody
# Of a cluster that is started here. Worker processes compete with other programs as any process of the user does, not
# at niceness 15; none is started before it has something to do; nobody reads metrics.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
os.environ.setdefault("RAY_enable_metrics_collection", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the behaviour that Ray announces as its next

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raglift.engines import Needs, Result, Unit
from raglift.engines.address import check_address, explain_address
from raglift.errors import InputError, RunError
from raglift.progress import Meter, redirect_lines, say, show_progress

RETRIES = 5  # deaths of workers or nodes that a unit outlives
REFRESH_SECONDS = 0.5
QUEUED_PER_SLOT = 2  # units given out beyond those running, so that no slot waits for the driver
MOST_CALLS = 64  # that a node waits for at a time
STORE_BYTES = 512 * 2**20  # shared memory of a cluster of this machine alone: units and results are small


class Board:
    """An actor on which workers write how far their units are and what they have to say."""

    def __init__(self) -> None:
        self.steps: dict[tuple[int, int], tuple[int, str]] = {}
        self.lines: list[str] = []

    def report(self, place: tuple[int, int], steps: int, note: str) -> None:
        self.steps[place] = steps, note

    def say(self, line: str) -> None:
        self.lines.append(line)

    def read(self, call: int) -> tuple[dict[int, tuple[int, str]], list[str]]:
        """The steps of a call's units, and the lines since the last reading."""
        self.steps = {place: state for place, state in self.steps.items() if place[0] == call}
        lines, self.lines = self.lines, []
        return {place[1]: state for place, state in self.steps.items()}, lines


@dataclass
class RemoteMeter:
    """A worker's meter: tells the board now and then."""

    board: Any
    place: tuple[int, int]
    done: int = 0
    told: float = 0.0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if time.monotonic() - self.told > REFRESH_SECONDS:
            self.told = time.monotonic()
            self.board.report.remote(self.place, self.done, note)

    def skip(self, steps: int) -> None:
        self.advance(steps)


def compute_unit(work: Callable[[Any, Meter], Any], unit: Any, threads: int, meter: RemoteMeter) -> tuple[Any, int]:
    """In a worker: the unit's result and its steps."""
    # Its last words come before its result. A task that waits by `ray.get` counts as idle: Ray would begin the next one
    # beside it, in another process that loads the same model.
    redirect_lines(lambda line: meter.board.say.remote(line).future().result())
    torch = sys.modules.get("torch")
    if torch is not None:  # as many threads as in the driver, or sums would be rounded differently
        torch.set_num_threads(threads)
    return work(unit, meter), meter.done


class Sender:
    """An actor of a node that waits for servers in the driver's place, for many calls at a time."""

    def send(self, work: Callable[[Any], Any], unit: Any) -> Any:
        return work(unit)


def start_sender(node: str) -> Any:
    """A sender on this node and no other: `call` goes to the next where it is lost or not known everywhere yet."""
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(Sender).options(scheduling_strategy=there, num_cpus=0, max_concurrency=MOST_CALLS).remote()


def begin_workers(module: str) -> None:
    """Begin the processes of this machine's units: they import a module while the command imports and plans.

    A process of units with a GPU is another one than that of units without: where there are any, none is begun.
    """
    total = ray.cluster_resources()
    cpus = int(total.get("CPU", 1))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    threads = min(int(wanted), cpus) if wanted.isdecimal() and int(wanted) else cpus
    if not total.get("GPU"):
        task = ray.remote(importlib.import_module).options(num_cpus=threads, num_returns=0, max_retries=0)
        for _ in range(cpus // threads):
            task.remote(module)


def start_ray(address: str | None, module: str | None = None) -> tuple[Any, float]:
    """Connect to a cluster or start one on this machine alone, with workers that import a module first.

    Returns a board on this node, and the seconds that it took.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES}
    started = time.monotonic()
    try:
        ray.init(address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        if address is None:
            raise RunError(
                f"Ray cannot be started on this machine ({reason})\n  to do: see its logs, or --engine local"
            ) from None
        raise explain_address(address, f"Ray cannot connect ({reason})", "see `ray status` there") from None
    if address is None and module is not None:
        begin_workers(module)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
    return board, time.monotonic() - started


class RayEngine:
    """Computes on a cluster.

    Args:
        address: of a running cluster (`host:port`, `auto`), InputError where none answers; None starts one on this
            machine alone, on loopback.
    """

    def __init__(self, address: str | None) -> None:
        if address is not None:
            check_address(address)
        self._address = address
        self._silence = ExitStack()
        # The kernel kills Ray's processes when the thread that started them ends, so this one stays. It waits for Ray
        # too: a signal that arrives in Ray's core is an error there, and here it ends the command as it should.
        self._thread = ThreadPoolExecutor(1)
        self._handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._board: Any = None
        self._nodes = self._calls = 0
        self._senders: dict[str, Any] = {}  # by node, the one whose turn was longest ago first
        self._lock = threading.Lock()
        self._start: Future[tuple[Any, float]] | None = None

    def start(self, module: str) -> None:
        """See `Engine`."""
        self._begin(module)

    def _begin(self, module: str | None = None) -> Future[tuple[Any, float]]:
        if self._start is None:
            # Ray prints what its own processes log, at any time and to standard output, which is for results alone.
            self._silence.enter_context(redirect_stdout(self._silence.enter_context(open_nowhere())))
            self._start = self._thread.submit(start_ray, self._address, module)
        return self._start

    def compute(
        self,
        description: str,
        work: Callable[[Unit, Meter], Result],
        units: Sequence[Unit],
        total: int,
        needs: Needs,
    ) -> Iterator[tuple[Unit, Result]]:
        """See `Engine`. Raises RunError for a unit whose worker was lost too often, and what the work itself raised."""
        self._wait_for_start()
        self._calls += 1
        check_fit(needs.threads)
        gpus = int(needs.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0)
        task = ray.remote(compute_unit).options(num_cpus=needs.threads, num_gpus=gpus, max_retries=RETRIES)
        queue = deque(enumerate(units))
        waiting: dict[Any, int] = {}  # what was given out -> its unit's number
        finished: dict[int, int] = {}  # unit number -> its steps
        looked = -REFRESH_SECONDS
        room = 0
        with show_progress(description, total) as bar:
            try:
                while queue or waiting:
                    if time.monotonic() - looked > REFRESH_SECONDS:
                        looked = time.monotonic()
                        room = QUEUED_PER_SLOT * count_slots(needs.threads, gpus)
                        running, note = self._look_around(waiting.values())
                        bar.follow(sum(finished.values()) + running, total, note)
                    while queue and len(waiting) < room:
                        number, unit = queue.popleft()
                        meter = RemoteMeter(self._board, (self._calls, number))
                        waiting[task.remote(work, unit, needs.threads, meter)] = number
                    for reference in self._ask(ray.wait, list(waiting), timeout=REFRESH_SECONDS)[0]:
                        number = waiting.pop(reference)
                        result, finished[number] = self._ask(fetch, reference, description)
                        yield units[number], result
                bar.follow(sum(finished.values()), total)
            finally:
                self._look_around([])
                for reference in waiting:
                    ray.cancel(reference, force=True)

    def call(self, work: Callable[[Unit], Result], unit: Unit) -> Result:
        """See `Engine`: the nodes take turns; raises RunError where every node that waited was lost."""
        self._wait_for_start()
        tried: set[str] = set()
        for _ in range(RETRIES + 1):
            node, sender = self._choose_sender(tried)
            try:
                result: Result = ray.get(sender.send.remote(work, unit))
                return result
            except RayTaskError as error:
                raise error.cause from None
            except (RayActorError, ActorUnschedulableError):
                tried.add(node)
                with self._lock:
                    if self._senders.get(node) is sender:  # else another thread has seen it too
                        del self._senders[node]
        raise RunError(f"call: the node that waited for it was lost {RETRIES + 1} times\n  to do: see `ray status`")

    def close(self) -> None:
        """Leave the cluster; end it where it was started here."""
        if self._start is not None:
            self._ask(ray.shutdown)
        self._thread.shutdown()
        self._silence.close()

    def _ask(self, call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        return self._thread.submit(call, *given, **options).result()

    def _wait_for_start(self) -> None:
        with self._lock:
            if self._board is None:
                self._board, seconds = self._begin().result()
                self._nodes = len(list_nodes())
                if threading.current_thread() is threading.main_thread():
                    for number, handler in self._handlers.items():
                        signal.signal(number, handler)  # Ray has put its own there
                say(f"ray: {describe_cluster()}, in {seconds:.1f} s")

    def _choose_sender(self, tried: set[str]) -> tuple[str, Any]:
        """The living node that has waited longest for a turn, and its sender; one that failed only if all have."""
        living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        with self._lock:
            for node in living - self._senders.keys():
                self._senders[node] = start_sender(node)
            order = [node for node in self._senders if node in living]
            chosen = next((node for node in order if node not in tried), order[0])
            self._senders[chosen] = self._senders.pop(chosen)  # to the end
            return chosen, self._senders[chosen]

    def _look_around(self, numbers: Iterable[int]) -> tuple[int, str]:
        """Steps of these unfinished units and what they are; says what workers said and when nodes come or go."""
        nodes = len(list_nodes())
        if nodes < self._nodes:
            say(f"ray: {self._nodes - nodes} of {self._nodes} nodes lost; what they were computing is computed again")
        self._nodes = nodes
        steps, lines = self._ask(ray.get, self._board.read.remote(self._calls))
        for line in lines:
            say(line)
        states = [steps[number] for number in numbers if number in steps]
        return sum(done for done, _ in states), ", ".join(note for _, note in states[:3] if note)


def open_nowhere() -> TextIO:
    """A stream whose text is gone."""
    return Path(os.devnull).open("w", encoding="utf-8")


def fetch(reference: Any, description: str) -> Any:
    """A task's result; the work's own error as it was raised, a lost task as RunError."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, RayError):
            raise RunError(
                f"{description}: a worker cannot begin ({str(error.cause).strip().splitlines()[0][:200]})\n"
                "  to do: install the same raglift on every node, or set PYTHONPATH there"
            ) from None
        raise error.cause from None
    except RayError as error:
        raise RunError(
            f"{description}: its worker was lost {RETRIES + 1} times ({str(error).splitlines()[0][:200]})\n"
            "  to do: see the nodes' memory and `ray status`, then give the same command again: "
            "finished work is kept"
        ) from None


def count_slots(threads: int, gpus: int) -> int:
    """How many units the cluster's living nodes compute at a time; at least one, for nodes may come."""
    slots = 0
    for node in list_nodes():
        here = int(node.get("CPU", 0) // threads)
        slots += min(here, int(node.get("GPU", 0) // gpus)) if gpus else here
    return max(slots, 1)


def check_fit(threads: int) -> None:
    """InputError where no node has that many processors: its tasks would wait for ever."""
    most = max((int(node.get("CPU", 0)) for node in list_nodes()), default=0)
    if most < threads:
        raise InputError(
            "--engine ray", f"a unit takes {threads} threads and the largest node has {most} CPUs",
            "a node with as many CPUs as a unit takes threads", f"set OMP_NUM_THREADS={max(most, 1)} or less",
        )  # fmt: skip


def list_nodes() -> list[dict[str, float]]:
    """The resources of each living node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def describe_cluster() -> str:
    """`2 nodes, 4 CPUs, 0 GPUs`."""
    total = ray.cluster_resources()
    nodes = len(list_nodes())
    cpus, gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0))
    return f"{nodes} node{'s' if nodes > 1 else ''}, {cpus} CPUs, {gpus} GPUs"
