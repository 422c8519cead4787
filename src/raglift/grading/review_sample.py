"""The random part of the headline's answers that people grade, so that the whole lift can be corrected by them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raglift.config import Config
from raglift.errors import InputError, RunError
from raglift.grading.grades import read_grades
from raglift.grading.review_items import choose_compared
from raglift.records import Answer, Experiment
from raglift.runfolder import RunFolder, write_json
from raglift.sanitization import quote_command
from raglift.statistics.ppi import draw_labels, labels_needed

WIDENING = 1.25  # the corrected interval may be this much wider than if every answer were graded by hand
GUESSED_DISAGREEMENT = 10.0  # percent of answers on which grader and human differ, before anybody knows


@dataclass(frozen=True)
class ReviewSample:
    """The drawn answers: stratified by arm and by what `grader` said; kept in `review.sample.json`."""

    grader: str
    seed: int
    answers: int
    keys: tuple[str, ...]


def open_sample(
    folder: RunFolder, experiment: Experiment, config: Config, answers: Sequence[Answer], labels: int | None = None
) -> ReviewSample:
    """The sample drawn earlier, as long as all its answers are still there and its size is not asked anew; else a
    new one.

    Args:
        labels: how many answers to draw; None for as many as are needed (see `count_labels`).
    """
    compared = choose_compared(answers, experiment, config)
    kept = read_sample(folder)
    if kept is not None and labels in (None, len(kept.keys)) and set(kept.keys) <= {a.key for a in compared}:
        return kept
    drawn = draw_sample(folder, config, compared, labels)
    write_json(
        folder.path / "review.sample.json",
        {"grader": drawn.grader, "seed": drawn.seed, "answers": drawn.answers, "keys": list(drawn.keys)},
    )
    return drawn


def read_sample(folder: RunFolder) -> ReviewSample | None:
    """The sample that was drawn for this run; None when none was. RunError where its file cannot be read."""
    file = folder.path / "review.sample.json"
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        return ReviewSample(value["grader"], value["seed"], value["answers"], tuple(value["keys"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file}: cannot be read ({error})\n  to do: move it away; --sample draws a new one") from None


def draw_sample(folder: RunFolder, config: Config, compared: Sequence[Answer], labels: int | None) -> ReviewSample:
    """Draw anew among the compared answers that the machine grader scored; the same run draws the same answers.

    InputError where none is scored, or `labels` is more than there are.
    """
    grader = "rubric" if config.grader == "human" else config.grader
    grades = read_grades(folder.grades(grader))
    scored = [a for a in compared if a.key in grades and grades[a.key].verdict != "unscored"]
    if not scored:
        raise InputError(
            str(folder.grades(grader)),
            "no verdicts on the compared answers",
            "a graded run: the sample is drawn by arm and verdict",
            quote_command("raglift", "grade", folder.path) + ", or review without --sample",
        )
    wanted = count_labels(folder, len(scored)) if labels is None else labels
    if not 1 <= wanted <= len(scored):
        raise InputError("--labels", str(wanted), f"1 to {len(scored)}, the number of compared answers")
    in_b = [answer.arm == config.compare.b for answer in scored]
    judged = [grades[answer.key].verdict == "correct" for answer in scored]
    places = draw_labels(in_b, judged, wanted, seed=config.seed)
    return ReviewSample(grader, config.seed, len(scored), tuple(scored[place].key for place in places))


def count_labels(folder: RunFolder, answers: int) -> int:
    """Labels for a corrected interval at most `WIDENING` times as wide as if all answers were graded by hand."""
    ci95 = read_interval(folder)
    half = (ci95[1] - ci95[0]) / 2
    needed = labels_needed(
        WIDENING * half,
        full_half_width=half,
        answers_per_arm=max(1, answers // 2),
        disagreement_a=GUESSED_DISAGREEMENT,
        disagreement_b=GUESSED_DISAGREEMENT,
    ) if half > 0 else None  # fmt: skip
    return min(answers, needed or answers)


def read_interval(folder: RunFolder) -> tuple[float, float]:
    """The headline's interval in points; InputError for a run that is not compared."""
    try:
        value: Any = json.loads(folder.comparison.read_text(encoding="utf-8"))
        low, high = value["ci95"]
        return float(low), float(high)
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            str(folder.comparison),
            "no interval of the lift",
            "a compared run, to tell how many answers to draw",
            quote_command("raglift", "compare", folder.path) + ", or say how many with --labels N",
        ) from None
