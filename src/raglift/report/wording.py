"""What other parts of the program say in English, in the reader's language: reasons of grades, warnings.

Such texts lie in files (grades, comparison.json), where they are data. Each is known by its form; what has another
form (a judge's own reason, a reviewer's note) stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from raglift.report.texts import Say

CUT = " (the answer was cut at its length limit)"
_GRADERS = r"'(?P<a>[^']*)' and '(?P<b>[^']*)'"
_TODO = r": raglift draw RUN_DIR draws one to grade"
_LOW = (
    rf"the headline rests on '(?P<grader>[^']*)', but {_GRADERS} agree poorly: kappa (?P<kappa>.+), "
    r"(?P<agreed>[\d.]+) % of (?P<answers>\d+) {of} \(below (?P<limit>[\d.]+) no conclusion should rest on it\)"
)
_LABELS = (
    r"(?P<labels>\d+) of (?P<answers>\d+) answers judged {verdict} by the grader in arm (?P<arm>[ab]) "
    r"have a human verdict: label 2 or more"
)
_FORMS: tuple[tuple[str, str], ...] = (
    # grades: the rubric's, the judge's, the reviewers'
    ("reason.empty", r"the answer is empty"),
    ("reason.question", r"the answer only repeats the question"),
    ("reason.title", r"the answer only repeats the title"),
    ("reason.met", r"every requirement is met"),
    ("reason.contradiction", r"contradiction: gives another formula too"),
    ("reason.none of", r"(?P<rule>must\[\d+\]): none of (?P<named>.+) found"),
    ("reason.denies", r"(?P<rule>must\[\d+\]): denied, (?P<named>.+)"),
    ("reason.says", r"(?P<rule>must_not\[\d+\]): says (?P<named>.+)"),
    ("reason.votes", r"(?P<agreeing>\d+) of (?P<votes>\d+) votes: (?P<named>.+)"),
    (
        "reason.no majority",
        r"no majority of (?P<votes>\d+) votes \((?P<correct>\d+) correct, (?P<incorrect>\d+) incorrect\); "
        r"(?P<named>.*)",
    ),
    ("reason.reviewers", r"reviewers differ \((?P<named>.+)"),
    # warnings of the agreement
    (
        "warning.few",
        rf"the headline rests on '(?P<grader>[^']*)': {_GRADERS} share (?P<answers>\d+) graded answers, "
        r"too few \(under (?P<fewest>\d+)\) to tell how far it can be trusted",
    ),
    ("warning.low", _LOW.format(of="answers")),
    ("warning.low.headline", _LOW.format(of="of the headline's answers")),
    # why there is no corrected lift
    ("uncorrected.not drawn", rf"what people graded was not drawn at random{_TODO}"),
    (
        "uncorrected.grader",
        r"the sample was drawn by the verdicts of '(?P<a>[^']*)', the headline rests on '(?P<b>[^']*)'" + _TODO,
    ),
    (
        "uncorrected.strangers",
        rf"(?P<count>\d+) of the (?P<drawn>\d+) drawn answers are not among this comparison's{_TODO}",
    ),
    (
        "uncorrected.changed",
        rf"the sample was drawn from (?P<drawn>\d+) answers, this comparison has (?P<answers>\d+){_TODO}",
    ),
    ("uncorrected.questions", r"fewer than 2 questions with scored answers"),
    ("uncorrected.labels.correct", _LABELS.format(verdict="correct")),
    ("uncorrected.labels.incorrect", _LABELS.format(verdict="incorrect")),
)
_PATTERNS = tuple((key, re.compile(form, re.DOTALL)) for key, form in _FORMS)


_MORE = re.compile(r" and (\d+) more$")


def _say_more(say: Say) -> Callable[[re.Match[str]], str]:
    return lambda found: " " + say("failures.more", count=found[1])


def translate(say: Say, text: str) -> str:
    """The text in the reader's language where its form is known, else as it is."""
    if text.endswith(CUT):
        return translate(say, text.removesuffix(CUT)) + say("reason.cut")
    for key, pattern in _PATTERNS:
        found = pattern.fullmatch(text)
        if found:
            return say(key, **{name: _MORE.sub(_say_more(say), part) for name, part in found.groupdict().items()})
    return text
