"""The headline's lift corrected by people's verdicts on a random part of its answers, and how many it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raglift.agreement import HUMAN, SCORED, Verdicts, read_reviewers, summarize_agreement
from raglift.comparison import round_numbers
from raglift.config import Config
from raglift.errors import InputError
from raglift.grading.grades import read_grades
from raglift.grading.review_items import choose_compared, read_reviewable
from raglift.grading.review_sample import GUESSED_DISAGREEMENT, ReviewSample, open_sample, read_interval, read_sample
from raglift.records import Answer, Experiment, Grade
from raglift.runfolder import RunFolder
from raglift.sanitization import quote_command
from raglift.statistics.ppi import CorrectedLift, JudgedAnswers, correct_lift, labels_needed

MOST_CHANGED = 0.05  # share of answers that may have got or lost a verdict since the draw
WIDENINGS = (1.1, 1.25, 1.5)  # times the interval's width if people graded every answer


def weigh_grades(
    folder: RunFolder, answers: Sequence[Answer], experiment: Experiment, config: Config
) -> dict[str, Any]:
    """`corrected` and `agreement` of `comparison.json`; each None without a second grader."""
    return round_numbers(
        {
            "corrected": describe_corrected(folder, answers, experiment, config),
            "agreement": summarize_agreement(folder, answers, experiment, config),
        }
    )


def describe_corrected(
    folder: RunFolder, answers: Sequence[Answer], experiment: Experiment, config: Config
) -> dict[str, Any] | None:
    """The corrected lift beside the grader's own; None without people's verdicts on the headline's answers.

    Only answers that were drawn at random count as labels (or all, where people graded all): whatever else was
    graded by hand was chosen by somebody. `reason` says why `lift` is None.
    """
    reviewers = read_reviewers(folder)
    sample = read_sample(folder)
    machine = config.grader if config.grader != HUMAN else (sample.grader if sample else "rubric")
    verdicts = read_grades(folder.grades(machine))
    judged = choose_judged(answers, experiment, config, verdicts)
    people = {name: {key: g for key, g in rows.items() if g.verdict in SCORED} for name, rows in reviewers.items()}
    graded = {answer.key for answer in judged for rows in people.values() if answer.key in rows}
    if not graded:
        return None
    described: dict[str, Any] = {"grader": machine, "reviewers": sorted(people), "drawn": len(judged)}
    if len(graded) < len(judged):
        problem = find_misfit(sample, machine, judged)
        if problem or sample is None:
            return {**described, "lift": None, "ci95": None, "reason": problem}
        described["drawn"] = len(sample.keys)
        graded &= set(sample.keys)
    if len({answer.question_id for answer in judged}) < 2:
        return {**described, "lift": None, "ci95": None, "reason": "fewer than 2 questions with scored answers"}
    labels = {name: {key: row for key, row in rows.items() if key in graded} for name, rows in people.items()}
    corrected = correct_judged(judged, verdicts, {name: rows for name, rows in labels.items() if rows}, config)
    return {**described, **describe_lift(corrected, answers_per_arm=len(judged) // 2)}


def choose_judged(
    answers: Sequence[Answer], experiment: Experiment, config: Config, grades: Mapping[str, Grade]
) -> list[Answer]:
    """The headline's scored answers, without questions that one of the two arms lacks."""
    scored = [
        answer
        for answer in choose_compared(answers, experiment, config)
        if answer.key in grades and grades[answer.key].verdict in SCORED
    ]
    asked = [
        {answer.question_id for answer in scored if answer.arm == arm} for arm in (config.compare.a, config.compare.b)
    ]
    return [answer for answer in scored if answer.question_id in asked[0] & asked[1]]


def find_misfit(sample: ReviewSample | None, grader: str, judged: Sequence[Answer]) -> str:
    """Why a sample cannot correct this comparison; '' where it can."""
    todo = "raglift draw RUN_DIR draws one to grade"
    if sample is None:
        return f"what people graded was not drawn at random: {todo}"
    if sample.grader != grader:
        return f"the sample was drawn by the verdicts of '{sample.grader}', the headline rests on '{grader}': {todo}"
    strangers = len(set(sample.keys) - {answer.key for answer in judged})
    if strangers:
        return f"{strangers} of the {len(sample.keys)} drawn answers are not among this comparison's: {todo}"
    if abs(len(judged) - sample.answers) > MOST_CHANGED * sample.answers:
        return f"the sample was drawn from {sample.answers} answers, this comparison has {len(judged)}: {todo}"
    return ""


def correct_judged(
    judged: Sequence[Answer], verdicts: Mapping[str, Grade], people: Mapping[str, Verdicts], config: Config
) -> CorrectedLift:
    """Prediction-powered inference over the judged answers; reviewers who differ count as their mean."""
    human = np.full((max(1, len(people)), len(judged)), np.nan)
    for place, rows in enumerate(people.values()):
        for column, answer in enumerate(judged):
            if answer.key in rows:
                human[place, column] = rows[answer.key].verdict == "correct"
    table = JudgedAnswers(
        question=[answer.question_id for answer in judged],
        in_b=[answer.arm == config.compare.b for answer in judged],
        judged=[verdicts[answer.key].verdict == "correct" for answer in judged],
        human=human,
    )
    return correct_lift(table, margin=config.compare.margin)


def describe_lift(corrected: CorrectedLift, answers_per_arm: int) -> dict[str, Any]:
    """A CorrectedLift in the form of `comparison.json`."""
    own = corrected.uncorrected
    return {
        "lift": corrected.lift,
        "ci95": list(corrected.ci95) if corrected.ci95 else None,
        "verdict": name_verdict(corrected.ci95),
        "uncorrected": {"lift": own.lift, "ci95": list(own.ci95) if own.ci95 else None},
        "labels": corrected.labels,
        "answers": corrected.answers,
        "disagreement_a": corrected.disagreement_a,
        "disagreement_b": corrected.disagreement_b,
        "needed": list_needed(own.ci95, answers_per_arm, (corrected.disagreement_a, corrected.disagreement_b)),
        "reason": corrected.reason,
    }


def name_verdict(ci95: tuple[float, float] | None) -> str:
    """What an interval says of the lift."""
    if ci95 is None:
        return "not estimable"
    return "improves" if ci95[0] > 0 else "harms" if ci95[1] < 0 else "inconclusive"


def list_needed(
    ci95: Sequence[float] | None, answers_per_arm: int, disagreement: tuple[float | None, float | None] = (None, None)
) -> list[dict[str, Any]]:
    """Labels, over both arms, for a corrected interval of ± `half_width` points; [] where no interval is known.

    What no number of labels can undercut is the width when people grade everything; the list goes up from there.
    """
    if ci95 is None or ci95[1] <= ci95[0]:
        return []
    full = (ci95[1] - ci95[0]) / 2
    a, b = (GUESSED_DISAGREEMENT if share is None else share for share in disagreement)
    return [
        {
            "half_width": widening * full,
            "labels": labels_needed(
                widening * full,
                full_half_width=full,
                answers_per_arm=answers_per_arm,
                disagreement_a=a,
                disagreement_b=b,
            ),
        }
        for widening in WIDENINGS
    ]


def draw_answers(
    folder: RunFolder, experiment: Experiment, config: Config, labels: int | None = None
) -> dict[str, Any]:
    """Draw the answers that people should grade (or find those drawn before) and say how many are needed.

    Returns how many were drawn by arm and verdict, how many of them people have graded, and `needed`.
    """
    answers = read_reviewable(folder, experiment)
    sample = open_sample(folder, experiment, config, answers, labels)
    grades = read_grades(folder.grades(sample.grader))
    people = read_reviewers(folder).values()
    graded = {key for rows in people for key, grade in rows.items() if grade.verdict in SCORED}
    arms = {answer.key: answer.arm for answer in answers}
    strata = Counter((arms[key], grades[key].verdict) for key in sample.keys if key in grades)
    corrected = describe_corrected(folder, answers, experiment, config) or {}
    measured = (corrected.get("disagreement_a"), corrected.get("disagreement_b"))
    try:
        interval: tuple[float, float] | None = read_interval(folder)
    except InputError:  # not compared yet, or too few questions for an interval
        interval = None
    drawn = {
        "drawn": len(sample.keys),
        "graded": len(graded & set(sample.keys)),
        "answers": sample.answers,
        "grader": sample.grader,
        "seed": sample.seed,
        "strata": [{"arm": arm, "verdict": said, "drawn": count} for (arm, said), count in sorted(strata.items())],
        "disagreement": "measured" if None not in measured else f"guessed at {GUESSED_DISAGREEMENT:g} %",
        "needed": list_needed(interval, max(1, sample.answers // 2), measured),
    }
    return round_numbers(drawn)


def format_draw(drawn: Mapping[str, Any], run_dir: str) -> str:
    """Plain lines for a terminal."""
    lines = [f"{drawn['drawn']} of the headline's {drawn['answers']} answers drawn, {drawn['graded']} graded by people"]
    lines += [f"  {row['arm']:<22} {row['verdict']:<10} {row['drawn']:>4}" for row in drawn["strata"]]
    for row in drawn["needed"]:
        lines.append(f"for a corrected lift within ± {row['half_width']:.1f} points: {row['labels']} graded answers")
    lines.append(f"(share on which people and '{drawn['grader']}' differ: {drawn['disagreement']})")
    review = quote_command("raglift", "review", run_dir, "--sample")
    lines.append(f"next: {review}, then {quote_command('raglift', 'compare', run_dir)}")
    return "\n".join(lines)
