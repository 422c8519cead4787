"""The things that an experiment is made of, as plain frozen records (docs/design.md, "The words")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from raglift.errors import InputError, suggest_name

Split = Literal["seen", "unseen", "absent"]
Tuning = Literal["base", "sft", "rag-sft"]
Context = Literal["none", "oracle", "retrieved", "distractor", "counterfactual", "irrelevant"]
Verdict = Literal["correct", "incorrect", "unscored"]

SPLITS: tuple[Split, ...] = get_args(Split)
TUNINGS: tuple[Tuning, ...] = get_args(Tuning)
CONTEXTS: tuple[Context, ...] = get_args(Context)


@dataclass(frozen=True)
class Passage:
    """One unit of knowledge in the knowledge base."""

    id: str
    text: str


@dataclass(frozen=True)
class Example:
    """One training row."""

    question: str
    answer: str
    passage_id: str


@dataclass(frozen=True)
class Rubric:
    """What an answer must and must not say; `passes` and `fails` are its own test.

    Every group of `must` needs one of its alternatives; nothing in `must_not` may match.
    """

    must: tuple[tuple[str, ...], ...]
    must_not: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    draft: bool = False


@dataclass(frozen=True)
class Counterfactual:
    """The right passage with one fact altered; its rubric accepts answers that follow the alteration."""

    text: str
    rubric: Rubric


@dataclass(frozen=True)
class Question:
    """One evaluation item. `passage_id` is None exactly for the `absent` split."""

    id: str
    question: str
    passage_id: str | None
    split: Split
    reference: str
    rubric: Rubric
    counterfactual: Counterfactual | None = None


@dataclass(frozen=True, order=True)
class Arm:
    """One cell of the grid, written `rag-sft.oracle`."""

    tuning: Tuning
    context: Context

    def __str__(self) -> str:
        return f"{self.tuning}.{self.context}"


def parse_arm(text: str) -> Arm:
    """Read `tuning.context`; raises InputError for anything else."""
    tuning, _, context = text.strip().partition(".")
    if tuning in TUNINGS and context in CONTEXTS:
        return Arm(tuning, context)  # type: ignore[arg-type]
    names = [f"{t}.{c}" for t in TUNINGS for c in CONTEXTS]
    raise InputError(
        f"arm '{text}'",
        "no such arm",
        "tuning.context with tuning in " + ", ".join(TUNINGS) + " and context in " + ", ".join(CONTEXTS),
        suggest_name(text, names) if "." in text else "write for example rag-sft.oracle",
    )


@dataclass(frozen=True)
class Retrieved:
    """One passage that a search returned, with its score (higher is nearer)."""

    passage_id: str
    score: float


@dataclass(frozen=True)
class Answer:
    """One sampled text for (arm, seed, question, sample); `key` hashes all that made it."""

    key: str
    arm: str
    seed: int
    question_id: str
    sample: int
    text: str
    prompt: str
    passages: tuple[Retrieved, ...] = ()
    tokens: int = 0
    truncated: bool = False
    batch: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Grade:
    """A verdict on one answer by a named grader, with its reason and the words that decided.

    `follows` is set where the prompt held an altered passage: whom the answer agrees with
    ("passage", "memory" or "other"); such answers have no part in any accuracy.
    """

    key: str
    question_id: str
    verdict: Verdict
    reason: str
    grader: str
    evidence: tuple[str, ...] = ()
    follows: str = ""


@dataclass(frozen=True)
class Experiment:
    """A loaded and validated experiment folder."""

    name: str
    folder: str
    passages: tuple[Passage, ...]
    examples: tuple[Example, ...]
    questions: tuple[Question, ...]
    passage_by_id: dict[str, Passage] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        self.passage_by_id.update({passage.id: passage for passage in self.passages})
