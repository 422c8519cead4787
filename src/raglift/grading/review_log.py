"""`grades.human.jsonl`: verdicts by people, only ever appended, safe against kill -9 and several writers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raglift.errors import RunError
from raglift.progress import say
from raglift.records import Verdict
from raglift.runfolder import explain_disk_errors, find_lost_tail, note_lines, recover_lines, seal_line

Row = dict[str, Any]


def build_rows(
    keys: Sequence[str], question_id: str, author: str, action: str, verdict: Verdict, note: str
) -> list[Row]:
    """One verdict for each key, all with the same author and time (UTC)."""
    time = datetime.now(UTC).isoformat(timespec="microseconds")
    return [
        {
            "key": key,
            "question_id": question_id,
            "verdict": verdict,
            "reason": note,
            "grader": f"human:{author}",
            "author": author,
            "time": time,
            "action": action,
            "evidence": [],
        }
        for key in keys
    ]


class ReviewLog:
    """The file as rows. `append` returns after the disk has the rows; readers skip a torn last line.

    `after_each` is called when rows were appended.
    """

    def __init__(self, file: Path, after_each: Callable[[], None] = lambda: None) -> None:
        self.file, self.after_each = file, after_each
        self._seen: tuple[int, int, int] | None = None

    def read_if_changed(self) -> list[Row] | None:
        """All rows, or None when the file is as it was at the last call."""
        seen = self._stamp()
        if seen == self._seen:
            return None
        rows = [row for row in recover_lines(self.file) if isinstance(row.get("key"), str)]
        self._seen = seen
        return rows

    def append(self, rows: Sequence[Row]) -> None:
        """Append and sync; RunError when the disk refuses, and then none of the rows is left behind."""
        data = b"".join(seal_line(row) for row in rows)
        with explain_disk_errors(self.file):
            is_new, lost = not self.file.exists(), find_lost_tail(self.file)
            with self.file.open("a+b", buffering=0) as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)  # another reviewer may write to the same run
                if lost:
                    say(f"{self.file}: damaged ({lost}): who graded that has to grade it again")
                end = stream.seek(0, os.SEEK_END)
                if _has_torn_tail(stream.fileno(), end):
                    data = b"\n" + data
                try:
                    _write_all(stream.fileno(), data)
                    os.fsync(stream.fileno())
                    note_lines(self.file)
                except (OSError, RunError):
                    os.ftruncate(stream.fileno(), end)
                    raise
            if is_new:
                _sync_folder(self.file.parent)
        self.after_each()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self.file.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        return (status.st_ino, status.st_size, status.st_mtime_ns)


def _has_torn_tail(descriptor: int, end: int) -> bool:
    return end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
