"""The `review` stage: people grade a run's answers, blind, in a local web page or in a spreadsheet."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raglift.errors import InputError, Interruption
from raglift.grading.review_items import Scope, choose_compared, group_answers, order_items, read_reviewable
from raglift.grading.review_log import ReviewLog
from raglift.grading.review_sample import open_sample
from raglift.grading.review_server import ReviewServer
from raglift.grading.review_state import Review, describe_reviewers
from raglift.grading.review_table import export_table, import_table
from raglift.runfolder import RunFolder
from raglift.storedrun import StoredRun


@dataclass(frozen=True)
class ReviewChoice:
    """Who reviews what. `labels` is the size of a sample, None for as many as are needed."""

    reviewer: str = ""
    scope: Scope = "compared"
    labels: int | None = None


def open_review(run: StoredRun, choice: ReviewChoice) -> Review:
    """The reviewer's items with what is saved of them; nothing is written but a newly drawn sample."""
    folder, experiment, config = run.folder, run.experiment, run.config
    answers = read_reviewable(folder, experiment)
    if choice.scope == "sample":
        drawn = set(open_sample(folder, experiment, config, answers, choice.labels).keys)
        answers = [answer for answer in answers if answer.key in drawn]
    elif choice.scope == "compared":
        answers = choose_compared(answers, experiment, config)
    reviewer = choice.reviewer or read_user_name()
    items = order_items(group_answers(answers, experiment), config.seed, reviewer)
    return Review(items, ReviewLog(folder.grades("human"), folder.put_soon), reviewer)


def read_user_name() -> str:
    """Who is logged in; InputError where the system does not say."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise InputError("review", "no user name on this system", "--reviewer NAME", "--reviewer kim") from None


def serve_review(review: Review, language: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C (or SIGTERM); `tell` gets the address."""
    review.carry_over()
    server = ReviewServer(review, language, port)
    progress = review.measure_progress()
    tell(f"review as {review.author}: {progress.done} of {progress.total} graded")
    tell(f"open {server.address}")
    tell("Ctrl+C ends it; everything is saved at once")
    try:
        server.serve_forever(poll_interval=0.2)
    except (Interruption, KeyboardInterrupt):
        pass
    finally:
        server.close()


def describe_end(folder: RunFolder, review: Review, command: list[str]) -> str:
    """What a reviewer reads at the end: what is saved, how reviewers differ, how to go on."""
    progress = review.measure_progress()
    found = describe_reviewers(ReviewLog(folder.grades("human")).read_if_changed() or [])
    where = folder.locate(folder.grades("human"))
    lines = [f"saved: {progress.done} of {progress.total} graded by {review.author}, in {where}"]
    if len(found["authors"]) > 1:
        counts = ", ".join(f"{author} {count}" for author, count in found["authors"].items())
        lines.append(
            f"answers by reviewer: {counts}; they differ on {found['differing']}"
            " (each keeps their verdict; the majority counts, a tie is unscored)"
        )
    if progress.done < progress.total:
        lines.append("to go on: " + shlex.join(command))
    return "\n".join(lines)


def exchange_tables(review: Review, export_to: Path | None, import_from: Path | None) -> list[str]:
    """Import, then export, and say what was done."""
    said = []
    if import_from is not None:
        review.carry_over()
        said.append(f"imported: {import_table(review, import_from)} changed, from {import_from}")
    if export_to is not None:
        said.append(f"exported: {export_table(review, export_to)} answers to {export_to}")
    return said
