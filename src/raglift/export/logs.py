"""A run's graded answers as Inspect logs (`.eval`), one an arm, for `inspect view`. Needs raglift[inspect]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raglift.config import Config
from raglift.errors import InputError
from raglift.records import Answer, Experiment, Grade, Question
from raglift.report.places import name_place
from raglift.runfolder import hash_content

LETTERS = {"correct": "C", "incorrect": "I"}  # Inspect's; what is unscored gets no score


def write_logs(
    to: Path, experiment: Experiment, config: Config, answers: Sequence[Answer], grades: Mapping[str, Grade]
) -> list[Path]:
    """Write `<arm>.eval` for each arm that has answers, in the order of the config; the same run gives the same logs.

    Raises InputError where inspect_ai is not installed, or where nothing is answered and graded.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError:
        raise InputError("--inspect", "no inspect_ai here", "the extra", "pip install 'raglift[inspect]'") from None
    if not grades:
        raise InputError("--inspect", "no graded answers", "a graded run", "raglift grade RUN_DIR")
    to.mkdir(parents=True, exist_ok=True)
    files = []
    for arm in dict.fromkeys(config.arms):
        mine = [answer for answer in answers if answer.arm == arm]
        if mine:
            files.append(to / f"{arm}.eval")
            write_eval_log(build_log(arm, experiment, config, mine, grades), str(files[-1]))
    return files


def build_log(
    arm: str, experiment: Experiment, config: Config, answers: Sequence[Answer], grades: Mapping[str, Grade]
) -> Any:
    """One arm as an EvalLog: questions are its samples, seeds and sample numbers its epochs."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec

    questions = {question.id: question for question in experiment.questions}
    epochs = {pair: n for n, pair in enumerate(sorted({(one.seed, one.sample) for one in answers}), start=1)}
    model = f"{name_place(config.model)}/{arm}"
    grader = next((grade.grader for grade in grades.values()), config.grader)
    samples = [
        build_sample(answer, questions[answer.question_id], grades.get(answer.key), model, epochs) for answer in answers
    ]
    asked = list(dict.fromkeys(answer.question_id for answer in answers))
    identity = hash_content([answer.key for answer in answers])
    return EvalLog(
        status="success",
        eval=EvalSpec(
            eval_id=identity[:22], run_id=identity[:22], task_id=identity[:22],
            created=datetime.fromtimestamp(0, UTC).isoformat(),
            task=f"{experiment.name}_{arm}",
            model=model,
            dataset=EvalDataset(name=experiment.name, samples=len(asked), sample_ids=list(asked)),
            config=EvalConfig(epochs=len(epochs)),
            metadata={"experiment": experiment.name, "arm": arm, "prompt": config.prompt.model_dump(mode="json")},
        ),
        results=build_results(grader, samples),
        samples=samples,
    )  # fmt: skip


def build_sample(
    answer: Answer, question: Question, grade: Grade | None, model: str, epochs: Mapping[tuple[int, int], int]
) -> Any:
    """One answer as an EvalSample; its score says C or I with the grader's reason."""
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score

    scores = None
    if grade is not None and grade.verdict in LETTERS:
        scored = Score(value=LETTERS[grade.verdict], answer=answer.text, explanation=grade.reason)
        scores = {grade.grader: scored}
    return EvalSample(
        id=answer.question_id,
        epoch=epochs[answer.seed, answer.sample],
        input=answer.prompt,
        target=question.reference,
        messages=[ChatMessageUser(content=answer.prompt), ChatMessageAssistant(content=answer.text, model=model)],
        output=ModelOutput.from_content(model, answer.text, "max_tokens" if answer.truncated else "stop"),
        scores=scores,
        metadata={
            "question": question.question, "split": question.split, "seed": answer.seed, "sample": answer.sample,
            "passages": [found.passage_id for found in answer.passages], "key": answer.key,
        },
        total_time=answer.seconds,
    )  # fmt: skip


def build_results(grader: str, samples: Sequence[Any]) -> Any:
    """The share of correct answers among those that have a score (the report's own figure is by question)."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    values = [score.value for sample in samples for score in (sample.scores or {}).values()]
    share = sum(value == "C" for value in values) / len(values) if values else 0.0
    score = EvalScore(
        name=grader, scorer=grader, scored_samples=len(values), unscored_samples=len(samples) - len(values),
        metrics={"accuracy": EvalMetric(name="accuracy", value=share)},
    )  # fmt: skip
    return EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=[score])
