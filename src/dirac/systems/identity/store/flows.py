"""Logins on their way: from a device or a browser to a session."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import delete, insert, select, update

from dirac.db.transaction import Transaction
from dirac.systems.identity.ports.logins import CodeRecord, DeviceRecord, DeviceState, Scope
from dirac.systems.identity.store.tables import codes, devices


class FlowStore:
    """Implements `dirac.systems.identity.ports.logins.FlowRepository`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add_device(self, record: DeviceRecord) -> bool:
        """Add a device's login; False if its user code is taken."""
        row = msgspec.structs.asdict(record) | {"scope": msgspec.to_builtins(record.scope)}
        return await self._tx.insert_missing(devices, [row]) == 1

    async def device(self, *, digest: str = "", user_code: str = "") -> DeviceRecord | None:
        """Return a device's login by either of its codes."""
        condition = devices.c.device_digest == digest if digest else devices.c.user_code == user_code
        row = (await self._tx.execute(select(devices).where(condition))).first()
        if row is None:
            return None
        return DeviceRecord(**{**row._mapping, "scope": msgspec.convert(row.scope, Scope)})

    async def poll(self, digest: str, now: datetime, interval: int) -> None:
        """Note that the device has asked, and how long it is to wait from now on."""
        await self._tx.execute(
            update(devices).where(devices.c.device_digest == digest).values(polled=now, interval=interval)
        )

    async def move_device(self, digest: str, old: DeviceState, new: DeviceState, sub: str | None) -> bool:
        """Take a login from one state to the next; False if it is not in the first one."""
        moved = await self._tx.execute(
            update(devices)
            .where(devices.c.device_digest == digest, devices.c.state == old)
            .values(state=new, sub=sub)
        )
        return moved.rowcount == 1

    async def add_code(self, record: CodeRecord) -> None:
        """Add an authorisation code."""
        row = msgspec.structs.asdict(record) | {"scope": msgspec.to_builtins(record.scope)}
        await self._tx.execute(insert(codes).values(row))

    async def code(self, digest: str) -> CodeRecord | None:
        """Return an authorisation code."""
        row = (await self._tx.execute(select(codes).where(codes.c.code_digest == digest))).first()
        if row is None:
            return None
        return CodeRecord(**{**row._mapping, "scope": msgspec.convert(row.scope, Scope)})

    async def take_code(self, digest: str, family: str) -> bool:
        """Exchange a code for a session; False if that was done before."""
        taken = await self._tx.execute(
            update(codes).where(codes.c.code_digest == digest, codes.c.family.is_(None)).values(family=family)
        )
        return taken.rowcount == 1

    async def drop(self, before: datetime) -> int:
        """Drop what ended before a moment; return how many."""
        dropped = (await self._tx.execute(delete(devices).where(devices.c.expires < before))).rowcount
        return dropped + (await self._tx.execute(delete(codes).where(codes.c.expires < before))).rowcount
