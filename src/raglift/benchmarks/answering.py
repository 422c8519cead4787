"""`bench answer`: tokens a second, here, one by one with `generate`, and with `generate` on the same batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from raglift.benchmarks.matrix_peak import measure_matrix_peak
from raglift.config import AnswerConfig
from raglift.models.completions import TokenWatch
from raglift.models.generation import LocalModel, list_end_tokens, pad_prompts
from raglift.models.loading import LoadedModel
from raglift.progress import Bar


@dataclass(frozen=True)
class AnsweringFigures:
    """Medians of the rounds; tokens a second, and the share of the measured matrix peak."""

    model: str
    precision: str
    answers: int
    tokens_per_answer: float
    tokens_per_second: float
    one_by_one_tokens_per_second: float
    generate_batch_tokens_per_second: float
    ratio_to_one_by_one: float
    ratio_to_generate_batch: float
    gigaflop_per_token: float
    peak_gigaflops: float
    share_of_peak: float


def bench_answering(
    loaded: LoadedModel, prompts: Sequence[str], decoding: AnswerConfig, rounds: int, alone: int, bar: Bar
) -> dict[str, Any]:
    """By turns: `answer.samples` answers to every prompt here, `alone` answers one by one, the batch with `generate`.

    Token counts are of what each way wrote until its answers' end tokens.
    """
    ours = LocalModel(loaded, loaded.identity)
    one_each = decoding.model_copy(update={"samples": 1})
    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: complete_here(ours, prompts, decoding),
        "alone": lambda: sum(generate(loaded, [prompt], one_each) for prompt in prompts[:alone]),
        "batch": lambda: generate(loaded, prompts, decoding),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    written = 0
    computed = count_distinct_tokens(ours, prompts, decoding)  # unmeasured: what it allocates the others use again
    for _ in range(rounds):
        for way, answer in ways.items():
            started = time.perf_counter()
            tokens = answer()
            rates[way].append(tokens / (time.perf_counter() - started))
            written = tokens if way == "ours" else written
            bar.advance()
    rate = {way: statistics.median(found) for way, found in rates.items()}
    answers = len(prompts) * decoding.samples
    operations = count_operations(loaded, prompts, computed) / written
    peak = measure_matrix_peak(loaded.model.dtype, loaded.device)
    return asdict(
        AnsweringFigures(
            model=loaded.name,
            precision=str(loaded.model.dtype).removeprefix("torch."),
            answers=answers,
            tokens_per_answer=round(written / answers, 1),
            tokens_per_second=round(rate["ours"], 1),
            one_by_one_tokens_per_second=round(rate["alone"], 1),
            generate_batch_tokens_per_second=round(rate["batch"], 1),
            ratio_to_one_by_one=round(rate["ours"] / rate["alone"], 1),
            ratio_to_generate_batch=round(rate["ours"] / rate["batch"], 1),
            gigaflop_per_token=round(operations / 1e9, 2),
            peak_gigaflops=round(peak / 1e9, 1),
            share_of_peak=round(rate["ours"] * operations / peak, 3),
        )
    )


def complete_here(
    model: LocalModel, prompts: Sequence[str], decoding: AnswerConfig, watch: TokenWatch | None = None
) -> int:
    """Tokens that this package writes for the prompts."""
    noise = [[f"bench {number} {sample}" for sample in range(decoding.samples)] for number in range(len(prompts))]
    groups = model.complete_prompts(prompts, noise, decoding, watch)
    return sum(completion.tokens for group in groups for completion in group)


def count_distinct_tokens(model: LocalModel, prompts: Sequence[str], decoding: AnswerConfig) -> int:
    """Tokens written, those once that several samples of a prompt begin with."""
    starts: dict[int, tuple[int, ...]] = {}
    distinct = set()

    def watch(row: int, step: int, token: int) -> bool:
        starts[row] = (*starts.get(row, (row // decoding.samples,)), token)
        distinct.add(starts[row])
        return True

    complete_here(model, prompts, decoding, watch)
    return len(distinct)


@torch.inference_mode()
def generate(loaded: LoadedModel, prompts: Sequence[str], decoding: AnswerConfig) -> int:
    """Tokens that the library's `generate` writes, as the founding project calls it."""
    ids, mask = pad_prompts(loaded, prompts)
    ends = list_end_tokens(loaded)
    written = loaded.model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        max_new_tokens=decoding.max_new_tokens,
        num_return_sequences=decoding.samples,
        eos_token_id=ends,
        pad_token_id=loaded.tokenizer.pad_token_id,
    )[:, ids.shape[1] :]
    ended = torch.isin(written, torch.tensor(ends, device=written.device)).cumsum(dim=1) > 0
    return int((~ended).sum())


def count_operations(loaded: LoadedModel, prompts: Sequence[str], computed: int) -> float:
    """Operations that sampling cannot do without: 2 a weight and token (Kaplan et al. 2020).

    A prompt's tokens pass the layers once for all its samples; each of the `computed` tokens passes the layers and
    the head.
    """
    head: int = loaded.model.get_output_embeddings().weight.numel()
    layers: int = sum(part.numel() for part in loaded.model.parameters()) - head
    read = sum(len(loaded.tokenizer(prompt).input_ids) for prompt in prompts)
    return float(2 * (layers * (read + computed) + head * (len(prompts) + computed)))
