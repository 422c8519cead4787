"""Everything that a report shows, gathered once from a run folder; every form of the report reads this."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raglift.agreement import locate_agreement
from raglift.config import Config
from raglift.errors import InputError, RunError
from raglift.grading.grades import read_grades
from raglift.records import SPLITS, Experiment, Question
from raglift.report.places import hide_settings, is_local
from raglift.report.reasons import name_kind
from raglift.report.trust import Trust, gather_trust
from raglift.runfolder import RunFolder, hash_content, recover_lines
from raglift.sanitization import clean_line, clean_values, quote_command


@dataclass(frozen=True)
class ShownAnswer:
    """One answer with its grade; `prompt` is its place in the question's prompts."""

    arm: str
    seed: int
    sample: int
    text: str
    verdict: str
    reason: str
    follows: str
    evidence: tuple[str, ...]
    passages: tuple[dict[str, Any], ...]
    prompt: int
    tokens: int
    truncated: bool
    seconds: float | None


@dataclass(frozen=True)
class ShownQuestion:
    """A row of the question table: counts per arm and every answer. Prompts are kept once each."""

    id: str
    question: str
    split: str
    reference: str
    passage_id: str
    passage: str
    arms: dict[str, dict[str, int]]
    prompts: tuple[str, ...]
    answers: tuple[ShownAnswer, ...]

    def list_answers(self, arm: str) -> list[ShownAnswer]:
        return sorted((a for a in self.answers if a.arm == arm), key=lambda a: (a.seed, a.sample))

    def take_share(self, arm: str) -> float | None:
        """correct / total of an arm, None without a scored answer."""
        counts = self.arms.get(arm) or {}
        return counts["correct"] / counts["total"] if counts.get("total") else None


@dataclass(frozen=True)
class TrainingLog:
    """The logged steps of one training: step, epoch, loss, gradient_norm, learning_rate, seconds."""

    tuning: str
    seed: int
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Failures:
    """Where an arm went wrong: answers by verdict, and how often for each kind of reason."""

    arm: str
    correct: int
    incorrect: int
    unscored: int
    truncated: int
    reasons: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Content:
    """A run as it is shown. All texts are clean (see sanitization); numbers are finite or None.

    Folders go by their last name; `model_is_local` where the model was one.
    `arms` have an accuracy; `trials` are the arms beside an altered passage, whose answers have none.
    """

    experiment: str
    language: str
    arms: tuple[str, ...]
    trials: tuple[str, ...]
    splits: tuple[str, ...]
    comparison: dict[str, Any]
    questions: tuple[ShownQuestion, ...]
    failures: tuple[Failures, ...]
    training: tuple[TrainingLog, ...]
    settings: dict[str, Any]
    manifest: dict[str, Any]
    hashes: dict[str, str]
    trust: Trust
    model_is_local: bool

    @property
    def a(self) -> str:
        return str(self.comparison["a"]["arm"])

    @property
    def b(self) -> str:
        return str(self.comparison["b"]["arm"])

    def rank_questions(self) -> list[ShownQuestion]:
        """From worst to best: by b, then a, then the mean of the other arms; ties keep their order."""
        return sorted(self.questions, key=self._rank)

    def _rank(self, question: ShownQuestion) -> tuple[float, float, float]:
        shares = [share for arm in self.arms if (share := question.take_share(arm)) is not None]
        b, a = question.take_share(self.b), question.take_share(self.a)
        return (2.0 if b is None else b, 2.0 if a is None else a, sum(shares) / len(shares) if shares else 2.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for report.json."""
        return {"language": self.language, **asdict(self)}


def gather_content(folder: RunFolder, experiment: Experiment, config: Config) -> Content:
    """Read a compared run. Raises InputError before `raglift compare`, RunError for a damaged file."""
    comparison = read_comparison(folder.comparison)
    arms = tuple(comparison.get("arms") or {})
    grades = _read_grades(folder, str(comparison.get("grader", config.grader)))
    trials = tuple(arm for arm in dict.fromkeys(config.arms) if arm not in arms)
    answers = _read_answers(recover_lines(folder.answers), grades, {*arms, *trials})
    questions = tuple(_show_questions(comparison.get("table") or [], answers, experiment))
    present = {question.split for question in questions}
    return Content(
        experiment=clean_line(experiment.name),
        language=config.report.language,
        arms=arms,
        trials=trials,
        splits=tuple(split for split in SPLITS if split in present),
        comparison=comparison,
        questions=questions,
        failures=tuple(_count_failures(arm, questions) for arm in arms),
        training=tuple(_read_training(folder.path)),
        settings=hide_settings(clean_values(config.model_dump(mode="json"))),
        manifest=hide_settings(clean_values(read_settled_manifest(folder))),
        hashes=hash_data(experiment),
        trust=gather_trust(comparison, locate_agreement(folder)),
        model_is_local=is_local(config.model),
    )


def read_settled_manifest(folder: RunFolder) -> dict[str, Any]:
    """The manifest without the checksums of the index, whose files are named by chance, and without the report's own.

    So a report that is written again over the same run is the same: the first could not know its own time either.
    Nor does it tell how many answers of earlier plans the run folder keeps.
    """
    manifest = folder.read_manifest()
    manifest.pop("answer_rows", None)
    stages = manifest.get("stages") or {}
    if "times" in manifest:
        manifest["times"] = {stage: seconds for stage, seconds in manifest["times"].items() if stage != "report"}
    return {**manifest, "stages": {name: stages[name] for name in sorted(stages) if name not in ("index", "report")}}


def read_comparison(file: Path) -> dict[str, Any]:
    """comparison.json with clean texts and without NaN.

    InputError where there is none, RunError where it cannot be read.
    """
    again = quote_command("raglift", "compare", file.parent)
    try:
        value = json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except FileNotFoundError:
        raise InputError(str(file), "no such file", "a compared run", f"{again} makes it") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error})\n  to do: {again} makes it anew") from None
    if not isinstance(value, dict) or not all(isinstance(value.get(side), dict) for side in ("a", "b")):
        raise RunError(f"{file}: no comparison of two arms\n  to do: {again} makes it anew")
    cleaned: dict[str, Any] = clean_values(value)
    return cleaned


def hash_data(experiment: Experiment) -> dict[str, str]:
    """Hashes of what the experiment was made from, by its three files' names."""
    return {
        "passages": hash_content([asdict(passage) for passage in experiment.passages]),
        "train": hash_content([asdict(example) for example in experiment.examples]),
        "questions": hash_content([asdict(question) for question in experiment.questions]),
    }


def _read_grades(folder: RunFolder, grader: str) -> dict[Any, dict[str, Any]]:
    """Grades by key. The rubric grades every planned answer: what another grader left out is unscored."""
    planned = recover_lines(folder.grades("rubric"))
    left_out = {row.get("key"): {**row, "verdict": "unscored", "reason": ""} for row in planned}
    return {**left_out, **{key: asdict(grade) for key, grade in read_grades(folder.grades(grader)).items()}}


def _read_answers(
    rows: Iterable[dict[str, Any]], grades: dict[Any, dict[str, Any]], arms: set[str]
) -> dict[str, list[dict[str, Any]]]:
    """Answers by question. Only graded ones: an answer whose key left the plan has no grade to show."""
    latest: dict[Any, dict[str, Any]] = {}
    for row in rows:
        grade = grades.get(row.get("key"))
        if grade is not None and row.get("arm") in arms:
            place = (row.get("question_id"), row["arm"], row.get("seed", 0), row.get("sample", 0))
            latest[place] = {**row, "grade": grade}
    by_question: dict[str, list[dict[str, Any]]] = {}
    for row in latest.values():
        by_question.setdefault(str(row.get("question_id")), []).append(row)
    return by_question


def _show_questions(
    table: Iterable[dict[str, Any]], answers: dict[str, list[dict[str, Any]]], experiment: Experiment
) -> Iterable[ShownQuestion]:
    known = {question.id: question for question in experiment.questions}
    texts = {passage.id: passage.text for passage in experiment.passages}
    for row in table:
        identifier = str(row.get("question_id"))
        rows = answers.get(identifier, [])
        prompts = list(dict.fromkeys(str(answer.get("prompt", "")) for answer in rows))
        question: Question | None = known.get(identifier)
        yield ShownQuestion(
            id=clean_line(identifier),
            question=clean_line(str(row.get("question", ""))),
            split=str(row.get("split", "")),
            reference=clean_values(question.reference) if question else "",
            passage_id=clean_line(question.passage_id or "") if question else "",
            passage=clean_values(texts.get(question.passage_id or "", "")) if question else "",
            arms=row.get("arms") or {},
            prompts=tuple(clean_values(prompts)),
            answers=tuple(_show_answer(answer, prompts, texts) for answer in rows),
        )


def _show_answer(row: dict[str, Any], prompts: list[str], texts: dict[str, str]) -> ShownAnswer:
    grade = row["grade"]
    seconds = row.get("seconds")
    passages = [
        {"id": item.get("passage_id"), "score": item.get("score"), "text": texts.get(item.get("passage_id"), "")}
        for item in row.get("passages") or []
    ]
    return ShownAnswer(
        arm=row["arm"],
        seed=int(row.get("seed", 0)),
        sample=int(row.get("sample", 0)),
        text=clean_values(str(row.get("text", ""))).strip(),
        verdict=str(grade.get("verdict", "unscored")),
        reason=clean_line(str(grade.get("reason") or "")),
        follows=str(grade.get("follows") or ""),
        evidence=tuple(clean_line(str(word)) for word in grade.get("evidence") or []),
        passages=tuple(clean_values(passages)),
        prompt=prompts.index(str(row.get("prompt", ""))),
        tokens=int(row.get("tokens") or 0),
        truncated=bool(row.get("truncated")),
        seconds=float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else None,
    )


def _count_failures(arm: str, questions: Iterable[ShownQuestion]) -> Failures:
    verdicts: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    places: dict[tuple[str, str], list[str]] = {}
    truncated = 0
    for question in questions:
        for answer in question.answers:
            if answer.arm != arm:
                continue
            verdicts[answer.verdict] += 1
            truncated += answer.truncated
            if answer.verdict != "correct" and answer.reason:
                reason = (answer.verdict, name_kind(answer.reason))
                reasons[reason] += 1
                if question.id not in places.setdefault(reason, []):
                    places[reason].append(question.id)
    counted = [
        {"verdict": verdict, "reason": text, "count": count, "questions": places[verdict, text]}
        for (verdict, text), count in reasons.most_common()
    ]
    return Failures(arm, verdicts["correct"], verdicts["incorrect"], verdicts["unscored"], truncated, tuple(counted))


def _read_training(path: Path) -> Iterable[TrainingLog]:
    for file in sorted(path.glob("training.*-seed*.jsonl")):
        tuning, _, seed = file.name.removeprefix("training.").removesuffix(".jsonl").rpartition("-seed")
        rows = [clean_values(row) for row in recover_lines(file) if "step" in row]
        if rows and seed.isdigit():
            yield TrainingLog(tuning, int(seed), tuple(rows))
