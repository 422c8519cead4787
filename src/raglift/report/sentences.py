"""What the numbers mean, in sentences: the verdict first, and at the end what the run cannot say."""

from __future__ import annotations

from typing import Any

from raglift.report.content import Content, ShownAnswer
from raglift.report.numbers import (
    format_accuracy,
    format_count,
    format_interval,
    format_p,
    format_points,
    is_number,
)
from raglift.report.texts import TABLE, Say, say_split, say_verdict_word

WITH_PASSAGE = ("oracle", "retrieved", "distractor")
TESTS = {  # how the names of tests begin -> their texts
    "exact sign-flip": "test.exact",
    "Monte-Carlo sign-flip": "test.monte-carlo",
    "two-level interval": "test.two-level",
    "none": "test.none",
}
SHOWN_EXCLUDED = 5  # questions named, of those left out


def say_verdict(comparison: dict[str, Any], say: Say) -> str:
    """The verdict on the headline, one sentence."""
    a, b = comparison["a"], comparison["b"]
    if a.get("arm") == b.get("arm"):
        return say("verdict.one arm")
    verdict = comparison.get("verdict")
    key = f"verdict.{verdict}"
    if _differ_in_passage(str(a.get("arm")), str(b.get("arm"))) and f"{key}.rag" in TABLE:
        key = f"{key}.rag"
    lift = comparison.get("lift")
    return say(
        key if key in TABLE else "verdict.not estimable",
        a=a.get("arm"),
        b=b.get("arm"),
        a_accuracy=format_accuracy(a.get("accuracy")),
        b_accuracy=format_accuracy(b.get("accuracy")),
        lift=format_points(lift).lstrip("+"),
        size=f"{abs(lift):.1f}" if lift is not None and is_number(lift) else "",
    )


def say_basis(comparison: dict[str, Any], say: Say) -> list[str]:
    """What the verdict rests on and what would settle an open one; the other splits beside it."""
    if comparison["a"].get("arm") == comparison["b"].get("arm"):
        return []
    split, known = comparison.get("split"), comparison.get("seeds")
    seeds = len(known) if isinstance(known, list) else 1  # a table has no list of them
    kind = "headline.basis.seeds" if seeds > 1 else "headline.basis"
    sentences = [
        say(
            kind if split and comparison.get("samples") else "headline.basis.table",
            questions=format_count(comparison["b"].get("questions")),
            split=say_split(say, split),
            samples=format_count(comparison.get("samples")),
            differing=format_count(comparison.get("differing")),
            seeds=seeds,
        )
    ]
    if comparison.get("verdict") == "equivalent" and is_number(comparison.get("margin")):
        sentences.append(say("verdict.margin", margin=f"{comparison['margin']:g}"))
    if comparison.get("questions_needed"):
        sentences.append(say("verdict.needed", count=format_count(comparison["questions_needed"])))
    elif comparison.get("verdict") == "inconclusive" and "questions_needed" in comparison:
        sentences.append(say("verdict.more seeds"))
    for other, row in (comparison.get("by_split") or {}).items():
        if other != split and is_number((row or {}).get("lift")):
            sentences.append(
                say(
                    "headline.other",
                    split=say_split(say, other),
                    lift=format_points(row["lift"]),
                    interval=f" {format_interval(row['ci95'])}" if row.get("ci95") else "",
                    word=say_verdict_word(say, row.get("verdict")),
                )
            )
    return sentences


def say_excluded(comparison: dict[str, Any], say: Say) -> str:
    """How many questions were left out of the comparison, and the first of them; '' where none was."""
    names = [str(name) for name in comparison.get("excluded_ids") or ()]
    if not comparison.get("excluded"):
        return ""
    shown = ", ".join(names[:SHOWN_EXCLUDED]) + (", …" if len(names) > SHOWN_EXCLUDED else "")
    return say("limits.excluded", count=format_count(comparison["excluded"])) + (f" ({shown})" if shown else "")


def say_lift(comparison: dict[str, Any], say: Say) -> str:
    """`+20.0 points · 95 % interval [+7.5, +34.2] · p-value 0.015625 (exact …)`, as far as it could be estimated."""
    parts = [f"{say('word.lift')} {format_points(comparison.get('lift'))} {say('word.points')}"]
    if comparison.get("ci95"):
        parts.append(f"{say('word.interval')} {format_interval(comparison['ci95'])}")
    if is_number(comparison.get("p_value")):
        test = say_test(comparison.get("test"), say)
        parts.append(f"{say('word.p')} {format_p(comparison['p_value'])} ({test})")
    return " · ".join(parts)


def say_test(test: object, say: Say) -> str:
    """The name of the test; those that are not known are given as they are."""
    name = str(test or "–")
    for start, key in TESTS.items():
        if name.startswith(start):
            return say(key)
    return name


def say_verdict_of(say: Say, answer: ShownAnswer) -> str:
    """The grade of one answer; beside an altered passage, whom it follows."""
    if answer.follows:
        key = f"behaviour.follows_{answer.follows}"
        return say(key if key in TABLE else "behaviour.other")
    return say(f"word.{answer.verdict}") if f"word.{answer.verdict}" in TABLE else answer.verdict


def list_limits(content: Content, say: Say) -> list[str]:
    """What the conclusion does not cover, in this run."""
    comparison, compared = content.comparison, content.a != content.b
    contexts = {arm.partition(".")[2] for arm in (*content.arms, *content.trials)}
    truncated = sum(failures.truncated for failures in content.failures)
    unscored, excluded = comparison.get("unscored"), comparison.get("excluded")
    detectable = comparison.get("minimum_detectable_lift")
    grader = _name_grader_limit(content)
    limits: tuple[tuple[bool, str, dict[str, object]], ...] = (
        (compared and content.b.endswith(".oracle"), "limits.oracle", {"b": content.b}),
        (compared and comparison.get("split") == "seen", "limits.seen", {}),
        ("unseen" not in content.splits, "limits.no unseen", {}),
        ("counterfactual" not in contexts, "limits.no counterfactual", {}),
        (len(comparison.get("seeds") or [0]) == 1, "limits.seeds", {}),
        (compared and is_number(detectable), "limits.detectable", {"points": format_points(detectable).lstrip("+")}),
        (grader in TABLE, grader, {}),
        (bool(unscored), "limits.unscored", {"count": format_count(unscored)}),
        (bool(excluded), "limits.excluded", {"count": format_count(excluded)}),
        (truncated > 0, "limits.truncated", {"count": format_count(truncated)}),
        (True, "limits.model", {"model": content.settings.get("model", "")}),
    )
    return [say(key, **values) for applies, key, values in limits if applies]


def _name_grader_limit(content: Content) -> str:
    grader, trust = str(content.comparison.get("grader")), content.trust
    checked = trust.has_reviewers() if grader == "human" else trust.is_checked(grader)
    return f"limits.{grader}.checked" if checked else f"limits.{grader}"


def _differ_in_passage(a: str, b: str) -> bool:
    """Whether b reads a passage that a does not, with both tuned or both not: a lift that RAG explains."""
    tuning_a, _, context_a = a.partition(".")
    tuning_b, _, context_b = b.partition(".")
    return context_a == "none" and context_b in WITH_PASSAGE and (tuning_a == "base") == (tuning_b == "base")
