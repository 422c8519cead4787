"""What each context puts into a prompt: the same for training, answering and `ask`."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from raglift.config import Config, load_config
from raglift.datasets import find_experiment, load_searchable
from raglift.errors import InputError, RunError
from raglift.offline import require_local
from raglift.progress import say, show_progress
from raglift.prompts import PromptContext, TrainingRow
from raglift.records import Context, Example, Experiment, Question, Retrieved
from raglift.retrieval.opening import open_retriever, tune_retriever
from raglift.retrieval.ranking import Ranking, read_ranking, write_ranking
from raglift.retrieval.search import IndexRetriever
from raglift.retrieval.tuned import TunedRetriever, list_tuned_files
from raglift.runcopy import open_folder
from raglift.runfolder import RunFolder, explain_disk_errors, hash_content
from raglift.sanitization import quote_command

RANKED = 10  # passages kept a question: enough for hit@3, MRR and hard negatives
SEARCHING: tuple[Context, ...] = ("retrieved", "distractor", "irrelevant")


class ContextResolver:
    """Resolves contexts of one run; searches once and keeps the ranking in the run folder."""

    def __init__(self, experiment: Experiment, config: Config, folder: RunFolder) -> None:
        self.experiment, self.config, self.folder = experiment, config, folder

    def needs_search(self) -> bool:
        """Whether an arm or the training asks the index."""
        return self.config.train.context != "oracle" or any(arm.context in SEARCHING for arm in self.config.list_arms())

    def resolve(self, context: Context) -> dict[str, PromptContext]:
        """Question id -> what its prompt holds; questions that cannot be asked in this context are left out."""
        if context == "none":
            return {question.id: PromptContext(None) for question in self.experiment.questions}
        resolved = {}
        for question in self.experiment.questions:
            found = RESOLVERS[context](self, question)
            if found is not None:
                resolved[question.id] = found
        return resolved

    def rank_questions(self) -> Ranking:
        """The ranking of all questions (and training questions where training searches), made if it is stale."""
        return self.ranking

    def read_ranking(self) -> Ranking | None:
        """The ranking as it was made last, where this run has one."""
        return read_ranking(self.folder.ranking) if self.needs_search() else None

    @cached_property
    def ranking(self) -> Ranking:
        texts = [question.question for question in self.experiment.questions]
        if self.config.train.context != "oracle":
            texts += [example.question for example in self.experiment.examples]
        retriever = self.open_retriever()
        made_from = hash_content(retriever.identity, texts)
        parts = {"retriever": retriever.identity, "questions": hash_content(texts)}
        reason = self.folder.find_damage("rank", made_from, parts)
        known = read_ranking(self.folder.ranking)
        if reason is None and known is not None:
            return known
        if reason not in (None, "not done yet"):
            say(f"search again: {reason}")
        found = retriever.rank(texts, RANKED)
        rows = {text: tuple(row) for text, row in zip(texts, found, strict=True)}
        ranking = Ranking(made_from, retriever.threshold, rows)
        write_ranking(self.folder.ranking, ranking)
        self.folder.record_artifact("rank", made_from, [self.folder.ranking], parts)
        return ranking

    def locate_index(self) -> Path | str:
        """The folder of the index, or its address on object storage."""
        address = self.config.retrieval.index
        if address is None:
            return self.folder.index
        require_local(address, f"retrieval.index: {address}")
        return address

    def open_retriever(self) -> IndexRetriever:
        """The search over this run's index, brought in step with the passages; tuned where it was tuned.

        RunError where its tuned parts are damaged.
        """
        settings, folder, place = self.config.retrieval, self.folder, self.locate_index()
        damage = folder.find_damage("tune", "") if settings.tuned else None
        if damage not in (None, "not done yet"):
            again = quote_command("raglift", "tune-retriever", self.experiment.folder, "--run", folder.place)
            raise RunError(f"{folder.place}: {damage}\n  to do: {again}")
        changed = folder.find_changed_file("index") if isinstance(place, Path) else None
        if changed:
            say(f"{folder.place}/{changed} is damaged (its checksum differs): the index is built again")
            shutil.rmtree(folder.index)
        with show_progress("index passages", len(self.experiment.passages)) as bar, explain_disk_errors(folder.index):
            retriever = open_retriever(
                self.experiment.passages,
                settings,
                place,
                folder.retriever,
                bar.follow,
                self.experiment.examples,
            )
        report = retriever.index.report
        for notice in report.list_notices():
            say(notice)
        noted = folder.read_manifest().get("stages", {})
        if report.is_change or "index" not in noted:
            # Its files are written once; only the hint at the newest version is written over.
            found = sorted(place.rglob("*")) if isinstance(place, Path) else []
            files = [file for file in found if file.is_file() and file.suffix != ".json"]
            folder.record_artifact("index", retriever.identity, files)
        return retriever

    def tune_retriever(self) -> TunedRetriever:
        """Tune the search on the training pairs and keep what helps in the run folder.

        Raises InputError without training pairs.
        """
        experiment, folder = self.experiment, self.folder
        if not experiment.examples:
            raise InputError(
                f"{experiment.folder}/train.jsonl", "no training pairs", "rows with question and passage_id"
            )
        with show_progress("tune retriever", 0) as bar:
            tuned = tune_retriever(
                experiment.passages,
                experiment.examples,
                self.config.retrieval,
                self.locate_index(),
                folder.retriever,
                self.config.seed,
                bar.follow,
            )
        folder.record_artifact("tune", "", list_tuned_files(tuned, folder.retriever))
        return tuned

    def describe(self, ids: Iterable[str], scores: Mapping[str, float] | None = None) -> PromptContext:
        """A context of these passages in this order."""
        names = list(ids)
        texts = tuple(self.experiment.passage_by_id[name].text for name in names)
        return PromptContext(texts, tuple(Retrieved(name, (scores or {}).get(name, 1.0)) for name in names))

    def list_hard_negatives(self, text: str, right: str | None, count: int) -> list[str]:
        """The wrong passages that the search ranks first."""
        return [row.passage_id for row in self.ranking.rows[text] if row.passage_id != right][:count]


def resolve_oracle(resolver: ContextResolver, question: Question) -> PromptContext:
    """The right passage; nothing found where there is none."""
    return resolver.describe([question.passage_id] if question.passage_id else [])


def resolve_retrieved(resolver: ContextResolver, question: Question) -> PromptContext:
    """The k best passages in rank order; nothing found where none reaches the threshold."""
    found = resolver.ranking.find(question.question, resolver.config.retrieval.k)
    return resolver.describe([row.passage_id for row in found], {row.passage_id: row.score for row in found})


def resolve_distractor(resolver: ContextResolver, question: Question) -> PromptContext | None:
    """The right passage among hard negatives, their order drawn per question."""
    if question.passage_id is None:
        return None
    names = resolver.list_hard_negatives(question.question, question.passage_id, resolver.config.answer.distractors)
    return resolver.describe(shuffle_names([question.passage_id, *names], question.question))


def resolve_counterfactual(resolver: ContextResolver, question: Question) -> PromptContext | None:
    """The right passage with its fact altered."""
    if question.counterfactual is None or question.passage_id is None:
        return None
    return PromptContext((question.counterfactual.text,), (Retrieved(question.passage_id, 1.0),))


def resolve_irrelevant(resolver: ContextResolver, question: Question) -> PromptContext:
    """One passage, drawn per question, that is neither right nor among those the search finds near."""
    near = {row.passage_id for row in resolver.ranking.rows[question.question]} | {question.passage_id}
    far = [passage.id for passage in resolver.experiment.passages if passage.id not in near]
    fallback = [passage.id for passage in resolver.experiment.passages if passage.id != question.passage_id]
    return resolver.describe(shuffle_names(far or fallback, question.question)[:1])


RESOLVERS = {
    "oracle": resolve_oracle,
    "retrieved": resolve_retrieved,
    "distractor": resolve_distractor,
    "counterfactual": resolve_counterfactual,
    "irrelevant": resolve_irrelevant,
}


def list_training_rows(resolver: ContextResolver, tuning: str, seed: int) -> list[TrainingRow]:
    """The training rows of a tuning: without passages for `sft`, with the config's training context for `rag-sft`."""
    rows = []
    for number, example in enumerate(resolver.experiment.examples):
        context = choose_training_passages(resolver, example, seed, number) if tuning == "rag-sft" else None
        rows.append(TrainingRow(example.question, example.answer, context))
    return rows


def choose_training_passages(resolver: ContextResolver, example: Example, seed: int, number: int) -> tuple[str, ...]:
    """Passages of one row: the right one, what the search returns, or RAFT's mix (arXiv 2403.10131)."""
    settings = resolver.config.train
    passages = resolver.experiment.passage_by_id
    if settings.context == "oracle":
        return (passages[example.passage_id].text,)
    if settings.context == "retrieved":
        found = resolver.ranking.find(example.question, resolver.config.retrieval.k)
        return tuple(passages[row.passage_id].text for row in found)
    names = resolver.list_hard_negatives(example.question, example.passage_id, settings.mix_distractors)
    draw = random.Random(hash_content("mix", seed, number)).random()
    names = [example.passage_id, *names] if draw < settings.mix_oracle_share else names
    return tuple(passages[name].text for name in shuffle_names(names, f"{seed} {example.question}"))


def shuffle_names(names: Sequence[str], key: str) -> list[str]:
    """An order that depends on the key alone."""
    return sorted(names, key=lambda name: hash_content(key, name))


def open_search(name_or_folder: str, place: Path | str | None, overrides: Sequence[str] = ()) -> ContextResolver:
    """The search of an experiment over the index in its run folder; rubrics are not looked at."""
    source = find_experiment(name_or_folder)
    config = load_config(source / "experiment.yaml", overrides)
    folder = open_folder(place or Path("runs") / config.name)
    folder.claim(config.name)
    return ContextResolver(load_searchable(source, config.name), config, folder)
