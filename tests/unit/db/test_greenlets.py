"""Greenlets that are used again."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest
from greenlet import getcurrent
from sqlalchemy.util import await_only

from dirac.db import greenlets
from dirac.db.greenlets import in_greenlet

_who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@pytest.fixture(autouse=True)
def idle() -> Iterator[list[object]]:
    """None that other tests have left."""
    workers: list[object] = greenlets._idle.workers  # type: ignore[assignment]
    workers.clear()
    yield workers
    workers.clear()


async def _later(value: int) -> int:
    await asyncio.sleep(0)
    return value


def _twice(value: int) -> int:
    return await_only(_later(value)) + await_only(_later(value))


async def test_calls_wait_beside_each_other() -> None:
    assert await asyncio.gather(*(in_greenlet(_twice, n) for n in range(100))) == [2 * n for n in range(100)]
    assert len(greenlets._idle.workers) == greenlets._MOST_IDLE


async def test_the_next_call_has_the_greenlet_of_the_one_before() -> None:
    first = await in_greenlet(getcurrent)
    assert await in_greenlet(getcurrent) is first


async def test_one_that_fails_is_used_no_more(idle: list[object]) -> None:
    def fail() -> None:
        _twice(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_greenlet(fail)
    assert not idle
    assert await in_greenlet(_twice, 3) == 6


async def test_an_error_of_what_is_waited_for_arrives_inside() -> None:
    async def broken() -> int:
        await asyncio.sleep(0)
        raise OSError("broken")

    def mend() -> str:
        try:
            await_only(broken())
        except OSError as error:
            return str(error)
        return ""

    assert await in_greenlet(mend) == "broken"


async def test_whoever_is_cancelled_ends_the_call(idle: list[object]) -> None:
    seen: list[str] = []

    def wait() -> None:
        try:
            await_only(asyncio.Event().wait())
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(in_greenlet(wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
    assert not idle


async def test_each_call_sees_the_context_of_its_caller() -> None:
    async def ask(name: str) -> str:
        _who.set(name)
        await asyncio.sleep(0)
        return await in_greenlet(_who.get)

    assert await asyncio.gather(ask("ada"), ask("bob")) == ["ada", "bob"]
    assert await in_greenlet(_who.get) == "nobody"


async def test_nothing_of_a_call_is_kept(idle: list[greenlets._Worker]) -> None:
    assert await in_greenlet(_twice, 2) == 4
    (worker,) = idle
    assert worker.result is None
    assert worker.gr_context is None


def test_threads_share_none() -> None:
    def other() -> None:
        found.append(asyncio.run(in_greenlet(getcurrent)))

    found: list[object] = [asyncio.run(in_greenlet(getcurrent))]
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found[0] is not found[1]
