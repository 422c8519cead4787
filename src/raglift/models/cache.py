"""The keys and values of a batch that grows by a token a step, whose rows end, or part into several.

The library's own cache copies all it holds twice a step: once to append a token, once to choose rows. This one
reserves the room for the whole answer, writes in place, and copies only the rows that part or fill a place left.
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

    def reserve(self, rows: int) -> None:
        """Room for that many rows and for the columns to come."""
        self.keys, self.values = (self._copy_to_room(states, rows) for states in (self.keys, self.values))

    def copy_rows(self, sources: torch.Tensor, places: torch.Tensor, rows: int) -> None:
        """Copy the rows `sources` to `places`; the first `rows` rows are then in use.

        Both are row numbers of one shape.
        """
        for states in (self.keys, self.values):
            states[places, :, : self.length] = states[sources, :, : self.length]
        self.rows = rows

    def _copy_to_room(self, states: torch.Tensor, rows: int) -> torch.Tensor:
        room = states.new_empty(rows, states.shape[1], self.length + self.room, states.shape[3])
        room[: self.rows, :, : self.length] = states
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

    def reserve(self, rows: int) -> None:
        """Once the prompts are read: room for the rows that they may part into."""
        if self.roomy:
            for layer in self.states.layers:
                layer.reserve(rows)

    def branch(self, parents: torch.Tensor) -> torch.Tensor:
        """Each row that goes on becomes its children; rows without a child are dropped.

        Args:
            parents: the row that each child continues, (children,), ascending.

        Returns:
            The row that each child is now, (children,).
        """
        if not self.roomy:
            self.states.batch_select_indices(parents)
            return torch.arange(len(parents), device=parents.device)
        places, moved = place_children(parents)
        for layer in self.states.layers:
            layer.copy_rows(parents[moved], places[moved], len(parents))
        return places


def place_children(parents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where children of ascending `parents` go so that few rows are copied and none that is still to be read is lost.

    A first child stays in its parent's place where that is among the places left; the others take the places of
    rows without a child. Returns the places and which children are moved, both (children,).
    """
    first = torch.ones_like(parents, dtype=torch.bool)
    first[1:] = parents[1:] != parents[:-1]
    moved = ~(first & (parents < len(parents)))
    free = torch.ones_like(moved)
    free[parents[~moved]] = False
    places = parents.clone()
    places[moved] = free.nonzero().squeeze(1)
    return places, moved
