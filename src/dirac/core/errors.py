"""The one tree of errors.

::

    DiracError
    ├── InvalidInputError        what was sent cannot be understood or accepted   (400)
    │   ├── InvalidShapeError    ... because a field is missing or of a wrong type (422)
    │   ├── UnsupportedMediaTypeError ... because of its content type             (415)
    │   └── TooLargeError        ... because of its size                          (413)
    ├── UnauthenticatedError     we do not know who is asking                     (401)
    ├── NotAllowedError          we know, and they may not                        (403)
    ├── NotFoundError            no such thing, or none that the caller may see   (404)
    ├── ConflictError            the thing is in a state that forbids it          (409)
    ├── TooManyRequestsError     come back later: the caller asks too often       (429)
    ├── UnavailableError         come back later: something we need is not there  (503)
    └── InternalError            a defect of ours                                 (500)

A message says what was wrong and with which value; `where` says where it was found, `hint` what to do
instead. The transport layer turns an error into a response and back into the same class at the client.
"""

from __future__ import annotations

from typing import ClassVar


class DiracError(Exception):
    """Root of all errors that a caller is meant to see.

    Attributes:
        message: What was wrong, with the offending value.
        where: Place of the fault in the caller's input, for instance ``jdl[2] line 4 column 7``.
        hint: What to do instead.
        retry_after: Seconds after which another try makes sense, if any.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.retry_after = retry_after

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.hint:
            parts.append(self.hint)
        return ". ".join(part.rstrip(".") for part in parts)


class InvalidInputError(DiracError):
    """What was sent cannot be understood or accepted."""

    code = "invalid_input"


class InvalidShapeError(InvalidInputError):
    """A field is missing, unknown, out of range or of a wrong type."""

    code = "invalid_shape"


class UnsupportedMediaTypeError(InvalidInputError):
    """The content type is not one that is understood here."""

    code = "unsupported_media_type"


class TooLargeError(InvalidInputError):
    """What was sent is larger than is accepted."""

    code = "too_large"


class UnauthenticatedError(DiracError):
    """No credential, or one that is expired, revoked or not ours."""

    code = "unauthenticated"


class NotAllowedError(DiracError):
    """The caller is known and may not do this."""

    code = "not_allowed"


class NotFoundError(DiracError):
    """There is no such thing, or none that the caller may see."""

    code = "not_found"


class ConflictError(DiracError):
    """The present state of the thing forbids the change."""

    code = "conflict"


class TooManyRequestsError(DiracError):
    """The caller asks more often than is allowed."""

    code = "too_many_requests"


class UnavailableError(DiracError):
    """Something that is needed does not answer; trying again later may help."""

    code = "unavailable"


class InternalError(DiracError):
    """A defect of ours."""

    code = "internal"


BY_CODE: dict[str, type[DiracError]] = {
    cls.code: cls
    for cls in (
        InvalidInputError,
        InvalidShapeError,
        UnsupportedMediaTypeError,
        TooLargeError,
        UnauthenticatedError,
        NotAllowedError,
        NotFoundError,
        ConflictError,
        TooManyRequestsError,
        UnavailableError,
        InternalError,
    )
}
