"""The keys and values of a batch that grows by a token a step and loses its finished rows.

The library's own cache copies all it holds twice a step: once to append a token, once to drop rows. This one
reserves the room for the whole answer, writes in place, and moves only the rows that fill the places left.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

PLAIN_LAYERS = {"full_attention", "sliding_attention"}  # a sliding window is the mask's business


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer: the first `rows` rows and `length` columns of its room are in use."""

    keys: Any  # tensors, None before the first update
    values: Any
    is_initialized: bool

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.rows, self.length = room, 0, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (rows, heads, columns, dimension) and return all columns so far."""
        if not self.is_initialized:
            # The prompts' own keys are kept as they come; the room is reserved when it is known for how many rows.
            self.keys, self.values, self.is_initialized = key_states, value_states, True
            self.rows, self.length = key_states.shape[0], key_states.shape[2]
            return key_states, value_states
        end = self.length + key_states.shape[2]
        self.keys[: self.rows, :, self.length : end] = key_states
        self.values[: self.rows, :, self.length : end] = value_states
        self.length = end
        return self.keys[: self.rows, :, :end], self.values[: self.rows, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Row i becomes a copy of row `indices[i]`, with room for the columns to come."""
        self.rows = len(indices)
        self.keys, self.values = (self._reserve(states, indices) for states in (self.keys, self.values))

    def move_rows(self, places: torch.Tensor, sources: torch.Tensor, rows: int) -> None:
        """Copy the rows `sources` to `places`, then forget all rows from `rows` on."""
        for states in (self.keys, self.values):
            states[places, :, : self.length] = states[sources, :, : self.length]
        self.rows = rows

    def _reserve(self, states: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        shape = len(indices), states.shape[1], self.length + self.room, states.shape[3]
        room = states.new_empty(shape)
        room[:, :, : self.length] = states[indices, :, : self.length]
        return room


class RowCache:
    """A model's cache whose rows can be chosen; `states` is what the model is given."""

    def __init__(self, model: Any, room: int) -> None:
        config = model.config.get_text_config(decoder=True)
        layer_types = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
        self.roomy = PLAIN_LAYERS.issuperset(layer_types)
        self.states: Cache = (
            Cache(layers=[RoomyLayer(room) for _ in layer_types]) if self.roomy else DynamicCache(config=model.config)
        )

    def spread(self, rows: torch.Tensor) -> None:
        """Row i becomes a copy of row `rows[i]`."""
        self.states.batch_select_indices(rows)

    def keep(self, going: torch.Tensor) -> torch.Tensor:
        """Drop the rows that do not go on; returns which old row stands at each new place, (rows left,)."""
        if not self.roomy:
            kept = going.nonzero().squeeze(1)
            self.states.batch_select_indices(kept)
            return kept
        order, places, sources = close_gaps(going)
        for layer in self.states.layers:
            layer.move_rows(places, sources, len(order))
        return order


def close_gaps(going: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How the rows that go on move together: the new order, the places to fill and the rows that fill them."""
    left = int(going.sum())
    places = (~going[:left]).nonzero().squeeze(1)
    sources = going[left:].nonzero().squeeze(1) + left
    order = torch.arange(left, device=going.device)
    order[places] = sources
    return order, places, sources
