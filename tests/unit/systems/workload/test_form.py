"""Reading uploads, however they are cut into pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError, UnsupportedMediaTypeError
from dirac.systems.workload.api.form import open_form

TYPE = "multipart/form-data; boundary=bound"


def form(content: bytes) -> bytes:
    return (
        b'--bound\r\nContent-Disposition: form-data; name="key"\r\n\r\na/b\r\n'
        b'--bound\r\nContent-Disposition: form-data; name="empty"\r\n\r\n\r\n'
        b'--bound\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
        b'--bound\r\nContent-Disposition: form-data; name="after"\r\n\r\nignored\r\n--bound--\r\n'
    )


async def read(body: bytes, size: int) -> tuple[dict[str, str], bytes]:
    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    fields, content = await open_form(stream(), TYPE)
    return fields, b"".join([piece async for piece in content])


@given(st.binary(max_size=200) | st.just(b"\r\n--boun\r\n--bound"), st.integers(1, 300))
async def test_a_form_gives_its_fields_and_its_file(content: bytes, size: int) -> None:
    if b"\r\n--bound" in content:
        return
    assert await read(form(content), size) == ({"key": "a/b", "empty": ""}, content)


@given(st.integers(0, 330), st.integers(1, 50))
async def test_a_form_that_is_cut_off_is_refused(length: int, size: int) -> None:
    body = form(b"content")
    end_of_file = body.index(b"content\r\n--bound") + len(b"content\r\n--bound\r\n")
    with pytest.raises(InvalidInputError):
        await read(body[: min(length, end_of_file - 3)], size)


async def test_other_types_are_refused() -> None:
    for kind in ("", "application/json", "multipart/form-data", "multipart/mixed; boundary=b"):
        with pytest.raises(UnsupportedMediaTypeError):
            await open_form(_nothing(), kind)


async def _nothing() -> AsyncIterator[bytes]:
    yield b""
