"""How far the grades can be trusted: what graders agree on, where they differ, and the lift corrected by people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raglift.report.numbers import (
    MINUS,
    format_accuracy,
    format_count,
    format_decimal,
    format_interval,
    format_points,
    is_number,
)
from raglift.report.reasons import say_reason
from raglift.report.texts import Say
from raglift.report.wording import translate
from raglift.sanitization import clean_line, clean_values

HUMAN = "human"


@dataclass(frozen=True)
class Trust:
    """What the graders of a run say of each other. Empty where one grader alone has graded.

    `pairs` and `corrected` are those of comparison.json, `disagreements` those of agreement.json, unless that file
    `is_stale`: made from other grades than the comparison.
    """

    pairs: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    alpha: float | None = None
    raters: tuple[str, ...] = ()
    corrected: dict[str, Any] | None = None
    disagreements: tuple[dict[str, Any], ...] = ()
    is_stale: bool = False

    def is_checked(self, grader: str) -> bool:
        """Whether people graded answers that this grader graded."""
        return any(
            grader in (pair.get("a"), pair.get("b")) and HUMAN in map(_take_kind, (pair.get("a"), pair.get("b")))
            for pair in self.pairs
            if pair.get("answers")
        )

    def has_reviewers(self) -> bool:
        """Whether several people graded the same answers."""
        return any(
            _take_kind(pair.get("a")) == _take_kind(pair.get("b")) == HUMAN
            for pair in self.pairs
            if pair.get("answers")
        )


@dataclass(frozen=True)
class Given:
    """A grader's verdict on one answer, as it is and in words, with its reason in words."""

    grader: str
    verdict: str
    word: str
    reason: str


def gather_trust(comparison: dict[str, Any], agreement_file: Path) -> Trust:
    """From a comparison with clean texts, and from agreement.json where it is there and can be read."""
    agreement = comparison.get("agreement") or {}
    pairs = tuple(pair for pair in agreement.get("pairs") or () if isinstance(pair, dict))
    listed = _read_agreement(agreement_file)
    alpha = agreement.get("alpha") or listed.get("alpha") or {}
    is_stale = bool(listed) and not all(pair in pairs for pair in listed.get("pairs") or ())
    if is_stale:
        alpha = agreement.get("alpha") or {}
    return Trust(
        pairs=pairs,
        warnings=tuple(clean_line(str(warning)) for warning in agreement.get("warnings") or ()),
        alpha=alpha.get("value"),
        raters=tuple(str(name) for name in alpha.get("graders") or ()),
        corrected=comparison.get("corrected"),
        disagreements=() if is_stale else tuple(listed.get("disagreements") or ()),
        is_stale=is_stale,
    )


def _read_agreement(file: Path) -> dict[str, Any]:
    """agreement.json, {} where it is missing or damaged: the report can do without."""
    try:
        found = clean_values(json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda _: None))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def list_warnings(comparison: dict[str, Any], say: Say) -> list[str]:
    """Why the headline's grader may not be trusted."""
    warnings = (comparison.get("agreement") or {}).get("warnings") or ()
    return [translate(say, clean_line(str(warning))) for warning in warnings]


def say_corrected(comparison: dict[str, Any], say: Say) -> str:
    """The corrected lift in one sentence, or why there is none; '' where no one graded by hand."""
    corrected = comparison.get("corrected")
    if not isinstance(corrected, dict):
        return ""
    if not is_number(corrected.get("lift")):
        return say("corrected.none", reason=translate(say, str(corrected.get("reason") or "–")))
    return say(
        "corrected.sentence",
        labels=format_count(corrected.get("labels")),
        lift=format_points(corrected.get("lift")),
        interval=format_interval(corrected.get("ci95")),
    )


def say_doubts(comparison: dict[str, Any], say: Say) -> list[str]:
    """What stands beside the headline: the corrected lift, and every warning."""
    corrected = say_corrected(comparison, say)
    warnings = [f"{say('warning.mark')}: {warning}" for warning in list_warnings(comparison, say)]
    return [corrected, *warnings] if corrected else warnings


def list_corrected_rows(corrected: dict[str, Any] | None, say: Say) -> list[list[str]]:
    """The lift as the grader gives it and as people's verdicts correct it: (name, lift, interval) texts."""
    if not corrected or not is_number(corrected.get("lift")):
        return []
    own = corrected.get("uncorrected") or {}
    named = (
        (say("corrected.before", grader=corrected.get("grader")), own),
        (say("corrected.after"), corrected),
    )
    return [[name, format_points(row.get("lift")), format_interval(row.get("ci95"))] for name, row in named]


def list_corrected_facts(comparison: dict[str, Any], say: Say) -> list[str]:
    """Who labelled how many answers, and on how many people and grader differ in each arm."""
    corrected = comparison.get("corrected")
    if not corrected:
        return []
    if not is_number(corrected.get("lift")):
        return [say("corrected.none", reason=translate(say, str(corrected.get("reason") or "–")))]
    facts = [
        say(
            "corrected.labels",
            labels=format_count(corrected.get("labels")),
            answers=format_count(corrected.get("answers")),
            reviewers=", ".join(str(name) for name in corrected.get("reviewers") or ()) or "–",
        )
    ]
    shares = [corrected.get("disagreement_a"), corrected.get("disagreement_b")]
    if any(map(is_number, shares)):
        facts.append(
            say(
                "corrected.differ",
                a=comparison["a"].get("arm"),
                b=comparison["b"].get("arm"),
                share_a=format_accuracy(shares[0]),
                share_b=format_accuracy(shares[1]),
            )
        )
    return facts


def say_pair(pair: dict[str, Any], say: Say) -> str:
    """Share that agrees and kappa of two graders, over all answers and over the headline's."""
    if not pair.get("answers"):
        return say("agreement.no answers")
    sentence = _say_measured(pair, say)
    headline = pair.get("headline") or {}
    if headline.get("answers") and headline["answers"] != pair["answers"]:
        sentence += " " + say("agreement.headline", measured=_say_measured(headline, say))
    if pair.get("left_out"):
        sentence += " " + say("agreement.left out", count=format_count(pair["left_out"]))
    return sentence


def _say_measured(measured: dict[str, Any], say: Say) -> str:
    return say(
        "agreement.measured",
        agreed=format_accuracy(measured.get("agreed")),
        answers=format_count(measured.get("answers")),
        kappa=format_kappa(measured, say),
    )


def format_kappa(measured: dict[str, Any], say: Say) -> str:
    """`0.712 [0.550, 0.874]`, or why there is none."""
    if not is_number(measured.get("kappa")):
        return say("agreement.undefined")
    limits = measured.get("kappa_ci95") or ()
    known = [_write_decimal(limit) for limit in limits if is_number(limit)]
    return _write_decimal(measured["kappa"]) + (f" [{', '.join(known)}]" if len(known) == 2 else "")


def say_alpha(trust: Trust, say: Say) -> str:
    """Krippendorff's alpha where more than two graded; '' else."""
    if len(trust.raters) < 3 or not is_number(trust.alpha):
        return ""
    return say("agreement.alpha", alpha=_write_decimal(trust.alpha), graders=", ".join(trust.raters))


def list_confusion(pair: dict[str, Any], say: Say) -> list[list[str]]:
    """The confusion table with its heads: rows are what the first grader said, columns the second's."""
    labels, table = pair.get("labels") or (), pair.get("table") or ()
    if not pair.get("answers") or len(labels) != len(table):
        return []
    named = [say(f"word.{label}") if label in ("correct", "incorrect") else str(label) for label in labels]
    heads = [f"{pair.get('a')} ↓ {pair.get('b')} →", *named]
    rows = [[name, *map(format_count, row)] for name, row in zip(named, table, strict=True)]
    return [heads, *rows]


def rank_pairs(trust: Trust, grader: object) -> list[dict[str, Any]]:
    """The pairs of the headline's grader first."""
    return sorted(trust.pairs, key=lambda pair: grader not in (pair.get("a"), pair.get("b")))


def list_verdicts(row: dict[str, Any], say: Say) -> Iterable[Given]:
    """What each grader said of one answer on which they differ."""
    for name, given in (row.get("verdicts") or {}).items():
        verdict = str((given or {}).get("verdict") or "")
        word = say(f"word.{verdict}") if verdict in ("correct", "incorrect", "unscored") else verdict
        reason = clean_line(str((given or {}).get("reason") or ""))
        yield Given(str(name), verdict, word, say_reason(say, reason) if verdict != "correct" else "")


def _write_decimal(value: float | None) -> str:
    return format_decimal(value, 3).replace("-", MINUS)


def _take_kind(name: object) -> str:
    return str(name).partition(":")[0]
