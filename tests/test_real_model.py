"""The embedded model for real: its weights train, answer, and say greedily what `generate` says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from raglift.config import AnswerConfig, Config, LoraConfig
from raglift.datasets import copy_experiment
from raglift.experiment import open_run, run_experiment
from raglift.models.adapters import add_adapter
from raglift.models.generation import LocalModel, list_end_tokens
from raglift.models.loading import LoadedModel, load_model
from raglift.models.trainer import IGNORED, PaddingCollator, encode_row, open_trainer
from raglift.prompts import TrainingRow
from raglift.training import build_arguments


@pytest.fixture(scope="module")
def gemma() -> LoadedModel:
    return load_model(Config(name="x"))


def test_embedded_model_trains_answers_and_reports(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    copy_experiment("ml-qa-ko", folder)
    asked = ("seen-12", "seen-13", "unseen-pca")
    questions = keep_rows(folder / "questions.jsonl", lambda row, _: row["id"] in asked)
    passages = {row["passage_id"] for row in questions}
    keep_rows(folder / "train.jsonl", lambda row, number: row["passage_id"] in passages or number < 6)
    run = open_run(
        str(folder), tmp_path / "run",
        ["train.epochs=3", "train.log_every=1", "train.batch_size=8", "train.learning_rate=0.001",
         "answer.samples=1", "answer.max_new_tokens=24", "compare.a=base.oracle"],
        arms="base.oracle,rag-sft.oracle",
    )  # fmt: skip
    comparison = run_experiment(run)
    losses = [json.loads(line)["loss"] for line in run.folder.training_log("rag-sft", 0).read_text().splitlines()]
    assert losses[-1] < losses[0], "it learns"
    answers = [json.loads(line) for line in run.folder.answers.read_text().splitlines()]
    tuned = [row["text"] for row in answers if row["arm"] == "rag-sft.oracle"]
    untuned = [row["text"] for row in answers if row["arm"] == "base.oracle"]
    assert tuned != untuned, "the adapter changes the answers"
    assert any("가" <= letter <= "힣" for text in tuned for letter in text), "it answers in Korean"
    assert comparison["arms"]["rag-sft.oracle"]["seen"]["total"] == 2
    assert (run.folder.path / "report.html").stat().st_size > 0


def test_the_fast_path_has_the_plain_loss_on_real_weights(gemma: LoadedModel, tmp_path: Path) -> None:
    config = Config(name="x", lora=LoraConfig(dropout=0.0))
    texts = [
        ("재현율이 뭐야?", "실제 양성 중에서 찾아낸 비율이야!"),
        ("정밀도 설명해 줘", "양성이라고 한 것 중 맞은 비율이야!"),
    ]
    rows = [encode_row(gemma, TrainingRow(question, answer, None)) for question, answer in texts]
    batch = PaddingCollator(gemma.tokenizer.pad_token_id)(rows)
    with torch.no_grad():
        logits = gemma.model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        plain = cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)
    model = add_adapter(gemma, config.lora, 0)  # whose product is 0 before the first step
    arguments = build_arguments(config, 0, tmp_path, gemma.device)
    with open_trainer(model, rows, gemma.tokenizer.pad_token_id, arguments) as trainer:
        inputs = trainer.data_collator(rows)
        ours = trainer.compute_loss(model.train(), inputs)
        names = [name for name, part in model.named_modules() if "norm" in name and "forward" in vars(part)]
        assert len(names) == 18 * 6 + 1, "all norms are fused"
        assert "cu_seq_lens_q" in inputs, "rows attend within themselves"
    model.unload()
    assert ours.item() == pytest.approx(plain.item(), abs=2e-4)


def test_greedy_tokens_equal_generate_on_50_prompts(gemma: LoadedModel) -> None:
    folder = Path(__file__).parent.parent / "src" / "raglift" / "data" / "ml-qa-ko"
    questions = [json.loads(line)["question"] for line in (folder / "questions.jsonl").read_text().splitlines()][:50]
    prompts = [f"{question}\n### 답변:" for question in questions]
    assert len(prompts) == 50
    ours = LocalModel(gemma, "gemma").complete_prompts(
        prompts, [["noise"]] * 50, AnswerConfig(temperature=0, max_new_tokens=5)
    )
    ends = list_end_tokens(gemma)
    lengths = [len(gemma.tokenizer(prompt).input_ids) for prompt in prompts]
    for length in set(lengths):  # of one length, so that nothing pads them
        alike = [number for number, one in enumerate(lengths) if one == length]
        ids = gemma.tokenizer([prompts[number] for number in alike], return_tensors="pt")
        full = gemma.model.generate(**ids, max_new_tokens=5, do_sample=False)[:, length:].tolist()
        for number, tokens in zip(alike, full, strict=True):
            new = [token for token in tokens if token not in ends]
            assert gemma.tokenizer.decode(new, skip_special_tokens=True).strip() == ours[number][0].text


def keep_rows(file: Path, is_wanted: Callable[[dict[str, Any], int], bool]) -> list[dict[str, Any]]:
    """Leave only some rows of a file, by row and number; returns them."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    kept = [row for number, row in enumerate(rows) if is_wanted(row, number)]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
    return kept
