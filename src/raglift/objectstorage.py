"""A run on object storage: objects named by their content, and numbered versions that each name a whole run folder.

An object never changes, and a version is added after all objects that it names, under a number that only one process
gets (a conditional put). So whoever reads the newest version reads the files of one moment, and what a killed process
left half put is in no version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from raglift.errors import InputError, RagliftError, RunError
from raglift.offline import require_local
from raglift.runfolder import open_atomically

ADDRESS = re.compile(r"[a-z][a-z0-9+]*://\S+")
CHECKSUM = re.compile(r"[0-9a-f]{64}")
PATIENCE = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
KEPT = 20  # versions that stay, small files that say who put what when
EXAMPLE = "an address such as s3://bucket/run, whose bucket is there and may be written"
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION (gs and az: their own), AWS_ENDPOINT for other servers"
)


class StorageError(RunError):
    """The storage does not answer, or refuses; `reason` is what it said."""

    def __init__(self, address: str, reason: str) -> None:
        self.address, self.reason = address, reason
        super().__init__(
            f"{address}: {reason}\n  to do: mend that and give the same command again: what is finished is kept here"
        )

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, str]]:
        return type(self), (self.address, self.reason)


@dataclass(frozen=True)
class Version:
    """The files of a run at one moment, by their names in the run folder, each with the SHA-256 of its bytes.

    `pages` are those that lie under their own names too; `writer` is the process that works on the run, until it
    has `ended`. `following` is the number that the next version takes.
    """

    number: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    writer: Mapping[str, Any] = field(default_factory=dict)
    ended: bool = True
    following: int = 1


class ObjectStorage:
    """The place of one run, by its address; keys and servers come from the environment, as its own tools read them."""

    def __init__(self, address: str) -> None:
        self.address = address
        require_local(address, f"--run {address}", "a path on this machine")

    @cached_property
    def _store(self) -> Any:
        from obstore.store import from_url

        if self.address.startswith("file:"):
            return from_url(self.address, mkdir=True)
        return from_url(self.address, retry_config=PATIENCE)  # type: ignore[call-overload]

    def read_newest(self) -> Version:
        """The newest version; one without files where there is none yet. StorageError where nobody answers."""
        with self._explain():
            listed = [str(one["path"]) for batch in self._store.list("versions/") for one in batch]
        numbers = sorted((int(stem) for path in listed if (stem := PurePosixPath(path).stem).isdigit()), reverse=True)
        following = numbers[0] + 1 if numbers else 1
        for number in numbers:
            with suppress(ValueError, KeyError, TypeError, FileNotFoundError):  # half written, or removed just now
                return self._read(number, following)
        if not numbers:
            self._refuse_strangers()
        return Version(following=following)

    def add(self, version: Version) -> bool:
        """Put a version under its number; False where another process has taken it."""
        from obstore.exceptions import AlreadyExistsError

        text = json.dumps({key: value for key, value in asdict(version).items() if key not in ("number", "following")})
        with self._explain():
            try:
                self._store.put(_name_version(version.number), text.encode(), mode="create")
            except AlreadyExistsError:
                return False
        return True

    def put_object(self, content: bytes | Path, checksum: str) -> None:
        """Put a file's bytes."""
        with self._explain():
            self._store.put(f"objects/{checksum}", content)

    def get_object(self, checksum: str, target: Path, folder: Path) -> None:
        """Write an object to `target`, whole or not at all, by way of a temporary file in `folder`.

        FileNotFoundError where it is gone, StorageError where its bytes are others, RunError where the disk is full.
        """
        with open_atomically(target, folder) as stream:
            digest = hashlib.sha256()
            for chunk in self._stream_object(checksum):
                digest.update(chunk)
                stream.write(chunk)
            if digest.hexdigest() != checksum:
                raise StorageError(self.address, f"objects/{checksum[:12]}… is damaged (its checksum differs)")

    def _stream_object(self, checksum: str) -> Iterator[Any]:
        with self._explain(FileNotFoundError):  # the storage's errors alone, not those of who writes the chunks
            yield from self._store.get(f"objects/{checksum}").stream()

    def read_object(self, checksum: str) -> bytes:
        """An object's bytes; FileNotFoundError where it is gone."""
        with self._explain(FileNotFoundError):
            return bytes(self._store.get(f"objects/{checksum}").bytes())

    def copy_page(self, checksum: str, name: str) -> None:
        """Put an object under a file's own name too, for people and other programs."""
        with self._explain():
            self._store.copy(f"objects/{checksum}", name)

    def remove(self, checksums: Iterable[str], pages: Iterable[str], newest: int) -> None:
        """Remove objects and pages that no version needs any more, and the version that is too old."""
        names = [*(f"objects/{checksum}" for checksum in checksums), *pages]
        if newest > KEPT:
            names.append(_name_version(newest - KEPT))
        with self._explain():
            for name in names if self.address.startswith("file:") else ():
                with suppress(FileNotFoundError):
                    self._store.delete(name)
            if names and not self.address.startswith("file:"):
                self._store.delete(names)

    def _read(self, number: int, following: int) -> Version:
        with self._explain(FileNotFoundError):
            value = json.loads(bytes(self._store.get(_name_version(number)).bytes()))
        files = dict(value["files"])
        for name, checksum in files.items():
            path = PurePosixPath(name)  # somebody else may have written it: nothing outside the run folder
            if path.is_absolute() or ".." in path.parts or "\\" in name or not CHECKSUM.fullmatch(checksum):
                raise RunError(f"{self.address}: version {number} names {name!r}, which is no file of a run folder")
        return Version(number, files, value["pages"], value["writer"], value["ended"], following)

    def _refuse_strangers(self) -> None:
        """InputError where something else lies at the address: pages would be put over it."""
        with self._explain():
            found = self._store.list_with_delimiter()
        names = [str(one["path"]) for one in found["objects"]] + [str(one) for one in found["common_prefixes"]]
        strangers = sorted(set(names) - {"objects", "versions"})
        if strangers:
            raise InputError(
                self.address, f"no run (it holds {', '.join(strangers[:3])})", "a run, or an address with nothing in it"
            )

    @contextmanager
    def _explain(self, *expected: type[Exception]) -> Iterator[None]:
        """What the storage's library raises becomes a StorageError with its first line; not what is expected."""
        try:
            from obstore.exceptions import BaseError
        except ImportError as error:
            raise InputError(
                self.address, f"not installed ({error})", "obstore", "pip install 'raglift[storage]'"
            ) from None
        try:
            yield
        except RagliftError:
            raise
        except expected:
            raise
        except (BaseError, OSError) as error:
            raise StorageError(self.address, str(error).strip().splitlines()[0][:400]) from None


def is_address(place: object) -> bool:
    """Whether a run folder's place is an address and not a path."""
    return ADDRESS.fullmatch(str(place)) is not None


def _name_version(number: int) -> str:
    return f"versions/{number:08d}.json"
