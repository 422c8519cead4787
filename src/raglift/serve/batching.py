"""Requests that wait together are answered together: for weights that are here, one batch of one tuning at a time.

A model on another server batches by itself: there each request has a thread of its own, up to a number.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from raglift.config import AnswerConfig
from raglift.models.completions import Completion, TextModel
from raglift.serve.failures import ApiError
from raglift.serve.metrics import Metrics

log = logging.getLogger("raglift.serve")


@dataclass(frozen=True)
class Piece:
    """Text that a row has grown by."""

    sample: int
    text: str


@dataclass(frozen=True)
class Finished:
    """All rows of a job, each with whether it was cut at its limit of tokens."""

    completions: tuple[Completion, ...]


@dataclass(frozen=True)
class Failed:
    """The job could not be done."""

    message: str


Event = Piece | Finished | Failed


class Job:
    """One request's answers: `noise` names one row each. `notify` is called from the worker's thread."""

    def __init__(
        self, tuning: str, prompt: str, prompt_tokens: int, noise: Sequence[str], decoding: AnswerConfig,
        stops: tuple[str, ...], notify: Callable[[Event], None],
    ) -> None:  # fmt: skip
        self.tuning, self.prompt, self.prompt_tokens, self.noise = tuning, prompt, prompt_tokens, list(noise)
        self.decoding, self.stops, self.notify = decoding, stops, notify
        self.streams = False  # whether pieces are wanted
        self.cancelled = False  # set when nobody waits for it any more

    @property
    def group(self) -> tuple[object, ...]:
        """Jobs of one group share a batch."""
        return self.tuning, self.decoding.temperature, self.decoding.top_k


class Row:
    """What one answer has so far: counts its tokens, finds its stop sequences, passes its text on."""

    def __init__(self, job: Job, sample: int, model: TextModel) -> None:
        self.job, self.sample = job, sample
        self.taken, self.sent, self.cut = 0, 0, -1  # cut: where a stop sequence begins
        self.stream = model.open_stream() if job.streams or job.stops else None

    def take(self, step: int, token: Any) -> bool:
        """One more token; False when the row is to end."""
        if step < self.taken:  # the batch began again after out-of-memory: this much is known already
            return step + 1 < self.taken or self._goes_on()
        self.taken += 1
        if self.stream is not None and self.stream.push(token):
            self.cut = find_first(self.stream.text, self.job.stops)
            self._send(self.stream.text if self.cut < 0 else self.stream.text[: self.cut], whole=self.cut >= 0)
        return self._goes_on()

    def finish(self, completion: Completion) -> Completion:
        """The completion as the request wanted it; sends what is missing."""
        text = completion.text
        cut = find_first(text, self.job.stops)
        if cut >= 0:
            completion = Completion(text[:cut].rstrip(), completion.tokens, False)
        self._send(completion.text, whole=True)
        return completion

    def _goes_on(self) -> bool:
        return not self.job.cancelled and self.cut < 0 and self.taken < self.job.decoding.max_new_tokens

    def _send(self, text: str, whole: bool) -> None:
        # The end of the text may be the beginning of a stop sequence: it waits.
        held = 0 if whole else max((len(stop) - 1 for stop in self.job.stops), default=0)
        ready = text[self.sent : max(self.sent, len(text) - held)]
        if self.job.streams and ready:
            self.sent += len(ready)
            self.job.notify(Piece(self.sample, ready))


def find_first(text: str, stops: Sequence[str]) -> int:
    """Where the first stop sequence begins, -1 where there is none."""
    return min((place for stop in stops if (place := text.find(stop)) >= 0), default=-1)


class ModelProvider(Protocol):
    """Gives the model of a tuning."""

    def __call__(self, tuning: str) -> TextModel: ...


@dataclass(frozen=True)
class BatchLimits:
    """How much is computed together and how long a batch waits for more.

    `tokens` bounds rows times the longest prompt and answer, hence memory; `queue` the rows that may wait.
    A batch waits `gather_seconds` for company, and up to `expect_seconds` while requests are being prepared.
    """

    rows: int = 64
    tokens: int = 49_152
    queue: int = 256
    gather_seconds: float = 0.005
    expect_seconds: float = 0.5


@dataclass
class Batcher:
    """Collects jobs and answers them batch by batch in threads of its own (one, where the weights are here)."""

    provide: ModelProvider
    limits: BatchLimits
    metrics: Metrics
    threads: int = 1
    waiting: deque[Job] = field(default_factory=deque)
    _expected: int = 0
    _stopping: bool = False
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()

    def start(self) -> None:
        """Start the threads."""
        for _ in range(self.threads):
            self._threads.append(threading.Thread(target=self._work, name="raglift-batches", daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """Finish what waits, then end the threads."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def expect(self, rows: int) -> Iterator[None]:
        """Around the preparation of a job: room is kept for its rows, and a batch waits a little for them.

        Raises ApiError: 429 when the queue is full, 503 when the server is stopping.
        """
        with self._changed:
            if self._stopping:
                raise ApiError(503, "the server is stopping", "stopping")
            waiting = self.count_waiting()
            if waiting + rows > self.limits.queue:
                self.metrics.count("rejected", reason="queue")
                full = f"{waiting} answers are waiting, at most {self.limits.queue} may; try again later"
                raise ApiError(429, full, "queue_full", headers={"Retry-After": "2"})
            self._expected += rows
        try:
            yield
        finally:
            with self._changed:
                self._expected -= rows
                self._changed.notify_all()

    def count_waiting(self) -> int:
        """Answers in the queue or about to come."""
        with self._changed:
            return self._expected + sum(len(job.noise) for job in self.waiting if not job.cancelled)

    def is_alive(self) -> bool:
        """Whether the threads work."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def submit(self, job: Job) -> None:
        """Queue a job for which room was kept."""
        with self._changed:
            self.waiting.append(job)
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self.waiting and not self._stopping:
                    self._changed.wait()
                if not self.waiting:
                    return
                self._gather()
                batch = self._take_batch()
            if batch:
                self._answer(batch)

    def _gather(self) -> None:
        started = time.monotonic()
        while not self._stopping and sum(len(job.noise) for job in self.waiting) < self.limits.rows:
            longest = self.limits.expect_seconds if self._expected else self.limits.gather_seconds
            left = started + longest - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _take_batch(self) -> list[Job]:
        """The oldest job and those of its group that fit beside it; cancelled ones are dropped."""
        batch: list[Job] = []
        kept: deque[Job] = deque()
        rows = longest = 0
        for job in self.waiting:
            if job.cancelled:
                continue
            length = max(longest, job.prompt_tokens + job.decoding.max_new_tokens)
            count = rows + len(job.noise)
            fits = count <= self.limits.rows and count * length <= self.limits.tokens
            if batch and (job.group != batch[0].group or not fits):
                kept.append(job)
            else:
                batch.append(job)
                rows, longest = count, length
        self.waiting = kept
        return batch

    def _answer(self, batch: list[Job]) -> None:
        started = time.monotonic()
        try:
            rows = self._complete(batch)
        except Exception as error:  # whatever a batch fails with, the next one is answered
            log.exception("a batch of %d requests failed", len(batch))
            for job in batch:
                job.notify(Failed(str(error).splitlines()[0] if str(error) else type(error).__name__))
            return
        for job in batch:
            job.notify(Finished(tuple(rows[job])))
        written = [completion for finished in rows.values() for completion in finished]
        self.metrics.count_batch(len(written), sum(one.tokens for one in written), time.monotonic() - started)

    def _complete(self, batch: list[Job]) -> dict[Job, list[Completion]]:
        """Each job's completions. Jobs with the same prompt are samples of it: it is read once."""
        model = self.provide(batch[0].tuning)
        prompts: dict[str, list[Job]] = {}
        for job in batch:
            prompts.setdefault(job.prompt, []).append(job)
        groups = [
            [Row(job, sample, model) for job in jobs for sample in range(len(job.noise))] for jobs in prompts.values()
        ]
        flat = [row for group in groups for row in group]
        longest = max(job.decoding.max_new_tokens for job in batch)
        completions = model.complete_prompts(
            list(prompts),
            [[row.job.noise[row.sample] for row in group] for group in groups],
            batch[0].decoding.model_copy(update={"max_new_tokens": longest}),
            lambda row, step, token: flat[row].take(step, token),
        )
        finished: dict[Job, list[Completion]] = {job: [] for job in batch}
        for row, completion in zip(flat, (one for group in completions for one in group), strict=True):
            finished[row.job].append(row.finish(completion))
        return finished
