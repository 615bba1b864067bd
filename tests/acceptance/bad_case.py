"""What the tables of bad requests are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MB = 1 << 20
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NOW = "2026-11-20T12:00:00Z"
CHECKSUM = "ab" * 32


@dataclass(frozen=True)
class World:
    """What there is on the server, for requests to go wrong with.

    Attributes:
        tokens: Access tokens, by the name of their bearer.
        forged: What only looks like one.
        waiting: A job of alice that nothing can run.
        current: A job of alice whose second run the pilot has.
        other: A job of alice whose first run another pilot has.
        form: Fields of a sandbox that was announced and not uploaded.
        late: The same, signed for a time that is over.
    """

    tokens: Mapping[str, str]
    forged: Mapping[str, str]
    waiting: int
    current: int
    other: int
    pfn: str
    form: Mapping[str, str]
    late: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        says: Words of the answer: what is wrong, where, what to do.
        send: Arguments for httpx.
        oauth: Code of an answer that has the form of RFC 6749, section 5.2.
    """

    method: str
    path: str
    status: int
    says: tuple[str, ...]
    caller: str = "user"
    send: Mapping[str, Any] = field(default_factory=dict)
    oauth: str | None = None


def jdl(status: int, text: str, *says: str) -> Case:
    return Case("POST", "/api/jobs/jdl", status, says, send={"json": [text]})


def raw(status: int, content: bytes | Iterator[bytes], *says: str, path: str = "/api/jobs/jdl") -> Case:
    return Case("POST", path, status, says, send={"content": content, "headers": JSON})


def search(status: int, body: Any, *says: str, path: str = "/api/jobs/search") -> Case:
    return Case("POST", path, status, says, send={"json": body})


def condition(parameter: str, operator: str, value: Any, *says: str, **more: str) -> Case:
    name = "values" if operator.endswith("in") else "value"
    wanted = {"parameter": parameter, "operator": operator, name: value}
    return search(422, {"search": [wanted]}, "search[0]", *says, **more)
