"""The `train` stage: one LoRA adapter for a (tuning, seed), with the library's trainer and the loss on answers only."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, wait_for_everyone
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from raglift.config import Config, TrainConfig
from raglift.errors import InputError, RunError
from raglift.models.adapters import add_adapter, measure_logit_change
from raglift.models.checkpoints import find_checkpoint, read_step, seal_checkpoint
from raglift.models.loading import LoadedModel, is_out_of_memory, release_memory
from raglift.models.trainer import encode_row, open_trainer
from raglift.progress import Bar, Meter, say
from raglift.prompts import TrainingRow
from raglift.runfolder import (
    RunFolder,
    append_lines,
    explain_disk_errors,
    hash_content,
    recover_lines,
    seal_line,
    write_atomically,
)
from raglift.shelf.interface import ModelShelf, open_shelf
from raglift.shelf.local import LocalShelf

CHECKPOINT_SECONDS = 60.0  # a kill loses at most this much training; saving more often costs more than it saves


@dataclass(frozen=True)
class TrainingJob:
    """One adapter to train; `made_from` is the hash of all that it depends on, `parts` names what that is."""

    tuning: str
    seed: int
    rows: tuple[TrainingRow, ...]
    made_from: str
    parts: Mapping[str, Any] = field(default_factory=dict)

    def count_steps(self, settings: TrainConfig) -> int:
        """Optimizer steps."""
        batches = math.ceil(len(self.rows) / settings.batch_size)
        return math.ceil(batches / settings.accumulation) * settings.epochs


def train_on_shelf(unit: tuple[ModelShelf, TrainingJob], meter: Meter) -> dict[str, str]:
    """An engine's unit: train one adapter on the shelf's base model; its files' names and checksums."""
    shelf, job = unit
    check_adapter_reaches_output(shelf.base, shelf.config)
    return shelf.folder.offer(train_adapter(shelf.folder, shelf.base, shelf.config, job, meter))


def describe_unit(unit: tuple[ModelShelf, TrainingJob]) -> dict[str, Any]:
    """A unit as JSON, for the processes that train it together."""
    shelf, job = unit
    return {"shelf": shelf.describe(), "job": asdict(replace(job, parts={}))}


def train_described(described: Mapping[str, Any]) -> None:
    """This process's share of a unit that another one described."""
    job = described["job"]
    rows = (
        TrainingRow(row["question"], row["answer"], None if row["passages"] is None else tuple(row["passages"]))
        for row in job["rows"]
    )
    unit = open_shelf(LocalShelf, *described["shelf"]), TrainingJob(**{**job, "rows": tuple(rows)})
    train_on_shelf(unit, Bar("", 0, None))


def train_adapter(folder: RunFolder, loaded: LoadedModel, config: Config, job: TrainingJob, meter: Meter) -> list[Path]:
    """Train one adapter and write it as a standard PEFT folder; resumes from its last whole checkpoint.

    Under several processes each takes its share of every batch, and the first alone writes.
    Returns the files written (adapter and training log). The base model is left without an adapter.
    Raises RunError when the loss stops being a number.
    """
    name = f"{job.tuning} seed {job.seed}"
    # Named by what it is made from: a checkpoint of other rows or settings is never resumed.
    checkpoints = folder.path / "checkpoints" / f"{job.tuning}-seed{job.seed}-{job.made_from[:8]}"
    log, target = folder.training_log(job.tuning, job.seed), folder.adapter(job.tuning, job.seed)
    # An adapter that is whole keeps its log until another one is, so that settings can be taken back.
    reporter = StepReporter(meter, checkpoints / log.name, name, 2 * math.log(len(loaded.tokenizer)))
    arguments = build_arguments(config, job.seed, checkpoints, loaded.device)
    check_shares(config, arguments.world_size)
    encoded = [encode_row(loaded, row) for row in job.rows]
    model = add_adapter(loaded, config.lora, job.seed)
    smaller: Config | None = None
    try:
        with explain_disk_errors(target):
            fit_adapter(model, loaded, arguments, encoded, reporter)
            if arguments.process_index == 0:
                save_adapter(model, target)
                write_atomically(log, reporter.log.read_bytes())
        if measure_logit_change(loaded, model) == 0:
            say(f"warning: the adapter of {job.tuning} does not change the model's output; its arms equal the base's")
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = halve_batch(config, arguments.world_size)
    finally:
        model.unload()
    if arguments.process_index > 0:
        return []
    for left in checkpoints.parent.glob(f"{job.tuning}-seed{job.seed}-*"):  # those of other settings too
        shutil.rmtree(left, ignore_errors=True)
    if smaller is not None:
        release_memory()
        meter.advance(-reporter.counted)
        say(f"out of memory: train {name} again with {describe_batch(smaller)}")
        job = replace(job, made_from=hash_content(job.made_from, "smaller batch"))
        return train_adapter(folder, loaded, smaller, job, meter)
    release_memory()  # a trainer refers to itself: what it holds waits for the collector
    return [*sorted(file for file in target.iterdir() if file.name != "README.md"), log]


def fit_adapter(
    model: Any,
    loaded: LoadedModel,
    arguments: TrainingArguments,
    rows: Sequence[dict[str, list[int]]],
    reporter: StepReporter,
) -> None:
    """Train the adapter on a model in place, from its last whole checkpoint where there is one."""
    resume = find_checkpoint(Path(str(arguments.output_dir)))
    if arguments.process_index == 0:
        keep_log_until(reporter.log, read_step(resume))
    with open_trainer(model, rows, loaded.tokenizer.pad_token_id, arguments) as trainer:
        trainer.add_callback(reporter)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        check_weights(model, trainer.state.global_step)


class StepReporter(TrainerCallback):
    """Reports steps, logs a line per logging step, asks for checkpoints by the clock, stops on NaN.

    `highest` is the loss from which training counts as exploded; `counted` are the steps told to the meter.
    """

    def __init__(self, meter: Meter, log: Path, note: str, highest: float = math.inf) -> None:
        self.meter, self.log, self.note, self.highest, self.counted = meter, log, note, highest, 0
        self.saved = self.started = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step:
            self.meter.skip(state.global_step)
            self.counted += state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.meter.advance(1, self.note)
        self.counted += 1
        is_due = time.monotonic() - self.saved > CHECKPOINT_SECONDS
        if args.world_size > 1:
            is_due = broadcast_object_list([is_due])[0]
        if is_due:
            check_weights(more["model"], state.global_step)  # what is no number is never kept
            control.should_save = True
            self.saved = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        wait_for_everyone()  # each process writes its own random state
        if args.process_index == 0:
            seal_checkpoint(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not loss < self.highest:  # NaN is not below anything
            raise explain_divergence(f"the training loss is {loss:.4g}", state.global_step)
        if not state.is_world_process_zero:
            return
        row = {
            "step": state.global_step,
            "epoch": round(float(logs.get("epoch", 0)), 4),
            "loss": loss,
            "gradient_norm": float(logs.get("grad_norm", 0)),
            "learning_rate": float(logs.get("learning_rate", 0)),
            "seconds": round(time.monotonic() - self.started, 3),
        }
        append_lines(self.log, [row])


def explain_divergence(found: str, step: int) -> RunError:
    """What to try when training leaves the numbers."""
    return RunError(
        f"{found} at step {step}\n"
        "  to do: lower train.learning_rate (for example --set train.learning_rate=1e-4), set train.warmup_steps, or "
        "lower train.max_gradient_norm, and run again; finished adapters and the last good checkpoint are kept"
    )


def check_weights(model: Any, step: int) -> None:
    """RunError when a trained weight is not a number: the loss is only looked at every few steps."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not all(bool(torch.isfinite(weight).all()) for weight in weights):
        raise explain_divergence("the adapter's weights are no numbers", step)


def check_shares(config: Config, processes: int) -> None:
    """InputError where a batch has fewer rows than there are processes."""
    if config.train.batch_size < processes:
        raise InputError(
            "train.batch_size", f"{config.train.batch_size} rows for {processes} processes",
            "a row or more for each", "start fewer processes, or --set train.batch_size=N (the rows of all of them)",
        )  # fmt: skip


def halve_batch(config: Config, processes: int = 1) -> Config:
    """The same effective batch in smaller pieces; RunError when a single row does not fit.

    Several processes would have to agree on it while one of them has none left to agree with: RunError too.
    """
    settings = config.train
    if processes > 1:
        raise RunError(
            f"out of memory while training in {processes} processes with {describe_batch(config)}\n"
            "  to do: lower train.batch_size and raise train.accumulation by the same factor, which trains the same"
        )
    if settings.batch_size == 1:
        raise RunError(
            "out of memory while training on a single row\n"
            "  to do: lower lora.rank, shorten the longest rows of train.jsonl, or use a machine with more memory; "
            "finished adapters are kept"
        )
    pieces = next(n for n in range(2, settings.batch_size + 1) if settings.batch_size % n == 0)
    train = settings.model_copy(
        update={"batch_size": settings.batch_size // pieces, "accumulation": settings.accumulation * pieces}
    )
    return config.model_copy(update={"train": train})


def describe_batch(config: Config) -> str:
    """The two settings whose product is the rows of a step."""
    return f"train.batch_size={config.train.batch_size}, train.accumulation={config.train.accumulation}"


def build_arguments(config: Config, seed: int, checkpoints: Path, device: torch.device) -> TrainingArguments:
    """The founding settings in the library's words."""
    settings = config.train
    return TrainingArguments(
        output_dir=str(checkpoints),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=settings.epochs,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_gradient_norm,
        optim="adamw_torch_fused",
        seed=seed,
        data_seed=seed,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy="no",
        save_total_limit=2,
        report_to=get_available_reporting_integrations(),
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
        ddp_find_unused_parameters=False,  # every trained weight is used in every step
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        label_names=["labels"],
    )


def save_adapter(model: Any, target: Path) -> None:
    """Write the PEFT folder beside its place, then rename it there whole."""
    temporary = target.with_name(f".{target.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary, safe_serialization=True)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def keep_log_until(log: Path, step: int) -> None:
    """Drop the lines of steps that will be trained again."""
    rows = [row for row in recover_lines(log) if row.get("step", 0) <= step]
    write_atomically(log, b"".join(seal_line(row) for row in rows))


def check_adapter_reaches_output(loaded: LoadedModel, config: Config) -> None:
    """Before training: an adapter with any content must move the logits; InputError when it does not."""
    model = add_adapter(loaded, config.lora, config.seed)
    try:
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if "lora_B" in name:
                    weights.fill_(0.01)
        moved = measure_logit_change(loaded, model)
    finally:
        model.unload()
    if moved == 0:
        raise InputError(
            "lora.targets", "an adapter on these layers does not change the output", "layers the model runs through"
        )
