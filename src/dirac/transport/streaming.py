"""Bodies that are too large to be in memory at once: a JSON list of texts, as it comes in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator

from fastapi import Request

from dirac.core.errors import InvalidInputError, InvalidShapeError, TooLargeError
from dirac.transport.routing import Body, check_media
from dirac.transport.wire import decode

BATCH_BYTES = 256 * 1024
"""A batch of texts is read when so much of the body has come in."""

_LONGEST_TEXT = 4 * 1024 * 1024
# No possessive groups, which are wrong in Python before 3.11.5: none of these ever has to go back.
_TEXT, _SPACE = rb'"[^"\\]*+(?:\\.[^"\\]*+)*"', rb"[ \t\r\n]*+"
_item = re.compile(_TEXT, re.DOTALL).match
_space = re.compile(_SPACE).match
_items = re.compile(rb"(?:" + _TEXT + _SPACE + rb"," + _SPACE + rb")+", re.DOTALL).match

Texts = AsyncIterator[list[str]]


class TextsBody(Body):
    """Reads the request's body as a JSON list of texts, a batch at a time.

    Args:
        limit: Most bytes of the body.
        name: What the texts are called where one is at fault.
        hint: What to do about one that is too long.
    """

    def __init__(self, limit: int, name: str, hint: str) -> None:
        super().__init__(list[str], limit)
        self._name, self._hint = name, hint

    async def __call__(self, request: Request) -> Texts:
        """Return the batches; whoever reads them gets the errors."""
        check_media(request)
        return read_texts(request.stream(), self._limit, self._name, self._hint)


async def read_texts(
    chunks: AsyncIterable[bytes], limit: int, name: str = "text", hint: str | None = None
) -> Texts:
    """Yield the texts of a JSON list.

    Args:
        chunks: Its bytes.
        limit: Most of them.
        name: What the texts are called.
        hint: What to do about one that is too long.

    Raises:
        InvalidInputError: It is no JSON.
        InvalidShapeError: It is something else than a list of texts.
        TooLargeError: It is longer than the limit, or one of the texts is longer than 4 MiB.
    """
    parser, size, waiting, fed = _Parser(name, hint), 0, bytearray(), False
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise TooLargeError(f"the body is larger than {limit} bytes", hint="Send less at once")
        waiting += chunk
        if len(waiting) >= BATCH_BYTES:
            fed = True
            if found := parser.feed(bytes(waiting)):
                yield found
            waiting.clear()
    if not fed:  # this is all
        yield decode(bytes(waiting), list[str])
        return
    if found := parser.feed(bytes(waiting)):
        yield found
    parser.close()


class _Parser:
    """Finds the texts of a list; they are then read by the one reader of JSON."""

    def __init__(self, name: str, hint: str | None) -> None:
        self._name, self._hint = name, hint
        self._rest = b""
        self._wanted = b"["
        self._count = 0

    def feed(self, data: bytes) -> list[str]:
        """Take in more of the list; return the texts that are complete."""
        data = self._rest + data
        place = _after_space(data, 0)
        items: list[str] = []
        while place < len(data):
            char = data[place : place + 1]
            if char not in self._wanted or not self._wanted:
                raise self._fault(data, char)
            if char != b'"':
                self._wanted = {b"[": b'"]', b",": b'"', b"]": b""}[char]
                place = _after_space(data, place + 1)
                continue
            match = several = _items(data, place)
            if match is None:
                match = _item(data, place)
            if match is None:
                if len(data) - place > _LONGEST_TEXT:
                    fault = f"{self._name}[{self._count}] is larger than {_LONGEST_TEXT} bytes"
                    raise TooLargeError(fault, hint=self._hint)
                break
            found = decode(b"[" + match[0].rstrip(b" \t\r\n,") + b"]", list[str])
            items += found
            self._count += len(found)
            self._wanted, place = b'"' if several else b",]", _after_space(data, match.end())
        self._rest = data[place:]
        return items

    def close(self) -> None:
        """Say that this was all."""
        if self._wanted:
            raise InvalidInputError("the body is no valid JSON: the list does not end")

    def _fault(self, data: bytes, char: bytes) -> InvalidInputError:
        if self._wanted == b"[":
            decode(data, list[str])  # says what is wrong, for all that is no list
            return InvalidShapeError("Expected `array` of `str`", where="body")
        if b'"' in self._wanted and char not in (b",", b"]"):
            return InvalidShapeError("Expected `str`", where=f"$[{self._count}]")
        return InvalidInputError(f"the body is no valid JSON: a wrong character after text {self._count}")


def _after_space(data: bytes, place: int) -> int:
    match = _space(data, place)
    return match.end() if match else place
