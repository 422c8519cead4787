"""Replies in OpenAI's shapes, with the sources in their `metadata`."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from raglift.ask import Prompted, Reply
from raglift.retrieval.embedders import Vectors


@dataclass(frozen=True)
class ChatHead:
    """What all parts of one reply carry."""

    model: str
    prompted: Prompted
    notes: tuple[str, ...]
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def describe(self) -> dict[str, Any]:
        """Where the answer comes from."""
        return {
            "arm": str(self.prompted.arm),
            "context": self.prompted.context,
            "sources": [asdict(source) for source in self.prompted.sources],
            "notes": [*self.prompted.notes, *self.notes],
        }


def write_completion(head: ChatHead, replies: Sequence[Reply]) -> dict[str, Any]:
    """A whole `chat.completion`; `metadata.keys` name each choice for feedback."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": reply.text, "refusal": None},
            "finish_reason": name_end(reply),
            "logprobs": None,
        }
        for index, reply in enumerate(replies)
    ]
    return {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": choices,
        "usage": count_usage(head, replies),
        "metadata": {**head.describe(), "keys": [reply.key for reply in replies]},
    }


def write_first_chunks(head: ChatHead, samples: int) -> list[dict[str, Any]]:
    """The stream's beginning: the role of each choice; the first carries the sources."""
    chunks = [write_chunk(head, index, {"role": "assistant", "content": ""}) for index in range(samples)]
    chunks[0]["metadata"] = head.describe()
    return chunks


def write_chunk(head: ChatHead, index: int, delta: dict[str, Any], end: str | None = None) -> dict[str, Any]:
    """One `chat.completion.chunk`."""
    choice = {"index": index, "delta": delta, "finish_reason": end, "logprobs": None}
    return {**_write_chunk_head(head), "choices": [choice]}


def write_last_chunk(head: ChatHead, index: int, reply: Reply) -> dict[str, Any]:
    """A choice's end, with the key under which it can be judged."""
    return {**write_chunk(head, index, {}, name_end(reply)), "metadata": {"key": reply.key}}


def write_usage_chunk(head: ChatHead, replies: Sequence[Reply]) -> dict[str, Any]:
    """What `stream_options.include_usage` asks for."""
    return {**_write_chunk_head(head), "choices": [], "usage": count_usage(head, replies)}


def write_event(value: dict[str, Any] | str) -> str:
    """One server-sent event."""
    return f"data: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n\n"


def name_end(reply: Reply) -> str:
    """OpenAI's word for why an answer ended."""
    return "length" if reply.truncated else "stop"


def count_usage(head: ChatHead, replies: Sequence[Reply]) -> dict[str, int]:
    """Tokens of the prompt (once) and of all answers."""
    written = sum(reply.tokens for reply in replies)
    read = head.prompted.prompt_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def write_embeddings(model: str, vectors: Vectors, as_base64: bool, tokens: int) -> dict[str, Any]:
    """An embeddings reply; base64 holds little-endian 32-bit floats."""
    rows: list[Any] = (
        [base64.b64encode(np.asarray(row, "<f4").tobytes()).decode() for row in vectors]
        if as_base64
        else vectors.tolist()
    )
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _write_chunk_head(head: ChatHead) -> dict[str, Any]:
    return {"id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model}
