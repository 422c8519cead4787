"""How long an experiment's texts are to its model, and what a run will take on this machine, by a short probe."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import psutil
import torch

from raglift.config import Config
from raglift.models.loading import choose_device, load_prompts
from raglift.models.lora import MEMORY_SHARE
from raglift.models.probing import ModelSize, measure_speed
from raglift.preflight import check_tokenizer
from raglift.prompts import PromptWriter
from raglift.records import Experiment

# What training and answering take beside their matrix products, as factors: those of a whole run on two CPU cores that
# multiplied 92 to 114 Gflop/s while it was probed, which trained 965 s and answered 535 s. Elsewhere they are a guess.
TRAIN_OVERHEAD = 1.4  # attention, LoRA's dropout, the optimizer
ANSWER_OVERHEAD = 0.9  # sampling; less than 1, since samples are one row until they part and arms share prompts
PROCESS_BYTES = 0.8 * 2**30  # Python and the libraries


@dataclass(frozen=True)
class Lengths:
    """Tokens: the model's window, prompts (with their passage) and answers of training and evaluation.

    `training_tokens` are those of one epoch, by tuning.
    """

    window: int
    longest_prompt: int
    median_prompt: int
    longest_answer: int
    median_answer: int
    answers_over_limit: int
    training_tokens: dict[str, int]
    training_answer_tokens: int


@dataclass(frozen=True)
class Cost:
    """About what a run takes on this machine, from a short probe; memory in GiB."""

    train_seconds: float
    answer_seconds: float
    memory_gib: float
    free_memory_gib: float
    gigaflops: float
    parameters: int
    device: str


def measure_lengths(experiment: Experiment, config: Config, window: int) -> Lengths:
    """Count the tokens of all prompts and answers; InputError where the tokenizer or the window does not fit."""
    prompts = load_prompts(config)
    check_tokenizer(prompts, window, config, experiment)
    passages = experiment.passage_by_id
    asked = [
        _count_prompt(prompts, one.question, passages[one.passage_id].text if one.passage_id else "")
        for one in experiment.questions
    ]
    trained = [_count_prompt(prompts, one.question, passages[one.passage_id].text) for one in experiment.examples]
    bare = [_count_prompt(prompts, example.question, None) for example in experiment.examples]
    learned = [_count_answer(prompts, example.answer) for example in experiment.examples]
    answers = [*learned, *(_count_answer(prompts, question.reference) for question in experiment.questions)]
    return Lengths(
        window=window,
        longest_prompt=max([*asked, *trained]),
        median_prompt=round(statistics.median([*asked, *trained])),
        longest_answer=max(answers),
        median_answer=round(statistics.median(answers)),
        answers_over_limit=sum(length > config.answer.max_new_tokens for length in answers),
        training_tokens={"sft": sum(bare) + sum(learned), "rag-sft": sum(trained) + sum(learned)},
        training_answer_tokens=sum(learned),
    )


def estimate_cost(config: Config, lengths: Lengths, size: ModelSize, questions: int) -> Cost:
    """About how long training and answering take and the memory they need, from matrix products measured here.

    A token costs 2 operations for each weight forward and 2 backward (LoRA leaves the weights' own gradients
    out), and 6 for each of the adapter's; the LM head sees answers alone.

    Args:
        config: the run's settings.
        lengths: of its texts.
        size: of its model.
        questions: asked for each seed, over all arms.
    """
    device = choose_device(config.device)
    rows = min(config.answer.questions_per_batch * config.answer.samples, 512)
    training, answering = (measure_speed(config, size.hidden, number) for number in (256, rows))
    tunings = {arm.tuning for arm in config.list_arms()} - {"base"}
    row_operations = sum(lengths.training_tokens[name] for name in tunings) * (4 * size.body + 6 * size.adapter)
    epoch_operations = row_operations + len(tunings) * lengths.training_answer_tokens * 4 * size.head
    asked = questions * config.seeds
    tokens = asked * config.answer.samples * min(lengths.median_answer + 1, config.answer.max_new_tokens)
    answer_operations = tokens * 2 * (size.body + size.head) + asked * lengths.median_prompt * 2 * size.body
    free = torch.cuda.mem_get_info()[0] if device.type == "cuda" else psutil.virtual_memory().available
    return Cost(
        train_seconds=config.seeds * config.train.epochs * epoch_operations / training * TRAIN_OVERHEAD,
        answer_seconds=answer_operations / answering * ANSWER_OVERHEAD,
        memory_gib=round(estimate_memory(config, lengths, size, rows, free) / 2**30, 1),
        free_memory_gib=round(free / 2**30, 1),
        gigaflops=round(training / 1e9, 1),
        parameters=size.total,
        device=str(device),
    )


def estimate_memory(config: Config, lengths: Lengths, size: ModelSize, rows: int, free: int) -> float:
    """Bytes at the peak: training (weights, adapter with its optimizer, activations) or answering (base and tuned
    weights, the cache and the logits of a batch), whichever is more; on a processor with the packed copies of weights
    that `free` bytes leave room for.
    """
    length = lengths.longest_prompt + config.answer.max_new_tokens
    weights = size.total * size.bytes_each
    vocabulary = size.head // size.hidden
    batch = config.train.batch_size
    activations = batch * length * size.layers * size.hidden * 34 * size.bytes_each
    both_ways = 2 * size.body * size.bytes_each
    packed = 0.0
    if choose_device(config.device).type == "cpu":
        packed = size.head * size.bytes_each + (both_ways if both_ways < MEMORY_SHARE * free else 0)
    training = weights + packed + size.adapter * 16 + activations + batch * lengths.longest_answer * vocabulary * 12
    answering = (
        2 * weights + packed + rows * (length * size.cache_width * size.bytes_each + vocabulary * (4 + size.bytes_each))
    )
    return PROCESS_BYTES + max(training, answering)


def _count_prompt(prompts: PromptWriter, question: str, passage: str | None) -> int:
    """Tokens of a prompt with the passage; '' nothing found, None no context."""
    texts = None if passage is None else [passage] if passage else []
    return len(prompts.tokenizer(prompts.write_prompt(question, texts)).input_ids)


def _count_answer(prompts: PromptWriter, answer: str) -> int:
    return len(prompts.tokenizer(prompts.write_answer(answer), add_special_tokens=False).input_ids)
