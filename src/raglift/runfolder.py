"""The run folder: where each artifact lies, written atomically, checksummed in the manifest, held by one process."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from raglift.datasets import dump_line
from raglift.errors import InputError, RunError


def hash_content(*parts: Any) -> str:
    """A short hash (128 bits, hexadecimal) of JSON-able values."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_file(file: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explain_disk_errors(file: Path) -> Iterator[None]:
    """A full or read-only disk becomes a RunError that says what to do; what was there stays."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            todo = "free some space and run the same command again: finished work is kept"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            todo = "choose a folder that can be written with --run DIR"
        else:
            todo = "mend it and run the same command again: finished work is kept"
        raise RunError(f"{file}: cannot be written ({error.strerror or error})\n  to do: {todo}") from error


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write to a temporary file beside it, sync, rename: readers see the old file or the new one, whole."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with explain_disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(file: Path, value: Any) -> None:
    """One JSON object, indented, atomically; NaN is refused because JSON has none."""
    write_atomically(file, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def append_lines(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append JSONL rows in one write and sync them."""
    data = "".join(dump_line(row) for row in rows).encode()
    with explain_disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


def recover_lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file that a killed process may have torn; torn lines are left out."""
    if not file.exists():
        return []
    rows = []
    for line in file.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


class RunFolder:
    """Names and guards the artifacts of one run.

    The manifest (`manifest.json`) holds the experiment's name, a checksum for each finished artifact and
    what each stage was made from, so that a later call knows what is stale, torn or somebody else's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_file = path / "manifest.json"
        self.answers = path / "answers.jsonl"
        self.comparison = path / "comparison.json"
        self.log = path / "answers.log"
        self.table = path / "table.csv"
        self.index = path / "index"
        self.retriever = path / "retriever"
        self.ranking = path / "ranking.json"

    def adapter(self, tuning: str, seed: int) -> Path:
        return self.path / "adapters" / f"{tuning}-seed{seed}"

    def training_log(self, tuning: str, seed: int) -> Path:
        return self.path / f"training.{tuning}-seed{seed}.jsonl"

    def grades(self, grader: str) -> Path:
        return self.path / f"grades.{grader}.jsonl"

    def report(self, kind: str) -> Path:
        return self.path / f"report.{kind}"

    def read_manifest(self) -> dict[str, Any]:
        """The manifest, {} for a new folder; RunError when it is torn."""
        try:
            value = json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise RunError(
                f"{self.manifest_file}: cannot be read ({error})\n"
                "  to do: move it away and run again; what is finished is recognised by its content"
            ) from None
        return value if isinstance(value, dict) else {}

    def update_manifest(self, **values: Any) -> None:
        """Merge top-level values into the manifest."""
        write_json(self.manifest_file, {**self.read_manifest(), **values})

    def record_artifact(self, stage: str, made_from: str, files: Iterable[Path]) -> None:
        """Note that `stage` finished: what it was made from and its files' checksums."""
        manifest = self.read_manifest()
        stages = manifest.setdefault("stages", {})
        checksums = {str(file.relative_to(self.path)): hash_file(file) for file in files}
        stages[stage] = {"made_from": made_from, "files": checksums}
        write_json(self.manifest_file, manifest)

    def find_damage(self, stage: str, made_from: str) -> str | None:
        """Why `stage` has to be done (again), or None when its artifact is whole and made from the same things."""
        noted = self.read_manifest().get("stages", {}).get(stage)
        if noted is None:
            return "not done yet"
        if noted["made_from"] != made_from:
            return "what it is made from has changed"
        for name, checksum in noted["files"].items():
            file = self.path / name
            if not file.exists():
                return f"{name} is missing"
            if hash_file(file) != checksum:
                return f"{name} is damaged (its checksum differs)"
        return None

    def claim(self, experiment: str) -> None:
        """Make the folder this experiment's; InputError if it is another's."""
        with explain_disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        manifest = self.read_manifest()
        owner = manifest.get("experiment")
        if owner is not None and owner != experiment:
            raise InputError(
                str(self.path),
                f"a run of experiment '{owner}'",
                f"a run of experiment '{experiment}' or an empty folder",
                "choose another folder with --run DIR",
            )
        if owner is None:
            strangers = [p.name for p in self.path.iterdir() if not p.name.startswith(".") and p.name != "lock"]
            if strangers:
                raise InputError(
                    str(self.path), f"no run folder (it holds {', '.join(sorted(strangers)[:3])})", "an empty folder"
                )
            self.update_manifest(experiment=experiment)

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """One process at a time; RunError says who holds it. A lock of a process that is gone is taken over."""
        lock = self.path / "lock"
        with explain_disk_errors(lock):
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock(lock)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)

    def _take_lock(self, lock: Path) -> None:
        mine = json.dumps(
            {"process": os.getpid(), "host": socket.gethostname(), "started": _process_start(os.getpid())}
        )
        for _ in range(3):
            try:
                with lock.open("x", encoding="utf-8") as stream:
                    stream.write(mine)
                return
            except FileExistsError:
                holder = _read_lock(lock)
                if holder is not None and _is_alive(holder):
                    raise RunError(
                        f"{self.path}: process {holder['process']} on {holder['host']} works on this run\n"
                        "  to do: wait for it, or stop it, or choose another folder with --run DIR"
                    ) from None
                lock.unlink(missing_ok=True)
        raise RunError(f"{lock}: cannot be taken")


def _read_lock(lock: Path) -> dict[str, Any] | None:
    for _ in range(5):  # its writer may be between creating and filling it
        try:
            holder = json.loads(lock.read_text(encoding="utf-8"))
            return holder if isinstance(holder, dict) and "process" in holder else None
        except FileNotFoundError:
            return None
        except ValueError:
            time.sleep(0.05)
    return None


def _is_alive(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return True  # cannot be seen from here: its owner decides
    return bool(_process_start(holder["process"]) == holder.get("started"))


def _process_start(process: int) -> float | None:
    try:
        return float(psutil.Process(process).create_time())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
