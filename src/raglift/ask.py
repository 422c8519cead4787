"""One free question to one arm of a run: the same prompts, the same search and the same weights as the run's."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from raglift.config import Config
from raglift.contexts import ContextResolver
from raglift.errors import InputError
from raglift.models.completions import Stream, TokenWatch
from raglift.records import Arm, Context, Experiment, parse_arm
from raglift.retrieval.search import IndexRetriever
from raglift.runfolder import hash_content
from raglift.shelf.interface import ModelShelf

# A free question has no passage that is known to be right, altered or wrong: `oracle` is asked with what the
# search finds, the other contexts cannot be asked.
ASKED_AS: dict[Context, Context] = {"none": "none", "retrieved": "retrieved", "oracle": "retrieved"}


@dataclass(frozen=True)
class Source:
    """One passage in a prompt and how well the search scored it."""

    passage_id: str
    score: float
    text: str


@dataclass(frozen=True)
class Prompted:
    """A question made ready for one arm. `notes` say where it is asked otherwise than its words suggest."""

    question: str
    arm: Arm
    context: Context
    prompt: str
    prompt_tokens: int
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """An answer to a free question; `key` is a hash of prompt and text."""

    prompted: Prompted
    text: str
    tokens: int
    truncated: bool

    @property
    def key(self) -> str:
        return hash_reply(self.prompted.prompt, self.text)


def hash_reply(prompt: str, text: str) -> str:
    """The key under which a person's verdict on an answer is kept."""
    return hash_content(prompt, text)


class Asker:
    """Asks the arms of one run."""

    def __init__(self, experiment: Experiment, config: Config, contexts: ContextResolver, models: ModelShelf) -> None:
        self.experiment, self.config, self.contexts, self.models = experiment, config, contexts, models
        self.seed = config.list_seeds()[0]

    @cached_property
    def retriever(self) -> IndexRetriever:
        return self.contexts.open_retriever()

    def list_arms(self) -> list[Arm]:
        """The run's arms that a free question can be put to, and every tuning with and without retrieval."""
        arms = [arm for arm in self.config.list_arms() if arm.context in ASKED_AS]
        tunings = dict.fromkeys(arm.tuning for arm in self.config.list_arms())
        arms += [Arm(tuning, context) for tuning in tunings for context in ("none", "retrieved")]
        return [arm for arm in dict.fromkeys(arms) if self.models.has(arm.tuning, self.seed)]

    def choose_arm(self, name: str | None) -> Arm:
        """The named arm, else the headline's second with retrieval; InputError when it cannot be asked."""
        arm = convert_arm(parse_arm(self.config.compare.b)) if name is None else parse_arm(name)
        known = self.list_arms()
        if arm not in known:
            found = "not trained in this run" if arm.context in ASKED_AS else "a context that needs a known passage"
            raise InputError(f"arm '{arm}'", found, "one of " + ", ".join(map(str, known)))
        return arm

    def choose_pair(self, arm: Arm) -> tuple[Arm, Arm]:
        """Two arms to show side by side, this one among them: the headline's, or the headline's other side beside it.

        Where those are one or not trained, this tuning without and with what the search finds.
        """
        first, second = (convert_arm(parse_arm(name)) for name in (self.config.compare.a, self.config.compare.b))
        pair = (arm, second) if arm.context == "none" else (first, arm)
        if arm in (first, second):
            pair = (first, second)
        if pair[0] != pair[1] and set(pair) <= set(self.list_arms()):
            return pair
        return Arm(arm.tuning, "none"), arm if arm.context != "none" else Arm(arm.tuning, "retrieved")

    def open_search(self, arms: Iterable[Arm]) -> IndexRetriever | None:
        """The search, opened before the first question where one of the arms needs it."""
        return self.retriever if any(ASKED_AS[arm.context] == "retrieved" for arm in arms) else None

    def prepare(self, question: str, arm: Arm, k: int | None = None) -> Prompted:
        """Search for the question where the arm wants it, and build its prompt.

        Raises InputError for a question that is empty, holds control characters or does not fit the window.
        """
        check_question(question)
        question = unicodedata.normalize("NFC", question).strip()
        context = ASKED_AS[arm.context]
        sources = self.find_sources(question, k or self.config.retrieval.k) if context == "retrieved" else ()
        texts = [source.text for source in sources] if context == "retrieved" else None
        prompt = self.models.prompts.write_prompt(question, texts)
        length = self.models.count_tokens(prompt)
        notes = () if context == arm.context else (
            f"{arm} is asked with what the search finds: a free question has no passage known to be right",
        )  # fmt: skip
        return Prompted(question, arm, context, prompt, length, sources, notes)

    def find_sources(self, question: str, k: int) -> tuple[Source, ...]:
        """The k best passages, best first; none where none reaches the threshold."""
        passages = self.experiment.passage_by_id
        found = self.retriever.search([question], k)[0]
        return tuple(Source(row.passage_id, row.score, passages[row.passage_id].text) for row in found)

    @property
    def window(self) -> int | None:
        """Tokens that prompt and answer may have together; None where only a server knows."""
        return self.models.window

    def ask(self, prompted: Prompted, on_text: Callable[[str], None] | None = None) -> Reply:
        """Sample one answer as the run's `answer` settings say; `on_text` gets its pieces while it is written.

        InputError where prompt and answer do not fit into the model's window.
        """
        decoding = self.config.answer
        window = self.window
        if window is not None and prompted.prompt_tokens + decoding.max_new_tokens > window:
            raise InputError(
                "question",
                f"{prompted.prompt_tokens} tokens with its passages",
                f"at most {window - decoding.max_new_tokens}, the model's window less the answer",
                "ask something shorter, or with fewer passages",
            )
        model = self.models.provide(prompted.arm.tuning, self.seed)
        noise = [[f"ask {uuid.uuid4().hex}"]]
        if on_text is None:
            completion = model.complete_prompts([prompted.prompt], noise, decoding)[0][0]
        else:
            stream = model.open_stream()
            watch = _make_watch(stream, on_text)
            completion = model.complete_prompts([prompted.prompt], noise, decoding, watch)[0][0]
            on_text(stream.finish(completion.text))
        return Reply(prompted, completion.text, completion.tokens, completion.truncated)


def _make_watch(stream: Stream, on_text: Callable[[str], None]) -> TokenWatch:
    def watch(row: int, step: int, token: Any) -> bool:
        on_text(stream.push(token))
        return True

    return watch


def convert_arm(arm: Arm) -> Arm:
    """The arm as a free question meets it: with what the search finds in place of a known passage."""
    return Arm(arm.tuning, ASKED_AS.get(arm.context, "retrieved"))


def check_question(question: str) -> None:
    """InputError for a question without text, with control characters or with halves of characters."""
    if not question.strip():
        raise InputError("question", "empty", "a question with some text", "write a question")
    for place, character in enumerate(question):
        if character not in "\n\r\t" and unicodedata.category(character) in ("Cc", "Cs"):
            raise InputError(
                "question", f"U+{ord(character):04X} at character {place + 1}", "text without control characters"
            )
