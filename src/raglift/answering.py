"""The `answer` stage: the planned answers that are missing, made batch by batch, resumed by key."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from raglift.answers import Batch, PlannedAnswer
from raglift.changes import describe_changes
from raglift.config import Config
from raglift.engines import Engine
from raglift.errors import RunError
from raglift.models.completions import TextModel
from raglift.progress import Meter
from raglift.records import Answer, Question
from raglift.runfolder import (
    RunFolder,
    append_lines,
    find_broken_lines,
    recover_lines,
    seal_line,
    write_atomically,
)
from raglift.shelf.interface import ModelShelf


@dataclass(frozen=True)
class AnsweringJob:
    """The answers of a batch that are missing."""

    batch: str
    missing: tuple[PlannedAnswer, ...]


def answer_batches(shelf: ModelShelf, batches: Sequence[Batch], jobs: Sequence[AnsweringJob], engine: Engine) -> None:
    """Do the jobs and write each batch as it ends; at last the file is in the order of the plan's batches."""
    total = sum(len(job.missing) for job in jobs)
    units = [(shelf, job) for job in jobs]
    for _, rows in engine.compute("answer", answer_on_shelf, units, total, shelf.needs()):
        append_lines(shelf.folder.answers, rows)
        shelf.folder.put_soon()
    _sort_answers(shelf.folder, batches)


def list_answering_jobs(folder: RunFolder, batches: Sequence[Batch]) -> list[AnsweringJob]:
    """What is missing of the plan, a job for each batch.

    A batch that an earlier process left incomplete is done again whole, so that its numbers are those of an
    undisturbed run; answers whose batch was planned differently (a question changed) stay as they are.
    """
    kept = _drop_torn_batches(folder, batches)
    jobs = (AnsweringJob(one.id, tuple(answer for answer in one.answers if answer.key not in kept)) for one in batches)
    return [job for job in jobs if job.missing]


def answer_on_shelf(unit: tuple[ModelShelf, AnsweringJob], meter: Meter) -> list[dict[str, object]]:
    """An engine's unit: the rows of a job's answers. RunError where this node has other weights than were planned."""
    shelf, job = unit
    first = job.missing[0]
    model = shelf.provide(first.arm.tuning, first.seed)
    if model.identity != first.weights:
        raise RunError(
            f"{first.arm} seed {first.seed}: other weights on node {socket.gethostname()} than were planned\n"
            "  to do: give the same command again; if it says so again, see whether all nodes see the same run folder"
        )
    rows = _answer_batch(model, shelf.config, job.batch, job.missing)
    shelf.release_memory()
    meter.advance(len(rows), str(first.arm))
    return rows


def explain_replaced(
    folder: RunFolder,
    batches: Sequence[Batch],
    questions: Sequence[Question],
    before: Mapping[str, Any],
    now: Mapping[str, Any],
) -> list[str]:
    """Why answers that the file holds for the same places are made again, a line for each reason.

    `before` and `now` are the named parts (weights, prompt, answer settings) of the last call and of this one.
    """
    rows = recover_lines(folder.answers)
    made = {row.get("key") for row in rows}
    earlier = {(row.get("arm"), row.get("seed"), row.get("question_id"), row.get("sample")): row for row in rows}
    asked = {question.id: question.question for question in questions}
    was, are = before.get("weights") or {}, now.get("weights") or {}

    @cache
    def describe_settings(name: str) -> str:
        """What changed for the answers of these weights."""
        old, new = ({**parts, "weights": {name: own}} for parts, own in ((before, was.get(name)), (now, are.get(name))))
        return (describe_changes(old, new) if before else "") or "the weights or the answer settings changed"

    wordings = describe_changes({"prompt": before.get("prompt")}, {"prompt": now.get("prompt")})
    reasons: dict[str, list[str]] = {}
    for answer in (answer for batch in batches for answer in batch.answers if answer.key not in made):
        old = earlier.get((str(answer.arm), answer.seed, answer.question_id, answer.sample))
        if old is None:
            continue
        prompt = str(old.get("prompt"))
        if prompt == answer.prompt:
            reason = describe_settings(f"{answer.arm.tuning}-seed{answer.seed}")
        elif asked[answer.question_id] not in prompt:
            reason = "the question changed"
        else:
            reason = wordings or "the passage in the prompt changed"
        reasons.setdefault(reason, []).append(answer.question_id)
    return [f"answer again: {len(ids)} answers to {_list_some(ids)}: {reason}" for reason, ids in reasons.items()]


def _list_some(ids: Sequence[str], most: int = 4) -> str:
    names = list(dict.fromkeys(ids))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more questions" if len(names) > most else "")


def _answer_batch(
    model: TextModel, config: Config, batch: str, missing: Sequence[PlannedAnswer]
) -> list[dict[str, object]]:
    by_prompt: dict[tuple[str, str], list[PlannedAnswer]] = {}
    for answer in missing:
        by_prompt.setdefault((answer.question_id, answer.prompt), []).append(answer)
    groups = list(by_prompt.values())
    noise = [list(dict.fromkeys(answer.noise for answer in group)) for group in groups]  # arms share it
    started = time.monotonic()
    completions = model.complete_prompts([group[0].prompt for group in groups], noise, config.answer)
    seconds = round((time.monotonic() - started) / len(missing), 4)
    rows = []
    for group, names, texts in zip(groups, noise, completions, strict=True):
        by_noise = dict(zip(names, texts, strict=True))
        for planned in group:
            completion = by_noise[planned.noise]
            record = Answer(
                key=planned.key, arm=str(planned.arm), seed=planned.seed, question_id=planned.question_id,
                sample=planned.sample, text=completion.text, prompt=planned.prompt, passages=planned.passages,
                tokens=completion.tokens, truncated=completion.truncated, batch=batch, seconds=seconds,
            )  # fmt: skip
            rows.append(dataclasses.asdict(record))
    return rows


def _drop_torn_batches(folder: RunFolder, batches: Sequence[Batch]) -> set[str]:
    rows = recover_lines(folder.answers)
    found = {row.get("key") for row in rows}
    torn = {
        batch.id
        for batch in batches
        if any(row.get("batch") == batch.id for row in rows)
        and not all(answer.key in found for answer in batch.answers)
    }
    # An answer whose prompt is the same is kept; how well the search found its passages may have changed.
    found_now = {
        answer.key: [dataclasses.asdict(one) for one in answer.passages]
        for batch in batches
        for answer in batch.answers
    }
    whole = [
        {**row, "passages": found_now.get(row["key"], row.get("passages", []))}
        for row in rows
        if row.get("batch") not in torn and "key" in row
    ]
    if whole != rows or _has_torn_tail(folder):
        write_rows(folder, whole)
    return {row["key"] for row in whole}


def _has_torn_tail(folder: RunFolder) -> bool:
    if not folder.answers.exists():
        return False
    return not folder.answers.read_bytes().endswith(b"\n") or bool(find_broken_lines(folder.answers))


def _sort_answers(folder: RunFolder, batches: Sequence[Batch]) -> None:
    """Put the file into the plan's order, so that an interrupted run leaves the same file; others follow."""
    rows = {row["key"]: row for row in recover_lines(folder.answers)}
    planned = {answer.key: None for batch in batches for answer in batch.answers}
    write_rows(folder, [*(rows[key] for key in planned), *(row for key, row in rows.items() if key not in planned)])


def write_rows(folder: RunFolder, rows: Iterable[dict[str, object]]) -> None:
    """Replace the answers file atomically."""
    write_atomically(folder.answers, b"".join(seal_line(row) for row in rows))
