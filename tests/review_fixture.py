"""A run of the bundled experiment with made answers: two arms, eight questions, identical and hostile texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raglift.config import Config, load_config
from raglift.datasets import dump_line, find_experiment, load_experiment
from raglift.prompts import PromptWriter
from raglift.records import Experiment
from raglift.runfolder import RunFolder, hash_content
from report_fixture import HOSTILE

QUESTIONS = 8
ARMS = ("sft.none", "rag-sft.oracle")
SAMPLES = 4


def write_review_run(path: Path, questions: int = QUESTIONS) -> tuple[RunFolder, Experiment, Config]:
    """Answers to the first questions by both arms; samples 0 and 1 are alike, in both arms for every third."""
    source = find_experiment("ml-qa-ko")
    config = load_config(source / "experiment.yaml", [f"arms={','.join(ARMS)}", f"answer.samples={SAMPLES}"])
    experiment = load_experiment(source, config.name)
    folder = RunFolder(path)
    path.mkdir(parents=True)
    answers, grades = [], []
    for arm in ARMS:
        for number, question in enumerate(experiment.questions[:questions]):
            for sample in range(SAMPLES):
                key = hash_content(arm, question.id, sample)
                text = make_text(arm, number, sample, question.reference)
                answers.append(
                    {
                        "key": key,
                        "arm": arm,
                        "seed": 0,
                        "question_id": question.id,
                        "sample": sample,
                        "text": text,
                        "prompt": PromptWriter(config.prompt).write_prompt(question.question, None),
                        "passages": [],
                    }
                )
                verdict = "correct" if (sample + number) % 3 or arm == ARMS[1] else "incorrect"
                grades.append(
                    {"key": key, "question_id": question.id, "verdict": verdict, "reason": "", "grader": "rubric"}
                )
    write_lines(folder.answers, answers)
    write_lines(folder.grades("rubric"), grades)
    manifest = {"experiment": config.name, "source": "ml-qa-ko", "config": config.model_dump(mode="json")}
    folder.manifest_file.write_text(json.dumps(manifest), encoding="utf-8")
    return folder, experiment, config


def make_text(arm: str, number: int, sample: int, reference: str) -> str:
    if sample < 2:
        return reference if arm == ARMS[1] or number % 3 == 0 else f" {reference} 라고 하지는 않아!\n"
    if sample == 2 and arm == ARMS[0]:
        return HOSTILE[number % len(HOSTILE)]
    return f"{reference} 그리고 이건 {number}번 질문의 {sample}번째 답변이야! ({'가' if arm == ARMS[0] else '나'})"


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(dump_line(row) for row in rows), encoding="utf-8")
