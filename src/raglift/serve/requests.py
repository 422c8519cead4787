"""Requests as they come in: bodies read within limits, checked field by field."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from raglift.serve.failures import ApiError

# What OpenAI clients may send and this server does not do: the values that ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_p": (None, 1), "presence_penalty": (None, 0), "frequency_penalty": (None, 0), "logprobs": (None, False),
    "top_logprobs": (None, 0), "logit_bias": (None, {}), "tools": (None, []), "functions": (None, []),
    "tool_choice": (None, "none", "auto"), "function_call": (None, "none", "auto"), "audio": (None,),
    "response_format": (None, {"type": "text"}), "modalities": (None, ["text"]), "prediction": (None,),
    "web_search_options": (None,),
}  # fmt: skip
# What says nothing about the answer.
IGNORED = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls")


@dataclass(frozen=True)
class Limits:
    """How much one request may ask for."""

    body_bytes: int = 1 << 20
    body_seconds: float = 20.0
    question_characters: int = 8000
    prompt_tokens: int = 4096
    new_tokens: int = 512
    texts: int = 128


class Body(BaseModel):
    """A request's fields: no unknown ones, no values of another type, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class TextPart(Body):
    """A piece of a message that is made of pieces."""

    type: Literal["text"]
    text: str


class Message(Body):
    """One turn of a chat."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    def join_text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or ())


class StreamOptions(Body):
    """Whether the stream ends with the numbers of tokens."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool | None = None


class ChatRequest(Body):
    """`POST /v1/chat/completions`; `k` (passages a question) is our own."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=256)
    n: int | None = Field(None, ge=1, le=16)
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    k: int | None = Field(None, ge=1, le=20)

    def find_question(self) -> str:
        """The last message, which has to be the user's."""
        if self.messages[-1].role != "user":
            raise ApiError(400, "the last message is not the user's", "invalid_value", "messages")
        return self.messages[-1].join_text()

    def list_stops(self) -> tuple[str, ...]:
        """The stop sequences, at most 4."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > 4 or any(not stop or len(stop) > 100 for stop in stops):
            raise ApiError(400, "stop: expected at most 4 texts of 1 to 100 characters", "invalid_value", "stop")
        return tuple(stops)

    def list_notes(self) -> tuple[str, ...]:
        """What the request holds and the prompt does not."""
        note = "the prompt is the experiment's: system messages and earlier turns are no part of it"
        return (note,) if len(self.messages) > 1 else ()


class EmbeddingRequest(Body):
    """`POST /v1/embeddings`; `input_type` is our own, for embedders that tell questions from passages."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: Literal["query", "passage"] = "query"

    def list_texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class FeedbackRequest(Body):
    """`POST /feedback`; `unscored` takes a verdict back."""

    key: str = Field(max_length=64)
    verdict: Literal["correct", "incorrect", "unscored"]


Model = TypeVar("Model", bound=Body)


async def read_body(request: Request, model: type[Model], limits: Limits) -> Model:
    """The request's JSON object as `model`; ApiError for everything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "expected Content-Type: application/json", "unsupported_media_type")
    try:
        async with asyncio.timeout(limits.body_seconds):
            data = await _read_bytes(request, limits.body_bytes)
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {limits.body_seconds:g} s", "timeout") from None
    except ClientDisconnect:
        raise ApiError(400, "the body broke off", "invalid_body") from None
    return parse_body(data, model)


def parse_body(data: bytes, model: type[Model]) -> Model:
    """JSON bytes as `model`."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON ({str(error)[:100]})", "invalid_json") from None
    if not isinstance(values, dict):
        raise ApiError(400, f"the body is a {type(values).__name__}, expected an object", "invalid_json")
    for key, neutral in NEUTRAL.items():
        if model is ChatRequest and key in values and values.pop(key) not in neutral:
            raise ApiError(400, f"{key}: this server does not do that", "unsupported_parameter", key)
    kept = {key: value for key, value in values.items() if key not in IGNORED}
    try:
        return model.model_validate(kept)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))[:100]
        raise ApiError(400, f"{where}: {problem['msg']}", "invalid_value", where) from None


async def _read_bytes(request: Request, most: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise ApiError(413, f"a body of {announced[:20]} bytes, expected at most {most}", "body_too_large")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise ApiError(413, f"a body of more than {most} bytes", "body_too_large")
    return bytes(data)
