"""From a code on the wire to the error that the runtime raises: one table, made of the error tree itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import ValidationError, convert

from kiff import errors
from kiff.domain.issue import Issue
from kiff.errors import (
    Conflict,
    Forbidden,
    InvalidDomain,
    InvalidInput,
    InvalidPolicy,
    KiffError,
    NotFound,
    Overloaded,
    RateLimited,
    Unauthorized,
)

OWN = frozenset({"error", "code", "message", "trace_id", "docs"})
"""Members of every error; what is beside them is its detail."""


ERRORS: dict[str, type[KiffError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KiffError)
}
"""Code -> class, as the tree has them."""

BY_STATUS: dict[int, type[KiffError]] = {
    400: InvalidInput,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: InvalidInput,
    409: Conflict,
    411: InvalidInput,
    413: InvalidInput,
    414: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
    429: RateLimited,
    431: InvalidInput,
    503: Overloaded,
}
"""For codes that are no class of their own: reason codes, and what only HTTP knows."""


def failure(status: int, body: Any, retry_after_seconds: int | None) -> KiffError | None:
    """The error that a body is, under its own code; None when the body is not one of KIFF's."""
    if not isinstance(body, Mapping):
        return None
    code, message = body.get("code"), body.get("message")
    if not isinstance(code, str) or not isinstance(message, str):
        return None
    kind = ERRORS.get(code) or BY_STATUS.get(status, KiffError)
    error = _made(kind, code, message, body)
    error.code = code
    error.detail |= {name: value for name, value in body.items() if name not in OWN}
    if isinstance(body.get("trace_id"), str):
        error.detail["trace_id"] = body["trace_id"]
    if retry_after_seconds is not None:
        error.detail["retry_after_seconds"] = retry_after_seconds
    return error


def _made(kind: type[KiffError], code: str, message: str, body: Mapping[str, Any]) -> KiffError:
    if issubclass(kind, Forbidden):
        return kind(message, reason=code)
    if issubclass(kind, InvalidDomain | InvalidPolicy):
        return kind(message, issues=_issues(body.get("issues")))
    if issubclass(kind, InvalidInput):
        field = body.get("field")
        return kind(message, field=field if isinstance(field, str) else "")
    return kind(message)


def _issues(told: Any) -> tuple[Issue, ...]:
    """The problems of a document, if the server told them as such."""
    try:
        return tuple(convert(told, list[Issue]))
    except ValidationError:
        return ()
