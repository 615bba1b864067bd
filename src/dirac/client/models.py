"""Answers that have no model in a system: shapes that only the client needs to name."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class GroupInfo(msgspec.Struct, frozen=True):
    """A group of a VO, as the installation describes it to everybody."""

    properties: list[str] = []


class VOInfo(msgspec.Struct, frozen=True):
    """A virtual organisation, as the installation describes it to everybody."""

    groups: dict[str, GroupInfo]
    default_group: str
    support: dict[str, Any] = {}


class Metadata(msgspec.Struct, frozen=True):
    """What the installation tells everybody about itself."""

    virtual_organizations: dict[str, VOInfo]


class RefreshTokenInfo(msgspec.Struct, frozen=True, rename={"token_id": "jti"}):
    """A login that can still be renewed.

    Attributes:
        token_id: Its identifier, for `revoke_refresh_token`.
        sub: Whose it is.
        scope: What it was given for.
        status: Whether it is still good.
    """

    token_id: str
    sub: str = ""
    scope: str = ""
    status: str = ""


class ConfigText(msgspec.Struct, frozen=True):
    """One version of the configuration.

    Attributes:
        version: Its number.
        text: YAML, as it was applied; only what the caller may see.
        tree: The same as values.
    """

    version: int
    text: str
    tree: dict[str, Any]


class JobText(msgspec.Struct, frozen=True):
    """The description of a job."""

    JobID: int
    jdl: str


class Peek(msgspec.Struct, frozen=True):
    """The end of a running job's standard output.

    Attributes:
        attempt: The run it belongs to.
        text: The last lines.
        time: When the job sent it; None if it has not yet.
    """

    JobID: int
    attempt: int = 0
    text: str = ""
    time: datetime | None = None


class ParkedTask(msgspec.Struct, frozen=True):
    """One entry of the background work.

    Attributes:
        due: Not tried before.
        error: Why the last try failed.
    """

    id: str
    name: str
    state: str
    tries: int
    created: datetime
    due: datetime
    error: str | None = None
