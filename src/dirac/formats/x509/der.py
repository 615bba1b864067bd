"""DER, as far as proxies and attribute certificates need it (X.690, section 10).

`cryptography` reads and makes certificates; what is inside an extension of somebody else's is left to us.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from dirac.core.errors import InvalidInputError

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x02, 0x03, 0x04, 0x05, 0x06
UTF8, PRINTABLE, IA5, GENERALIZED_TIME = 0x0C, 0x13, 0x16, 0x18
SEQUENCE, SET = 0x30, 0x31

_LONGEST_LENGTH = 4  # bytes of a length; 4 GB are more than anybody sends
_CONSTRUCTED = 0x20
_MANY_TAGS = 0x1F


class Value(NamedTuple):
    """One value: its tag, its content, and both with the length between, as they came."""

    tag: int
    content: bytes
    raw: bytes

    def expect(self, tag: int) -> Value:
        """Return this value if it has that tag.

        Raises:
            InvalidInputError: It has another.
        """
        if self.tag != tag:
            raise InvalidInputError(f"a value of ASN.1 has the tag {self.tag:#04x}, not {tag:#04x}")
        return self

    def children(self) -> list[Value]:
        """Return the values that this one is made of.

        Raises:
            InvalidInputError: It is not made of values.
        """
        if not self.tag & _CONSTRUCTED:
            raise InvalidInputError(f"a value of ASN.1 with the tag {self.tag:#04x} holds no others")
        return read_all(self.content)


class Fields:
    """The children of a sequence, taken one after another.

    Args:
        value: The sequence.
    """

    def __init__(self, value: Value) -> None:
        self._left = value.children()

    def take(self, tag: int) -> Value:
        """Take the next one.

        Raises:
            InvalidInputError: There is none, or it has another tag.
        """
        if not self._left:
            raise InvalidInputError("a sequence of ASN.1 is too short")
        return self._left.pop(0).expect(tag)

    def maybe(self, *tags: int) -> Value | None:
        """Take the next one if it has one of these tags."""
        return self._left.pop(0) if self._left and self._left[0].tag in tags else None

    def end(self) -> None:
        """Make sure that there is nothing left.

        Raises:
            InvalidInputError: There is.
        """
        if self._left:
            raise InvalidInputError("a sequence of ASN.1 is too long")


def read(data: bytes) -> Value:
    """Read one value that is all of the data.

    Raises:
        InvalidInputError: It is not DER, or something follows.
    """
    value, end = _value(data, 0)
    if end != len(data):
        raise InvalidInputError("something follows the end of a value of ASN.1")
    return value


def read_all(data: bytes) -> list[Value]:
    """Read values that follow one another.

    Raises:
        InvalidInputError: They are not DER.
    """
    values, position = [], 0
    while position < len(data):
        value, position = _value(data, position)
        values.append(value)
    return values


def _value(data: bytes, start: int) -> tuple[Value, int]:
    if len(data) < start + 2:
        raise InvalidInputError("a value of ASN.1 is cut off")
    tag, length, position = data[start], data[start + 1], start + 2
    if tag & _MANY_TAGS == _MANY_TAGS:
        raise InvalidInputError("a tag of ASN.1 has several bytes, which nothing here has")
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _LONGEST_LENGTH:
            raise InvalidInputError("a length of ASN.1 is none of DER")
        digits = data[position : position + count]
        position += count
        length = int.from_bytes(digits)
        if len(digits) < count or length < 0x80 or not digits[0]:
            raise InvalidInputError("a length of ASN.1 is none of DER")
    end = position + length
    if end > len(data):
        raise InvalidInputError("a value of ASN.1 is cut off")
    return Value(tag, data[position:end], data[start:end]), end


def integer(value: Value) -> int:
    """Return the number of an INTEGER."""
    content = value.expect(INTEGER).content
    if not content:
        raise InvalidInputError("a number of ASN.1 is empty")
    return int.from_bytes(content, signed=True)


def oid(value: Value) -> str:
    """Return the dotted form of an OBJECT IDENTIFIER."""
    content = value.expect(OID).content
    if not content or content[-1] & 0x80:
        raise InvalidInputError("an object identifier is cut off")
    numbers, current = [], 0
    for byte in content:
        current = current << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(current)
            current = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def time(value: Value) -> datetime:
    """Return the moment of a GeneralizedTime, as RFC 5280 restricts it: UTC, without fractions."""
    text = value.expect(GENERALIZED_TIME).content.decode("ascii", "replace")
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInputError(f"{text!r} is no time of a certificate") from None


def text(value: Value) -> str:
    """Return the text of a string, of whatever kind.

    Raises:
        InvalidInputError: It is not ASCII or UTF-8.
    """
    try:
        return value.content.decode("utf-8" if value.tag == UTF8 else "ascii")
    except UnicodeDecodeError:
        raise InvalidInputError("a text of ASN.1 is not in its encoding") from None


def write(tag: int, content: bytes) -> bytes:
    """Return a value with its tag and length."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(digits))) + digits + content


def sequence(*values: bytes, tag: int = SEQUENCE) -> bytes:
    """Return a sequence of values."""
    return write(tag, b"".join(values))


def write_integer(number: int) -> bytes:
    """Return an INTEGER."""
    return write(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def write_oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    return write(OID, b"".join(_base128([40 * first + second, *rest])))


def _base128(numbers: Iterable[int]) -> Iterable[bytes]:
    for number in numbers:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(number & 0x7F | 0x80)
        yield bytes(reversed(digits))


def write_time(moment: datetime) -> bytes:
    """Return a GeneralizedTime."""
    return write(GENERALIZED_TIME, moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode())
