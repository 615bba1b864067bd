"""Proxies that users have delegated to this installation, and proxies of these for who may have them.

No private key travels. To delegate to us, a user signs a key that was made here; to have one of ours, the
other side makes the key and we sign. What is kept is sealed with the master key, as signing keys are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding

from dirac.core.entropy import Entropy, uuid7
from dirac.core.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    TooManyRequestsError,
)
from dirac.core.unit import Event, Units
from dirac.formats.x509 import names, proxy
from dirac.systems.identity.logic.access import grant
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.sealing import Seal
from dirac.systems.identity.logic.tokens import BEARER, Tokens
from dirac.systems.identity.models import (
    DelegatedProxy,
    Delegation,
    Identity,
    Property,
    ProxyInfo,
    ProxyRequest,
    SignedProxy,
    TokenResponse,
)
from dirac.systems.identity.ports.certificates import ChainJudge, ProxyRecord, ProxyRequestRecord
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

_SERIAL = 8
_MOST_WAITING = 10  # a key costs time, and the room for it
_NONE = "there is no such proxy"
_HOW = "Upload one: dirac proxy upload"


class Proxies:
    """Keeps proxies and hands out proxies of them.

    Args:
        units: Where they are kept.
        tokens: Makes tokens.
        entropy: Where identifiers and serial numbers come from.
        settings: Lengths of lives; the master key that seals them.
        judge: Verifies what is uploaded; None where certificates are not accepted.
    """

    def __init__(
        self,
        units: Units[Unit],
        tokens: Tokens,
        entropy: Entropy,
        settings: IdentitySettings,
        judge: ChainJudge | None,
    ) -> None:
        self._units = units
        self._tokens = tokens
        self._entropy = entropy
        self._settings = settings
        self._judge = judge
        self._seal = Seal(settings.master_key, "proxies", entropy)

    async def token(self, caller: Identity) -> TokenResponse:
        """Exchange the certificate that the caller has shown for an access token, which ends with it.

        Raises:
            NotAllowedError: The caller has shown none, a limited proxy, or is a host.
        """
        if not caller.certificate or caller.kind != "user" or caller.acting:
            raise NotAllowedError(
                "only the certificate of a user is exchanged for a token",
                hint="Show one, and no token: curl --cert PROXY",
            )
        _refuse_limited(caller, "become a token")
        async with self._units.read() as unit:
            granted = grant(
                await unit.registry.member(caller.vo, sub=caller.sub), Scope(caller.vo, caller.group)
            )
        token, seconds = await self._tokens.user_token(granted, until=caller.expires)
        return TokenResponse(token, seconds, BEARER)

    async def ask(self, caller: Identity) -> ProxyRequest:
        """Make a key for a proxy of the caller's, who signs the request that comes back.

        Raises:
            NotAllowedError: The caller has shown a limited proxy, or this server accepts no certificates.
            TooManyRequestsError: Too many of the caller's wait.
        """
        _refuse_limited(caller, "be delegated")
        self._verifier()
        async with self._units.read() as unit:
            if await unit.proxies.waiting(caller.vo, caller.sub, unit.now) >= _MOST_WAITING:
                raise TooManyRequestsError(
                    f"{_MOST_WAITING} proxies of yours wait to be signed",
                    hint=f"Within {self._settings.proxy_request_seconds} s they are forgotten",
                    retry_after=60.0,
                )
        key = await asyncio.to_thread(proxy.make_key)  # a tenth of a second, which nobody else waits for
        async with self._units.write() as unit:
            proxy_id = str(uuid7(self._entropy, unit.now.timestamp()))
            expires = unit.now + timedelta(seconds=self._settings.proxy_request_seconds)
            sealed = self._seal.close(proxy.write_key(key), proxy_id)
            await unit.proxies.ask(
                ProxyRequestRecord(proxy_id, caller.vo, caller.sub, sealed, unit.now, expires)
            )
        return ProxyRequest(proxy_id, proxy.make_request(key).decode(), expires)

    async def store(self, caller: Identity, proxy_id: str, signed: SignedProxy) -> ProxyInfo:
        """Keep a proxy whose key was made here; it replaces the caller's older one of the same group.

        A repetition after a lost answer gets the same answer.

        Raises:
            NotFoundError: No such request of the caller's waits.
            InvalidInputError: It is no proxy of that key, not the caller's, or for a group that is not.
            UnauthenticatedError: Its certificate is not believed here.
        """
        _refuse_limited(caller, "be delegated")
        judge = self._verifier()
        chain = proxy.chain(names.certificates(signed.chain.encode()))
        judged = judge.judge([one.public_bytes(Encoding.DER) for one in chain.certificates])
        async with self._units.write() as unit:
            asked = await unit.proxies.asked(proxy_id)
            if asked is None or (asked.vo, asked.sub) != (caller.vo, caller.sub) or asked.expires <= unit.now:
                kept = await unit.proxies.find(proxy_id)
                if kept is not None and (kept.vo, kept.sub) == (caller.vo, caller.sub):
                    return _info(kept)
                raise NotFoundError(
                    "no such request for a proxy waits", hint="Begin again: dirac proxy upload"
                )
            key = proxy.read_key(self._opened(proxy_id, asked.sealed))
            if not chain.proxies or names.public_key(chain.leaf) != key.public_key():
                raise InvalidInputError("this is not a proxy of the key that was made for it")
            bearers = await unit.registry.bearers(chain.subject)
            if not any((one.vo, one.sub) == (caller.vo, caller.sub) for one in bearers):
                raise InvalidInputError(
                    f"the certificate {chain.subject} is none of {caller.username!r} of the VO {caller.vo!r}",
                    hint="The managers of the VO add it: virtual_organisations/<vo>/users/<name>/dns",
                )
            if chain.group is not None:
                member = await unit.registry.member(caller.vo, sub=caller.sub)
                grant(member, Scope(caller.vo, chain.group))
            record = ProxyRecord(
                proxy_id=proxy_id,
                vo=caller.vo,
                sub=caller.sub,
                dirac_group=chain.group or "",
                subject=chain.subject,
                limited=chain.limited,
                chain=names.to_pem(chain.certificates),
                sealed=asked.sealed,
                created=unit.now,
                expires=judged.not_after,
            )
            await unit.proxies.put(record)
            unit.record(_event("stored", unit.now, record, caller))
        return _info(record)

    async def listed(self, caller: Identity) -> list[ProxyInfo]:
        """Return the caller's proxies; with ProxyManagement all of the VO."""
        everybody = Property.PROXY_MANAGEMENT in caller.properties and not caller.limited
        async with self._units.read() as unit:
            found = await unit.proxies.of(caller.vo, None if everybody else caller.sub, unit.now)
        return [_info(one) for one in found]

    async def destroy(self, caller: Identity, proxy_id: str) -> None:
        """Forget a proxy: one's own, or with ProxyManagement one of the VO.

        Raises:
            NotFoundError: There is none that the caller may see.
        """
        async with self._units.write() as unit:
            record = await unit.proxies.find(proxy_id)
            manager = Property.PROXY_MANAGEMENT in caller.properties and not caller.limited
            if record is None or record.vo != caller.vo or not (record.sub == caller.sub or manager):
                raise NotFoundError(_NONE, hint="See: dirac proxy info --stored")
            await unit.proxies.remove(proxy_id)
            unit.record(_event("destroyed", unit.now, record, caller))

    async def delegate(self, caller: Identity, wanted: Delegation) -> DelegatedProxy:
        """Sign a key of the caller's with a proxy that is kept.

        Raises:
            NotAllowedError: The caller may not have it, or its owner may no longer have that group.
            NotFoundError: There is none.
            InvalidInputError: The request is none, or has a key that is too weak.
            ConflictError: The caller is a run that is over.
        """
        key = proxy.read_request(wanted.csr.encode())
        vo, sub, limited = _owner(caller, wanted)
        life = min(max(wanted.seconds, 1), self._settings.longest_proxy_seconds)
        serial = int.from_bytes(self._entropy.bytes(_SERIAL)) | 1
        async with self._units.write() as unit:
            await _demand_present(unit, caller)
            member = await unit.registry.member(vo, sub=sub)
            group = await _group(unit, caller, wanted, vo)
            record = _best(await unit.proxies.of(vo, sub, unit.now), group)
            if record is None:
                raise NotFoundError(f"{_NONE} for the group {group!r}", hint=_HOW)
            grant(member, Scope(vo, group))
            issuer = proxy.chain(names.certificates(record.chain))
            opened = proxy.read_key(self._opened(record.proxy_id, record.sealed))
            made = proxy.sign(
                issuer,
                opened,
                key,
                serial=serial,
                now=unit.now,
                life=timedelta(seconds=life),
                limited=limited or wanted.limited,
                group=group,
            )
            limits = {"limited": made.limited, "until": made.not_after.isoformat()}
            unit.record(_event("delegated", unit.now, record, caller, **limits))
        return DelegatedProxy(names.to_pem(made.certificates).decode(), made.not_after)

    def _verifier(self) -> ChainJudge:
        if self._judge is None:
            raise NotAllowedError(
                "this server accepts no certificates, and keeps no proxies",
                hint="Its operator sets http.tls_client_ca",
            )
        return self._judge

    def _opened(self, proxy_id: str, sealed: bytes) -> bytes:
        if (key := self._seal.open(sealed, proxy_id)) is None:
            raise NotFoundError(f"{_NONE} that this master key opens", hint=_HOW)
        return key


def _owner(caller: Identity, wanted: Delegation) -> tuple[str, str, bool]:
    """Decide whose proxy a caller gets, and whether it has to be a limited one.

    A person gets proxies of the own ones; one run of a job limited ones of its owner's; others, of their VO
    (hosts: of any), what the properties say.

    Raises:
        NotAllowedError: None.
    """
    vo = caller.vo or wanted.vo or ""
    if wanted.vo not in (None, vo):
        raise NotAllowedError(f"{caller.username!r} is not of the VO {wanted.vo!r}")
    if caller.kind == "job":
        if wanted.sub not in (None, caller.owner_sub):
            raise NotAllowedError("a job gets proxies of its owner only")
        return vo, caller.owner_sub, True
    if caller.kind == "user" and wanted.sub in (None, caller.sub):
        return vo, caller.sub, caller.limited
    if caller.kind in ("user", "service") and wanted.sub is not None and not caller.limited:
        if Property.FULL_DELEGATION in caller.properties:
            return vo, wanted.sub, False
        if Property.LIMITED_DELEGATION in caller.properties:
            return vo, wanted.sub, True
    raise NotAllowedError(
        f"{caller.username!r} gets no proxies of others",
        hint=f"It takes a group with {Property.FULL_DELEGATION} or {Property.LIMITED_DELEGATION}",
    )


async def _group(unit: Unit, caller: Identity, wanted: Delegation, vo: str) -> str:
    """Return the group that a proxy is for.

    Raises:
        NotAllowedError: The caller may not choose it.
        InvalidInputError: It has to be named.
    """
    own = caller.kind == "user" and wanted.sub in (None, caller.sub)
    if own or caller.kind == "job":
        # Who has a token for one group does not get what is good for another one.
        if wanted.dirac_group not in (None, caller.group):
            raise NotAllowedError(f"{caller.username!r} acts in the group {caller.group!r}")
        return caller.group
    if wanted.dirac_group is not None:
        return wanted.dirac_group
    outlines = await unit.registry.outlines(vo)
    if not outlines:
        raise InvalidInputError(f"there is no VO {vo!r}", hint="Say which: vo")
    return outlines[0].default_group


async def _demand_present(unit: Unit, caller: Identity) -> None:
    """Refuse a run that its pilot does not have any more: its token lives on, in whoever's hands.

    Raises:
        ConflictError: The caller is such a run.
    """
    if caller.kind != "job" or unit.pilot_records is None:
        return
    if not await unit.pilot_records.holds(caller.stamp, caller.job_id or 0, caller.attempt or 0):
        raise ConflictError(
            f"run {caller.attempt} of job {caller.job_id} is over, and gets no proxies",
            hint="End this run; its results are not wanted any more",
        )


def _best(records: Sequence[ProxyRecord], group: str) -> ProxyRecord | None:
    """Return the proxy that is for a group, else the one for any."""
    by_group = {one.dirac_group: one for one in records}
    return by_group.get(group) or by_group.get("")


def _refuse_limited(caller: Identity, deed: str) -> None:
    if caller.limited:
        raise NotAllowedError(f"a limited proxy cannot {deed}", hint="Make a full one: dirac proxy init")


def _info(record: ProxyRecord) -> ProxyInfo:
    return ProxyInfo(
        proxy_id=record.proxy_id,
        vo=record.vo,
        sub=record.sub,
        dirac_group=record.dirac_group,
        subject=record.subject,
        limited=record.limited,
        created=record.created,
        expires=record.expires,
    )


def _event(verb: str, time: datetime, record: ProxyRecord, caller: Identity, **data: object) -> Event:
    return about_user(
        f"proxy.{verb}",
        time,
        record.vo,
        record.sub,
        actor=caller.subject,
        proxy=record.proxy_id,
        group=record.dirac_group,
        **data,
    )
