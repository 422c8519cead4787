"""A run folder as a finished run leaves it: 58 Korean questions, 8 arms, hostile strings, nothing trained."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

from raglift.config import DEFAULT_ARMS, Config
from raglift.prompts import build_prompt
from raglift.records import Example, Experiment, Passage, Question, Rubric
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
}
HOSTILE = (
    "<script>window.broken = true; document.title = 'taken'</script>",
    "<img src=x onerror=\"window.broken = true\"> 이건 그림이야!",
    "\x1b[31m빨간 글자\x1b[0m 그리고 \x07 종소리",
    "\u202e거꾸로 읽히는 글\u202c 그리고 \u2066격리\u2069",
    "=cmd|' /C calc'!A0",
    "널 \x00 문자, 짝 없는 \ud800 대리 문자, {{ 7 * 7 }} {% raw %}",
    "| 표를 | 깨는 | 글 |\n\n# 제목\n[링크](javascript:alert(1)) `코드`",
    "</details></body></html><!-- 끝 -->",
)
REASONS = ("missing: the denominator (TP + FN)", "missing: the share of actual positives", "says: precision's formula")


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
        asked = published[number % 30] if number < 30 else f"드롭아웃은 왜 쓰는 거지? 그리고 층 {number}에서는 어떻게 달라?"
        questions.append(
            Question(f"{split}-{number:03d}", asked, f"p{number:03d}", split, "두 벡터의 방향이 비슷한 정도야!", rubric)
        )
    for number in range(absent):
        questions.append(Question(f"absent-{number:03d}", f"내일 {number}시 날씨 알려줘", None, "absent", "모른다고 한다", rubric))
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


def _write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _make_answers(experiment: Experiment, config: Config) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    answers, grades = [], []
    hostile = iter(HOSTILE * 2)
    for arm in config.arms:
        draw = random.Random(f"raglift {arm}")
        for seed in config.list_seeds():
            for question in experiment.questions:
                chance = _chance(arm, question, draw)
                for sample in range(config.answer.samples):
                    answer = _make_answer(config, experiment, arm, seed, question, sample)
                    correct = draw.random() < chance
                    if not correct and sample == 1 and (strange := next(hostile, None)):
                        answer["text"] = strange
                    answers.append(answer)
                    grades.append(_make_grade(answer, correct, draw))
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
    prompt = build_prompt(config.prompt, question.question, None if context == "none" else texts)
    return {
        "key": hash_content(arm, seed, question.id, sample),
        "arm": arm,
        "seed": seed,
        "question_id": question.id,
        "sample": sample,
        "text": f"두 벡터의 방향이 얼마나 비슷한지를 -1.0부터 +1.0 사이로 나타내는 값이야! 크기가 아니라 방향이 중요하지 😊 ({sample})",
        "prompt": prompt,
        "passages": [{"passage_id": passage, "score": 0.8731} for passage in found],
        "tokens": 38 + sample,
        "truncated": sample == 3 and arm.startswith("base"),
        "batch": "b0",
        "seconds": 0.42 + sample / 10,
    }


def _make_grade(answer: dict[str, Any], correct: bool, draw: random.Random) -> dict[str, Any]:
    verdict = "correct" if correct else "incorrect"
    reason = "every group is met" if correct else draw.choice(REASONS)
    evidence = ["방향", "-1.0"] if correct else []
    return {
        "key": answer["key"], "question_id": answer["question_id"], "verdict": verdict,
        "reason": reason, "grader": "rubric", "evidence": evidence,
    }


def _make_training(tuning: str, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(f"{tuning} {seed}")
    start, floor = (3.1, 0.04) if tuning == "sft" else (2.4, 0.03)
    return [
        {
            "step": step, "epoch": round(step / 15, 3), "seconds": step * 0.8,
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
            "cores": 2, "memory_gib": 15.6, "processor": "Intel Xeon", "device": "cpu", "precision": "bfloat16",
        },
        "stages": {"answer": {"made_from": "0123abcd" * 4, "files": {"answers.jsonl": "ab" * 32}}},
        "times": {"train": 412.3, "answer": 388.1, "grade": 4.2, "compare": 1.1},
        "peak_memory_gib": 3.42,
    }


def _compare(
    experiment: Experiment, config: Config, answers: list[dict[str, Any]], grades: list[dict[str, Any]]
) -> dict[str, Any]:
    counts: dict[tuple[str, str], list[int]] = {}
    for answer, grade in zip(answers, grades, strict=True):
        cell = counts.setdefault((answer["question_id"], answer["arm"]), [0, 0])
        cell[0] += grade["verdict"] == "correct"
        cell[1] += 1
    table = [
        {
            "question_id": question.id, "question": question.question, "split": question.split,
            "arms": {arm: dict(zip(("correct", "total"), counts[question.id, arm], strict=True)) for arm in config.arms},
        }
        for question in experiment.questions
    ]
    splits = list(dict.fromkeys(question.split for question in experiment.questions))
    a, b = config.compare.a, config.compare.b
    if b not in config.arms:
        a = b = config.arms[0]
    by_split = {split: _contrast(table, a, b, split) for split in splits}
    split = config.compare.split if config.compare.split in by_split else splits[0]
    return {
        **by_split[split], "split": split, "by_split": by_split,
        "arms": {arm: {name: _accuracy(table, arm, name) for name in splits} for arm in config.arms},
        "contrasts": _list_contrasts(table, a, b, splits, config.arms),
        "effects": _effects(table, splits, config.arms),
        "retrieval": _retrieval(config.arms),
        "behaviour": _behaviour(config.arms, splits),
        "table": table, "grader": "rubric", "unscored": 0,
        "samples": config.answer.samples, "seeds": config.list_seeds(),
    }


def _shares(table: list[dict[str, Any]], arm: str, split: str) -> list[float]:
    cells = [row["arms"][arm] for row in table if row["split"] == split]
    return [cell["correct"] / cell["total"] for cell in cells]


def _interval(values: list[float], limit: float) -> list[float]:
    mean = sum(values) / len(values)
    spread = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    half = 196 * math.sqrt(spread / len(values))
    return [round(max(-limit, 100 * mean - half), 4), round(min(100.0, 100 * mean + half), 4)]


def _accuracy(table: list[dict[str, Any]], arm: str, split: str) -> dict[str, Any]:
    shares = _shares(table, arm, split)
    cells = [row["arms"][arm] for row in table if row["split"] == split]
    return {
        "accuracy": round(100 * sum(shares) / len(shares), 4), "ci95": _interval(shares, 0.0),
        "correct": sum(cell["correct"] for cell in cells), "total": sum(cell["total"] for cell in cells),
        "questions": len(cells), "unscored": 0, "truncated": 12 if arm.startswith("base") else 0,
    }


def _contrast(table: list[dict[str, Any]], a: str, b: str, split: str) -> dict[str, Any]:
    differences = [y - x for x, y in zip(_shares(table, a, split), _shares(table, b, split), strict=True)]
    low, high = _interval(differences, 100.0)
    verdict = "improves" if low > 0 else "harms" if high < 0 else "inconclusive"
    keys = ("arm", "accuracy", "correct", "total", "questions")
    sides = {
        name: {key: {"arm": arm, **_accuracy(table, arm, split)}[key] for key in keys}
        for name, arm in (("a", a), ("b", b))
    }
    return {
        **sides, "split": split, "lift": round(100 * sum(differences) / len(differences), 4), "ci95": [low, high],
        "p_value": 0.015625 if verdict != "inconclusive" else 0.34, "test": "exact sign-flip permutation",
        "verdict": verdict, "reason": "7 of 30 questions differ", "minimum_detectable_lift": 18.2,
        "questions_needed": 214 if verdict == "inconclusive" else None,
        "questions": len(differences), "differing": sum(d != 0 for d in differences), "excluded": 0,
        "excluded_ids": [], "seeds": 1, "margin": 5.0, "equivalence_p": 0.4, "standard_error": 4.2,
        "variance": {"question": 812.5, "sampling": 311.0, "seed": None, "seed_by_question": None},
    }


def _list_contrasts(
    table: list[dict[str, Any]], a: str, b: str, splits: list[str], arms: tuple[str, ...]
) -> list[dict[str, Any]]:
    pairs = [
        ("headline", a, b), ("context", "base.none", "base.oracle"), ("context", "sft.none", "sft.oracle"),
        ("context", "rag-sft.none", "rag-sft.oracle"), ("tuning", "base.oracle", "rag-sft.oracle"),
        ("retrieval", "rag-sft.oracle", "rag-sft.retrieved"),
    ]
    rows = []
    for split in splits:
        for kind, left, right in pairs:
            if left in arms and right in arms and left != right:
                contrast = _contrast(table, left, right, split)
                picked = {key: contrast[key] for key in ("split", "lift", "ci95", "p_value", "verdict")}
                rows.append({
                    "name": f"{left} → {right}", "a": left, "b": right, "kind": kind,
                    **picked, "p_holm": min(1.0, 6 * contrast["p_value"]),
                })
    return rows


def _effects(table: list[dict[str, Any]], splits: list[str], arms: tuple[str, ...]) -> dict[str, Any]:
    if not {"base.none", "base.oracle", "rag-sft.none", "rag-sft.oracle"} <= set(arms):
        return {}
    return {
        split: {
            "tuning": _contrast(table, "base.oracle", "rag-sft.oracle", split),
            "context": _contrast(table, "rag-sft.none", "rag-sft.oracle", split),
            "interaction": _contrast(table, "sft.none", "base.oracle", split),
        }
        for split in splits
    }


def _retrieval(arms: tuple[str, ...]) -> dict[str, Any] | None:
    if "rag-sft.retrieved" not in arms:
        return None
    return {
        "hit_at_1": {"value": 86.0, "ci95": [73.8, 93.0]}, "hit_at_3": {"value": 96.0, "ci95": [86.5, 98.9]},
        "mrr": {"value": 90.6, "ci95": [83.1, 95.9]},
        "loss": {"arm": "rag-sft.retrieved", "all": -6.5, "hit": -0.6, "miss": -41.7},
    }


def _behaviour(arms: tuple[str, ...], splits: list[str]) -> dict[str, Any]:
    behaviour: dict[str, Any] = {"counterfactual": {}, "absent": {}, "irrelevant": {}}
    if "absent" in splits:
        for arm in arms:
            declines = 100 * CHANCES[arm][2]
            behaviour["absent"][arm] = {"declines": declines, "invents": 100 - declines}
    for arm in arms:
        if arm.endswith("counterfactual"):
            behaviour["counterfactual"][arm] = {"follows_passage": 71.5, "follows_memory": 12.0, "other": 16.5}
    return behaviour
