"""The run folder: where each artifact lies, written atomically, checksummed in the manifest, held by one process."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from raglift.changes import describe_changes
from raglift.datasets import dump_line
from raglift.errors import InputError, RunError
from raglift.lock import hold_file, read_holder
from raglift.progress import say
from raglift.sanitization import quote_command

# In the order in which a run makes them; a stage reads what stands before it.
STAGES = ("tune", "index", "rank", "train", "answer", "grade", "compare", "report")
# Libraries in other languages report a full or read-only disk as errors of their own, in words.
DISK_WORDS = {
    errno.ENOSPC: re.compile(r"no space left|os error 28|errno 28|PytorchStreamWriter failed writing", re.I),
    errno.EROFS: re.compile(r"read-only file system|os error 30|errno 30", re.I),
}
# Of what kind the manifest's values are; somebody else may have written it.
SHAPES: dict[str, type] = {
    "config": dict, "versions": dict, "times": dict, "stages": dict, "source": str, "experiment": str,
    "answer_rows": int,
}  # fmt: skip
SEAL = re.compile(rb', "check": "([0-9a-f]{16})"}$')
LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}")  # the temporary file of a process that was killed while it wrote


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
    except RunError:
        raise
    except Exception as error:
        code = _find_disk_code(error)
        if code is None:
            raise
        if code in (errno.ENOSPC, errno.EDQUOT):
            todo = "free some space and run the same command again: finished work is kept"
        elif code in (errno.EROFS, errno.EACCES, errno.EPERM):
            todo = "choose a folder that can be written: --run DIR, or RAGLIFT_CACHE for what is kept at an address"
        else:
            todo = "mend it and run the same command again: finished work is kept"
        raise RunError(f"{file}: cannot be written ({os.strerror(code)})\n  to do: {todo}") from error


def _find_disk_code(error: Exception) -> int | None:
    """The system's number of what went wrong with a disk; None for other errors."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return next((code for code, words in DISK_WORDS.items() if words.search(str(error))), None)


@contextmanager
def open_atomically(file: Path, folder: Path | None = None) -> Iterator[BinaryIO]:
    """A stream to a temporary file, synced and renamed at the end: readers see the old file or the new one, whole.

    `folder` is where the temporary file lies, on the same file system; by default beside the file.
    """
    with explain_disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder or file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write a file's whole content; see `open_atomically`."""
    with open_atomically(file) as stream:
        stream.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def write_json(file: Path, value: Any) -> None:
    """One JSON object, indented, atomically; NaN is refused because JSON has none."""
    write_atomically(file, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def append_lines(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append sealed JSONL rows in one write and sync them; a line that a killed process left open is ended first."""
    data = b"".join(seal_line(row) for row in rows)
    with explain_disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)  # see `lock`
        with os.fdopen(descriptor, "a+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            is_torn = end > 0 and os.pread(stream.fileno(), 1, end - 1) != b"\n"
            try:
                stream.write(b"\n" + data if is_torn else data)
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                os.ftruncate(stream.fileno(), end)  # a full disk leaves no half line behind
                raise


def seal_line(row: Mapping[str, Any]) -> bytes:
    """A JSONL line that ends with a checksum of itself, `"check"`, so that a flipped byte is noticed in its row."""
    body = dump_line(dict(row)).encode()[:-2]  # without its brace and line end
    return body + b', "check": "' + _check(body) + b'"}\n'


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()


def _read_line(line: bytes) -> dict[str, Any] | None:
    """A row without its seal; None where it is torn or its seal is broken. Rows of other hands have no seal."""
    seal = SEAL.search(line)
    if seal is not None:
        body = line[: seal.start()]
        if _check(body) != seal.group(1):
            return None
        line = body + b"}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("key", ""), str) else None


def recover_lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file; those that a killed process tore or whose bytes changed are left out."""
    if not file.exists():
        return []
    return [row for line in file.read_bytes().split(b"\n") if (row := _read_line(line)) is not None]


def find_broken_lines(file: Path) -> list[int]:
    """Numbers of the ended lines that are no whole rows. An open last line is no damage: it was being written."""
    lines = file.read_bytes().split(b"\n")[:-1]
    return [number for number, line in enumerate(lines, start=1) if line.strip() and _read_line(line) is None]


def note_lines(file: Path) -> None:
    """Write down beside a file how many lines it has: the loss of its last ones breaks no checksum of a row."""
    write_json(_locate_count(file), {"lines": file.read_bytes().count(b"\n")})


def find_lost_tail(file: Path) -> str | None:
    """What is gone from the end of a file whose lines are counted; None where all are there.

    An open last line is being written while its writer holds the file's lock, else it was torn.
    """
    data, is_written = b"", False
    if file.exists():
        with file.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                is_written = True
            data = stream.read()
    try:
        noted = int(json.loads(_locate_count(file).read_text(encoding="utf-8"))["lines"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        noted = 0
    left = data.count(b"\n")
    if left < noted:
        return f"{noted - left} of {noted} lines are lost from its end"
    return "its last line is torn" if data and not data.endswith(b"\n") and not is_written else None


def _locate_count(file: Path) -> Path:
    return file.with_name(f".{file.name}.count")


@dataclass(frozen=True)
class Damage:
    """A file of a run folder whose bytes are not those that `stage` wrote."""

    stage: str
    file: str
    reason: str


def _read_sealed(file: Path) -> dict[str, Any]:
    """A manifest without its checksum; ValueError where the two disagree."""
    value = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError("no mapping")
    checksum = value.pop("checksum", None)
    if checksum is not None and checksum != hash_content(value):
        raise ValueError("its checksum differs")
    if not all(isinstance(value.get(name, kind()), kind) for name, kind in SHAPES.items()):
        raise ValueError("a value is of another kind")
    stages = value.get("stages", {})
    if not all(
        isinstance(noted, dict) and isinstance(noted.get("files"), dict) and "made_from" in noted
        for noted in stages.values()
    ):
        raise ValueError("its stages are none")
    return value


class RunFolder:
    """Names and guards the artifacts of one run.

    The manifest (`manifest.json`) holds the experiment's name, a checksum for each finished artifact and
    what each stage was made from, so that a later call knows what is stale, torn or somebody else's.
    `address` is where a run on object storage is kept, whose local copy this is then (see `runcopy`).
    """

    address: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_file = path / "manifest.json"
        self.plan = path / "plan.json"
        self.answers = path / "answers.jsonl"
        self.comparison = path / "comparison.json"
        self.log = path / "answers.log"
        self.table = path / "table.csv"
        self.index = path / "index"
        self.retriever = path / "retriever"
        self.ranking = path / "ranking.json"
        self.lock = path / "lock"
        self.manifest_copy = path / ".manifest.copy.json"

    def adapter(self, tuning: str, seed: int) -> Path:
        return self.path / "adapters" / f"{tuning}-seed{seed}"

    def weights(self, tuning: str, seed: int) -> Path:
        return self.adapter(tuning, seed) / "adapter_model.safetensors"

    def training_log(self, tuning: str, seed: int) -> Path:
        return self.path / f"training.{tuning}-seed{seed}.jsonl"

    def grades(self, grader: str) -> Path:
        return self.path / f"grades.{grader}.jsonl"

    def report(self, kind: str) -> Path:
        return self.path / f"report.{kind}"

    @property
    def place(self) -> str:
        """What names this run to a command: its path or its address."""
        return self.address or str(self.path)

    def locate(self, file: Path) -> str:
        """Where people find one of its files."""
        return str(file)

    def put(self) -> None:
        """Put what has changed where the run is kept: it is here."""

    def put_soon(self) -> None:
        """The same, where it was not done just now."""

    def take(self, folder: Path) -> None:
        """In a worker: bring a folder of files in step with the process that leads the run."""

    def offer(self, files: Iterable[Path]) -> dict[str, str]:
        """In a worker: files that it has made, with their checksums, for the process that leads the run."""
        return {file.relative_to(self.path).as_posix(): hash_file(file) for file in files}

    def accept(self, offered: Mapping[str, str]) -> list[Path]:
        """In the process that leads the run: the files that a worker offers, which lie here from now on."""
        return [self.path / name for name in offered]

    def read_manifest(self) -> dict[str, Any]:
        """The manifest, or its copy where it is torn or damaged; {} for a new folder.

        Raises RunError when neither can be read.
        """
        problems = []
        for file in (self.manifest_file, self.manifest_copy):
            try:
                return _read_sealed(file)
            except FileNotFoundError:
                continue
            except (ValueError, OSError, RecursionError) as error:
                problems.append(f"{file}: cannot be read ({error})")
        if problems:
            raise RunError(
                "\n".join(problems) + "\n  to do: move the whole folder away, or choose another with --run DIR"
            )
        return {}

    def update_manifest(self, **values: Any) -> None:
        """Merge top-level values into the manifest."""
        before = self.read_manifest()
        if any(before.get(key) != value for key, value in values.items()) or not self.manifest_copy.exists():
            self._write_manifest({**before, **values})

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        value = json.loads(json.dumps(manifest, allow_nan=False))
        sealed = {**value, "checksum": hash_content(value)}
        write_json(self.manifest_file, sealed)
        write_json(self.manifest_copy, sealed)

    def record_artifact(
        self, stage: str, made_from: str, files: Iterable[Path], parts: Mapping[str, Any] | None = None
    ) -> None:
        """Note that `stage` finished: what it was made from (a hash, and named parts) and its files' checksums."""
        manifest = self.read_manifest()
        checksums = {str(file.relative_to(self.path)): hash_file(file) for file in files}
        noted = {"made_from": made_from, "parts": dict(parts or {}), "files": checksums}
        self._write_manifest({**manifest, "stages": {**manifest.get("stages", {}), stage: noted}})

    def find_damage(self, stage: str, made_from: str, parts: Mapping[str, Any] | None = None) -> str | None:
        """Why `stage` has to be done (again), or None when its artifact is whole and made from the same things."""
        noted = self.read_manifest().get("stages", {}).get(stage)
        if noted is None:
            return "not done yet"
        if noted["made_from"] != made_from:
            return describe_changes(noted.get("parts") or {}, parts or {}) or "what it is made from has changed"
        for name, checksum in noted["files"].items():
            file = self.path / name
            if not file.exists():
                return f"{name} is missing"
            if hash_file(file) != checksum:
                return f"{name} is damaged (its checksum differs)"
        return None

    def find_changed_file(self, stage: str) -> str | None:
        """The first file of a finished stage whose bytes are other ones now; one that is missing does not count."""
        noted = self.read_manifest().get("stages", {}).get(stage, {"files": {}})
        there = ((name, checksum) for name, checksum in noted["files"].items() if (self.path / name).exists())
        return next((name for name, checksum in there if hash_file(self.path / name) != checksum), None)

    def list_damage(self) -> list[Damage]:
        """Every finished file whose bytes have changed since, and every line of a log that is no whole row."""
        found = []
        recorded = set()
        for stage, noted in self.read_manifest().get("stages", {}).items():
            for name, checksum in noted["files"].items():
                recorded.add(name)
                if not (self.path / name).exists():
                    if stage == "tune":  # a search that was tuned must not silently be another; stages see the others
                        found.append(Damage(stage, name, "it is missing"))
                elif hash_file(self.path / name) != checksum:
                    found.append(Damage(stage.partition(":")[0], name, "its checksum differs"))
        for file in sorted(self.path.glob("*.jsonl")):
            broken = [] if file.name in recorded else find_broken_lines(file)
            if broken:
                shown = ", ".join(map(str, broken[:5])) + (" …" if len(broken) > 5 else "")
                found.append(Damage(self._name_stage(file), file.name, f"line {shown} is no whole row"))
        lost = find_lost_tail(self.grades("human"))
        if lost:
            found.append(Damage("review", self.grades("human").name, lost))
        noted, left = self.read_manifest().get("answer_rows", 0), len(recover_lines(self.answers))
        if left < noted and not any(damage.file == self.answers.name for damage in found):
            found.append(Damage("answer", self.answers.name, f"{left} of {noted} rows are left"))
        return found

    def refuse_damage(self, stage: str) -> None:
        """RunError when a file that `stage` reads is damaged; `raglift run` makes just that again.

        What only people can make again is said.
        """
        before = STAGES[: STAGES.index(stage)]
        for damage in self.list_damage():
            if damage.stage == "review":
                say(f"{self.path / damage.file}: damaged ({damage.reason}): what is lost is left out")
            if damage.stage in before:
                holder = read_holder(self.lock)
                again = f"{self._write_repair(damage)} makes just that again"
                if holder:
                    again = f"wait for process {holder.get('process')}, which works on this run"
                raise RunError(f"{self.path / damage.file}: damaged ({damage.reason})\n  to do: {again}")

    def _write_repair(self, damage: Damage) -> str:
        """The command that makes a damaged file again, by the run's settings: `run` would need its options again."""
        if damage.stage == "tune":
            return quote_command("raglift", "tune-retriever", self.read_manifest().get("source"), "--run", self.place)
        verb = "index" if damage.stage == "rank" else damage.stage
        grader = ("--grader", damage.file.split(".")[1]) if verb == "grade" else ()
        return quote_command("raglift", verb, self.place, *grader)

    def _name_stage(self, file: Path) -> str:
        name = file.name
        return "answer" if file == self.answers else "train" if name.startswith("training.") else "review"

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
            strangers = [p.name for p in self.path.iterdir() if not p.name.startswith(".") and p != self.lock]
            if strangers:
                raise InputError(
                    str(self.path), f"no run folder (it holds {', '.join(sorted(strangers)[:3])})", "an empty folder"
                )
            self.update_manifest(experiment=experiment)

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """One process at a time; RunError says who holds it. A lock of a process that is gone is taken over."""
        with ExitStack() as held:
            with explain_disk_errors(self.lock):
                self.path.mkdir(parents=True, exist_ok=True)
                held.enter_context(hold_file(self.lock))
                self._remove_leftovers()
            yield

    def _remove_leftovers(self) -> None:
        for file in self.path.iterdir():
            if LEFTOVER.fullmatch(file.name) and file.is_file():
                file.unlink(missing_ok=True)
