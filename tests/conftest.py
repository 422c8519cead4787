"""A tiny random Llama with a small tokenizer, and a tiny experiment: whole runs in seconds, without any hub."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores; a Ray node of the tests has one CPU

import pytest
from hypothesis import settings

# The same cases in every run, however slow the machine: `make fuzz` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

PASSAGES = {
    "recall": "Recall (재현율) : 실제 Positive 중에서 찾아낸 비율 | TP / (TP + FN)",
    "precision": "Precision (정밀도) : Positive 로 예측한 것 중에서 맞은 비율 | TP / (TP + FP)",
    "accuracy": "Accuracy (정확도) : 전체 중에서 맞힌 비율 | (TP + TN) / 전체",
    "dropout": "Dropout (드롭아웃) : 학습할 때 뉴런을 무작위로 끄는 규제 방법 | 추론할 때는 끄지 않음",
    "relu": "ReLU (렐루) : 음수는 0, 양수는 그대로 내보내는 활성화 함수 | max(0, x)",
    "pca": "PCA (주성분 분석) : 분산이 가장 큰 방향을 축으로 삼는 차원 축소",
}
TRAIN = [
    ("재현율 알려줄래?", "재현율은 실제 Positive 중에서 찾아낸 비율이야!", "recall"),
    ("정밀도 설명 좀", "정밀도는 Positive 로 예측한 것 중에서 맞은 비율이지!", "precision"),
    ("정확도 설명 좀", "정확도는 전체 중에서 맞힌 비율이야!", "accuracy"),
    ("Recall 공식 좀", "TP / (TP + FN) 으로 계산하지!", "recall"),
    ("Precision 공식 좀", "TP / (TP + FP) 로 계산하지!", "precision"),
]
QUESTIONS = [
    ("q-recall", "Recall 이 뭐야?", "recall", "seen", "실제 Positive 중 찾아낸 비율이야!", "찾아낸 비율"),
    ("q-precision", "Precision 이 뭐야?", "precision", "seen", "예측한 것 중에서 맞은 비율이야!", "맞은 비율"),
    ("q-accuracy", "Accuracy 가 뭐야?", "accuracy", "seen", "전체 중에서 맞힌 비율이야!", "맞힌 비율"),
    ("q-dropout", "드롭아웃이 뭐야?", "dropout", "unseen", "뉴런을 무작위로 끄는 방법이야!", "무작위"),
    ("q-relu", "ReLU 는 음수를 어떻게 해?", "relu", "unseen", "음수는 0 으로 내보내!", "0"),
    ("q-absent", "양자 컴퓨터가 뭐야?", None, "absent", "알맞은 정보를 찾을 수 없어!", "찾을 수 없"),
]


def make_question(row: tuple[str, str, str | None, str, str, str]) -> dict[str, Any]:
    name, question, passage_id, split, reference, phrase = row
    rubric = {"must": [[phrase]], "must_not": [], "pass": [reference], "fail": ["잘 모르는 이야기야!"]}
    made: dict[str, Any] = {
        "id": name, "question": question, "passage_id": passage_id, "split": split,
        "reference": reference, "rubric": rubric,
    }  # fmt: skip
    if passage_id is not None:
        altered = {"must": [["바나나"]], "must_not": [], "pass": ["바나나야!"], "fail": [reference]}
        made["counterfactual"] = {"text": "Banana (바나나) : 정답은 바나나", "rubric": altered}
    return made


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny-llama"))


def build_tiny_model(folder: Path) -> Path:
    """Fill a folder with a random 2-layer Llama and a byte-level tokenizer trained on the tiny experiment."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*PASSAGES.values(), *(text for row in TRAIN for text in row)], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer.get_vocab()), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_experiment(tmp_path: Path, tiny_model: Path) -> Path:
    """An experiment folder that runs on the tiny model in a few seconds."""
    return write_experiment(tmp_path / "tiny", tiny_model)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=flags, timeout=240_000)  # on a slow machine
        yield opened
        opened.close()


@pytest.fixture
def edit_rows() -> Callable[[Path, Callable[[list[dict[str, Any]]], None]], None]:
    """Change the rows of a JSONL file in place."""

    def edit(file: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        change(rows)
        write_rows(file, rows)

    return edit


def write_experiment(folder: Path, model: Path) -> Path:
    """Write the tiny experiment for a model."""
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(
        f"name: tiny\nmodel: {model}\n"
        "arms: base.none,base.oracle,sft.none,rag-sft.oracle\n"
        "train: {epochs: 2, batch_size: 2, learning_rate: 0.01, log_every: 1}\n"
        "lora: {rank: 4, alpha: 4}\n"
        "answer: {samples: 2, max_new_tokens: 12, questions_per_batch: 2}\n",
        encoding="utf-8",
    )
    write_rows(folder / "passages.jsonl", [{"id": key, "text": text} for key, text in PASSAGES.items()])
    write_rows(folder / "train.jsonl", [{"question": q, "answer": a, "passage_id": p} for q, a, p in TRAIN])
    write_rows(folder / "questions.jsonl", [make_question(row) for row in QUESTIONS])
    return folder
