"""Training: the loss is full cross-entropy's, rows are right, a resumed adapter is the undisturbed one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch.nn.functional import cross_entropy
from transformers import Trainer

from raglift import training
from raglift.benchmarks.training import build_plain_trainer
from raglift.config import Config, LoraConfig, TrainConfig
from raglift.errors import InputError, RunError
from raglift.models.adapters import add_adapter
from raglift.models.checkpoints import find_checkpoint
from raglift.models.loading import LoadedModel, load_model
from raglift.models.trainer import (
    IGNORED,
    AnswerTrainer,
    PaddingCollator,
    choose_collator,
    encode_row,
    open_trainer,
)
from raglift.progress import Bar
from raglift.prompts import TrainingRow
from raglift.runfolder import RunFolder
from raglift.training import (
    TrainingJob,
    build_arguments,
    check_adapter_reaches_output,
    train_adapter,
)

ROWS = [
    TrainingRow("재현율 알려줄래?", "실제 Positive 중에서 찾아낸 비율이야!", ("Recall (재현율) : 찾아낸 비율",)),
    TrainingRow("정밀도 설명 좀", "맞은 비율이지!", ("Precision (정밀도) : 맞은 비율 | TP / (TP + FP)",)),
    TrainingRow("정확도?", "전체 중에서 맞힌 비율이야! 😊", ()),
]

JOB = TrainingJob("sft", 0, tuple(ROWS), "same")
METER = Bar("train", 0, None)


def make_config(model: Path, **train: object) -> Config:
    settings = TrainConfig(**{"epochs": 4, "batch_size": 2, "log_every": 1, "learning_rate": 0.01, **train})
    return Config(name="x", model=str(model), precision="float32", lora=LoraConfig(rank=4, dropout=0.0), train=settings)


@pytest.fixture
def loaded(tiny_model: Path) -> LoadedModel:
    return load_model(make_config(tiny_model))


def read_losses(folder: RunFolder) -> list[float]:
    return [json.loads(line)["loss"] for line in folder.training_log("sft", 0).read_text().splitlines()]


def test_rows_learn_the_answer_and_the_end_token_only(loaded: LoadedModel) -> None:
    row = encode_row(loaded, ROWS[0])
    learned = [label for label in row["labels"] if label != IGNORED]
    assert row["input_ids"][-len(learned) :] == learned
    assert learned[-1] == loaded.tokenizer.eos_token_id
    assert loaded.tokenizer.decode(learned[:-1]) == " " + ROWS[0].answer
    prompt = loaded.tokenizer.decode(row["input_ids"][: -len(learned)], skip_special_tokens=True)
    assert prompt == "(제공된 정보) Recall (재현율) : 찾아낸 비율 (사용자 질문) 재현율 알려줄래?\n### 답변:"


class FullLogitsTrainer(Trainer):
    """The plain way: all logits of all positions, shifted by one."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def]
        mask = inputs["attention_mask"]
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)
        ).logits
        total = cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            inputs["labels"][:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        return total / num_items_in_batch


def train_losses(kind: type[Trainer], loaded: LoadedModel, config: Config, folder: Path) -> list[float]:
    model = add_adapter(loaded, config.lora, 0)
    arguments = build_arguments(config, 0, folder, loaded.device)
    rows, pad_token = [encode_row(loaded, row) for row in ROWS], loaded.tokenizer.pad_token_id
    if kind is AnswerTrainer:
        with open_trainer(model, rows, pad_token, arguments) as trainer:
            assert trainer.head is not None, "the fast path"
            trainer.train()
    else:
        trainer = kind(model=model, args=arguments, train_dataset=rows, data_collator=PaddingCollator(pad_token))
        trainer.train()
    model.unload()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def test_ten_steps_equal_full_logits_cross_entropy(loaded: LoadedModel, tiny_model: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, epochs=5)
    ours = train_losses(AnswerTrainer, loaded, config, tmp_path / "ours")
    plain = train_losses(FullLogitsTrainer, loaded, config, tmp_path / "plain")
    assert len(ours) == 10
    assert ours == pytest.approx(plain, abs=1e-4)
    assert ours[-1] < ours[0] - 0.1, "it learns"


def test_rows_end_to_end_only_where_the_model_keeps_them_apart(loaded: LoadedModel) -> None:
    rows = [encode_row(loaded, row) for row in ROWS]
    pad_token = loaded.tokenizer.pad_token_id
    collator = choose_collator(loaded.model, rows, pad_token)
    assert collator(rows)["input_ids"].shape == (1, sum(len(row["input_ids"]) for row in rows)), "no padding"
    original = loaded.model.forward
    loaded.model.forward = lambda **inputs: original(**{**inputs, "position_ids": None})
    assert isinstance(choose_collator(loaded.model, rows, pad_token), PaddingCollator)


def test_ten_steps_of_padded_rows_are_the_same(
    loaded: LoadedModel, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tiny_model, epochs=5)
    ours = train_losses(AnswerTrainer, loaded, config, tmp_path / "ours")
    monkeypatch.setattr(
        "raglift.models.trainer.choose_collator", lambda model, rows, pad_token: PaddingCollator(pad_token)
    )
    padded = train_losses(AnswerTrainer, loaded, config, tmp_path / "padded")
    assert ours == pytest.approx(padded, abs=1e-4)


def test_ten_steps_equal_trl(loaded: LoadedModel, tiny_model: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, epochs=5)
    ours = train_losses(AnswerTrainer, loaded, config, tmp_path / "ours")
    model = add_adapter(loaded, config.lora, 0)
    rows = [encode_row(loaded, row) for row in ROWS]
    trainer = build_plain_trainer(model, loaded, config, rows, tmp_path / "trl")
    trainer.train()
    theirs = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_resumed_training_gives_the_undisturbed_adapter(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tiny_model, epochs=6)
    config = config.model_copy(update={"lora": LoraConfig(rank=4, dropout=0.1)})
    calm, torn = RunFolder(tmp_path / "calm"), RunFolder(tmp_path / "torn")
    train_adapter(calm, load_model(config), config, JOB, METER)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)

    class CrashError(Exception):
        pass

    report = training.StepReporter.on_step_end

    def crash_at_seven(self, args, state, control, **more):  # type: ignore[no-untyped-def]
        if state.global_step == 7:
            raise CrashError
        report(self, args, state, control, **more)

    monkeypatch.setattr(training.StepReporter, "on_step_end", crash_at_seven)
    with pytest.raises(CrashError):
        train_adapter(torn, load_model(config), config, JOB, METER)
    monkeypatch.setattr(training.StepReporter, "on_step_end", report)
    folder = torn.path / "checkpoints" / "sft-seed0-same"
    found = find_checkpoint(folder)
    assert found is not None and found.name == "checkpoint-6"
    (folder.parent / "sft-seed0-other" / "checkpoint-1").mkdir(parents=True)
    (folder / "checkpoint-9").mkdir()  # killed while it was written
    assert find_checkpoint(folder) == found, "a checkpoint without its checksums was not written whole"
    train_adapter(torn, load_model(config), config, JOB, METER)
    weights = [run.adapter("sft", 0).joinpath("adapter_model.safetensors").read_bytes() for run in (calm, torn)]
    assert weights[0] == weights[1]
    assert read_losses(calm) == read_losses(torn)
    assert list(folder.parent.iterdir()) == [], "nothing of other settings stays either"


def test_loss_that_is_no_number_stops_with_what_to_try(tiny_model: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, learning_rate=1e30, max_gradient_norm=1e30)
    with pytest.raises(RunError, match=r"(?s)loss is (nan|inf).*learning_rate"):
        train_adapter(RunFolder(tmp_path), load_model(config), config, JOB, METER)


def test_adapter_without_layers_is_refused(loaded: LoadedModel, tiny_model: Path) -> None:
    config = make_config(tiny_model)
    wrong = config.model_copy(update={"lora": LoraConfig(rank=4, targets=("no_such_layer",))})
    with pytest.raises(InputError, match=r"lora\.targets"):
        check_adapter_reaches_output(loaded, wrong)
    check_adapter_reaches_output(loaded, config)
