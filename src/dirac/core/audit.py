"""What is being done for a request at this moment, and by whom: for the audit log.

The door of a route says it once; whoever commits a change, or gives an answer, finds it here. So no use case
carries it along, and none can forget to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from dirac.core.errors import DiracError


class Deed:
    """A request of somebody who is known.

    Args:
        identity: Who asks.
        policy: What decides whether they may.
        widened: Properties with which the same door leads further, though it opens without them.
        scope: The request, as ASGI has it.

    Attributes:
        error: What the answer will be, if it is an error.
        appended: A row of the audit log is in a transaction that is not committed yet.
        written: It is in the log.
        over: Nothing is to be written about it any more.
    """

    __slots__ = ("appended", "error", "identity", "over", "policy", "scope", "widened", "written")

    def __init__(
        self, identity: Any, policy: Callable[[Any], None], widened: tuple[str, ...], scope: Mapping[str, Any]
    ) -> None:
        self.identity = identity
        self.policy = policy
        self.widened = widened
        self.scope = scope
        self.error: DiracError | None = None
        self.appended = False
        self.written = False
        self.over = False

    @property
    def verb(self) -> str:
        """What is done: the operation's name in the API's description."""
        return str(getattr(self.scope.get("route"), "unique_id", "") or self.path)

    @property
    def method(self) -> str:
        """The method of the request."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """The path of the request."""
        return str(self.scope["path"])

    @property
    def source(self) -> str:
        """The address that the request came from."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""


class Journal(Protocol):
    """Keeps what became of deeds."""

    async def failed(self, deed: Deed, status: int, request: str) -> None:
        """Note that a request was not carried out, before its answer is given.

        Args:
            deed: What was asked.
            status: The status of the answer.
            request: Its identifier.
        """
        ...


present: ContextVar[Deed | None] = ContextVar("present", default=None)
