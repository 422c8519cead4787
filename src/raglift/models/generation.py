"""Sampled continuations of many prompts at once, each prompt computed once for all its samples.

What makes it fast: the samples of a prompt are one row until they part (a confident model's often part late), rows
that have ended leave the batch, sampling looks at the top-k values only, the LM head sees contiguous rows. What keeps
it sound: the noise of a sample comes from its own name (seed, question, sample number), never from its place in a
batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from raglift.config import AnswerConfig
from raglift.errors import RunError
from raglift.models.cache import RowCache
from raglift.models.completions import Completion, TokenWatch
from raglift.models.loading import LoadedModel, is_out_of_memory, release_memory
from raglift.models.packing import pack_copy
from raglift.models.streaming import TextStream
from raglift.progress import say


class LocalModel:
    """A loaded model (its adapter merged into it) as a TextModel."""

    def __init__(self, loaded: LoadedModel, identity: str) -> None:
        self.loaded = replace(loaded, model=pack_copy(loaded.model))
        self.identity = identity

    def open_stream(self) -> TextStream:
        """Joins the tokens of one row to text."""
        return TextStream(self.loaded.tokenizer)

    def complete_prompts(
        self,
        prompts: Sequence[str],
        noise: Sequence[Sequence[str]],
        decoding: AnswerConfig,
        watch: TokenWatch | None = None,
    ) -> list[list[Completion]]:
        """Complete in one batch; on out-of-memory in two halves, whose noise stays what it was.

        RunError where a single question does not fit into memory.
        """
        try:
            return _complete_batch(self.loaded, prompts, noise, decoding, watch)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(prompts) == 1:
                raise RunError(
                    "out of memory while answering a single question\n"
                    "  to do: lower answer.samples or answer.max_new_tokens, or use a machine with more memory"
                ) from error
        release_memory()
        half = len(prompts) // 2
        say(f"out of memory: {len(prompts)} questions at once are too many, going on with {half}")
        rows = sum(map(len, noise[:half]))
        later: TokenWatch | None = watch and (lambda row, step, token: watch(row + rows, step, token))
        return self.complete_prompts(prompts[:half], noise[:half], decoding, watch) + self.complete_prompts(
            prompts[half:], noise[half:], decoding, later
        )


def draw_noise(name: str, steps: int) -> np.ndarray:
    """`steps` uniform draws in [0, 1) that depend on the name alone."""
    key = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).random(steps)


def choose_tokens(
    logits: torch.Tensor, rows: torch.Tensor, uniform: torch.Tensor, decoding: AnswerConfig
) -> torch.Tensor:
    """One token a sample from its row's `top_k` largest logits at the temperature, by inverse transform sampling.

    Args:
        logits: (rows, vocabulary).
        rows: (samples,) the row of each sample.
        uniform: (samples,) draws in [0, 1).
    """
    if decoding.temperature == 0:
        return logits.argmax(dim=-1)[rows]
    values, tokens = (found[rows] for found in logits.topk(min(decoding.top_k, logits.shape[-1]), dim=-1))
    cumulated = torch.softmax(values.double() / decoding.temperature, dim=-1).cumsum(dim=-1)
    place = (cumulated < uniform[:, None] * cumulated[:, -1:]).sum(dim=-1, keepdim=True)
    return tokens.gather(1, place.clamp(max=tokens.shape[1] - 1)).squeeze(1)


@torch.inference_mode()
def _complete_batch(
    loaded: LoadedModel,
    prompts: Sequence[str],
    noise: Sequence[Sequence[str]],
    decoding: AnswerConfig,
    watch: TokenWatch | None = None,
) -> list[list[Completion]]:
    model, device = loaded.model, loaded.device
    counts = torch.tensor([len(names) for names in noise], device=device)
    names = [name for group in noise for name in group]
    uniform = torch.tensor(np.stack([draw_noise(name, decoding.max_new_tokens) for name in names]), device=device)
    ids, mask = pad_prompts(loaded, prompts)
    cache = RowCache(model, decoding.max_new_tokens)
    logits = _step(model, ids, mask, cache, (mask.cumsum(dim=1) - 1).clamp(min=0))
    cache.reserve(len(names))
    position = mask.sum(dim=1)
    writer = _Writer(loaded, len(names), decoding, watch)
    alive = torch.arange(len(names), device=device)
    rows = torch.repeat_interleave(torch.arange(len(prompts), device=device), counts)  # of the samples alive
    for step in range(decoding.max_new_tokens):
        tokens = choose_tokens(logits, rows, uniform[alive, step], decoding)
        going = torch.tensor(writer.take(alive.tolist(), step, tokens.tolist()), device=device)
        if step + 1 == decoding.max_new_tokens or not bool(going.any()):
            break
        alive, rows, tokens = alive[going], rows[going], tokens[going]
        # Samples of a prompt that have drawn the same tokens so far are one row.
        (parents, tokens), child = torch.unique(torch.stack([rows, tokens]), dim=1, return_inverse=True)
        places = cache.branch(parents)
        rows, order = places[child], places.argsort()
        parents, tokens = parents[order], tokens[order]
        mask = torch.cat([mask[parents], mask.new_ones(len(parents), 1)], dim=1)
        position = position[parents]
        logits = _step(model, tokens[:, None], mask, cache, position[:, None])
        position = position + 1
    flat = iter(writer.finish())
    return [[next(flat) for _ in group] for group in noise]


class _Writer:
    """The tokens written so far, row by row, and which rows have ended."""

    def __init__(self, loaded: LoadedModel, rows: int, decoding: AnswerConfig, watch: TokenWatch | None) -> None:
        self.tokenizer = loaded.tokenizer
        self.ends = set(list_end_tokens(loaded))
        self.breaks = list_break_tokens(loaded.tokenizer) if decoding.stop == "line" else frozenset()
        self.watch = watch
        self.written: list[list[int]] = [[] for _ in range(rows)]
        self.ended = [False] * rows

    def take(self, rows: Sequence[int], step: int, tokens: Sequence[int]) -> list[bool]:
        """Write one token a row; whether each row goes on."""
        return [self._take_one(row, step, token) for row, token in zip(rows, tokens, strict=True)]

    def _take_one(self, row: int, step: int, token: int) -> bool:
        if token in self.ends:
            self.ended[row] = True
            return False
        self.written[row].append(token)
        # A line break in front of the answer does not end it.
        if token in self.breaks and self._decode(self.written[row]):
            self.ended[row] = True
            return False
        return self.watch is None or self.watch(row, step, token)

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return text.partition("\n")[0].strip() if self.breaks else text

    def finish(self) -> list[Completion]:
        """The completions of all rows."""
        return [
            Completion(self._decode(tokens), len(tokens), not ended)
            for tokens, ended in zip(self.written, self.ended, strict=True)
        ]


@lru_cache(maxsize=4)
def list_break_tokens(tokenizer: Any) -> frozenset[int]:
    """The tokens with a line break in them, as the three kinds of tokenizer spell it."""
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    return frozenset(
        number for number, piece in enumerate(pieces) if piece and ("\n" in piece or "Ċ" in piece or piece == "<0x0A>")
    )


def pad_prompts(loaded: LoadedModel, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both (prompts, longest), padded on the left so that all ends align."""
    rows = [loaded.tokenizer(prompt).input_ids for prompt in prompts]
    longest = max(map(len, rows))
    pad = loaded.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=loaded.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=loaded.device)
    return ids, mask


def list_end_tokens(loaded: LoadedModel) -> list[int]:
    """The trained answers' end token, the tokenizer's, and those that the model's own generation settings name."""
    named: Any = getattr(loaded.model.generation_config, "eos_token_id", None)
    more = named if isinstance(named, list) else [named]
    own = {loaded.prompts.end_token, loaded.tokenizer.eos_token_id}
    return sorted(own | {token for token in more if token is not None})


def _step(model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: RowCache, positions: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache.states,
        use_cache=True,
        # One position a row, as an index: a slice of many rows is not contiguous, and in bf16 on CPU torch
        # then expands the whole LM head for each row.
        logits_to_keep=torch.tensor([ids.shape[1] - 1], device=ids.device),
    ).logits
    return logits[:, -1]
