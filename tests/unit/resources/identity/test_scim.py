"""Reading a list of users completely, or not at all."""

from __future__ import annotations

import json

import pytest

from dirac.core.errors import UnavailableError
from dirac.resources.identity.scim import people
from dirac.transport.http_client import Answer


async def read(*pages: tuple[int, object]) -> tuple[dict[str, bool], list[str]]:
    """Return what is read of a list that is answered like this, and what was asked for."""
    asked: list[str] = []

    async def ask(query: str) -> Answer:
        status, body = pages[len(asked)]
        asked.append(query)
        return Answer(status, {}, json.dumps(body).encode())

    return await people(ask, "https://provider.test/scim/Users"), asked


def page(total: int, *users: str) -> tuple[int, object]:
    return 200, {"totalResults": total, "Resources": [{"id": user} for user in users]}


async def test_all_pages_are_read() -> None:
    found, asked = await read(page(3, "a", "b"), page(3, "c"))
    assert found == {"a": True, "b": True, "c": True}
    assert asked == ["startIndex=1&count=100", "startIndex=3&count=100"]


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
        [(200, {"users": []})],
        [(200, [])],
    ],
)
async def test_half_a_list_is_none(pages: list[tuple[int, object]]) -> None:
    with pytest.raises(UnavailableError):
        await read(*pages)
