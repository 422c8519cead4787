"""Frozen matrices stored the way the processor's matrix product reads them.

A plain `linear` re-orders its weight on every call; for the few rows of a decoding step that costs more than the
product itself (docs/performance.md has the figures). oneDNN re-orders once and keeps the result.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear
from torch.utils.weak import WeakTensorKeyDictionary

# A head that several models share is packed once. Only for weights that nobody changes in place.
_packed_shared: Any = WeakTensorKeyDictionary()


class PackedLinear(nn.Module):
    """A linear layer that is only asked, never trained or changed: (…, in) -> (…, out)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return result


class PlainLinear(nn.Module):
    """The same where nothing can be packed."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.weight, self.bias = weight.detach(), bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


def freeze_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> PackedLinear | PlainLinear:
    """The fastest form of a frozen linear layer on the weight's device and in its precision."""
    bias = None if bias is None else bias.detach()
    return (PackedLinear if can_pack(weight) else PlainLinear)(weight, bias)


def freeze_shared(weight: torch.Tensor) -> PackedLinear | PlainLinear:
    """`freeze_linear` of a weight that several models share, made once while the weight lives."""
    if weight not in _packed_shared:
        _packed_shared[weight] = freeze_linear(weight)
    frozen: PackedLinear | PlainLinear = _packed_shared[weight]
    return frozen


def can_pack(weight: torch.Tensor) -> bool:
    """Whether oneDNN multiplies this weight on this machine."""
    return weight.device.type == "cpu" and weight.dim() == 2 and _can_multiply(weight.dtype)


@cache
def _can_multiply(precision: torch.dtype) -> bool:
    # Asked by doing it: what this build and this processor can is written nowhere else.
    if precision not in (torch.float32, torch.bfloat16) or not torch._C._has_mkldnn:
        return False
    weight, x = torch.eye(16, dtype=precision), torch.ones(3, 16, dtype=precision)
    try:
        return bool((PackedLinear(weight)(x) == x).all())
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


def pack_copy(model: Any) -> Any:
    """A copy of the model that can only answer: frozen linear layers, all else shared with the original.

    Where nothing can be packed (on a GPU, say) it is the model itself.
    """
    head = model.get_output_embeddings()
    if head is None or not can_pack(head.weight):
        return model
    shared = {id(part): part for part in (*model.parameters(), *model.buffers())}
    copied = copy.deepcopy(model, shared)
    tied = head.weight is model.get_input_embeddings().weight
    for parent in list(copied.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                is_shared = tied and layer.weight is head.weight
                frozen = freeze_shared(layer.weight) if is_shared else freeze_linear(layer.weight, layer.bias)
                setattr(parent, name, frozen)
    return copied
