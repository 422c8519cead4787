"""Cross-entropy straight from hidden states, the logits never kept: only the answers' rows, a few at a time.

The gradient is computed along with the loss, as in Liger's fused linear cross-entropy (https://arxiv.org/abs/2410.10989),
and leaves out the vocabulary that no row gives a share worth a rounding error, as in Cut Cross-Entropy
(https://arxiv.org/abs/2411.09009).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from raglift.models.packing import PackedLinear, PlainLinear, freeze_shared

ROOM = 1 << 25  # logits held at once
WORDS = 2048  # whose weights are copied together: few enough to stay in the cache
NEGLIGIBLE = 1e-8  # a share of a row's probability; fp32 rounds a sum at 6e-8


class AnswerHead(nn.Module):
    """Stands in the LM head's place while a model trains: hands on the hidden states and takes the loss of them."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.frozen = weight.detach(), freeze_shared(weight)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden

    def sum_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Sum of the rows' cross-entropies in nats: (rows, width) and (rows,) -> ()."""
        total: torch.Tensor = SummedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, targets, self.weight, self.frozen
        )
        return total


class SummedCrossEntropy(torch.autograd.Function):
    """-sum log softmax(hidden W^T)[target], differentiable in hidden."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        head: PackedLinear | PlainLinear,
    ) -> torch.Tensor:
        rows = max(1, ROOM // weight.shape[0])
        parts = [
            _measure_rows(hidden[i : i + rows], targets[i : i + rows], weight, head)
            for i in range(0, len(hidden), rows)
        ]
        ctx.save_for_backward(torch.cat([gradient for _, gradient in parts]))
        return torch.stack([loss for loss, _ in parts]).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (hidden_gradient,) = ctx.saved_tensors
        return hidden_gradient * gradients[0].to(hidden_gradient.dtype), None, None, None


def _measure_rows(
    hidden: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, head: PackedLinear | PlainLinear
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = head(hidden).float()
    right = logits.gather(1, targets[:, None])
    top = logits.amax(dim=1, keepdim=True)
    shares = logits.sub_(top).exp_()
    total = shares.sum(dim=1, keepdim=True)
    loss = (total.log() + top - right).sum()
    shares /= total
    gradient = weight[targets].neg_()
    felt = (shares.amax(dim=0) > NEGLIGIBLE).nonzero().squeeze(1)
    near = weight.new_empty(min(WORDS, len(felt)), weight.shape[1])
    for words in felt.split(WORDS):
        torch.index_select(weight, 0, words, out=near[: len(words)])
        gradient.addmm_(shares.index_select(1, words).to(weight.dtype), near[: len(words)])
    return loss, gradient


def is_same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two ways compute the same but for rounding: float32 rounds at 6e-8, bfloat16 at 4e-3."""
    tolerance = 1e-4 if expected.dtype == torch.float32 else 1e-2
    return found.shape == expected.shape and bool((found - expected).norm() <= tolerance * expected.norm())


@contextmanager
def replace_head(model: Any, probe: torch.Tensor) -> Iterator[AnswerHead | None]:
    """Put an AnswerHead in the LM head's place; None where the logits are more than hidden states times a matrix.

    Args:
        model: a causal language model.
        probe: token ids (1, length) on which both ways are compared.
    """
    plain = model.get_output_embeddings()
    if type(plain) is not nn.Linear or plain.bias is not None or plain.weight.requires_grad:
        yield None
        return
    head, was_training = AnswerHead(plain.weight), model.training
    model.eval()  # without dropout, or no two passes are the same
    with torch.no_grad():
        expected = model(input_ids=probe, use_cache=False).logits
        model.set_output_embeddings(head)
        found = head.frozen(model(input_ids=probe, use_cache=False).logits)
    model.train(was_training)
    try:
        is_right = is_same(found, expected)
        if not is_right:  # soft-capped logits, say
            model.set_output_embeddings(plain)
        yield head if is_right else None
    finally:
        model.set_output_embeddings(plain)
