"""A run that is kept on object storage: every process works in a local copy, and puts what has changed there.

There is no lock across machines, for a lock outlives its holder or needs clocks that agree. Versions are compared
instead: what only one side has changed is taken from it, rows are united, and who puts a file second that another
process has changed since stops and says so. On one machine the copy's own lock holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raglift.errors import InputError, RunError
from raglift.lock import read_holder
from raglift.machine import locate_cache
from raglift.objectstorage import CREDENTIALS, EXAMPLE, ObjectStorage, StorageError, Version, is_address
from raglift.progress import say, show_progress
from raglift.runfolder import LEFTOVER, RunFolder, hash_content, hash_file, write_atomically, write_json

PUT_SECONDS = 30.0  # what a lost machine takes with it at most, beside what it was computing
SHARE = 10  # putting takes at most one part in so many of the time
TRIES = 10  # against other processes that put at the same time
LARGE = 8 * 2**20  # bytes from which putting is shown
# Rows that guard themselves: appended while a stage goes on, valid one by one, united where two processes added some.
ROWS = {"answers.jsonl", "judge.jsonl", "remote.jsonl", "feedback.jsonl", "grades.human.jsonl"}
# Of this machine: half trained adapters, exports, the lock, notes on the copy itself.
NOTE = ".version.json"
PRIVATE = {"checkpoints", "export", "lock", NOTE, ".grades.human.jsonl.count"}
# What people and other programs read lies under its own name too, as the last command that ended left it.
PAGES = re.compile(r"(.*/)?(report|sweep)\.\w+|comparison\.json|table\.csv|answers\.log|adapters/.+")

UNREADABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

Checksums = Mapping[str, str]


class RunCopy(RunFolder):
    """The local copy, in the cache folder, of a run that is kept at an address."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.storage = ObjectStorage(self.address)
        name = re.sub(r"[^\w.-]+", "-", self.address.rpartition("/")[2])
        super().__init__(locate_cache() / "runs" / f"{name}-{hash_content(self.address)[:12]}")
        self._mutex = threading.RLock()
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}  # by name, what a file's checksum was when
        self._put_at, self._pause = time.monotonic(), PUT_SECONDS
        self._holds = self._is_away = False
        self._accepted: set[str] = set()  # objects that workers have put and that no version names yet
        self._writer = _describe_writer()

    def locate(self, file: Path) -> str:
        name = self._name(file)
        return f"{self.address}/{name}" if PAGES.fullmatch(name) else f"{file}, kept in {self.address}"

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """On this machine one process at a time; what it changes is put, the last of it when it ends."""
        with super().hold_lock():
            self.fetch()
            self._holds = True
            try:
                self.put()  # says who works on it, and finds out before any work whether that can be put
                try:
                    yield
                except BaseException:
                    self._put_kindly(ended=True)
                    raise
                self.put(ended=True)
            finally:
                self._holds = False

    def fetch(self) -> None:
        """Bring the copy in step with the newest version. What was never put stays, unless others changed the same."""
        with self._mutex:
            for _ in range(TRIES):
                newest = self.storage.read_newest()
                with suppress(FileNotFoundError):  # a newer version has replaced what was about to be fetched
                    self._merge(newest, yields=True)
                    self._heal(newest.files)
                    break
            else:
                raise StorageError(self.place, f"objects that version {newest.number} names are missing")
            if not newest.ended and newest.writer.get("host") != socket.gethostname():
                say(
                    f"{self.address}: {_describe(newest.writer)} has not ended; where it still works on this run, "
                    "one of you will be stopped when both have changed the same file"
                )

    def put(self, ended: bool = False) -> None:
        """Put what has changed as a new version; `ended` where the process that holds the run has done its work.

        StorageError where that fails, RunError where another process has changed the same files since.
        """
        with self._mutex:
            started = time.monotonic()
            for _ in range(TRIES):
                newest = self.storage.read_newest()
                try:
                    self._merge(newest)
                except FileNotFoundError:  # there is a newer one by now
                    continue
                files = self._put_objects(newest)
                version = replace(newest, number=newest.following, files=files)
                if self._holds:
                    pages = {name: files[name] for name in files if PAGES.fullmatch(name)} if ended else newest.pages
                    version = replace(version, pages=pages, writer=self._writer, ended=ended)
                if replace(version, number=newest.number) == newest or self._add(version, newest):
                    break
            else:
                raise StorageError(self.place, "other processes put there all the time")
            self._put_at = time.monotonic()
            self._pause = max(PUT_SECONDS, SHARE * (self._put_at - started))

    def _add(self, version: Version, newest: Version) -> bool:
        """Add a version and remove what it does without; False where another process was quicker."""
        for name, checksum in version.pages.items():
            if newest.pages.get(name) != checksum:
                self.storage.copy_page(checksum, name)
        if not self.storage.add(version):
            return False
        self._note(version)
        unused = set(newest.files.values()) - set(version.files.values())
        self.storage.remove(unused, newest.pages.keys() - version.pages.keys(), version.number)
        return True

    def put_soon(self) -> None:
        """Put what has changed, now and then."""
        if time.monotonic() - self._put_at > self._pause:
            self._put_kindly()

    def accept(self, offered: Checksums) -> list[Path]:
        """The files that a worker has made, from where it put them."""
        for name, checksum in offered.items():
            file = self.path / name
            if not file.exists() or hash_file(file) != checksum:
                self.storage.get_object(checksum, file, self.path)
                self._accepted.add(checksum)
        return super().accept(offered)

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        super()._write_manifest(manifest)
        self._put_kindly()

    def _put_kindly(self, ended: bool = False) -> None:
        """A storage that is away for a while stops nothing: the end of the command puts it all, or says so."""
        try:
            self.put(ended)
            self._is_away = False
        except StorageError as error:
            self._put_at = time.monotonic()
            if not self._is_away:
                say(f"{self.place}: {error.reason}: going on in {self.path}")
            self._is_away = True

    def _merge(self, newest: Version, yields: bool = False) -> None:
        """Take over what others have put since this copy was in step; `yields` where both changed the same files."""
        base, there = self._read_note(), newest.files
        if (base.number, base.files) == (newest.number, there):
            return
        if newest.number <= base.number:  # another run's versions, or none any more
            base = Version()
        here = self._scan()
        changed = [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
        taken = [name for name in changed if here.get(name) == base.files.get(name)]
        both = [name for name in changed if name not in taken and there.get(name) != base.files.get(name)]
        united = [name for name in both if name in ROWS and name in here and name in there]
        clash = sorted((name for name in both if name not in united), key=lambda name: name.startswith("."))
        if clash and not yields:
            raise RunError(
                f"{self.place}: {_describe(newest.writer)} has put {clash[0]} since this command began\n"
                "  to do: one process at a time; give the same command again to go on from what is there"
            )
        if clash:
            shown = ", ".join(clash[:4])
            say(f"{self.place}: {shown} here was never put and gives way to what {_describe(newest.writer)} has put")
            taken = [name for name in changed if name not in united and (name not in ROWS or name in taken)]
        self._take(taken, there)
        for name in united:
            self._unite(name, there[name])
        self._note(newest)

    def _heal(self, there: Checksums) -> None:
        """Fetch again what was put as its stage had made it, and has been damaged or lost here since."""
        here = self._scan()
        stages = self.read_manifest().get("stages", {}).values()
        made = {name: checksum for noted in stages for name, checksum in noted["files"].items()}
        damaged = [name for name, checksum in made.items() if there.get(name) == checksum != here.get(name)]
        if damaged:
            say(f"{self.place}: {', '.join(damaged[:4])} damaged in {self.path}: fetched again")
            self._take(damaged, there)

    def _take(self, names: Sequence[str], there: Checksums) -> None:
        """Fetch these files, and remove those that are no longer there."""
        for file in (self.path / name for name in names if name not in there):
            file.unlink(missing_ok=True)
            for folder in file.relative_to(self.path).parents[:-1]:
                with suppress(OSError):  # not empty
                    (self.path / folder).rmdir()
        wanted = [name for name in names if name in there]
        if wanted:
            with show_progress("fetch", len(wanted)) as bar:
                for name in wanted:
                    self.storage.get_object(there[name], self.path / name, self.path)
                    bar.advance(1, name)

    def _unite(self, name: str, checksum: str) -> None:
        """Theirs, and what only this side has; of two answers under one key theirs, which may be graded by now."""
        file, lines = self.path / name, self.storage.read_object(checksum).splitlines(keepends=True)
        identify = _read_key if file == self.answers else bytes
        known = {identify(line) for line in lines}
        mine = [line for line in _read_rows(file).splitlines(keepends=True) if identify(line) not in known]
        write_atomically(file, b"".join([*lines, *mine]))

    def _put_objects(self, newest: Version) -> dict[str, str]:
        """Put what the newest version does not hold; all files with their checksums."""
        files = self._scan()
        known = self._accepted.union(newest.files.values())
        missing = [name for name, checksum in files.items() if checksum not in known]
        size = sum((self.path / name).stat().st_size for name in missing)
        if size < LARGE:
            for name in missing:
                files[name] = self._put_object(name, files[name])
            return files
        with show_progress(f"put {size / 2**20:.0f} MB", len(missing)) as bar:
            for name in missing:
                files[name] = self._put_object(name, files[name])
                bar.advance(1, name)
        return files

    def _put_object(self, name: str, checksum: str) -> str:
        if name not in ROWS:
            self.storage.put_object(self.path / name, checksum)
            return checksum
        rows = _read_rows(self.path / name)  # threads may have added some in the meantime
        checksum = hashlib.sha256(rows).hexdigest()
        self.storage.put_object(rows, checksum)
        return checksum

    def _scan(self) -> dict[str, str]:
        """Checksums of the files that are kept there; only what looks changed is read again."""
        found: dict[str, str] = {}
        for folder, folders, names in os.walk(self.path):
            here = Path(folder)
            folders[:] = sorted(
                one for one in folders if not one.startswith(".") and self._name(here / one) not in PRIVATE
            )
            for file in (here / name for name in sorted(names) if not LEFTOVER.fullmatch(name)):
                name, status = self._name(file), file.stat()
                if name in PRIVATE or not file.is_file():
                    continue
                stamp = status.st_ino, status.st_size, status.st_mtime_ns
                if self._known.get(name, (None,))[0] != stamp:
                    checksum = hashlib.sha256(_read_rows(file)).hexdigest() if name in ROWS else hash_file(file)
                    self._known[name] = stamp, checksum
                found[name] = self._known[name][1]
        return found

    def _read_note(self) -> Version:
        """With which version this copy was in step."""
        try:
            value = json.loads((self.path / NOTE).read_text(encoding="utf-8"))
            return Version(int(value["number"]), dict(value["files"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Version()

    def _note(self, version: Version) -> None:
        write_json(self.path / NOTE, {"number": version.number, "files": dict(version.files)})

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix()


class NodeCopy(RunCopy):
    """What a worker on any node has of a run that another process leads: it takes adapters, and offers what it made.

    On the node of that other process it is that one's own copy, which is held and always the newest.
    """

    def take(self, folder: Path) -> None:
        """Fetch the newest files of `folder`; nothing on the leading process's own node."""
        if read_holder(self.lock):
            return
        prefix = self._name(folder) + "/"
        for _ in range(TRIES):
            there = self.storage.read_newest().files
            here = {name: self.path / name for name in there if name.startswith(prefix)}
            with suppress(FileNotFoundError):
                for name, file in here.items():
                    if not file.exists() or hash_file(file) != there[name]:
                        self.storage.get_object(there[name], file, self.path)
                return
        raise StorageError(self.place, f"{prefix} is missing")

    def offer(self, files: Iterable[Path]) -> dict[str, str]:
        offered = super().offer(files)
        if not read_holder(self.lock):
            for name, checksum in offered.items():
                self.storage.put_object(self.path / name, checksum)
        return offered


def open_folder(place: Path | str) -> RunFolder:
    """The run folder at a path; for an address its local copy, brought in step.

    InputError for an address that cannot be read.
    """
    if not is_address(place):
        return RunFolder(check_path(Path(place)))
    copy = RunCopy(str(place))
    try:
        if not read_holder(copy.lock):  # else another process on this machine works in it, and it is the newest
            with RunFolder.hold_lock(copy):
                copy.fetch()
    except StorageError as error:
        raise InputError(copy.place, error.reason, EXAMPLE, f"keys come from the environment: {CREDENTIALS}") from None
    return copy


def check_path(folder: Path) -> Path:
    """The folder; InputError for a name that libraries of other languages cannot read."""
    if UNREADABLE.search(str(folder.absolute())):
        fix = "choose another folder with --run DIR"
        raise InputError(str(folder), "line breaks, control characters or no UTF-8 in its name", "a plain path", fix)
    return folder


def join_folder(place: str) -> RunFolder:
    """The folder of a run that another process, maybe on another node, has opened."""
    if not is_address(place):
        return RunFolder(Path(place))
    copy = NodeCopy(place)
    copy.path.mkdir(parents=True, exist_ok=True)
    return copy


def join_place(place: Path | str, *parts: str) -> Path | str:
    """The place of a run within that of another one."""
    return "/".join((str(place).rstrip("/"), *parts)) if is_address(place) else Path(place, *parts)


def _read_rows(file: Path) -> bytes:
    """The whole rows of a file that may be being written."""
    data = file.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def _read_key(line: bytes) -> object:
    """An answer's key; None for a line that is none."""
    try:
        return json.loads(line)["key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _describe_writer() -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"process": os.getpid(), "host": socket.gethostname(), "time": now}


def _describe(writer: Mapping[str, Any]) -> str:
    return f"process {writer.get('process')} on {writer.get('host')}, {writer.get('time')}"
