"""Tables in the founding layout and in others, and what `init` makes of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from conftest import PASSAGES, QUESTIONS, TRAIN
from raglift.config import PromptConfig
from raglift.importing.starting import NewExperiment, Sources, start_experiment

NOTICE = PromptConfig().not_found


def list_rows() -> list[dict[str, str]]:
    """The tiny experiment as flat rows: part, question, answer, passage."""
    train = [("train", question, answer, PASSAGES[passage]) for question, answer, passage in TRAIN]
    asked = [("valid", row[1], row[4], PASSAGES[row[2]] if row[2] else NOTICE) for row in QUESTIONS]
    return [dict(zip(("part", "question", "answer", "passage"), row, strict=True)) for row in [*train, *asked]]


def write_csv(file: Path, rows: Iterable[Sequence[str]], encoding: str = "utf-8", delimiter: str = ",") -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    file.write_bytes(text.getvalue().encode(encoding))
    return file


def write_founding(
    folder: Path, rows: list[dict[str, str]], encoding: str = "utf-8", end: str = ""
) -> tuple[Path, Path]:
    """The two CSV files of the founding layout."""
    folder.mkdir(exist_ok=True)
    with_rag = [["data_type", "input_data", "user_question", "rag_retrieved_data", "output_message"]]
    without = [["data_type", "input_data", "output_message"]]
    for row in rows:
        prompt = f"(제공된 정보) {row['passage']} (사용자 질문) {row['question']}"
        with_rag.append([row["part"], prompt, row["question"], row["passage"], row["answer"] + end])
        without.append([row["part"], row["question"], row["answer"] + end])
    return write_csv(folder / "with.csv", with_rag, encoding), write_csv(folder / "without.csv", without, encoding)


def read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def start(folder: Path, **sources: Any) -> NewExperiment:
    return start_experiment(folder, Sources(**sources))
