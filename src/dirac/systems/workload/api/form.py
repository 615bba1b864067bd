"""Reading an upload: a multipart form (RFC 7578) of a few short fields and then one large file.

The fields are known before the file is read, so that an upload without a valid signature costs nothing;
the file goes through in the pieces in which it arrives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dirac.core.errors import InvalidInputError, TooLargeError, UnsupportedMediaTypeError

_MOST_FIELDS = 50
_MOST_BYTES = 64 * 1024


async def open_form(
    stream: AsyncIterator[bytes], content_type: str
) -> tuple[dict[str, str], AsyncIterator[bytes]]:
    """Read the fields of a form; the file is what the returned iterator yields.

    Raises:
        UnsupportedMediaTypeError: It is no multipart form.
        TooLargeError: The fields are not short, or not few.
        InvalidInputError: The form is damaged, or has no file. The iterator raises this as well.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise UnsupportedMediaTypeError(
            f"a body of type {content_type[:80]!r} is not understood here", hint="Send multipart/form-data"
        )
    try:
        form = _Form(boundary)
    except FormParserError as error:
        raise InvalidInputError(f"the form is damaged: {error}") from None
    async for chunk in stream:
        form.feed(chunk)
        if form.file_begun:
            return form.fields, _content(form, stream)
    raise InvalidInputError("the form has no file", hint="The last part has to be a file")


async def _content(form: _Form, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in form.take():
        yield piece
    async for chunk in stream:
        form.feed(chunk)
        for piece in form.take():
            yield piece
    if not form.file_ended:
        raise InvalidInputError("the form ends in the middle of its file", hint="Upload it again")


class _Form:
    """What was read so far."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.file_begun = self.file_ended = False
        self._name = ""
        self._header: tuple[bytes, bytes] = (b"", b"")
        self._value = b""
        self._size = 0
        self._pieces: list[bytes] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_part_data": self._data,
                "on_part_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except (FormParserError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"the form is damaged: {error}") from None

    def take(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _begin(self) -> None:
        self._name, self._value = "", b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])
        self._count(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])
        self._count(end - start)

    def _header_end(self) -> None:
        name, value = self._header
        self._header = (b"", b"")
        if name.lower() != b"content-disposition":
            return
        _, options = parse_options_header(value)
        self._name = options.get(b"name", b"").decode()
        if b"filename" in options or self._name == "file":
            self.file_begun = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self.file_begun:
            if not self.file_ended:  # whatever follows the file is of no interest
                self._pieces.append(data[start:end])
            return
        self._count(end - start)
        self._value += data[start:end]

    def _end(self) -> None:
        if self.file_begun:
            self.file_ended = True
            return
        self.fields[self._name] = self._value.decode()
        if len(self.fields) > _MOST_FIELDS:
            raise TooLargeError(f"the form has more than {_MOST_FIELDS} fields")

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > _MOST_BYTES:
            raise TooLargeError(f"the fields of the form are larger than {_MOST_BYTES} bytes")
