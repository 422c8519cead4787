"""RMS norms with frozen scales as one step of the graph: the library's takes a dozen steps over the same values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from raglift.models.answer_loss import is_same


class NormalizedRows(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * scale over the last dimension, differentiable in x (Zhang and Sennrich 2019,
    https://arxiv.org/abs/1910.07467); computed in float32, as the library does."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
        values = x.float()
        size = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
        shrink = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, scale, shrink)
        result: torch.Tensor = (values * shrink).mul_(scale).to(x.dtype)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, scale, shrink = ctx.saved_tensors
        values, gradient = x.float(), gradients[0] * scale
        along = (gradient * values).sum(dim=-1, keepdim=True).mul_(shrink.pow(3)).div_(-x.shape[-1])
        return gradient.mul_(shrink).addcmul_(values, along).to(x.dtype), None, None


@contextmanager
def fuse_norms(model: Any) -> Iterator[None]:
    """Run a model's frozen RMS norms as `NormalizedRows` while it trains; what computes anything else is left alone."""
    fused = []
    for module in model.modules():
        scale, eps = find_scale(module), read_epsilon(module)
        if scale is not None and eps is not None:
            module.forward = partial(_normalize, module.forward, scale, eps)
            fused.append(module)
    try:
        yield
    finally:
        for module in fused:
            del module.forward


def find_scale(module: Any) -> torch.Tensor | None:
    """What a frozen RMS norm multiplies by, in float32: its weight, or with Gemma 1 + its weight; None for others."""
    weight, eps = getattr(module, "weight", None), read_epsilon(module)
    if "RMSNorm" not in type(module).__name__ or eps is None or not isinstance(weight, nn.Parameter):
        return None
    if weight.requires_grad or weight.dim() != 1 or weight.device.type == "meta":
        return None
    # Asked by doing it: names and parameters do not tell what a norm computes. The nearer of the two, for a large
    # weight and 1 + that weight are nearly the same.
    probe = torch.linspace(-3, 2, len(weight), device=weight.device).to(weight.dtype)
    scales = (weight.detach().float(), 1 + weight.detach().float())
    with torch.no_grad():
        expected = module(probe)
        found = [NormalizedRows.apply(probe, scale, eps) for scale in scales]  # type: ignore[no-untyped-call]
    errors = [float((one - expected).float().norm()) for one in found]
    nearer = min((0, 1), key=errors.__getitem__)
    return scales[nearer] if is_same(found[nearer], expected) else None


def read_epsilon(module: Any) -> float | None:
    """The norm's epsilon, under either of the library's names."""
    value = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return value if isinstance(value, float) else None


def _normalize(plain: Any, scale: torch.Tensor, eps: float, x: torch.Tensor, *args: Any, **more: Any) -> Any:
    if args or more or not x.requires_grad:
        return plain(x, *args, **more)
    return NormalizedRows.apply(x, scale, eps)  # type: ignore[no-untyped-call]
