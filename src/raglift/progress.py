"""Progress on standard error: one bar with time left a stage, plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from raglift.sanitization import clean_text

console = Console(stderr=True, highlight=False)
PLAIN_INTERVAL = 15.0  # seconds between lines where no bar can be drawn
_redirected: list[Callable[[str], None]] = []


class Meter(Protocol):
    """What a unit of work tells its steps to."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """So many steps are done."""
        ...

    def skip(self, steps: int) -> None:
        """So many steps had been done by an earlier process."""
        ...


@dataclass
class Bar:
    """Counts steps of one stage; `advance` is all that a stage calls."""

    description: str
    total: int
    progress: Progress | None
    done: int = 0
    skipped: int = 0
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if self.progress is not None:
            self.progress.update(self.progress.task_ids[0], advance=steps, note=note)
        elif time.monotonic() - self.said > PLAIN_INTERVAL and self.done < self.total:
            self.said = time.monotonic()
            elapsed = self.said - self.started
            made = self.done - self.skipped
            left = f", about {elapsed / made * (self.total - self.done):.0f} s left" if made else ""
            say(f"{self.description}: {self.done}/{self.total}, {elapsed:.0f} s{left} {note}")

    def skip(self, steps: int) -> None:
        """Steps that an earlier process did: they count, but not for the time left."""
        self.advance(steps)
        self.skipped += steps

    def follow(self, done: int, total: int, note: str = "") -> None:
        """For callers that know how far they are and how far they will go."""
        if total != self.total:
            self.total = total
            if self.progress is not None:
                self.progress.update(self.progress.task_ids[0], total=total)
        self.advance(done - self.done, note)


def say(line: str) -> None:
    """One plain line to standard error; markup in it stays text, control characters are seen and not obeyed."""
    line = clean_text(line)
    if _redirected:
        _redirected[-1](line)
    else:
        console.print(line, markup=False, soft_wrap=True)


def redirect_lines(write: Callable[[str], None]) -> None:
    """In a worker process: what it says from now on goes to `write`."""
    _redirected[:] = [write]


@contextmanager
def show_progress(description: str, total: int) -> Iterator[Bar]:
    """A bar for `total` steps. Without a terminal, a line every 15 s and one at the end."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console) as progress:
            progress.add_task(description, total=total, note="")
            yield Bar(description, total, progress)
        return
    bar = Bar(description, total, None)
    yield bar
    if bar.done:
        say(f"{description}: {bar.done}/{bar.total} in {time.monotonic() - bar.started:.1f} s")
