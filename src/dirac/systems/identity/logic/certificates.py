"""Who somebody is by a certificate: users by the names that the configuration declares, hosts as well.

The certificate was verified before (`ChainJudge`). What is decided here is whose it is, and for which VO and
group: the group that is in the proxy, the VO that VOMS says, or the only ones there can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from dirac.core.errors import InvalidInputError, NotAllowedError, UnauthenticatedError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.systems.identity.logic.access import complete_scope, grant
from dirac.systems.identity.logic.oauth import OAuthError
from dirac.systems.identity.logic.revocations import Revocations
from dirac.systems.identity.models import Identity, Property, RegisteredHost, RegisteredVO
from dirac.systems.identity.ports.certificates import ChainJudge, JudgedChain
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.registry import Bearer
from dirac.systems.identity.ports.unit import Unit

_REMEMBERED = timedelta(seconds=60)
_LONGEST_DN = 1024
_EVER = 0.0
_ALWAYS = datetime.min.replace(tzinfo=UTC)
_MOST_KNOWN = 4096


class Wish(msgspec.Struct, frozen=True):
    """What a client asks to be taken for.

    Attributes:
        subject: Name of the certificate of another user, for whom a trusted host acts.
        group: A group.
        vo: A VO.
    """

    subject: str | None = None
    group: str | None = None
    vo: str | None = None


NO_WISH = Wish()


class _Known(msgspec.Struct, frozen=True):
    version: int
    until: float
    identity: Identity
    since: float
    keys: tuple[str, ...]
    seen: int


class Certificates:
    """Finds out who shows a certificate.

    Args:
        units: Where names of certificates are kept.
        clock: When they end.
        judge: Verifies chains; None where certificates are not accepted.
        revocations: Who was shut out, and which proxies that were kept here are no good any more.
    """

    def __init__(
        self, units: Units[Unit], clock: Clock, judge: ChainJudge | None, revocations: Revocations
    ) -> None:
        self._units = units
        self._clock = clock
        self._judge = judge
        self._revocations = revocations
        self._known: dict[tuple[tuple[bytes, ...], Wish], _Known] = {}

    async def authenticate(self, shown: tuple[bytes, ...], wish: Wish = NO_WISH) -> Identity:
        """Return who shows a chain.

        What is found out is remembered for a minute, until authorities or their lists change, and until
        something is revoked that it may be about, as by a suspension. Each connection has proved that it has
        the key.

        Args:
            shown: What the client has shown (DER), its own certificate first.
            wish: What it asks to be taken for.

        Raises:
            UnauthenticatedError: The chain is not good, of nobody who is known here, or was revoked.
            NotAllowedError: It is not for that VO or group, or the user is suspended.
        """
        if self._judge is None:
            raise UnauthenticatedError("certificates are not accepted here", hint="Log in: dirac login VO")
        await self._revocations.follow()
        version, now = self._judge.version, self._clock.now()
        known = self._known.get((shown, wish))
        if known is not None and known.version == version and now.timestamp() < known.until:
            if known.seen == self._revocations.version:
                return known.identity
            if not self._is_revoked(known):
                self._known[shown, wish] = msgspec.structs.replace(known, seen=self._revocations.version)
                return known.identity
        judged = self._judge.judge(shown)
        seen = self._revocations.version
        if self._revocations.since(_EVER, (("proxy", "", key) for key in judged.keys)):
            raise UnauthenticatedError(
                f"a proxy of {judged.subject} was revoked", hint="Make another one: dirac proxy init"
            )
        async with self._units.read() as unit:
            identity = await self._identity(unit, judged, wish)
        until = min(judged.not_after, now + _REMEMBERED).timestamp()
        self._known.pop((shown, wish), None)  # the oldest ones are those in front
        while len(self._known) >= _MOST_KNOWN:
            self._known.pop(next(iter(self._known)), None)
        self._known[shown, wish] = _Known(version, until, identity, now.timestamp(), judged.keys, seen)
        return identity

    def _is_revoked(self, known: _Known) -> bool:
        """Tell whether something was revoked that may be about what is remembered: then it is forgotten."""
        one = known.identity
        people = (("person", one.vo, one.sub), ("user", one.vo, one.sub), ("vo", one.vo, ""))
        proxies = (("proxy", "", key) for key in known.keys)
        return self._revocations.since(known.since, people) or self._revocations.since(_EVER, proxies)

    async def _identity(self, unit: Unit, judged: JudgedChain, wish: Wish) -> Identity:
        bearers = await unit.registry.bearers(judged.subject)
        host = next((one for one in bearers if not one.vo), None)
        if host is None and wish.subject is not None:
            raise NotAllowedError("only trusted hosts act for others", hint="Leave X-DIRAC-Subject out")
        if host is None:
            return await _user(unit, bearers, judged, _chosen(judged, wish))
        if judged.is_proxy:
            raise UnauthenticatedError(
                f"a proxy of the host {host.username!r}", hint="Hosts show their certificate"
            )
        if wish.subject is None:
            return _identity_of_host(host, judged)
        if Property.TRUSTED_HOST not in host.properties:
            raise NotAllowedError(
                f"the host {host.username!r} may not act for others",
                hint=f"It needs the property {Property.TRUSTED_HOST}: hosts/{host.username}/properties",
            )
        others = [one for one in await unit.registry.bearers(wish.subject) if one.vo]
        return await _user(unit, others, judged, wish, subject=wish.subject, host=host.username)


def _chosen(judged: JudgedChain, wish: Wish) -> Wish:
    """Return the VO and group of a user's chain.

    A proxy may be in other hands than the user's: it is for what it was made for. Who shows the certificate
    itself may choose.
    """
    group = judged.group
    if wish.group is not None and wish.group != group:
        if judged.is_proxy:
            raise NotAllowedError(
                f"the proxy is for {f'the group {group!r}' if group else 'the default group'}",
                hint=f"Make one: dirac proxy init --group {wish.group}",
            )
        group = wish.group
    if judged.vos and wish.vo not in (None, *judged.vos):
        raise NotAllowedError(f"VOMS says nothing of the VO {wish.vo!r}, but of {', '.join(judged.vos)}")
    return Wish(None, group, wish.vo)


async def _user(
    unit: Unit,
    bearers: Sequence[Bearer],
    judged: JudgedChain,
    wish: Wish,
    *,
    subject: str | None = None,
    host: str = "",
) -> Identity:
    bearer = choose(bearers, subject or judged.subject, () if subject else judged.vos, wish)
    outlines = await unit.registry.outlines(bearer.vo)
    try:
        scope = complete_scope(Scope(bearer.vo, wish.group), outlines[0] if outlines else None)
    except OAuthError as error:
        raise NotAllowedError(error.message, hint=error.hint) from None
    granted = grant(await unit.registry.member(bearer.vo, sub=bearer.sub), scope)
    return Identity(
        vo=granted.vo,
        sub=granted.sub,
        username=granted.username,
        group=granted.group,
        # Runs of jobs get limited proxies of their owners, for storage: here they have tokens of their own,
        # and nothing else may come of what is on a worker node.
        properties=frozenset() if judged.limited else granted.properties,
        kind="user",
        token_id=f"certificate:{judged.fingerprint}",
        expires=judged.not_after,
        certificate=subject or judged.subject,
        limited=judged.limited,
        acting=host,
    )


def choose(bearers: Sequence[Bearer], subject: str, vos: Sequence[str], wish: Wish) -> Bearer:
    """Decide in which VO somebody is meant to act: without a word, in the first one that knew the name.

    Args:
        bearers: Who has a certificate of that name, one for each VO.
        subject: The name.
        vos: The VOs that VOMS says; none if it says nothing.
        wish: VO and group that are asked for.

    Raises:
        UnauthenticatedError: Nobody has such a certificate.
        NotAllowedError: Nobody has it in such a VO, or it is not clear in which.
    """
    if not bearers:
        raise UnauthenticatedError(
            f"no user here has the certificate {subject}",
            hint="The managers of your VO add it: virtual_organisations/<vo>/users/<name>/dns",
        )
    left = [one for one in bearers if (not vos or one.vo in vos) and wish.vo in (None, one.vo)]
    if not left:
        told = wish.vo or ", ".join(vos)
        raise NotAllowedError(f"the user of {subject} is not in the VO {told}")
    if wish.group is not None:
        left = [one for one in left if wish.group in one.groups]
        if not left:
            raise NotAllowedError(f"the user of {subject} is not in the group {wish.group!r}")
    if len(left) > 1:
        # The administrators of another VO may name anybody: that takes no place from whom was there before.
        first = min(one.since or _ALWAYS for one in left)
        oldest = [one for one in left if (one.since or _ALWAYS) == first]
        left = oldest if len(oldest) == 1 else left
    if len(left) > 1:
        names = ", ".join(sorted(one.vo for one in left))
        raise NotAllowedError(
            f"the user of {subject} is in several VOs: {names}",
            hint="Make a proxy with a group of one of them, or with attributes of VOMS",
        )
    return left[0]


def _identity_of_host(host: Bearer, judged: JudgedChain) -> Identity:
    return Identity(
        vo="",
        sub=host.sub,
        username=host.username,
        group="hosts",
        properties=frozenset(host.properties),
        kind="service",
        token_id=f"certificate:{judged.fingerprint}",
        expires=judged.not_after,
        certificate=judged.subject,
    )


def check_dns(vos: Sequence[RegisteredVO], hosts: Sequence[RegisteredHost]) -> None:
    """Refuse names of certificates that are none, or two people's.

    Raises:
        InvalidInputError: A name is not of the form ``/C=ch/CN=name``, or is there twice.
    """
    seen: dict[tuple[str, str], str] = {}
    named = [("", host.name, host.dn) for host in hosts]
    named += [(vo.name, user.username, dn) for vo in vos for user in vo.users for dn in user.dns]
    for vo, who, dn in named:
        if not _is_dn(dn):
            raise InvalidInputError(
                f"{dn[:80]!r} of {who!r} is no name of a certificate", hint="Example: /C=ch/O=Home/CN=Ada"
            )
        other = seen.get(("", dn)) or seen.get((vo, dn))
        if other is not None:
            raise InvalidInputError(f"the certificate {dn} is that of {other!r} and of {who!r}")
        seen[vo, dn] = who


def _is_dn(dn: str) -> bool:
    return dn.startswith("/") and "=" in dn and dn.isascii() and dn.isprintable() and len(dn) <= _LONGEST_DN
