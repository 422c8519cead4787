"""One process at a time on a folder: a lock of the kernel, which ends with the process that holds it."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from raglift.errors import RunError
from raglift.progress import say


@contextmanager
def hold_file(lock: Path) -> Iterator[None]:
    """Hold `lock` or raise RunError saying who does. What a killed process left behind is taken over.

    Neither process numbers that are given out again nor a clock that jumps can make it wrong: the kernel drops
    a lock with its process. The text in the file only says who holds it.
    """
    descriptor = _take(lock)
    try:
        yield
    finally:
        with suppress(OSError):  # on a disk that can no longer be written the file stays; the lock goes
            lock.unlink()
        os.close(descriptor)


def read_holder(lock: Path) -> dict[str, Any] | None:
    """Who holds the lock now, None when nobody does."""
    try:
        with lock.open("r", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read_text(lock)
    return None


@contextmanager
def make_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, for its maker to rename to that; what is not renamed is removed in the end.

    So is what a killed process left of one: a folder on which nobody holds a lock.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.????????"):
        if not _is_held(left):
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    descriptor = os.open(made, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: then none is taken for a killed process's
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield made
    finally:
        os.close(descriptor)
        shutil.rmtree(made, ignore_errors=True)


def _is_held(folder: Path) -> bool:
    """Whether a process works in a folder; True where that cannot be told."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take(lock: Path) -> int:
    while True:
        # Through a link the text below would be written over some file outside the folder.
        descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_there(descriptor, lock):
                break
        except BlockingIOError:
            os.close(descriptor)
            raise _refuse(lock) from None
        except OSError as error:
            os.close(descriptor)
            raise RunError(
                f"{lock}: this file system has no locks ({error.strerror})\n"
                "  to do: choose a folder on another disk with --run DIR"
            ) from None
        os.close(descriptor)  # its last holder has removed it in between
    left = _read_text(lock)
    if left.get("process"):
        say(f"{lock}: left behind by process {left['process']} on {left.get('host')}, which has ended; taken over")
    try:
        lock.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_still_there(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _refuse(lock: Path) -> RunError:
    holder = _read_text(lock)
    who = f"process {holder['process']} on {holder.get('host')}" if holder.get("process") else "another process"
    return RunError(
        f"{lock.parent}: {who} works on this run\n"
        "  to do: wait for it, or stop it, or choose another folder with --run DIR"
    )


def _read_text(lock: Path) -> dict[str, Any]:
    try:
        value = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
