"""Lists of texts that come piece by piece: the same texts and the same refusals, wherever the pieces end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import DiracError, InvalidInputError, InvalidShapeError, TooLargeError
from dirac.transport import streaming
from dirac.transport.streaming import read_texts

TEXTS = ["plain", "", 'with "quotes" and \\ and\nlines', "ümläut €", "]", ",", "[", "a" * 50]


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(data: bytes, size: int = 1000, limit: int = 10_000) -> list[str]:
    return [text async for batch in read_texts(pieces(data, size), limit) for text in batch]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    "layout", [msgspec.json.encode, lambda texts: msgspec.json.format(msgspec.json.encode(texts))]
)
async def test_texts_are_read_wherever_the_pieces_end(
    size: int, layout: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BATCH_BYTES", 1)
    data = b" \n" + layout(TEXTS) + b"\r\n "  # type: ignore[operator]
    assert await read(data, size) == TEXTS


@given(st.lists(st.text()), st.integers(1, 40), st.sampled_from([1, 30, 100_000]))
async def test_any_list_is_read_as_by_the_reader_of_json(texts: list[str], size: int, batch: int) -> None:
    texts = [text.replace("\x00", "").encode("utf-8", "ignore").decode() for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "BATCH_BYTES", batch)
        assert await read(msgspec.json.encode(texts), size, 1 << 20) == texts


async def test_batches_come_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BATCH_BYTES", 100)
    batches = [batch async for batch in read_texts(pieces(msgspec.json.encode(["x" * 40] * 20), 50), 10_000)]
    assert len(batches) > 5
    assert [text for batch in batches for text in batch] == ["x" * 40] * 20


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", InvalidInputError),
        (b"nope", InvalidInputError),
        (b'{"a": 1}', InvalidShapeError),
        (b'"text"', InvalidShapeError),
        (b"[1]", InvalidShapeError),
        (b'["a", null]', InvalidShapeError),
        (b'["a"', InvalidInputError),
        (b'["a', InvalidInputError),
        (b'["a",]', InvalidInputError),
        (b'["a" "b"]', InvalidInputError),
        (b'[,"b"]', InvalidInputError),
        (b'["a"] x', InvalidInputError),
        (b'["a"]]', InvalidInputError),
        (b'["\\q"]', InvalidInputError),
        (b'["\xff"]', InvalidInputError),
        (b'["\\u0000"]', InvalidInputError),
        (b'["' + b"x" * 20_000 + b'"]', TooLargeError),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("batch", [8, 100_000])
async def test_what_is_no_list_of_texts_is_refused(
    data: bytes, error: type[DiracError], size: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BATCH_BYTES", batch)
    with pytest.raises(error):
        await read(data, size)
