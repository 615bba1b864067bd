"""Reading all users of a provider (SCIM, RFC 7644), as Indigo IAM and others list them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from dirac.core.errors import UnavailableError
from dirac.resources.identity.answers import read
from dirac.transport.http_client import Answer

_COUNT = 100
_MOST_PAGES = 5000


class User(msgspec.Struct, frozen=True):
    """One user (RFC 7643, 4.1); the identifier is the subject of ID tokens."""

    id: str
    active: bool = True


class Page(msgspec.Struct, frozen=True):
    """Part of the list (RFC 7644, 3.4.2)."""

    total: int = msgspec.field(name="totalResults")
    users: list[User] = msgspec.field(default_factory=list, name="Resources")


async def people(ask: Callable[[str], Awaitable[Answer]], url: str) -> dict[str, bool]:
    """Return all users by subject, and whether they are active.

    Args:
        ask: Gets a page by its query.
        url: Address of the list, for messages.

    Raises:
        UnavailableError: It is not answered, or not completely: half a list would suspend the other half.
    """
    found: dict[str, bool] = {}
    for _ in range(_MOST_PAGES):
        answer = await ask(f"startIndex={len(found) + 1}&count={_COUNT}")
        if answer.status >= 400:
            raise UnavailableError(f"{url} answered {answer.status}", hint="May the client read users there?")
        page = read(answer, Page, url)
        found |= {user.id: user.active for user in page.users}
        if len(found) >= page.total:
            return found
        if not page.users:
            break
    raise UnavailableError(f"{url} has not listed all of its users: {len(found)} of {page.total}")
