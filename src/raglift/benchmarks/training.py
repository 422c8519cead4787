"""`bench train`: seconds a training step, here and with TRL's SFTTrainer, on the same rows and settings."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainerCallback

from raglift.benchmarks.matrix_peak import measure_matrix_peak
from raglift.config import Config
from raglift.errors import InputError
from raglift.machine import read_peak_memory
from raglift.models.adapters import add_adapter
from raglift.models.loading import LoadedModel, accept_head_widths, choose_device, choose_precision
from raglift.models.trainer import IGNORED, open_trainer
from raglift.progress import Bar
from raglift.training import build_arguments

Rows = Sequence[dict[str, list[int]]]

# Random weights in a published model's shape: what a step costs does not depend on what the weights are.
SHAPES: dict[str, Callable[[], LlamaConfig]] = {
    # https://huggingface.co/kakaocorp/kanana-1.5-2.1b-instruct-2505/blob/main/config.json
    "kanana-2.1b": lambda: LlamaConfig(
        vocab_size=128259, hidden_size=1792, intermediate_size=8064, num_hidden_layers=32, num_attention_heads=24,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=32768, tie_word_embeddings=True,
    )
}  # fmt: skip
SHAPE_PROMPT, SHAPE_ANSWER = 70, 35  # tokens of a row of the founding experiment with its passage


@dataclass(frozen=True)
class TrainingFigures:
    """Medians over all steps but each block's first; seconds of a step, shares of the measured matrix peak."""

    model: str
    precision: str
    steps: int
    seconds_per_step: float
    plain_seconds_per_step: float | None
    ratio: float | None
    gigaflop_per_step: float
    peak_gigaflops: float
    share_of_peak: float
    peak_memory_gib: float


class StepClock(TrainerCallback):
    """Times every step of a block but its first, which allocates what the others use again."""

    def __init__(self, bar: Bar) -> None:
        self.bar, self.seconds, self.started = bar, list[float](), 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step > 1:
            self.seconds.append(time.perf_counter() - self.started)
        self.bar.advance()


def bench_training(
    loaded: LoadedModel, config: Config, rows: Rows, rounds: int, steps: int, bar: Bar
) -> dict[str, Any]:
    """Blocks of steps by turns: this package's trainer, then TRL's, on the same rows, order and settings."""
    ours, plain = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(rounds):
            ours += time_ours(loaded, config, rows, steps, Path(scratch), bar)
            plain += time_plain(loaded, config, rows, steps, Path(scratch), bar)
    return asdict(describe(loaded, config, rows, ours, plain))


def bench_shape(name: str, config: Config, steps: int, bar: Bar) -> dict[str, Any]:
    """The founding training step of a model in a published shape with random weights, here alone.

    InputError for an unknown shape.
    """
    if name not in SHAPES:
        raise InputError("--shape", repr(name), "one of " + ", ".join(SHAPES))
    loaded = draw_model(name, config)
    draws = torch.randint(10, 1000, (30, SHAPE_PROMPT + SHAPE_ANSWER), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": ids, "labels": [IGNORED] * SHAPE_PROMPT + ids[SHAPE_PROMPT:]} for ids in draws.tolist()]
    with tempfile.TemporaryDirectory() as scratch:
        ours = time_ours(loaded, config, rows, steps, Path(scratch), bar)
    return asdict(describe(loaded, config, rows, ours, []))


def draw_model(name: str, config: Config) -> LoadedModel:
    """A model of a shape with random weights."""
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    accept_head_widths()
    before = torch.get_default_dtype()
    torch.set_default_dtype(precision)  # never held in more than its own precision
    try:
        model = LlamaForCausalLM(SHAPES[name]())
    finally:
        torch.set_default_dtype(before)
    return LoadedModel(name, name, model.to(device).eval(), None, None)  # type: ignore[arg-type]


def time_ours(loaded: LoadedModel, config: Config, rows: Rows, steps: int, scratch: Path, bar: Bar) -> list[float]:
    """Seconds of each step of one block with this package's trainer."""
    model = add_adapter(loaded, config.lora, config.seed)
    pad_token = loaded.tokenizer.pad_token_id if loaded.tokenizer else 0
    try:
        with open_trainer(model, rows, pad_token, limit_steps(config, steps, scratch, loaded.device)) as trainer:
            return run_block(trainer, bar)
    finally:
        model.unload()


def time_plain(loaded: LoadedModel, config: Config, rows: Rows, steps: int, scratch: Path, bar: Bar) -> list[float]:
    """The same with TRL's SFTTrainer as it comes."""
    model = add_adapter(loaded, config.lora, config.seed)
    try:
        return run_block(build_plain_trainer(model, loaded, config, rows, scratch, steps), bar)
    finally:
        model.unload()


def limit_steps(config: Config, steps: int, scratch: Path, device: torch.device) -> Any:
    """The run's training arguments, ended after some steps."""
    arguments = build_arguments(config, config.seed, scratch, device)
    arguments.max_steps, arguments.report_to = steps, []
    return arguments


def build_plain_trainer(
    model: PeftModel, loaded: LoadedModel, config: Config, rows: Rows, scratch: Path, steps: int = -1
) -> Trainer:
    """TRL's SFTTrainer with the run's settings; InputError where TRL is not installed."""
    try:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer
    except ImportError as error:
        raise InputError("bench train", "no TRL here", "the library to compare with", "pip install trl") from error
    given = limit_steps(config, steps, scratch, loaded.device).to_dict()
    settings = {key: given[key] for key in (
        "learning_rate", "lr_scheduler_type", "warmup_steps", "per_device_train_batch_size",
        "gradient_accumulation_steps", "num_train_epochs", "max_steps", "weight_decay", "max_grad_norm", "optim",
        "seed", "data_seed", "logging_steps", "save_strategy", "report_to", "disable_tqdm", "use_cpu",
    )}  # fmt: skip
    trainer: Trainer = SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=str(scratch), max_length=None, bf16=False, gradient_checkpointing=False, **settings),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=loaded.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def run_block(trainer: Trainer, bar: Bar) -> list[float]:
    """Train a block; seconds of each step but the first."""
    clock = StepClock(bar)
    trainer.add_callback(clock)
    trainer.train()
    return clock.seconds


def describe(
    loaded: LoadedModel, config: Config, rows: Rows, ours: Sequence[float], plain: Sequence[float]
) -> TrainingFigures:
    """The figures of a comparison; `plain` may be empty."""
    seconds = statistics.median(ours)
    other = statistics.median(plain) if plain else None
    operations = count_operations(loaded, config, rows)
    peak = measure_matrix_peak(loaded.model.dtype, loaded.device)
    return TrainingFigures(
        model=loaded.name,
        precision=str(loaded.model.dtype).removeprefix("torch."),
        steps=len(ours),
        seconds_per_step=round(seconds, 3),
        plain_seconds_per_step=None if other is None else round(other, 3),
        ratio=None if other is None else round(other / seconds, 2),
        gigaflop_per_step=round(operations / 1e9, 1),
        peak_gigaflops=round(peak / 1e9, 1),
        share_of_peak=round(operations / seconds / peak, 3),
        peak_memory_gib=round(read_peak_memory() / 2**30, 2),
    )


def count_operations(loaded: LoadedModel, config: Config, rows: Rows) -> float:
    """Operations that one step cannot do without, attention's own products left out.

    2 a weight and token forward, 2 back to the input, 2 more for the gradient of a trained weight
    (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1): 4 for frozen layers on all tokens and
    for the head on the answers' tokens, 6 for the adapter.
    """
    layers = [
        layer for name, layer in loaded.model.named_modules()
        if type(layer) is nn.Linear and name.rsplit(".", 1)[-1] in config.lora.targets
    ]  # fmt: skip
    frozen: int = sum(layer.weight.numel() for layer in layers)
    trained: int = config.lora.rank * sum(layer.in_features + layer.out_features for layer in layers)
    head: int = loaded.model.get_output_embeddings().weight.numel()
    tokens = statistics.mean(len(row["input_ids"]) for row in rows)
    learned = statistics.mean(sum(label != IGNORED for label in row["labels"]) for row in rows)
    return config.train.batch_size * (tokens * (4 * frozen + 6 * trained) + learned * 4 * head)
