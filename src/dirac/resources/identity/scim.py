"""Reading users and groups of a provider (SCIM, RFC 7644), as Indigo IAM, Keycloak and others list them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlencode

import msgspec

from dirac.core.errors import UnavailableError
from dirac.resources.identity.answers import read
from dirac.resources.identity.outside import LoginEndedError
from dirac.transport.http_client import Answer

_COUNT = 100
_MOST_PAGES = 5000
_USERS = "/Users"


class Membership(msgspec.Struct, frozen=True):
    """A group of a user (RFC 7643, 4.1.2)."""

    value: str = ""
    display: str = ""


class User(msgspec.Struct, frozen=True):
    """One user (RFC 7643, 4.1); the identifier is the subject of ID tokens."""

    id: str
    active: bool = True
    groups: list[Membership] | None = None


class Group(msgspec.Struct, frozen=True):
    """One group (RFC 7643, 4.2)."""

    id: str
    display: str = msgspec.field(default="", name="displayName")


class Page(msgspec.Struct, frozen=True):
    """Part of the list (RFC 7644, 3.4.2)."""

    total: int = msgspec.field(name="totalResults")
    users: list[User] = msgspec.field(default_factory=list, name="Resources")


class Groups(msgspec.Struct, frozen=True):
    """Groups that were asked for."""

    total: int = msgspec.field(name="totalResults")
    groups: list[Group] = msgspec.field(default_factory=list, name="Resources")


Ask = Callable[[str], Awaitable[Answer]]
"""Gets what is at an address."""


async def people(ask: Ask, url: str) -> dict[str, bool]:
    """Return all users by subject, and whether they are active.

    Args:
        ask: Gets a page.
        url: Address of the list.

    Raises:
        UnavailableError: It is not answered, or not completely: half a list would suspend the other half.
    """
    found: dict[str, bool] = {}
    for _ in range(_MOST_PAGES):
        page = read(_allowed(await ask(f"{url}?startIndex={len(found) + 1}&count={_COUNT}"), url), Page, url)
        found |= {user.id: user.active for user in page.users}
        if len(found) >= page.total:
            return found
        if not page.users:
            break
    raise UnavailableError(f"{url} has not listed all of its users: {len(found)} of {page.total}")


async def groups(ask: Ask, url: str, sub: str) -> frozenset[str]:
    """Return the groups that a user is in: their names, and their identifiers.

    A server that does not list them with the user (it may leave that out) is asked for the groups that have
    the user as a member.

    Args:
        ask: Gets what is at an address.
        url: Address of the list of users.
        sub: The subject.

    Raises:
        LoginEndedError: There is no such user, or not an active one.
        UnavailableError: It is not answered.
    """
    answer = await ask(f"{url}/{quote(sub, safe='')}?attributes=active,groups")
    if answer.status == 404:
        raise LoginEndedError("the identity provider's list of users has no such person")
    user = read(_allowed(answer, url), User, url)
    if user.id != sub:
        raise UnavailableError(f"{url} speaks of another user than it was asked for")
    if not user.active:
        raise LoginEndedError("the identity provider's list of users has this person as inactive")
    if user.groups is not None:
        return frozenset(name for one in user.groups for name in (one.display, one.value) if name)
    if not url.endswith(_USERS):
        return frozenset()
    place = f"{url.removesuffix(_USERS)}/Groups"
    query = {"filter": f"members.value eq {json.dumps(sub)}", "attributes": "displayName", "count": 1000}
    listed = read(_allowed(await ask(f"{place}?{urlencode(query)}"), place), Groups, place)
    if len(listed.groups) < listed.total:
        raise UnavailableError(f"{place} has not listed all groups of a user")
    return frozenset(name for one in listed.groups for name in (one.display, one.id) if name)


def _allowed(answer: Answer, url: str) -> Answer:
    if answer.status in (401, 403):
        raise UnavailableError(f"{url} answered {answer.status}", hint="May the client read users there?")
    return answer
