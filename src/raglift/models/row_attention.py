"""Attention of rows that lie end to end, each with itself alone: the others' columns are not computed.

The library masks a square of all rows with all rows; of two rows as long as each other that is four times the
arithmetic. Flash attention's "varlen" does the same as this on a GPU (Dao 2023, https://arxiv.org/abs/2307.08691).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from raglift.models.answer_loss import is_same

NAME = "raglift_rows"
ENDS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")  # where rows end, as the library names it


def attend_rows(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row: (1, heads, tokens, width) -> (1, tokens, heads, width).

    Called by the library, with its words: `cu_seq_lens_q` are the rows' ends, from 0, `scaling` multiplies the
    products, `sliding_window` is how many tokens one sees.
    """
    lengths = settings["cu_seq_lens_q"].diff().tolist()
    window = settings.get("sliding_window")
    options: dict[str, Any] = {"scale": settings.get("scaling"), "dropout_p": settings.get("dropout", 0.0)}
    options["enable_gqa"] = key.shape[1] != query.shape[1]
    rows = []
    for q, k, v in zip(*(torch.split(part, lengths, dim=2) for part in (query, key, value)), strict=True):
        mask = None
        if window is not None and q.shape[2] > window:
            all_pairs = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device)
            mask = all_pairs.tril().triu(1 - window)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, **options)
        rows.append(attended.transpose(1, 2))
    return torch.cat(rows, dim=1), None


AttentionInterface.register(NAME, attend_rows)


@contextmanager
def part_rows(model: Any, joined: Mapping[str, Any]) -> Iterator[bool]:
    """Let a model attend within rows while it trains, where that is what it computes; says whether.

    On the CPU alone: asking where rows end would make a GPU wait in every layer.

    Args:
        model: a causal language model.
        joined: a batch of several rows end to end, with their ends (`ENDS`).
    """
    before = model.config._attn_implementation
    if before != "sdpa" or model.device.type != "cpu" or not model._supports_flash_attn:
        yield False
        return
    was_training = model.training
    model.eval()
    batch = {"input_ids": joined["input_ids"], "position_ids": joined["position_ids"], "use_cache": False}
    with torch.no_grad():
        expected = model(**batch).logits
        model.set_attn_implementation(NAME)
        found = model(**batch, **{name: joined[name] for name in ENDS}).logits
    model.train(was_training)
    is_right = is_same(found, expected)
    if not is_right:
        model.set_attn_implementation(before)
    try:
        yield is_right
    finally:
        model.set_attn_implementation(before)
