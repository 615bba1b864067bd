"""What OAuth 2.0 has of its own: scopes, and errors with codes (RFC 6749)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from dirac.core.errors import DiracError, NotAllowedError, UnauthenticatedError
from dirac.transport.wire import error_from_wire


class _Answer(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> dict[str, str]: ...

    @property
    def content(self) -> bytes: ...


def scope(vo: str, group: str | None = None, properties: Sequence[str] = ()) -> str:
    """Return the scope of a login: ``vo:astro group:users property:JobAdministrator``."""
    parts = [f"vo:{vo}", *([f"group:{group}"] if group else []), *(f"property:{name}" for name in properties)]
    return " ".join(parts)


class _OAuthError(msgspec.Struct):
    error: str = ""
    error_description: str = ""


def error_code(answer: _Answer) -> str:
    """Return the error code of RFC 6749, section 5.2, empty if there is none."""
    try:
        return msgspec.json.decode(answer.content, type=_OAuthError).error
    except msgspec.DecodeError:
        return ""


def as_error(answer: _Answer) -> DiracError:
    """Return the error for an answer of the token endpoint that is none of ours."""
    error = error_from_wire(answer.status, answer.content, answer.headers)
    match error_code(answer):
        case "invalid_grant" | "expired_token" | "invalid_token":
            return UnauthenticatedError(error.message)
        case "access_denied" | "invalid_scope" | "unauthorized_client":
            return NotAllowedError(error.message)
    return error
