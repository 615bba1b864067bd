"""Logins on their way: on a device, in a browser, by code."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import msgspec

DeviceState: TypeAlias = Literal["Pending", "Confirmed", "Denied", "Redeemed"]

LoginStage: TypeAlias = Literal["Begun", "Asked", "Known", "Done"]


class Scope(msgspec.Struct, frozen=True):
    """What was asked for: a VO, a group of it, and properties besides the group's.

    Attributes:
        vo: The virtual organisation.
        group: The group; None where the VO's default one is meant.
        properties: What is wanted in addition to what the group has.
    """

    vo: str
    group: str | None = None
    properties: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the text it came from, in one fixed order."""
        parts = [f"vo:{self.vo}", *([f"group:{self.group}"] if self.group else [])]
        return " ".join([*parts, *(f"property:{name}" for name in self.properties)])


class DeviceRecord(msgspec.Struct, frozen=True):
    """A login that was begun on a device and is confirmed in a browser."""

    device_digest: str
    user_code: str
    client_id: str
    vo: str
    scope: Scope
    state: DeviceState
    sub: str | None
    created: datetime
    expires: datetime
    interval: int
    polled: datetime | None = None


class CodeRecord(msgspec.Struct, frozen=True):
    """An authorisation code, waiting to be exchanged."""

    code_digest: str
    client_id: str
    redirect_uri: str
    state: str
    challenge: str
    vo: str
    sub: str
    scope: Scope
    expires: datetime
    family: str | None = None


class LoginRecord(msgspec.Struct, frozen=True):
    """A login in a browser that has more than one step; `sub` is known after the first.

    Attributes:
        state_digest: Digest of what the browser carries from step to step.
        cookie_digest: Digest of what only the browser has that began.
        vo: The VO it is for.
        user_code: Code of the device that waits for it, if one does.
        request: What the program asked for that waits for it, if one does.
        stage: ``Begun``: sent to a provider; ``Asked``: came back; ``Known``: we know who it is; ``Done``.
        sub: Who it is.
        expires: Its end.
    """

    state_digest: str
    cookie_digest: str
    vo: str
    user_code: str | None
    request: dict[str, str] | None
    stage: LoginStage
    sub: str | None
    expires: datetime


class FlowRepository(Protocol):
    """Logins on their way."""

    async def add_device(self, record: DeviceRecord) -> bool:
        """Add a device's login; False if its user code is taken."""
        ...

    async def device(self, *, digest: str = "", user_code: str = "") -> DeviceRecord | None:
        """Return a device's login by either of its codes."""
        ...

    async def poll(self, digest: str, now: datetime, interval: int) -> None:
        """Note that the device has asked, and how long it is to wait from now on."""
        ...

    async def move_device(self, digest: str, old: DeviceState, new: DeviceState, sub: str | None) -> bool:
        """Take a login from one state to the next; False if it is not in the first one."""
        ...

    async def add_code(self, record: CodeRecord) -> None:
        """Add an authorisation code."""
        ...

    async def code(self, digest: str) -> CodeRecord | None:
        """Return an authorisation code."""
        ...

    async def take_code(self, digest: str, family: str) -> bool:
        """Exchange a code for a session; False if that was done before."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
        ...


class LoginRepository(Protocol):
    """Logins in a browser that have more than one step."""

    async def add(self, record: LoginRecord) -> None:
        """Add a login."""
        ...

    async def find(self, state_digest: str) -> LoginRecord | None:
        """Return a login."""
        ...

    async def move(self, state_digest: str, old: LoginStage, new: LoginStage, sub: str | None) -> bool:
        """Take a login from one stage to the next; False if it is not in the first one."""
        ...

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
        ...
