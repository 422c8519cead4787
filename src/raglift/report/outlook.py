"""What `raglift check` shows: one screen, or one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raglift.grading.draft import RubricFault
from raglift.outlook import Outlook, Survey
from raglift.sanitization import clean_line

if TYPE_CHECKING:
    from raglift.cost import Cost, Lengths

NOT_LOOKED_AT = "not looked at"
SHOWN = 8  # doubtful rubrics on the screen; --json has all


def survey_as_json(survey: Survey, warnings: Sequence[RubricFault] | None, steps: Sequence[str]) -> dict[str, Any]:
    """The survey's parts as they are; `warnings` where the rubrics were looked through."""
    found = {} if warnings is None else {"warnings": [asdict(one) for one in warnings]}
    parts = {
        "lengths": asdict(survey.lengths) if survey.lengths else None,
        "retrieval": survey.search,
        "cost": asdict(survey.cost) if survey.cost else None,
    }
    return {**asdict(survey.outlook), **parts, **found, "next": list(steps)}


def print_survey(
    survey: Survey,
    warnings: Sequence[RubricFault] | None,
    steps: Sequence[str],
    console: Console | None = None,
) -> None:
    """Print the survey to standard output (or to `console`); last, what to do next."""
    console = console or Console(highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        *describe_rows(survey.outlook),
        ("lengths", describe_lengths(survey.lengths) if survey.lengths else NOT_LOOKED_AT),
        ("rubrics", describe_rubrics(survey.outlook, warnings)),
        ("search", describe_search(survey.search) if survey.search else NOT_LOOKED_AT),
        ("headline", survey.outlook.headline),
        ("can detect", describe_power(survey.outlook)),
        ("will take", describe_cost(survey.cost) if survey.cost else NOT_LOOKED_AT),
    ]
    for name, text in rows:
        table.add_row(name, Text(clean_line(text)))
    for one in (warnings or ())[:SHOWN]:
        table.add_row(one.severity, Text(clean_line(f"{one.question_id}: {one.rubric}: {one.text}")))
    console.print(table)
    console.print(Text("no problems found; next:"))
    for step in steps:
        console.print(Text(f"- {clean_line(step)}"), soft_wrap=True)


def describe_rows(outlook: Outlook) -> list[tuple[str, str]]:
    """What there is, and what is there twice."""
    splits = ", ".join(f"{number} {split}" for split, number in outlook.questions.items())
    total = sum(outlook.questions.values())
    twice = f", {outlook.repeated_passages} given twice" if outlook.repeated_passages else ""
    overlaps = "no training question is an evaluation question"
    if outlook.near_overlaps:
        trained, asked = outlook.near_overlaps[0]
        number = len(outlook.near_overlaps)
        overlaps = f"{number} evaluation questions nearly repeat training ones: '{asked}' and '{trained}'"
    return [
        ("passages", f"{outlook.passages}{twice}"),
        ("training", f"{outlook.examples} rows"),
        ("questions", f"{total}: {splits}"),
        ("overlap", overlaps),
        ("answers", f"{outlook.answers} in {len(outlook.arms)} arms: {', '.join(outlook.arms)}"),
    ]


def describe_lengths(lengths: Lengths) -> str:
    """Prompts and answers in tokens, against the window and the limit."""
    text = (
        f"prompts up to {lengths.longest_prompt} tokens (median {lengths.median_prompt}), answers up to "
        f"{lengths.longest_answer} (median {lengths.median_answer}); the window holds {lengths.window}"
    )
    over = lengths.answers_over_limit
    return text + (f"; {over} answers are longer than answer.max_new_tokens" if over else "")


def describe_rubrics(outlook: Outlook, warnings: Sequence[RubricFault] | None) -> str:
    """Drafts and doubts."""
    total = sum(outlook.questions.values())
    drafts = f"{outlook.draft_rubrics} of {total} are drafts" if outlook.draft_rubrics else f"{total}, no drafts"
    doubts = "" if warnings is None else f"; {len(warnings)} doubtful"
    return f"{drafts}{doubts}; all agree with their own examples and references"


def describe_search(figures: dict[str, Any]) -> str:
    """Hit rates of the untuned search."""
    rates = [
        f"{name} {value:.0%}"
        for name, value in (
            ("hit@1", figures["hit_at_1"]),
            ("hit@3", figures["hit_at_3"]),
            ("absent rejected", figures["rejected"]),
        )
        if value is not None
    ]
    return f"{', '.join(rates)} over {figures['questions']} questions, untuned"


def describe_power(outlook: Outlook) -> str:
    """The smallest lift that the headline finds, and what ten points would take."""
    smallest = (
        "no lift for certain: too few questions"
        if outlook.detectable_lift is None
        else f"a lift of {outlook.detectable_lift:.1f} points"
    )
    wanted = outlook.questions_for_ten_points
    return smallest + ("" if wanted is None else f" (10 points take {wanted} questions)")


def describe_cost(cost: Cost) -> str:
    """Time and memory, honestly rounded."""
    return (
        f"about {format_duration(cost.train_seconds)} of training and {format_duration(cost.answer_seconds)} of "
        f"answering, and {cost.memory_gib:.0f} GiB ({cost.free_memory_gib:.0f} free): "
        f"{format_parameters(cost.parameters)} weights at {cost.gigaflops:.0f} Gflop/s measured on {cost.device} now; "
        "half or double is possible"
    )


def format_duration(seconds: float) -> str:
    """Seconds, minutes or hours with about one figure."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{round(minutes)} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def format_parameters(number: int) -> str:
    """`268 M`, `2.1 B`, `12 k`."""
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {sign}"
    return str(number)
