"""The Ray engine: the same answers as the local one on a cluster of several nodes, one of them killed in the middle."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from judge_fixture import Response, reply_verdict, run_server
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
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A real cluster of node processes on this machine; each node computes one unit at a time."""
    from ray.cluster_utils import Cluster

    from raglift.engines import ray as _  # noqa: F401 - sets what Ray reads when it starts

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def engine(cluster: Any) -> Iterator[Any]:
    opened = open_engine("ray", cluster.address)
    yield opened
    opened.close()


def kill_when(cluster: Any, node: Any, ripe: Callable[[], bool]) -> threading.Thread:
    """Kill a node's processes as soon as `ripe` says so."""

    def watch() -> None:
        while not ripe():
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [{**row, "seconds": 0} for row in recover_lines(folder / "answers.jsonl")]


def read_weights(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("adapters/*/*.safetensors"))]


def square_slowly(unit: tuple[Path, int, str], meter: Meter) -> int:
    """Notes where it was begun; takes so long on the node to be killed that it cannot end there."""
    folder, number, doomed = unit
    node = ray.get_runtime_context().get_node_id()
    (folder / f"{node}-{number}").touch()
    time.sleep(30 if node == doomed else 0.3)
    meter.advance(2, str(number))
    return number**2


def refuse(unit: int, meter: Meter) -> int:
    say(f"unit {unit} has something to say")
    time.sleep(1)
    raise InputError("here", str(unit), "another")


def die(unit: int, meter: Meter) -> int:
    os._exit(1)


def name_node(unit: int) -> str:
    return str(ray.get_runtime_context().get_node_id())


def test_a_killed_node_loses_nothing(cluster: Any, tiny_experiment: Path, tmp_path: Path) -> None:
    settings = ["precision=float32", "arms=sft.none,rag-sft.oracle", "answer.questions_per_batch=1"]
    local = open_run(str(tiny_experiment), tmp_path / "local", settings)
    comparison = run_experiment(local)
    expected = read_rows(tmp_path / "local")
    doomed = cluster.add_node(num_cpus=1)
    command = [sys.executable, "-m", "raglift", "run", str(tiny_experiment), "--run", str(tmp_path / "ray"), "--json"]
    command += ["--engine", "ray", "--address", cluster.address]
    found: list[int] = []  # how many answers there were, at last when the node was killed

    def is_ripe() -> bool:
        found.append(len(read_rows(tmp_path / "ray")))
        return found[-1] >= len(expected) // 4

    killer = kill_when(cluster, doomed, is_ripe)
    done = subprocess.run(
        [*command, *(part for one in settings for part in ("--set", one))],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    killer.join()
    assert found[-1] < len(expected), "in the middle"
    assert done.stderr.count(" s, torch.float32 on cpu") == 2, "both nodes loaded the model to train an adapter each"
    assert json.loads(done.stdout) == comparison, "and nothing else on standard output"
    assert read_rows(tmp_path / "ray") == expected
    assert read_weights(tmp_path / "ray") == read_weights(tmp_path / "local") != []


def test_units_of_a_killed_node_are_computed_again(cluster: Any, engine: Any, tmp_path: Path) -> None:
    doomed = cluster.add_node(num_cpus=1)
    killer = kill_when(cluster, doomed, lambda: any(tmp_path.glob(f"{doomed.node_id}-*")))
    units = [(tmp_path, number, doomed.node_id) for number in range(10)]
    results = {unit[1]: square for unit, square in engine.compute("square", square_slowly, units, 20, Needs())}
    killer.join()
    assert results == {number: number**2 for number in range(10)}
    begun = {file.name.split("-")[1] for file in tmp_path.glob(f"{doomed.node_id}-*")}
    assert begun, "the node had work when it was killed"
    assert all(len(list(tmp_path.glob(f"*-{number}"))) == 2 for number in begun), "begun again on another node"


def test_judging_goes_on_where_a_node_dies(cluster: Any, engine: Any, tmp_path: Path) -> None:
    doomed = cluster.add_node(num_cpus=1)
    calls = 24
    with run_server(lambda seen, number: dataclasses.replace(reply_verdict(seen, "correct"), delay=0.1)) as server:
        judge = JudgeGrader(
            JudgeConfig(url=server.url, model="fake", votes=1, concurrency=4), Experiment("x", "", (), (), ()),
            CallLog(tmp_path / "judge.jsonl"),
        )  # fmt: skip
        judge.engine = engine
        both, named = {cluster.head_node.node_id, doomed.node_id}, set[str]()
        until = time.monotonic() + 60  # a new node is known to every other only after a while
        while named != both and time.monotonic() < until:
            named = {engine.call(name_node, number) for number in range(4)}
        assert named == both, "the nodes take turns"
        killer = kill_when(cluster, doomed, lambda: len(server.seen) > calls // 4)
        question = Question("q", "뭐야?", None, "absent", "", Rubric((), ()))
        found = judge.grade_many([Task(question, f"answer {number}") for number in range(calls)], lambda: None)
        killer.join()
        assert [one.verdict for one in found] == ["correct"] * calls
        assert len(recover_lines(tmp_path / "judge.jsonl")) == calls, "one account, kept by the driver"
        assert len(server.seen) <= calls + 4, "only what was in flight on the dead node is asked again"
        server.behave = lambda seen, number: Response('{"error": {"message": "wrong key"}}', 401)
        with pytest.raises(CallFailedError, match="401") as caught:
            engine.call(send_body, (judge.caller.pool.take(), {"messages": [{"role": "user", "content": "x"}]}))
        assert caught.value.hopeless, "errors come back whole"


def test_errors_and_words_of_workers_come_back_as_they_were(engine: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="expected: another") as caught:
        list(engine.compute("refuse", refuse, [1], 1, Needs()))
    assert caught.value.where == "here"
    assert "unit 1 has something to say" in capfd.readouterr().err


def test_a_unit_that_kills_every_worker_ends_the_run(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raglift.engines.ray.RETRIES", 1)
    with pytest.raises(RunError, match="its worker was lost"):
        list(engine.compute("die", die, [1], 1, Needs()))


def test_more_threads_than_any_node_has_are_refused(engine: Any) -> None:
    with pytest.raises(InputError, match="OMP_NUM_THREADS=1"):
        list(engine.compute("square", square_slowly, [], 0, Needs(threads=64)))


def test_unknown_engines_and_addresses_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'local'"):
        open_engine("lokal")
    with pytest.raises(InputError, match="--engine ray uses it"):
        open_engine("local", "head:6379")
