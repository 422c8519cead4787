"""A run on object storage: the same artifacts as in a folder, from any machine, whoever is killed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from conftest import build_tiny_model, write_experiment
from fault_lab import CALM, Disturbance, Ended, Lab, compare_folders, count_made
from object_store_fixture import ObjectStore, describe_access, run_object_store
from raglift import answering, objectstorage, runcopy, runfolder
from raglift.cli import app
from raglift.errors import InputError, RunError
from raglift.runcopy import RunCopy, join_folder, join_place, open_folder
from raglift.runfolder import append_lines, recover_lines, write_json

ADDRESS = "s3://bucket/my/run"


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    pytest.importorskip("obstore", reason="the extra raglift[storage] is not installed")
    with run_object_store() as opened:
        yield opened


@pytest.fixture
def enter(store: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """From here on this process is on that machine: what a machine has of its own is its cache folder."""
    store.objects.clear()
    for name, value in describe_access(store.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objectstorage, "PATIENCE", {"max_retries": 0})
    return lambda name: monkeypatch.setenv("RAGLIFT_CACHE", str(tmp_path / name))


@contextmanager
def hold_claimed() -> Iterator[RunCopy]:
    """This machine's copy of the run, held and claimed."""
    run = open_folder(ADDRESS)
    assert isinstance(run, RunCopy)
    with run.hold_lock():
        run.claim("tiny")
        yield run


@dataclasses.dataclass
class Machines:
    """Machines with a cache folder each, on which whole commands run as processes."""

    lab: Lab
    url: str
    calm: Path

    def run(self, name: str, patch: Callable[[str, str], None]) -> Ended:
        there = partial(patch, self.url, str(self.lab.root / name))
        words = ("run", str(self.lab.source), "--run", ADDRESS)
        folder = self.lab.make_folder()
        return self.lab.wait(self.lab.start(folder, Disturbance(patch=there), *words), folder)

    def compare(self, name: str) -> list[str]:
        (copy,) = (self.lab.root / name / "runs").iterdir()
        return [one for one in compare_folders(copy, self.calm) if ".version.json" not in one]


def enter_machine(url: str, cache: str) -> None:
    """In a process of the lab: it is on a machine of its own; every batch of answers is put at once."""
    os.environ.update(describe_access(url), RAGLIFT_CACHE=cache)
    runcopy.PUT_SECONDS, runcopy.SHARE = -1.0, -1


def die_in_third_batch(url: str, cache: str) -> None:
    """The same, and killed when the third batch of answers is on its disk and not yet put."""
    enter_machine(url, cache)
    whole, batches = answering.append_lines, []

    def append(*given: object) -> None:
        whole(*given)  # type: ignore[arg-type]
        batches.append(1)
        if len(batches) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    answering.append_lines = append  # type: ignore[assignment]


@pytest.fixture(scope="module")
def machines(store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Machines:
    root = tmp_path_factory.mktemp("machines")
    lab = Lab(root, write_experiment(root / "tiny", build_tiny_model(root / "model")))
    calm = lab.make_folder()
    ended = lab.run(calm, CALM)
    assert ended.code == 0, ended.text
    return Machines(lab, store.url, calm)


def test_a_run_in_a_bucket_is_the_run_in_a_folder_from_any_machine(store: ObjectStore, machines: Machines) -> None:
    """Slower than most: whole commands in four processes, one of them killed."""
    store.objects.clear()
    rows = recover_lines(machines.calm / "answers.jsonl")
    killed = machines.run("first", die_in_third_batch)
    assert killed.code == -signal.SIGKILL
    there = open_newest(store)
    assert "adapters/sft-seed0/adapter_model.safetensors" in there["files"] and not there["ended"]
    other = machines.run("second", enter_machine)
    assert other.code == 0, other.text
    assert "train:" not in other.text, "the adapters come from the bucket"
    assert count_made(other.text) == len(rows) - 2 * 4, "and the first two batches of answers"
    assert f"{ADDRESS}/report.html" in other.text.replace("\n", ""), "it ends with where the result is"
    assert machines.compare("second") == []
    first = machines.run("first", enter_machine)
    assert first.code == 0 and count_made(first.text) == 0, "it has the other's answers now"
    assert machines.compare("first") == [], "though its third batch was never put"
    for page in ("report.html", "comparison.json", "adapters/sft-seed0/adapter_model.safetensors"):
        assert store.objects[f"bucket/my/run/{page}"] == (machines.calm / page).read_bytes(), "under its own name too"
    last = open_newest(store)
    kept = {name for name in store.objects if "/objects/" in name}
    assert kept == {f"bucket/my/run/objects/{checksum}" for checksum in last["files"].values()}, "nothing is left over"
    assert last["ended"]


def open_newest(store: ObjectStore) -> dict[str, dict[str, str]]:
    newest = max(name for name in store.objects if "/versions/" in name)
    return dict(json.loads(store.objects[newest]))


def test_commands_find_a_run_by_its_address(enter: Callable[[str], None], machines: Machines) -> None:
    enter("one")
    mine = open_folder(ADDRESS)
    with mine.hold_lock():
        for file in (one for one in machines.calm.rglob("*") if one.is_file() and one.name != "lock"):
            target = mine.path / file.relative_to(machines.calm)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    enter("two")

    command = CliRunner()
    told = command.invoke(app, ["report", ADDRESS], catch_exceptions=False)
    assert told.stdout == f"report: {ADDRESS}/report.html\n"
    told = command.invoke(app, ["compare", ADDRESS, "--json"], catch_exceptions=False)
    assert json.loads(told.stdout) == json.loads((machines.calm / "comparison.json").read_text())
    with pytest.raises(InputError, match="s3://bucket/nothing: no run folder"):
        command.invoke(app, ["report", "s3://bucket/nothing"], catch_exceptions=False)


def test_rows_of_two_machines_are_united_and_nothing_else(
    enter: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    enter("one")
    with hold_claimed() as mine:
        append_lines(mine.grades("human"), [{"key": "a"}])
    enter("two")
    other = open_folder(ADDRESS)
    append_lines(other.grades("human"), [{"key": "b"}])
    append_lines(other.answers, [{"key": "1", "text": "graded nowhere"}, {"key": "2"}])
    append_lines(mine.grades("human"), [{"key": "c"}])
    append_lines(mine.answers, [{"key": "1", "text": "graded"}])
    mine.put()
    other.put()
    assert [row["key"] for row in recover_lines(other.grades("human"))] == ["a", "c", "b"]
    assert recover_lines(other.answers) == [{"key": "1", "text": "graded"}, {"key": "2"}]
    with (
        pytest.raises(RunError, match=r"process \d+ on .* has put manifest.json since this command began"),
        mine.hold_lock(),
    ):
        with other.hold_lock():
            other.update_manifest(setting="theirs")
        mine.update_manifest(setting="mine")
    assert mine.read_manifest()["setting"] == "mine"
    enter("one")
    assert open_folder(ADDRESS).read_manifest()["setting"] == "theirs"
    assert "manifest.json, .manifest.copy.json here was never put and gives way" in capsys.readouterr().err


def test_a_storage_that_is_away_for_a_while_stops_nothing(
    enter: Callable[[str], None],
    store: ObjectStore,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enter("one")
    with hold_claimed() as mine:
        there = mine.storage
        monkeypatch.setattr(mine, "storage", objectstorage.ObjectStorage("s3://forbidden/run"))
        mine.update_manifest(setting=1)
        mine.update_manifest(setting=2)
        monkeypatch.setattr(mine, "storage", there)
    assert capsys.readouterr().err.count("going on in") == 1
    enter("two")
    assert open_folder(ADDRESS).read_manifest()["setting"] == 2
    with pytest.raises(RunError, match="what is finished is kept here"), mine.hold_lock():
        mine.update_manifest(setting=3)
        monkeypatch.setattr(mine, "storage", objectstorage.ObjectStorage("s3://forbidden/run"))
    enter("one")
    with open_folder(ADDRESS).hold_lock():
        pass
    enter("two")
    assert open_folder(ADDRESS).read_manifest()["setting"] == 3, "the next command puts it"


def test_a_worker_takes_adapters_and_offers_what_it_made(enter: Callable[[str], None]) -> None:
    enter("one")
    with hold_claimed() as mine:
        write_json(mine.adapter("sft", 0) / "adapter_config.json", {"from": "driver"})
        mine.put()
        enter("two")
        worker = join_folder(ADDRESS)
        assert worker.path != mine.path
        write_json(worker.adapter("sft", 0) / "adapter_config.json", {"from": "an earlier run"})
        worker.take(worker.adapter("sft", 0))
        assert json.loads((worker.adapter("sft", 0) / "adapter_config.json").read_text()) == {"from": "driver"}
        made = worker.adapter("rag-sft", 0) / "adapter_config.json"
        write_json(made, {"from": "worker"})
        (taken,) = mine.accept(worker.offer([made]))
        assert taken == mine.adapter("rag-sft", 0) / "adapter_config.json" and json.loads(taken.read_text())
        enter("one")
        write_json(taken, {"from": "driver, not put"})
        join_folder(ADDRESS).take(taken.parent)
        assert json.loads(taken.read_text()) == {"from": "driver, not put"}, "on its own machine the driver's is newest"


def test_what_is_damaged_or_lost_in_the_copy_is_fetched_again(
    enter: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    enter("one")
    with hold_claimed() as mine:
        write_json(mine.comparison, {"lift": 1})
        write_json(mine.report("json"), {"lift": 1})
        mine.record_artifact("compare", "", [mine.comparison])
        mine.record_artifact("report", "", [mine.report("json")])
    mine.comparison.write_bytes(mine.comparison.read_bytes().replace(b"1", b"7"))
    mine.report("json").unlink()
    again = open_folder(ADDRESS)
    assert again.list_damage() == [] and json.loads(again.report("json").read_text()) == {"lift": 1}
    assert "comparison.json, report.json damaged in" in capsys.readouterr().err


def test_a_full_disk_is_no_failure_of_the_storage(
    enter: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter("one")
    with hold_claimed() as mine:
        write_json(mine.comparison, {"lift": "1" * 2**20})
    enter("two")
    with monkeypatch.context() as patch:

        def make_on_full_disk(dir: Path, prefix: str) -> tuple[int, str]:
            descriptor, name = tempfile.mkstemp(dir=dir, prefix=prefix)
            if not prefix.startswith(".comparison"):
                return descriptor, name
            os.close(descriptor)
            return os.open("/dev/full", os.O_WRONLY), name  # what is written there fails as on a full disk

        patch.setattr(runfolder, "tempfile", SimpleNamespace(mkstemp=make_on_full_disk))
        with pytest.raises(
            RunError, match=r"comparison\.json: cannot be written \(No space left(?s:.*)free some space"
        ):
            open_folder(ADDRESS)
    (copy,) = (path for path in (mine.path.parents[2] / "two" / "runs").iterdir())
    assert {file.name for file in copy.iterdir()} == {".manifest.copy.json"}, "nothing half written stays"
    assert open_folder(ADDRESS).comparison.read_bytes() == mine.comparison.read_bytes()


def test_what_others_wrote_there_harms_nothing(enter: Callable[[str], None], store: ObjectStore) -> None:
    enter("one")
    with open_folder(ADDRESS).hold_lock():
        open_folder(ADDRESS)
    version = f"bucket/my/run/versions/{99:08d}.json"
    evil = {"files": {"../../evil": "0" * 64}, "pages": {}, "writer": {}, "ended": True}
    store.objects[version] = json.dumps(evil).encode()
    with pytest.raises(RunError, match=r"version 99 names '\.\./\.\./evil'"):
        open_folder(ADDRESS)
    store.objects[version] = json.dumps({**evil, "files": {"answers.jsonl": "0" * 64}}).encode()
    store.objects[f"bucket/my/run/objects/{'0' * 64}"] = b"other bytes"
    enter("two")
    with pytest.raises(InputError, match=r"objects/000000000000… is damaged"):
        open_folder(ADDRESS)
    store.objects[version] = b'{"files": {"answ'
    assert open_folder(ADDRESS).read_manifest() == {}, "half a version is none"


def test_places_that_are_none_are_named(
    enter: Callable[[str], None], store: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter("one")
    store.objects["bucket/other/notes.txt"] = b"mine"
    for address, found in {
        "s3://missing/run": "NoSuchBucket",
        "s3://forbidden/run": "InvalidAccessKeyId",
        "nowhere://bucket/run": "Unable to recognise URL",
        "s3://bucket/other": r"it holds notes\.txt",
    }.items():
        with pytest.raises(InputError, match=f"(?s)^{address}: .*{found}.*expected: "):
            open_folder(address)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(InputError, match="keys come from the environment: AWS_ACCESS_KEY_ID"):
            open_folder("s3://bucket/run")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(InputError, match="keys come from the environment: AWS_ACCESS_KEY_ID"):
            open_folder("s3://bucket/run")
    monkeypatch.setenv("RAGLIFT_OFFLINE", "1")
    with pytest.raises(InputError, match="bucket is another machine, and RAGLIFT_OFFLINE is set"):
        open_folder("s3://bucket/run")
    assert open_folder((tmp_path / "there").as_uri()).read_manifest() == {}, "a file: address is this machine's"


def test_places_within_places() -> None:
    assert join_place("s3://bucket/run/", "sweep", "a=1") == "s3://bucket/run/sweep/a=1"
    assert join_place("runs/x", "sweep", "a=1") == Path("runs/x/sweep/a=1")
