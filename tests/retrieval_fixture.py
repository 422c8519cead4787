"""A small embedder without a model, and passages to search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np

from raglift.records import Example, Passage, Question, Rubric
from raglift.retrieval.embedders import Vectors, normalize_rows

DATABASES = Path(__file__).parent / "data" / "databases-ko"
PASSAGES = [
    Passage("pr-auc", "PR-AUC (정밀도-재현율 곡선 면적) : 재현율을 x축, 정밀도를 y축에 둔 곡선 아래 면적"),
    Passage("roc-auc", "ROC-AUC (수신자 조작 특성 면적) : 거짓 양성 비율을 x축에 둔 곡선 아래 면적"),
    Passage("f1", "F1 Score (F1 점수) : 재현율과 정밀도의 조화 평균"),
    Passage("iou", "IoU (교집합 비율) : 교집합을 합집합으로 나눈 값"),
    Passage("t-sne", "t-SNE (티에스엔이) : 가까운 이웃을 보존하는 시각화 방법"),
    Passage("recall", "Recall (재현율) : 실제 양성 가운데 찾아낸 비율"),
    Passage("precision", "Precision (정밀도) : 양성으로 예측한 것 가운데 맞은 비율"),
    Passage("cross-validation", "Cross-Validation (교차 검증) : 폴드를 돌아가며 검증하는 방법"),
    Passage("z-score", "Z-Score (표준 점수) : 평균을 빼고 표준편차로 나눈 값"),
    Passage("dbscan", "DBSCAN (디비스캔) : 밀도가 높은 곳을 묶는 군집화"),
]


class LetterEmbedder:
    """Hashed letter pairs, 64 numbers; counts the passages it embeds. Forty letters are its window."""

    window = 60

    def __init__(self, name: str = "letters", dimensions: int = 64) -> None:
        self.name = self.identity = name
        self.dimensions, self.embedded = dimensions, 0

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for pair in zip(text.lower(), text.lower()[1:], strict=False):
                row[crc32("".join(pair).encode()) % self.dimensions] += 1
        return normalize_rows(rows)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.embedded += len(texts)
        return self.embed_queries(texts)

    def count_tokens(self, text: str) -> int:
        return len(text)


def make_question(name: str, text: str, passage_id: str | None) -> Question:
    return Question(name, text, passage_id, "unseen" if passage_id else "absent", "", Rubric(()))


def read_rows(name: str) -> list[dict[str, str]]:
    with (DATABASES / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_databases() -> tuple[list[Passage], list[Example], list[Question]]:
    """A knowledge base on databases, networks and algorithms: 88 passages, 30 pairs, 99 questions (16 absent)."""
    passages = [Passage(**row) for row in read_rows("passages.jsonl")]
    examples = [Example(row["question"], row["answer"], row["passage_id"]) for row in read_rows("train.jsonl")]
    rows = read_rows("questions.jsonl")
    return passages, examples, [make_question(f"q{i}", r["question"], r["passage_id"]) for i, r in enumerate(rows)]
