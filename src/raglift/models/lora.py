"""LoRA layers as one step of the graph: the library's forward, written without its intermediate copies.

y = x W^T + (alpha / r) drop(x) A^T B^T with W frozen (Hu et al. 2021, https://arxiv.org/abs/2106.09685). Against
the library's module: W is packed in both directions, A and B are multiplied in the base's precision with their
fp32 originals kept for the optimizer, and dropout costs a random number for each value dropped, not for each value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from raglift.models.packing import PackedLinear, PlainLinear, freeze_linear

MEMORY_SHARE = 0.3  # of the free memory that packed copies may take


@dataclass(frozen=True)
class FrozenBase:
    """A frozen layer in both directions: `forward` (…, in) -> (…, out), `backward` the other way."""

    forward: PackedLinear | PlainLinear
    backward: PackedLinear | PlainLinear


class LoraProduct(torch.autograd.Function):
    """(rows, in) -> (rows, out), differentiable in x, A (r, in) and B (out, r)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, base: FrozenBase, scale: float, dropout: float
    ) -> torch.Tensor:
        dropped = draw_dropped(x, dropout) if dropout > 0 else None
        a, b, scale = a.to(x.dtype), b.to(x.dtype), scale / (1 - dropout)
        kept = x if dropped is None else clear(x.clone(memory_format=torch.contiguous_format), dropped)
        low = kept @ a.T
        ctx.save_for_backward(kept, low, a, b, dropped)
        ctx.base, ctx.scale = base, scale
        result: torch.Tensor = base.forward(x).addmm_(low, b.T, alpha=scale)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        kept, low, a, b, dropped = ctx.saved_tensors
        (gradient,) = gradients
        gradient = gradient.contiguous()
        low_gradient = (gradient @ b).mul_(ctx.scale)
        b_gradient = (gradient.T @ low).mul_(ctx.scale)
        a_gradient = low_gradient.T @ kept
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = ctx.base.backward(gradient)
            if dropped is None:
                x_gradient.addmm_(low_gradient, a)
            else:
                x_gradient.add_(clear(low_gradient @ a, dropped))
        return x_gradient, a_gradient.float(), b_gradient.float(), None, None, None


def draw_dropped(x: torch.Tensor, dropout: float) -> torch.Tensor:
    """Places in the flattened x that dropout sets to 0, some of them named twice.

    Instead of a draw a value, Poisson(-n log(1 - p)) darts are thrown at the n values: each is then hit by Poisson(
    -log(1 - p)) darts of its own, independent of the others (Kingman 1993, Poisson Processes, 2.4), so it is dropped
    with probability p. All draws come from torch's generators, which a checkpoint holds.
    """
    darts = torch.poisson(torch.tensor(-x.numel() * math.log1p(-dropout)))
    return torch.randint(x.numel(), (int(darts),), device=x.device)


def clear(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Set places of a contiguous x to 0."""
    return x.put_(places, x.new_zeros(()).expand(len(places)))


@contextmanager
def fuse_lora(model: Any) -> Iterator[None]:
    """Run the plain LoRA layers of a PEFT model as `LoraProduct` while it trains; others stay the library's."""
    layers = [layer for layer in model.modules() if is_plain(layer)]
    freeze = freeze_linear if fits_twice([layer.base_layer.weight for layer in layers]) else PlainLinear
    for layer in layers:
        weight, bias = layer.base_layer.weight, layer.base_layer.bias
        base = FrozenBase(freeze(weight, bias), freeze(weight.T))
        layer.forward = partial(_multiply, layer, base, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def fits_twice(weights: Sequence[torch.Tensor]) -> bool:
    """Whether packed copies for both directions leave most of the free memory to the training itself."""
    wanted = 2 * sum(weight.numel() * weight.element_size() for weight in weights)
    return wanted < MEMORY_SHARE * psutil.virtual_memory().available


def is_plain(layer: Any) -> bool:
    """Whether a module is one plain LoRA adapter on one frozen linear layer (no DoRA, bias or other variant)."""
    return (
        type(layer) is LoraLinear
        and type(layer.base_layer) is nn.Linear
        and len(layer.active_adapters) == 1
        and not layer.lora_variant
        and not layer.base_layer.weight.requires_grad
        and not any(layer.lora_bias.values())
    )


def _multiply(layer: LoraLinear, base: FrozenBase, plain: Any, x: torch.Tensor, *args: Any, **more: Any) -> Any:
    if layer.disable_adapters or layer.merged or not layer.training or args or more:
        return plain(x, *args, **more)
    (name,) = layer.active_adapters
    dropout = getattr(layer.lora_dropout[name], "p", 0.0)
    rows = x.reshape(-1, x.shape[-1])
    product: torch.Tensor = LoraProduct.apply(  # type: ignore[no-untyped-call]
        rows, layer.lora_A[name].weight, layer.lora_B[name].weight, base, layer.scaling[name], dropout
    )
    return product.view(*x.shape[:-1], -1)
