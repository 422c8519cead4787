"""Why an answer was not correct, in kinds that can be counted: a rubric's reasons name each question's own patterns."""

from __future__ import annotations

import re

from raglift.report.texts import TABLE, Say

WORDY_REASON = 100  # characters; longer reasons are cut where they are counted or logged
_CUT = " (the answer was cut at its length limit)"
_REQUIREMENT = re.compile(r"(must|must_not)\[\d+\]: (denied)?")
_KINDS = {("must", None): "missing", ("must", "denied"): "denied", ("must_not", None): "forbidden"}


def name_kind(reason: str) -> str:
    """`missing`, `denied`, `forbidden`, `contradiction`, or for other reasons their own words, shortened."""
    requirement = _REQUIREMENT.match(reason)
    if requirement:
        return _KINDS.get((requirement[1], requirement[2]), "forbidden")
    if reason.startswith("contradiction"):
        return "contradiction"
    return shorten_reason(reason.removesuffix(_CUT))


def say_kind(say: Say, kind: str) -> str:
    """A kind in the reader's language; own words stay as they are."""
    key = f"reason.{kind}"
    return say(key) if key in TABLE else kind


def shorten_reason(reason: str) -> str:
    return reason if len(reason) <= WORDY_REASON else reason[:WORDY_REASON].rstrip() + "…"
