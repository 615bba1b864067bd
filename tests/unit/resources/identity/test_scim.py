"""Reading a list of users completely, or not at all; and the groups of one."""

from __future__ import annotations

import json

import pytest

from dirac.core.errors import UnavailableError
from dirac.resources.identity.outside import LoginEndedError
from dirac.resources.identity.scim import Ask, groups, people
from dirac.transport.http_client import Answer

URL = "https://provider.test/scim/Users"


def answering(*pages: tuple[int, object]) -> tuple[Ask, list[str]]:
    """Return what answers like this, and where to find what it was asked for."""
    asked: list[str] = []

    async def ask(url: str) -> Answer:
        status, body = pages[len(asked)]
        asked.append(url)
        return Answer(status, {}, json.dumps(body).encode())

    return ask, asked


async def read(*pages: tuple[int, object]) -> tuple[dict[str, bool], list[str]]:
    """Return what is read of a list that is answered like this, and what was asked for."""
    ask, asked = answering(*pages)
    return await people(ask, URL), asked


async def read_groups(*pages: tuple[int, object], url: str = URL) -> tuple[frozenset[str], list[str]]:
    """Return the groups of the user a/b that are read, and what was asked for."""
    ask, asked = answering(*pages)
    return await groups(ask, url, "a/b"), asked


def page(total: int, *users: str) -> tuple[int, object]:
    return 200, {"totalResults": total, "Resources": [{"id": user} for user in users]}


async def test_all_pages_are_read() -> None:
    found, asked = await read(page(3, "a", "b"), page(3, "c"))
    assert found == {"a": True, "b": True, "c": True}
    assert asked == [f"{URL}?startIndex=1&count=100", f"{URL}?startIndex=3&count=100"]


async def test_who_is_not_active_is_there_and_not_active() -> None:
    body = {"totalResults": 1, "Resources": [{"id": "a", "active": False, "userName": "ada"}]}
    assert (await read((200, body)))[0] == {"a": False}


async def test_an_empty_list_is_one() -> None:
    assert (await read((200, {"totalResults": 0})))[0] == {}


@pytest.mark.parametrize(
    "pages",
    [
        [page(3, "a", "b"), page(3)],
        [page(2, "a"), (401, {})],
        [(403, {"detail": "no"})],
        [(500, {})],
        [(200, {"users": []})],
        [(200, [])],
    ],
)
async def test_half_a_list_is_none(pages: list[tuple[int, object]]) -> None:
    with pytest.raises(UnavailableError):
        await read(*pages)


async def test_groups_that_are_listed_with_the_user_are_those_of_the_user() -> None:
    listed = [{"value": "1", "display": "stars", "type": "direct"}, {"value": "2"}]
    found, asked = await read_groups((200, {"id": "a/b", "active": True, "groups": listed}))
    assert found == {"stars", "1", "2"}
    assert asked == [f"{URL}/a%2Fb?attributes=active,groups"]


async def test_else_it_is_asked_for_the_groups_with_that_member() -> None:
    listed = {"totalResults": 1, "Resources": [{"id": "1", "displayName": "stars"}]}
    found, asked = await read_groups((200, {"id": "a/b"}), (200, listed))
    assert found == {"stars", "1"}
    assert asked[1].startswith("https://provider.test/scim/Groups?filter=members.value+eq+%22a%2Fb%22&")


async def test_an_address_that_does_not_say_where_groups_are_has_none() -> None:
    assert (await read_groups((200, {"id": "a/b"}), url="https://provider.test/people"))[0] == set()


@pytest.mark.parametrize("answer", [(404, {}), (200, {"id": "a/b", "active": False, "groups": []})])
async def test_who_is_not_there_or_not_active_is_nobody(answer: tuple[int, object]) -> None:
    with pytest.raises(LoginEndedError):
        await read_groups(answer)


@pytest.mark.parametrize(
    "pages",
    [
        [(403, {})],
        [(200, {"id": "c", "groups": []})],
        [(200, {"id": "a/b"}), (400, {"scimType": "invalidFilter"})],
        [(200, {"id": "a/b"}), (200, {"totalResults": 2, "Resources": [{"id": "1"}]})],
    ],
)
async def test_groups_that_cannot_be_known_are_not_none(pages: list[tuple[int, object]]) -> None:
    with pytest.raises(UnavailableError):
        await read_groups(*pages)
