"""One reviewer's work on a run: what is graded, what is open, what can be undone. All state comes from the log."""

from __future__ import annotations

import itertools
import statistics
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raglift.errors import InputError, RunError
from raglift.grading.review_items import ReviewItem
from raglift.grading.review_log import ReviewLog, Row, build_rows
from raglift.records import Verdict
from raglift.sanitization import clean_line, clean_text

LONGEST_NOTE = 4_000  # characters
LONGEST_NAME = 60
LONGEST_PAUSE = 180.0  # seconds; a longer gap between two verdicts is a break, not work
FEWEST_PAUSES = 3
DECIDED = ("correct", "incorrect")
UNDOABLE = ("grade", "skip")


@dataclass(frozen=True)
class ItemState:
    """Where an item stands with its reviewer; `skipped` orders the skipped ones (0: not skipped)."""

    verdict: Verdict = "unscored"
    note: str = ""
    skipped: int = 0

    @property
    def decided(self) -> bool:
        return self.verdict in DECIDED


@dataclass(frozen=True)
class Save:
    """One thing a reviewer did: rows of one item that were written together."""

    item: str
    action: str
    time: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Progress:
    """How far the reviewer is; `seconds_left` is None until a pace can be told."""

    done: int
    total: int
    seconds_left: float | None


class Review:
    """Thread-safe. Every change is on disk before the call returns."""

    def __init__(self, items: Sequence[ReviewItem], log: ReviewLog, author: str) -> None:
        self.items = {item.id: item for item in items}
        self.author = read_author(author)
        self._log = log
        self._lock = threading.RLock()
        self._closed = False
        self._by_key = {key: item.id for item in items for key in item.keys}
        self._states: dict[str, ItemState] = {}
        self._undoable: list[tuple[str, ItemState]] = []
        self._times: list[float] = []
        self._latest: dict[str, Row] = {}
        self.refresh()

    def state(self, item: str) -> ItemState:
        return self._states.get(item, ItemState())

    def find_item(self, key: str) -> ReviewItem | None:
        """The item that an answer's key belongs to."""
        return self.items.get(self._by_key.get(key, ""))

    def refresh(self) -> None:
        """Take in what others (or an earlier process) have written."""
        with self._lock:
            rows = self._log.read_if_changed()
            if rows is not None:
                self._replay(row for row in rows if row.get("author") == self.author)

    def carry_over(self) -> None:
        """Give an item's verdict to answers that say the same and came later (another scope, a new seed)."""
        rows: list[Row] = []
        with self._lock:
            for item in self.items.values():
                known = [self._latest[key] for key in item.keys if key in self._latest]
                verdict = agree_on(row.get("verdict") for row in known)
                if known and len(known) < len(item.keys) and verdict in DECIDED:
                    missing = [key for key in item.keys if key not in self._latest]
                    note = str(known[-1].get("reason") or "")
                    rows += build_rows(missing, item.question.id, self.author, "carry", verdict, note)
            if rows:
                self._append(rows)

    def grade(self, item: str, verdict: Verdict, note: str) -> None:
        """Save a verdict; saving what stands already writes nothing, so that a repeated request does no harm."""
        with self._lock:
            self.refresh()
            now = self.state(item)
            if (now.verdict, now.note) != (verdict, clean_note(note)):
                self._write(item, "grade", verdict, note)

    def skip(self, item: str, note: str) -> None:
        """Put an item to the end; a verdict that it had is withdrawn."""
        with self._lock:
            self._write(item, "skip", "unscored", note)

    def note(self, item: str, note: str) -> None:
        """Save a note beside whatever verdict stands."""
        with self._lock:
            self.refresh()
            now = self.state(item)
            if now.note != clean_note(note):
                self._write(item, "note", now.verdict, note)

    def undo(self) -> str | None:
        """Take the last verdict or skip back by a new row; the item's id, or None when there is nothing left."""
        with self._lock:
            self.refresh()
            if not self._undoable:
                return None
            item, before = self._undoable[-1]
            self._write(item, "undo", before.verdict, before.note)
            return item

    def write_table(self, changes: Iterable[tuple[str, Verdict, str]]) -> None:
        """Save many (item, verdict, note) at once."""
        with self._lock:
            rows = [row for change in changes for row in self._build(change[0], "import", change[1], change[2])]
            if rows:
                self._append(rows)

    def measure_progress(self) -> Progress:
        with self._lock:
            done = sum(self.state(item).decided for item in self.items)
            pauses = [b - a for a, b in itertools.pairwise(self._times) if 0 < b - a < LONGEST_PAUSE][-30:]
            pace = statistics.median(pauses) if len(pauses) >= FEWEST_PAUSES else None
            return Progress(done, len(self.items), None if pace is None else pace * (len(self.items) - done))

    def close(self) -> None:
        """Wait for a write that is under way and refuse later ones."""
        with self._lock:
            self._closed = True

    def _write(self, item: str, action: str, verdict: Verdict, note: str) -> None:
        self._append(self._build(item, action, verdict, note))

    def _build(self, item: str, action: str, verdict: Verdict, note: str) -> list[Row]:
        found = self.items[item]
        return build_rows(found.keys, found.question.id, self.author, action, verdict, clean_note(note))

    def _append(self, rows: Sequence[Row]) -> None:
        if self._closed:
            raise RunError("the review has ended: start it again to go on")
        self._log.append(rows)
        self.refresh()

    def _replay(self, rows: Iterable[Row]) -> None:
        self._states, self._undoable, self._times, self._latest = {}, [], [], {}
        for number, save in enumerate(self._list_saves(rows), start=1):
            before = self.state(save.item)
            self._latest.update({row["key"]: row for row in save.rows})
            self._states[save.item] = self._read_state(save, number)
            if save.action in UNDOABLE:
                self._undoable.append((save.item, before))
                self._times.append(read_time(save.time))
            elif save.action == "undo" and self._undoable:
                _, restored = self._undoable.pop()
                self._states[save.item] = restored

    def _list_saves(self, rows: Iterable[Row]) -> Iterable[Save]:
        def place(row: Row) -> tuple[str, str, str]:
            return self._by_key[row["key"]], str(row.get("action", "")), str(row.get("time", ""))

        known = (row for row in rows if row["key"] in self._by_key)
        for (item, action, time), group in itertools.groupby(known, key=place):
            yield Save(item, action, time, tuple(group))

    def _read_state(self, save: Save, number: int) -> ItemState:
        verdict = agree_on([self._latest.get(key, {}).get("verdict") for key in self.items[save.item].keys])
        note = str(save.rows[-1].get("reason") or "")
        is_skipped = save.action == "skip" or (save.action == "note" and self.state(save.item).skipped > 0)
        return ItemState(verdict, note, number if is_skipped and verdict == "unscored" else 0)


def agree_on(verdicts: Iterable[Any]) -> Verdict:
    """The verdict that all share; `unscored` where they differ, as after a save that was torn."""
    found = set(map(str, verdicts))
    return "correct" if found == {"correct"} else "incorrect" if found == {"incorrect"} else "unscored"


def read_author(name: str) -> str:
    """A reviewer's name as it is written into the grades; InputError for an empty, long or odd one."""
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned or len(cleaned) > LONGEST_NAME or clean_line(cleaned) != cleaned:
        raise InputError(
            "--reviewer", repr(name[:80]), f"a name of 1 to {LONGEST_NAME} printable characters", "--reviewer kim"
        )
    return cleaned


def clean_note(note: str) -> str:
    """A note as it is kept: composed, without control characters."""
    return clean_text(unicodedata.normalize("NFC", note)).strip()


def read_time(text: str) -> float:
    """Seconds since 1970 of an ISO time, 0 for anything else."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def describe_reviewers(rows: Iterable[Row]) -> dict[str, Any]:
    """How many answers each author has decided, and on how many answers any two of them differ."""
    latest = {(row["key"], str(row.get("author", ""))): row.get("verdict") for row in rows}
    decided = {place: verdict for place, verdict in latest.items() if verdict in DECIDED}
    verdicts: dict[str, set[Any]] = {}
    for (key, _), verdict in decided.items():
        verdicts.setdefault(key, set()).add(verdict)
    authors = Counter(author for _, author in decided)
    return {"authors": dict(sorted(authors.items())), "differing": sum(len(found) > 1 for found in verdicts.values())}
