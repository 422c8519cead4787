"""What a request can fail with, in the shape that OpenAI clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from raglift.errors import InputError

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 500: "server_error"}


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: the HTTP status.
        message: what was found, what was expected.
        code: OpenAI's short word for it.
        param: the part of the request that is wrong.
        headers: more headers of the reply, for example Retry-After.
    """

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    def as_dict(self) -> dict[str, Any]:
        """The body of the reply."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        message = self.message.encode("utf-8", "backslashreplace").decode()
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    def as_response(self) -> JSONResponse:
        return JSONResponse(self.as_dict(), self.status, self.headers)


def explain_input_error(error: InputError) -> ApiError:
    """A user's error of the package as status 400."""
    return ApiError(400, " ".join(str(error).split()), "invalid_value", error.where.partition(" ")[0])


def respond_to_api_error(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for ApiError."""
    if not isinstance(error, ApiError):
        raise error
    return error.as_response()


def respond_to_http_error(request: Request, error: Exception) -> JSONResponse:
    """Starlette's own errors (no such path, wrong method) in the same shape."""
    status = int(getattr(error, "status_code", 500))
    return ApiError(status, f"{request.method} {request.url.path}: {getattr(error, 'detail', 'failed')}").as_response()


def respond_to_crash(request: Request, error: Exception) -> JSONResponse:
    """What nobody foresaw; its text stays in the server's log."""
    return ApiError(500, "the server failed at this request; its log says why", "internal_error").as_response()
