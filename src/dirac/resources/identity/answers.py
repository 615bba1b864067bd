"""What a provider answers, read with its mistakes in mind: they are to be told from ours."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from dirac.core.errors import UnavailableError
from dirac.transport.http_client import Answer

T = TypeVar("T")


def read(answer: Answer, kind: type[T], who: str) -> T:
    """Return what an answer says, as a type.

    Args:
        answer: The answer.
        kind: The type.
        who: Who has answered, for people.

    Raises:
        UnavailableError: It is a refusal, or cannot be understood.
    """
    if answer.status >= 300:
        raise UnavailableError(f"{who} answered: {why(answer)}")
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnavailableError(f"{who} answered what cannot be understood: {error}") from None


def why(answer: Answer) -> str:
    """Return what a refusal says of its reason (RFC 6749, 5.2)."""
    try:
        said = msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = None
    if isinstance(said, dict) and isinstance(said.get("error"), str):
        return f"{said['error']} {text(said.get('error_description'))}".rstrip(" .")[:300]
    return f"status {answer.status}"


def text(value: Any) -> str:
    """Return a text, empty for what is none."""
    return value if isinstance(value, str) else ""
