"""Answers in one piece."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from dirac.transport.joining import Joining


class Recorder:
    """A transport that keeps what is done to it."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done

    def get_extra_info(self, name: str) -> str:
        return name.upper()


def _joining() -> tuple[Any, list[bytes | str]]:
    recorder = Recorder()
    return Joining(cast(asyncio.Transport, recorder)), recorder.done


async def test_head_and_body_are_one_piece() -> None:
    transport, done = _joining()
    transport.write(b"head")
    transport.write(b"body")
    assert done == [b"headbody"]
    await asyncio.sleep(0)
    assert done == [b"headbody"]


async def test_a_head_without_a_body_goes_by_itself() -> None:
    transport, done = _joining()
    transport.write(b"head")
    assert done == []
    await asyncio.sleep(0)
    assert done == [b"head"]


async def test_what_is_large_waits_for_nothing() -> None:
    transport, done = _joining()
    transport.write(b"x" * 5000)
    assert done == [b"x" * 5000]


async def test_pieces_keep_their_order() -> None:
    transport, done = _joining()
    for piece in (b"1", b"2" * 5000, b"3", b"4", b"5"):
        transport.write(piece)
    transport.close()
    assert b"".join(cast(list[bytes], done[:-1])) == b"1" + b"2" * 5000 + b"345"
    assert done[-1] == "closed"


async def test_all_is_sent_before_the_end() -> None:
    transport, done = _joining()
    transport.write(b"head")
    transport.close()
    assert done == [b"head", "closed"]
    assert transport.is_closing()


async def test_all_else_is_the_connection_s() -> None:
    transport, _ = _joining()
    assert transport.get_extra_info("peername") == "PEERNAME"
