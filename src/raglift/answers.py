"""The answers of a run: the plan of every one with its key, the note of that plan, and those that exist."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raglift.config import Config
from raglift.errors import RunError
from raglift.models.identity import trace_files
from raglift.prompts import PromptContext, PromptWriter
from raglift.records import Answer, Arm, Experiment, Question, Retrieved
from raglift.runfolder import RunFolder, hash_content, hash_file, recover_lines, write_json

# Settings that no answer depends on
LATER_SETTINGS = {"grader", "compare", "judge", "report"}


@dataclass(frozen=True)
class PlannedAnswer:
    """One answer to be made, by `weights`. `noise` names its sampling noise and is the same in every arm."""

    key: str
    arm: Arm
    seed: int
    question_id: str
    sample: int
    prompt: str
    passages: tuple[Retrieved, ...]
    noise: str
    weights: str


@dataclass(frozen=True)
class Batch:
    """Answers of the same weights that are computed together; the unit of resume."""

    id: str
    answers: tuple[PlannedAnswer, ...]


def plan_answers(
    config: Config,
    questions: Sequence[Question],
    contexts: Mapping[str, Mapping[str, PromptContext]],
    identify: Callable[[str, int], str],
    prompts: PromptWriter,
) -> list[Batch]:
    """The whole plan, arm by arm, in batches of questions of similar length.

    Where a question's prompt is the same in a later arm of the same weights (the search found the right passage, say),
    so are its answers, for the noise is the same too: they belong to the first arm's batch and are computed once.

    Args:
        config: arms, seeds and decoding.
        questions: the evaluation questions.
        contexts: context name -> question id -> what its prompt holds; a question that a context does not
            have (no counterfactual, say) is left out of that arm.
        identify: (tuning, seed) -> identity of the weights that answer.
        prompts: writes the prompts.
    """
    # Nothing of one answer depends on how many are asked for, or asked at once.
    decoding = config.answer.model_dump(exclude={"samples", "questions_per_batch", "distractors"})
    batches = []
    for seed in config.list_seeds():
        by_prompt: dict[tuple[str, str, str], list[PlannedAnswer]] = {}
        by_arm: list[list[list[PlannedAnswer]]] = []
        for arm in config.list_arms():
            weights = identify(arm.tuning, seed)
            by_arm.append([])
            for question in questions:
                context = contexts[arm.context].get(question.id)
                if context is None:
                    continue
                prompt = prompts.write_prompt(question.question, context.texts)
                group = by_prompt.setdefault((arm.tuning, question.id, prompt), [])
                if not group:
                    by_arm[-1].append(group)
                group += _plan_question(config, arm, seed, question, context, prompt, (weights, decoding))
        batches += [batch for groups in by_arm for batch in _cut_batches(groups, config.answer.questions_per_batch)]
    return batches


def note_keys(file: Path, made_from: str, keys: Sequence[str]) -> None:
    """Write down a plan's keys and what it was made from (see `hash_sources`)."""
    write_json(file, {"made_from": made_from, "check": hash_content(keys), "keys": list(keys)})


def read_keys(file: Path, made_from: str) -> list[str] | None:
    """The keys of a plan that was made from just this; None where none is noted, or the note is damaged."""
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        is_whole = noted["made_from"] == made_from and noted["check"] == hash_content(noted["keys"])
        return list(noted["keys"]) if is_whole else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def hash_sources(config: Config, experiment: Experiment, folder: RunFolder) -> str:
    """A hash of what a run's plan is made from: settings, texts, ranking, adapters, and the files of a model's folder.

    What only those see who load a model or an embedder is left out: the machine's precision, the embedder's weights.
    """
    model, tunings = Path(config.model), dict.fromkeys(arm.tuning for arm in config.list_arms() if arm.tuning != "base")
    return hash_content(
        importlib.metadata.version("raglift"),
        config.model_dump(mode="json", exclude=LATER_SETTINGS),
        [[passage.id, passage.text] for passage in experiment.passages],
        [dataclasses.astuple(example) for example in experiment.examples],
        [
            [one.id, one.question, one.passage_id, one.counterfactual.text if one.counterfactual else None]
            for one in experiment.questions
        ],
        _hash_existing(folder.ranking),
        [_hash_existing(folder.weights(tuning, seed)) for tuning in tunings for seed in config.list_seeds()],
        trace_files(model),
        [hash_file(file) for file in sorted(model.glob("*.jinja"))],  # chat templates
    )


def _hash_existing(file: Path) -> str | None:
    return hash_file(file) if file.exists() else None


def read_answers(folder: RunFolder, keys: Sequence[str]) -> list[Answer]:
    """The planned answers that exist, in the plan's order; rows that are no longer planned are left out."""
    rows = {row["key"]: row for row in recover_lines(folder.answers) if "key" in row}
    return [parse_answer(rows[key]) for key in keys if key in rows]


def parse_answer(row: dict[str, object]) -> Answer:
    """An answer from its JSONL row; RunError for a row that this package has not written."""
    known = {field.name for field in dataclasses.fields(Answer)}
    try:
        passages = tuple(Retrieved(**passage) for passage in row.get("passages", ()))  # type: ignore[attr-defined]
        return Answer(**{**{key: row[key] for key in known & row.keys()}, "passages": passages})  # type: ignore[arg-type]
    except TypeError:
        raise RunError(f"answers.jsonl: a row is no answer: {str(row)[:120]}\n  to do: take that line out") from None


def _plan_question(
    config: Config,
    arm: Arm,
    seed: int,
    question: Question,
    context: PromptContext,
    prompt: str,
    made_by: tuple[str, dict[str, object]],
) -> list[PlannedAnswer]:
    planned = []
    for sample in range(config.answer.samples):
        noise = hash_content(seed, question.question, sample)
        key = hash_content(str(arm), prompt, question.question, *made_by, noise)
        planned.append(PlannedAnswer(key, arm, seed, question.id, sample, prompt, context.passages, noise, made_by[0]))
    return planned


def _cut_batches(groups: Sequence[Sequence[PlannedAnswer]], size: int) -> list[Batch]:
    ordered = sorted(groups, key=lambda group: (len(group[0].prompt), group[0].question_id))
    count = -(-len(ordered) // size)
    batches = []
    for index in range(count):
        part = ordered[index * len(ordered) // count : (index + 1) * len(ordered) // count]
        answers = tuple(answer for group in part for answer in group)
        batches.append(Batch(hash_content([answer.key for answer in answers]), answers))
    return batches
