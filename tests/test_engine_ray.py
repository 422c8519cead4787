"""The Ray engine: the same answers as the local one on a cluster of several nodes, one of them killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from conftest import write_experiment
from judge_fixture import Response, Seen, reply_verdict, run_server
from raglift.config import JudgeConfig
from raglift.engines import Needs, open_engine
from raglift.errors import InputError, RunError
from raglift.experiment import open_run, run_experiment
from raglift.grading.grades import Task
from raglift.grading.judge import JudgeGrader
from raglift.models.calls import CallLog
from raglift.models.server import CallFailedError, send_body
from raglift.progress import Meter, say
from raglift.records import Experiment, Question, Rubric
from raglift.runfolder import recover_lines

ray = pytest.importorskip("ray", reason="the extra raglift[ray] is not installed")
from ray.exceptions import TaskUnschedulableError  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests


SETTINGS = ["precision=float32", "arms=sft.none,rag-sft.oracle", "answer.questions_per_batch=1"]
DEADLINE = 300.0  # seconds that a thing may take on the slowest machine before the test gives up

# The command line in a process of its own, which waits in the middle of answering until the node has been killed.
PAUSED_RUN = """
import sys, time
from pathlib import Path
from raglift.cli import main
from raglift.engines.ray import RayEngine

folder, pause_at, deadline = Path(sys.argv.pop(1)), int(sys.argv.pop(1)), float(sys.argv.pop(1))
compute = RayEngine.compute

def compute_with_pause(self, description, *given):
    for number, (unit, result) in enumerate(compute(self, description, *given)):
        yield unit, result
        if description == "answer" and number == pause_at:
            (folder / "paused").touch()
            until = time.monotonic() + deadline
            while not (folder / "killed").exists() and time.monotonic() < until:
                time.sleep(0.02)

RayEngine.compute = compute_with_pause
main()
"""


# A cluster of this machine alone, as `--engine ray` without an address starts it; a unit takes all of it.
OWN_CLUSTER = """
import os, signal, sys, threading, time
import ray
from raglift.cli import stop_politely
from raglift.errors import Interruption
from raglift.engines import Needs, open_engine
from raglift.engines.ray import Board
from raglift.progress import say

class SlowBoard(Board):
    def say(self, line):
        time.sleep(0.5)
        super().say(line)

def speak(unit, meter):
    say(f"unit {unit} begins")
    time.sleep(0.6)
    return os.getpid(), "raglift.shelf.local" in sys.modules

def sleep(unit, meter):
    time.sleep(600)

signal.signal(signal.SIGTERM, stop_politely)
engine = open_engine("ray")
engine.start("raglift.shelf.local")
assert engine._board is None, "it starts while the command does something else"
engine._wait_for_start()
engine._board = ray.remote(SlowBoard).options(num_cpus=0).remote()
needs = Needs(int(ray.cluster_resources()["CPU"]))
processes = [process for _, process in engine.compute("speak", speak, range(4), 4, needs)]
print(len(processes), len(set(processes)), all(ready for _, ready in processes), file=sys.__stdout__)
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    list(engine.compute("sleep", sleep, range(2), 2, needs))
except Interruption:
    print("stopped", file=sys.__stdout__)
engine.close()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real cluster of node processes on this machine; each node computes one unit at a time."""
    from ray.cluster_utils import Cluster

    from raglift.engines import ray as _  # noqa: F401 - sets what Ray reads when it starts

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGLIFT_CACHE", str(tmp_path_factory.mktemp("head")))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def engine(cluster: Any) -> Iterator[Any]:
    opened = open_engine("ray", cluster.address)
    opened.call(name_node, 0)  # it is connected from here on
    yield opened
    opened.close()


@dataclass(frozen=True)
class LocalRun:
    """An experiment, and what the local engine made of it."""

    experiment: Path
    folder: Path
    comparison: dict[str, Any]


@pytest.fixture(scope="module")
def local(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalRun:
    """What each run by Ray has to equal."""
    home = tmp_path_factory.mktemp("local")
    experiment = write_experiment(home / "tiny", tiny_model)
    return LocalRun(experiment, home / "run", run_experiment(open_run(str(experiment), home / "run", SETTINGS)))


def wait_until(ripe: Callable[[], bool]) -> bool:
    """Whether it came true before the deadline."""
    until = time.monotonic() + DEADLINE
    while not ripe() and time.monotonic() < until:
        time.sleep(0.02)
    return ripe()


def add_node(cluster: Any) -> Any:
    """One more node, to which units go from now on: it is known to the others only after a while."""
    node = cluster.add_node(num_cpus=1)
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    task = ray.remote(name_node).options(scheduling_strategy=there)

    def is_known() -> bool:
        try:
            return bool(ray.get(task.remote(0), timeout=DEADLINE)[0] == node.node_id)
        except TaskUnschedulableError:
            return False

    assert wait_until(is_known)
    return node


@contextmanager
def kill_when(cluster: Any, node: Any, ripe: Callable[[], bool]) -> Iterator[threading.Event]:
    """Kill a node's processes as soon as `ripe` says so; the event tells that they are dead."""
    killed = threading.Event()

    def watch() -> None:
        if wait_until(ripe):
            cluster.remove_node(node, allow_graceful=False)
            killed.set()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield killed
    thread.join(DEADLINE)
    assert killed.is_set()


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [{**row, "seconds": 0} for row in recover_lines(folder / "answers.jsonl")]


def read_weights(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("adapters/*/*.safetensors"))]


def square(unit: tuple[Path, int, str], meter: Meter) -> int:
    """Notes where it was begun; ends on no node before the doomed one has begun a unit, and there never."""
    folder, number, doomed = unit
    node = ray.get_runtime_context().get_node_id()
    (folder / f"{node}-{number}").touch()
    assert wait_until(lambda: node != doomed and any(folder.glob(f"{doomed}-*")))
    meter.advance(2, str(number))
    return number**2


def refuse(unit: int, meter: Meter) -> int:
    say(f"unit {unit} has something to say")
    raise InputError("here", str(unit), "another")


def die(unit: int, meter: Meter) -> int:
    os._exit(1)


def name_node(unit: int) -> tuple[str, int]:
    """The node that computes this, and its process."""
    return str(ray.get_runtime_context().get_node_id()), os.getpid()


def has_ended(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_killed_node_loses_nothing(cluster: Any, engine: Any, local: LocalRun, tmp_path: Path) -> None:
    expected = read_rows(local.folder)
    doomed = add_node(cluster)
    command = [sys.executable, "-c", PAUSED_RUN, str(tmp_path), "3", str(DEADLINE)]
    command += ["run", str(local.experiment), "--run", str(tmp_path / "ray"), "--json"]
    command += ["--engine", "ray", "--address", cluster.address]
    with kill_when(cluster, doomed, (tmp_path / "paused").exists) as killed:
        process = subprocess.Popen(
            [*command, *(part for one in SETTINGS for part in ("--set", one))],
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert wait_until(lambda: killed.is_set() or process.poll() is not None)
            assert 0 < len(read_rows(tmp_path / "ray")) < len(expected), "in the middle"
            (tmp_path / "killed").touch()
            out, err = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, err
    assert err.count(" s, torch.float32 on cpu") >= 2, "both nodes loaded the model"
    assert json.loads(out) == local.comparison, "and nothing else on standard output"
    assert read_rows(tmp_path / "ray") == expected
    assert read_weights(tmp_path / "ray") == read_weights(local.folder) != []


def test_nodes_that_share_nothing_but_an_address(
    cluster: Any, engine: Any, local: LocalRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver and a second node have caches of their own, and so has the first: adapters go through the storage."""
    pytest.importorskip("obstore", reason="the extra raglift[storage] is not installed")
    monkeypatch.setenv("RAGLIFT_CACHE", str(tmp_path / "second"))
    second = cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAGLIFT_CACHE", str(tmp_path / "driver"))
    run = open_run(str(local.experiment), (tmp_path / "storage").as_uri(), SETTINGS)
    run.engine = engine
    with run.folder.hold_lock():
        found = run_experiment(run)
    cluster.remove_node(second)
    assert found == local.comparison
    assert read_rows(run.folder.path) == read_rows(local.folder)
    assert read_weights(run.folder.path) == read_weights(local.folder) != []
    assert run.folder.path.is_relative_to(tmp_path / "driver")
    (there,) = (tmp_path / "second" / "runs").iterdir()
    assert read_weights(there), "the second node computed in a folder of its own"
    assert not (there / "answers.jsonl").exists()


def test_units_of_a_killed_node_are_computed_again(cluster: Any, engine: Any, tmp_path: Path) -> None:
    doomed = add_node(cluster)
    units = [(tmp_path, number, doomed.node_id) for number in range(10)]
    with kill_when(cluster, doomed, lambda: any(tmp_path.glob(f"{doomed.node_id}-*"))):
        results = {unit[1]: found for unit, found in engine.compute("square", square, units, 20, Needs())}
    assert results == {number: number**2 for number in range(10)}
    begun = {file.name.split("-")[1] for file in tmp_path.glob(f"{doomed.node_id}-*")}
    assert begun, "the node had work when it was killed"
    assert all(len(list(tmp_path.glob(f"*-{number}"))) == 2 for number in begun), "begun again on another node"


def test_judging_goes_on_where_a_node_dies(cluster: Any, engine: Any, tmp_path: Path) -> None:
    doomed = add_node(cluster)
    calls, concurrency, before = 24, 4, 6
    with run_server(lambda seen, number: reply_verdict(seen, "correct")) as server:
        settings = JudgeConfig(url=server.url, model="fake", votes=1, concurrency=concurrency, timeout=DEADLINE)
        judge = JudgeGrader(settings, Experiment("x", "", (), (), ()), CallLog(tmp_path / "judge.jsonl"))
        judge.engine = engine
        senders: dict[str, int] = {}

        def take_turns() -> bool:
            senders.update(engine.call(name_node, number) for number in range(4))
            return senders.keys() == {cluster.head_node.node_id, doomed.node_id}

        assert wait_until(take_turns)
        with kill_when(cluster, doomed, lambda: len(server.seen) == before + concurrency) as killed:

            def behave(seen: Seen, number: int) -> Response:
                """All that may wait at a time wait until the node is dead, with the process that waits there."""
                dead = number < before or (
                    killed.wait(DEADLINE) and wait_until(lambda: has_ended(senders[doomed.node_id]))
                )
                assert dead
                return reply_verdict(seen, "correct")

            server.behave = behave
            question = Question("q", "뭐야?", None, "absent", "", Rubric((), ()))
            found = judge.grade_many([Task(question, f"answer {number}") for number in range(calls)], lambda: None)
        assert [one.verdict for one in found] == ["correct"] * calls
        assert len(recover_lines(tmp_path / "judge.jsonl")) == calls, "one account, kept by the driver"
        assert calls < len(server.seen) <= calls + concurrency, "what was in flight on the dead node is asked again"
        server.behave = lambda seen, number: Response('{"error": {"message": "wrong key"}}', 401)
        with pytest.raises(CallFailedError, match="401") as caught:
            engine.call(send_body, (judge.caller.pool.take(), {"messages": [{"role": "user", "content": "x"}]}))
        assert caught.value.hopeless, "errors come back whole"


def test_errors_and_words_of_workers_come_back_as_they_were(engine: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="expected: another") as caught:
        list(engine.compute("refuse", refuse, [1], 1, Needs()))
    assert caught.value.where == "here"
    assert "unit 1 has something to say" in capfd.readouterr().err


def test_a_cluster_of_its_own() -> None:
    """Slower than most: Ray starts its processes."""
    command = [sys.executable, "-c", OWN_CLUSTER]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith("ray: 1 node, ")
    units, stopped = ended.stdout.splitlines()
    assert units == "4 1 True", "one process, which has imported what it needs, and no other beside it"
    assert stopped == "stopped", "SIGTERM ends a command as it does without Ray"
    assert "***" not in ended.stderr


def test_a_unit_that_kills_every_worker_ends_the_run(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raglift.engines.ray.RETRIES", 1)
    with pytest.raises(RunError, match="its worker was lost"):
        list(engine.compute("die", die, [1], 1, Needs()))


def test_more_threads_than_any_node_has_are_refused(engine: Any) -> None:
    with pytest.raises(InputError, match="OMP_NUM_THREADS=1"):
        list(engine.compute("square", square, [], 0, Needs(threads=64)))


def test_unknown_engines_and_addresses_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'local'"):
        open_engine("lokal")
    with pytest.raises(InputError, match="--engine ray uses it"):
        open_engine("local", "head:6379")
