"""Rows of a search as lines: comma-separated values (RFC 4180) and JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

RowFormat: TypeAlias = Literal["csv", "jsonl"]
MEDIA_TYPES: dict[RowFormat, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}

_encoder = msgspec.json.Encoder()


def lines(
    kind: RowFormat, names: Sequence[str]
) -> tuple[bytes, Callable[[Iterable[Mapping[str, Any]]], bytes]]:
    """Return the first lines of a file of rows, and what makes the lines of some rows.

    In CSV, the names come first, what has no value is empty, truth is ``true`` or ``false``, lists are JSON.

    Args:
        kind: The format.
        names: What every row has, in this order.
    """
    if kind == "jsonl":
        return b"", _encoder.encode_lines
    return _csv([names]), lambda rows: _csv([_cell(row[name]) for name in names] for row in rows)


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, bool | list | dict) else value
