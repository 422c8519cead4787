"""What a run of an experiment can tell and will cost, before it is made: the parts of `raglift check`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from raglift.config import Config
from raglift.contexts import ContextResolver
from raglift.datasets import normalize_question
from raglift.progress import show_progress
from raglift.records import Example, Experiment, Question
from raglift.retrieval.evaluation import evaluate_retriever
from raglift.runfolder import RunFolder, hash_content
from raglift.sanitization import quote_command
from raglift.statistics.power import Plan, detectable_lift, questions_needed

if TYPE_CHECKING:  # it brings torch and transformers
    from raglift.cost import Cost, Lengths

NEAR = 0.75  # of their letter triples that two questions share, from which they are nearly the same
MOST_PASSAGES = 3000  # beyond, an index is too slow to build for a look
MOST_QUESTIONS = 100  # that the search is tried with

LONG_TRAINING = 2 * 3600.0  # seconds


@dataclass(frozen=True)
class Outlook:
    """Sizes and statistical power of a run; lifts in points.

    `near_overlaps` are pairs (training question, evaluation question) that are nearly the same.
    """

    passages: int
    examples: int
    questions: dict[str, int]
    arms: tuple[str, ...]
    answers: int
    headline: str
    headline_questions: int
    detectable_lift: float | None
    questions_for_ten_points: int | None
    draft_rubrics: int
    near_overlaps: tuple[tuple[str, str], ...]
    repeated_passages: int


@dataclass(frozen=True)
class Survey:
    """All that `check` shows; None where it was not looked at."""

    outlook: Outlook
    lengths: Lengths | None = None
    search: dict[str, Any] | None = None
    cost: Cost | None = None


def describe_outlook(experiment: Experiment, config: Config) -> Outlook:
    """Sizes and statistical power of the run to come."""
    counts = Counter(question.split for question in experiment.questions)
    split = config.compare.split
    headline = counts["seen"] + counts["unseen"] if split == "all" else counts[split]
    plan = Plan(config.answer.samples, config.seeds)
    texts = {" ".join(passage.text.split()) for passage in experiment.passages}
    return Outlook(
        passages=len(experiment.passages),
        examples=len(experiment.examples),
        questions={str(name): number for name, number in counts.items()},
        arms=tuple(str(arm) for arm in config.list_arms()),
        answers=count_asked(experiment, config) * config.answer.samples * config.seeds,
        headline=f"{config.compare.a} → {config.compare.b} on {headline} {split} questions",
        headline_questions=headline,
        detectable_lift=detectable_lift(headline, plan),
        questions_for_ten_points=questions_needed(10.0, plan),
        draft_rubrics=sum(question.rubric.draft for question in experiment.questions),
        near_overlaps=tuple(find_near_overlaps(experiment.examples, experiment.questions)),
        repeated_passages=len(experiment.passages) - len(texts),
    )


def count_asked(experiment: Experiment, config: Config) -> int:
    """Questions asked, over all arms (only some have a counterfactual)."""
    altered = sum(question.counterfactual is not None for question in experiment.questions)
    every = len(experiment.questions)
    return sum(altered if arm.context == "counterfactual" else every for arm in config.list_arms())


def find_near_overlaps(examples: Sequence[Example], questions: Sequence[Question]) -> list[tuple[str, str]]:
    """For each evaluation question a training question that shares at least NEAR of their letter triples (Jaccard)."""
    triples = [_cut_triples(example.question) for example in examples]
    places: dict[str, list[int]] = defaultdict(list)
    for number, found in enumerate(triples):
        for triple in found:
            places[triple].append(number)
    near = []
    for question in questions:
        mine = _cut_triples(question.question)
        shared = Counter(number for triple in mine for number in places.get(triple, ()))
        for number, count in shared.most_common(1):
            if count >= NEAR * (len(mine) + len(triples[number]) - count):
                near.append((examples[number].question, question.question))
    return near


def try_search(experiment: Experiment, config: Config) -> dict[str, Any] | None:
    """Hit rates of the untuned search over an index made for this look; None where that would take long."""
    if len(experiment.passages) > MOST_PASSAGES:
        return None
    drawn = sorted(experiment.questions, key=lambda question: hash_content("search", question.question))
    with TemporaryDirectory(prefix="raglift-check-") as folder:
        retriever = ContextResolver(experiment, config, RunFolder(Path(folder))).open_retriever()
        with show_progress("try the search", 1) as bar:
            figures = evaluate_retriever(retriever, drawn[:MOST_QUESTIONS])
            bar.advance()
    return {name: value for name, value in figures.items() if name != "ranks"}


def survey_experiment(experiment: Experiment, config: Config, quick: bool = False) -> Survey:
    """Everything that `check` tells; with `quick` nothing that loads a tokenizer or an embedder."""
    outlook = describe_outlook(experiment, config)
    if quick:
        return Survey(outlook)
    if config.is_remote:  # its tokens, window and speed cannot be seen from here
        return Survey(outlook, search=try_search(experiment, config))
    from raglift.cost import estimate_cost, measure_lengths
    from raglift.models.probing import measure_model

    with show_progress("look at model and machine", 3) as bar:
        size = measure_model(config)
        bar.advance()
        lengths = measure_lengths(experiment, config, size.window)
        bar.advance()
        cost = estimate_cost(config, lengths, size, count_asked(experiment, config))
        bar.advance()
    return Survey(outlook, lengths, try_search(experiment, config), cost)


def list_next_steps(survey: Survey, config: Config, name: str, folder: str) -> list[str]:
    """What to do about what the survey shows, the most pressing first; last the run itself."""
    outlook, lengths, cost = survey.outlook, survey.lengths, survey.cost
    steps = []
    if outlook.draft_rubrics:
        lint = quote_command("raglift", "check", name, "--lint")
        steps.append(
            f"read the {outlook.draft_rubrics} drafted rubrics in {folder}/questions.jsonl, widen them and take out "
            f'"draft"; {lint} shows what looks doubtful'
        )
    if outlook.near_overlaps:
        steps.append("reword the evaluation questions that nearly repeat a training question")
    if lengths is not None and lengths.answers_over_limit:
        more = -(-(lengths.longest_answer + 1) // 16) * 16
        steps.append(f"let answers be longer: --set answer.max_new_tokens={more}")
    wanted = outlook.questions_for_ten_points
    if wanted is not None and outlook.headline_questions < wanted:
        missing = wanted - outlook.headline_questions
        steps.append(f"write {missing} more questions of this split, if 10 points are to be told from none")
    if cost is not None and cost.memory_gib > cost.free_memory_gib:
        steps.append("lower train.batch_size or answer.questions_per_batch, or free memory: it will not fit")
    if cost is not None and cost.train_seconds > LONG_TRAINING:
        steps.append("train on a GPU, with fewer train.epochs or fewer --arms: it will take hours here")
    return [*steps, quote_command("raglift", "run", name)]


def _cut_triples(question: str) -> frozenset[str]:
    text = normalize_question(question)
    return frozenset(text[place : place + 3] for place in range(max(1, len(text) - 2)))
