"""Why an answer was not correct, in kinds that can be counted: a rubric's reasons name each question's own patterns."""

from __future__ import annotations

import re

from raglift.report.texts import Say
from raglift.report.wording import CUT, translate

WORDY_REASON = 100  # characters; longer reasons are cut where they are counted or logged
_REQUIREMENT = re.compile(r"(must|must_not)\[\d+\]: (denied)?")
_KINDS = {("must", None): "missing", ("must", "denied"): "denied", ("must_not", None): "forbidden"}
_KIND_NAMES = (*_KINDS.values(), "contradiction")


def name_kind(reason: str) -> str:
    """`missing`, `denied`, `forbidden`, `contradiction`, or for other reasons their own words, shortened."""
    requirement = _REQUIREMENT.match(reason)
    if requirement:
        return _KINDS.get((requirement[1], requirement[2]), "forbidden")
    if reason.startswith("contradiction"):
        return "contradiction"
    return shorten_reason(reason.removesuffix(CUT))


def say_kind(say: Say, kind: str) -> str:
    """A kind in the reader's language; words of a judge or a reviewer stay as they are."""
    return say(f"reason.{kind}") if kind in _KIND_NAMES else translate(say, kind)


def say_reason(say: Say, reason: str) -> str:
    """The whole reason in the reader's language, without the note that the answer was cut (shown apart)."""
    return translate(say, reason.removesuffix(CUT))


def shorten_reason(reason: str) -> str:
    return reason if len(reason) <= WORDY_REASON else reason[:WORDY_REASON].rstrip() + "…"
