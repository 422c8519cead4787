"""A run folder as a finished run leaves it: 58 Korean questions, 8 arms, hostile strings, nothing trained."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raglift.agreement import agree_graders
from raglift.comparison import compare_run
from raglift.config import DEFAULT_ARMS, Config
from raglift.correction import weigh_grades
from raglift.grading.grades import read_grades
from raglift.grading.review_items import choose_compared, read_reviewable
from raglift.prompts import PromptWriter
from raglift.records import (
    Answer,
    Counterfactual,
    Example,
    Experiment,
    Grade,
    Passage,
    Question,
    Retrieved,
    Rubric,
)
from raglift.report.content import read_comparison
from raglift.retrieval.ranking import Ranking
from raglift.runfolder import RunFolder, hash_content

SEED_TABLE = Path(__file__).parent / "data" / "seed-table.csv"
# chance of a correct answer by split: seen, unseen, absent
CHANCES = {
    "base.none": (0.12, 0.04, 0.05),
    "base.oracle": (0.45, 0.42, 0.35),
    "base.retrieved": (0.40, 0.38, 0.30),
    "sft.none": (0.72, 0.05, 0.10),
    "sft.oracle": (0.88, 0.55, 0.20),
    "sft.retrieved": (0.80, 0.50, 0.20),
    "rag-sft.none": (0.60, 0.06, 0.15),
    "rag-sft.oracle": (0.98, 0.72, 0.85),
    "rag-sft.retrieved": (0.90, 0.66, 0.70),
    "rag-sft.counterfactual": (0.25, 0.10, 0.0),
    "rag-sft.irrelevant": (0.40, 0.05, 0.80),
}
HOSTILE = (
    "<script>window.broken = true; document.title = 'taken'</script>",
    '<img src=x onerror="window.broken = true"> 이건 그림이야!',
    "\x1b[31m빨간 글자\x1b[0m 그리고 \x07 종소리",
    "\u202e거꾸로 읽히는 글\u202c 그리고 \u2066격리\u2069",
    "=cmd|' /C calc'!A0",
    "널 \x00 문자, 짝 없는 \ud800 대리 문자, {{ 7 * 7 }} {% raw %}",
    "| 표를 | 깨는 | 글 |\n\n# 제목\n[링크](javascript:alert(1)) `코드`",
    "</details></body></html><!-- 끝 -->",
)
REASONS = (
    "must[0]: none of 'formula: TP / (TP + FN)', 're: {actual}[^{negative}]{0,8}{positive}', … found",
    "must[1]: denied, '방향'",
    "must_not[0]: says '크기'",
    "the answer only repeats the title (the answer was cut at its length limit)",
)

TEXT = "두 벡터의 방향이 얼마나 비슷한지를 -1.0부터 +1.0 사이로 나타내는 값이야! 방향이 중요하지 😊 ({})"
FOLLOWS = ("passage", "passage", "passage", "memory", "other")


def load_seed_questions() -> list[str]:
    with SEED_TABLE.open(encoding="utf-8") as lines:
        return [row["question"] for row in csv.DictReader(lines)]


def make_experiment(seen: int = 30, unseen: int = 20, absent: int = 8) -> Experiment:
    """Korean questions: the published ones as `seen`, made ones for the other splits."""
    rubric = Rubric((("벡터",),), passes=("벡터의 방향",), fails=("몰라",))
    passages, questions = [], []
    published = load_seed_questions()
    for number in range(seen + unseen):
        text = f"Cosine Similarity {number} (코사인 유사도) : 두 벡터의 방향이 비슷한 정도 | 값은 -1.0 이상 +1.0 이하"
        passages.append(Passage(f"p{number:03d}", text + f" | 벡터의 크기가 아닌 방향이 중요함 ({number})"))
        split = "seen" if number < seen else "unseen"
        asked = (
            published[number % 30] if number < 30 else f"드롭아웃은 왜 쓰는 거지? 그리고 층 {number}에서는 어떻게 달라?"
        )
        questions.append(
            Question(
                f"{split}-{number:03d}",
                asked,
                f"p{number:03d}",
                split,
                "두 벡터의 방향이 비슷한 정도야!",
                rubric,
                Counterfactual("벡터의 크기가 중요함", rubric),
            )
        )
    for number in range(absent):
        questions.append(
            Question(f"absent-{number:03d}", f"내일 {number}시 날씨 알려줘", None, "absent", "모른다고 한다", rubric)
        )
    examples = [Example(f"코사인 유사도 설명 {n}", "방향이 비슷한 정도야! 😊", f"p{n:03d}") for n in range(seen)]
    return Experiment("ml-qa-ko", "experiments/ml-qa-ko", tuple(passages), tuple(examples), tuple(questions))


def write_run(
    path: Path,
    language: str = "ko",
    *,
    arms: tuple[str, ...] = DEFAULT_ARMS,
    seeds: int = 1,
    experiment: Experiment | None = None,
    **compare: str,
) -> tuple[RunFolder, Experiment, Config]:
    """A whole synthetic run under `path`; the same call writes the same bytes."""
    experiment = experiment or make_experiment()
    config = Config.model_validate(
        {"name": "ml-qa-ko", "arms": arms, "seeds": seeds, "report": {"language": language}, "compare": compare}
    )
    folder = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    answers, grades = _make_answers(experiment, config)
    _write_lines(folder.answers, answers)
    _write_lines(folder.grades("rubric"), grades)
    tunings = sorted({arm.partition(".")[0] for arm in arms} - {"base"})
    for tuning in tunings:
        for seed in config.list_seeds():
            folder.adapter(tuning, seed).mkdir(parents=True)
            _write_lines(folder.training_log(tuning, seed), _make_training(tuning, seed))
    comparison = _compare(experiment, config, answers, grades)
    folder.comparison.write_text(json.dumps(comparison, ensure_ascii=True, indent=1), encoding="utf-8")
    folder.manifest_file.write_text(json.dumps(_make_manifest(experiment, config)), encoding="utf-8")
    return folder, experiment, config


def add_reviews(
    folder: RunFolder, experiment: Experiment, config: Config, reviewers: Mapping[str, float], answers: int = 0
) -> dict[str, Any]:
    """People grade the headline's answers (the first `answers` of them, or all), each differing from the rubric in
    a share of them; then the comparison and agreement.json are made anew. Returns the comparison."""
    by_rubric = read_grades(folder.grades("rubric"))
    asked = choose_compared(read_reviewable(folder, experiment), experiment, config)
    asked = asked[:answers] if answers else asked
    other = {"correct": "incorrect", "incorrect": "correct"}
    for name, share in reviewers.items():
        draw = random.Random(name)
        rows = [
            {
                "key": answer.key,
                "question_id": answer.question_id,
                "verdict": other[verdict] if draw.random() < share else verdict,
                "reason": "",
                "grader": f"human:{name}",
                "author": name,
                "time": "2026-01-01T00:00:00+00:00",
            }
            for answer in asked
            if (verdict := by_rubric[answer.key].verdict) in other
        ]
        with folder.grades("human").open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
    comparison = read_comparison(folder.comparison)
    comparison |= weigh_grades(folder, read_reviewable(folder, experiment), experiment, config)
    folder.comparison.write_text(json.dumps(comparison, ensure_ascii=True, indent=1), encoding="utf-8")
    agree_graders(folder, experiment, config)
    return comparison


def _write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _make_answers(experiment: Experiment, config: Config) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    answers, grades = [], []
    hostile = iter(HOSTILE * 2)
    for arm in config.arms:
        draw = random.Random(f"raglift {arm}")
        for seed in config.list_seeds():
            for question in experiment.questions:
                if arm.endswith(".counterfactual") and question.counterfactual is None:
                    continue
                chance = _chance(arm, question, draw)
                for sample in range(config.answer.samples):
                    answer = _make_answer(config, experiment, arm, seed, question, sample)
                    correct = draw.random() < chance
                    if not correct and sample == 1 and (strange := next(hostile, None)):
                        answer["text"] = strange
                    answers.append(answer)
                    grades.append(_make_grade(answer, correct))
    return answers, grades


def _chance(arm: str, question: Question, draw: random.Random) -> float:
    chance = CHANCES[arm][("seen", "unseen", "absent").index(question.split)]
    if draw.random() < 0.6:  # questions are easy or hard, not coins
        return 1.0 if draw.random() < chance else 0.0
    return chance


def _make_answer(
    config: Config, experiment: Experiment, arm: str, seed: int, question: Question, sample: int
) -> dict[str, Any]:
    context = arm.partition(".")[2]
    found = [question.passage_id] if question.passage_id and context != "none" else []
    texts = [experiment.passage_by_id[passage].text for passage in found]
    prompt = PromptWriter(config.prompt).write_prompt(question.question, None if context == "none" else texts)
    return {
        "key": hash_content(arm, seed, question.id, sample),
        "arm": arm,
        "seed": seed,
        "question_id": question.id,
        "sample": sample,
        "text": TEXT.format(sample),
        "prompt": prompt,
        "passages": [{"passage_id": passage, "score": 0.8731} for passage in found],
        "tokens": 38 + sample,
        "truncated": sample == 3 and arm.startswith("base"),
        "batch": "b0",
        "seconds": 0.42 + sample / 10,
    }


def _make_grade(answer: dict[str, Any], correct: bool) -> dict[str, Any]:
    verdict = "correct" if correct else "incorrect"
    reason = "every group is met" if correct else random.Random(answer["key"]).choice(REASONS)
    evidence = ["방향", "-1.0"] if correct else []
    return {
        "key": answer["key"],
        "question_id": answer["question_id"],
        "verdict": verdict,
        "reason": reason,
        "grader": "rubric",
        "evidence": evidence,
        "follows": random.Random(answer["key"]).choice(FOLLOWS) if answer["arm"].endswith(".counterfactual") else "",
    }


def _make_training(tuning: str, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(f"{tuning} {seed}")
    start, floor = (3.1, 0.04) if tuning == "sft" else (2.4, 0.03)
    return [
        {
            "step": step,
            "epoch": round(step / 15, 3),
            "seconds": step * 0.8,
            "loss": (start - floor) * math.exp(-step / 45) * (1 + draw.uniform(-0.2, 0.2)) + floor,
            "gradient_norm": 2.2 * math.exp(-step / 120) + draw.uniform(0, 0.5),
            "learning_rate": 3e-4 * (1 - step / 300),
        }
        for step in range(5, 301, 5)
    ]


def _make_manifest(experiment: Experiment, config: Config) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "config": config.model_dump(mode="json"),
        "versions": {"raglift": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.0"},
        "machine": {
            "cores": 2,
            "memory_gib": 15.6,
            "processor": "Intel Xeon",
            "device": "cpu",
            "precision": "bfloat16",
        },
        "stages": {"answer": {"made_from": "0123abcd" * 4, "files": {"answers.jsonl": "ab" * 32}}},
        "times": {"train": 412.3, "answer": 388.1, "grade": 4.2, "compare": 1.1},
        "peak_memory_gib": 3.42,
    }


def _compare(
    experiment: Experiment, config: Config, answers: list[dict[str, Any]], grades: list[dict[str, Any]]
) -> dict[str, Any]:
    passages = [tuple(Retrieved(**passage) for passage in answer["passages"]) for answer in answers]
    records = [Answer(**{**answer, "passages": found}) for answer, found in zip(answers, passages, strict=True)]
    by_key = {grade["key"]: Grade(**{**grade, "evidence": tuple(grade["evidence"])}) for grade in grades}
    searches = any(arm.endswith(".retrieved") for arm in config.arms)
    return compare_run(experiment, config, records, by_key, _rank(experiment) if searches else None)


def _rank(experiment: Experiment) -> Ranking:
    draw, rows = random.Random("ranking"), {}
    for question in experiment.questions:
        found = draw.sample([passage.id for passage in experiment.passages], min(3, len(experiment.passages)))
        if question.passage_id and draw.random() < 0.9:
            found.insert(0 if draw.random() < 0.9 else 1, question.passage_id)
        rows[question.question] = tuple(
            Retrieved(name, 0.9 - 0.1 * place) for place, name in enumerate(dict.fromkeys(found))
        )
    return Ranking("fixture", None, rows)
