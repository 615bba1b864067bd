"""Values and errors on the wire: JSON by msgspec, one shape for every error.

An error is ``{"detail": text, "error": code, "where": place?, "hint": advice?}``. `detail` is where
DiracX clients look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from dirac.core.errors import (
    BY_CODE,
    ConflictError,
    DiracError,
    InternalError,
    InvalidInputError,
    InvalidShapeError,
    NotAllowedError,
    NotFoundError,
    TooLargeError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)

T = TypeVar("T")

encoder = msgspec.json.Encoder()

STATUS: dict[type[DiracError], int] = {
    InvalidInputError: 400,
    InvalidShapeError: 422,
    UnsupportedMediaTypeError: 415,
    TooLargeError: 413,
    UnauthenticatedError: 401,
    NotAllowedError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    TooManyRequestsError: 429,
    UnavailableError: 503,
    InternalError: 500,
}
_BY_STATUS = {status: cls for cls, status in STATUS.items()}


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """The shape of every error."""

    detail: str
    error: str = ""
    where: str | None = None
    hint: str | None = None


def status_of(error: DiracError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_body(error: DiracError) -> ErrorBody:
    """Return what is sent for an error."""
    return ErrorBody(detail=str(error), error=error.code, where=error.where, hint=error.hint)


def error_from_wire(status: int, content: bytes, headers: Mapping[str, str]) -> DiracError:
    """Make of an error response the error that the server raised."""
    fallback = UnavailableError if status >= 500 else InvalidInputError
    cls = _BY_STATUS.get(status, fallback)
    try:
        body = msgspec.json.decode(content)
        detail = body.get("detail") or body.get("error_description") or body.get("error")
        cls = BY_CODE.get(body.get("error", ""), cls)
    except (msgspec.DecodeError, AttributeError):
        body, detail = {}, None
    text = detail if isinstance(detail, str) else f"the server answered {status}"
    try:
        retry_after = float(headers.get("retry-after", ""))
    except ValueError:
        retry_after = None
    error = cls(text, retry_after=retry_after)
    # The text has them already; the fields are for programs.
    error.where, error.hint = None, None
    if cls is NotAllowedError and (request := headers.get("x-request-id")):
        error.hint = f"More about this refusal: dirac auth why-denied {request}"
    return error


def decode(content: bytes, kind: type[T]) -> T:
    """Read JSON into a value of a type.

    Raises:
        InvalidInputError: It is no JSON.
        InvalidShapeError: It is JSON of another shape; `where` is the path to the fault.
    """
    if b"\x00" in content or b"\\u0000" in content:
        raise InvalidInputError("the body holds a NUL character", hint="Remove it; no text here may have one")
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        raise InvalidShapeError(text, where=path.rstrip("`") or "body") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the body is no valid JSON: {error}") from None
    except RecursionError:
        raise InvalidInputError("the body is nested too deeply") from None


def encode(value: Any) -> bytes:
    """Print a value as JSON."""
    return encoder.encode(value)
