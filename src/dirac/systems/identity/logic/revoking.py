"""Revocation by administrators: a pilot, a site, a user or a whole VO holds nothing any more."""

from __future__ import annotations

from dirac.core.errors import InvalidInputError
from dirac.core.unit import Event, Units
from dirac.formats.x509 import names, proxy
from dirac.systems.identity import policy
from dirac.systems.identity.logic.events import subject_id
from dirac.systems.identity.logic.revocations import Revocations
from dirac.systems.identity.logic.tokens import Tokens
from dirac.systems.identity.models import Identity, Place
from dirac.systems.identity.models_tokens import RevocationOrder, RevocationReceipt
from dirac.systems.identity.ports.pilots import Reach
from dirac.systems.identity.ports.tokens import RevocationRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings


class Revoking:
    """Takes away what others hold: tokens, logins, secrets that were not used yet.

    It does not shut anybody out: whoever may log in, or start a pilot, gets new tokens, and a certificate is
    its owner's. To keep somebody out, the configuration suspends the user, or takes the VO from the site.

    Args:
        units: Where everything is.
        tokens: How long tokens live.
        revocations: Is told when something was revoked.
        settings: How soon all servers know.
    """

    def __init__(
        self, units: Units[Unit], tokens: Tokens, revocations: Revocations, settings: IdentitySettings
    ) -> None:
        self._units = units
        self._tokens = tokens
        self._revocations = revocations
        self._within = settings.revocation_refresh_seconds

    async def revoke(self, identity: Identity, order: RevocationOrder) -> RevocationReceipt:
        """Revoke what a pilot, a site, a user or a VO holds; a repetition revokes what came since.

        Raises:
            NotAllowedError: It is not the caller's to revoke.
            InvalidInputError: A user is named without a VO, or a VO within another one.
        """
        vo = order.name if order.kind == "vo" else order.vo or identity.vo
        if order.kind == "vo" and order.vo not in ("", order.name):
            raise InvalidInputError(f"the VO {order.name!r} is not one of {order.vo!r}", where="vo")
        place, whose = await self._place(identity, order)
        if place is not None and identity.looks_after(place.site, place.ce):
            vo = order.vo or whose  # who looks after a site does so for all VOs
        policy.may_revoke(identity, order.kind, vo, place)
        if order.kind == "user" and not vo:
            raise InvalidInputError("users are users of a VO", where="vo", hint="Name the VO, too")
        async with self._units.write() as unit:
            name = await self._name(unit, order, vo)
            # VOs are keys of their own: see `Revocations`.
            ends = unit.now + self._tokens.longest
            key = "" if order.kind == "vo" else name
            await unit.revocations.put([RevocationRecord(order.kind, vo, key, unit.now, ends)])
            sessions = secrets = nodes = proxies = certificates = 0
            if order.kind in ("user", "vo"):
                sub = name if order.kind == "user" else None
                sessions = await unit.sessions.revoke_of(vo, None if sub is None else [sub])
                proxies = await self._end_proxies(unit, vo, sub)
                certificates = await unit.registry.certificates(vo, sub)
            if order.kind != "user":
                secrets = await self._end_secrets(unit, order, vo)
            if order.kind == "site" and not vo:
                nodes = await unit.nodes.revoke(name, None, unit.now)
            receipt = RevocationReceipt(
                order.kind, name, vo, sessions, secrets, nodes, self._within, proxies, certificates
            )
            unit.record(_event(identity, unit, receipt))
        self._revocations.expect()
        return receipt

    async def _place(self, identity: Identity, order: RevocationOrder) -> tuple[Place | None, str]:
        """Return the site that is meant, or where the pilot is, and its VO, as far as that matters."""
        if order.kind == "site":
            return Place(order.name), ""
        if order.kind != "pilot" or not identity.manages:
            return None, ""
        async with self._units.read() as unit:
            secret = await unit.pilot_secrets.find(order.name)
        if secret is None or not secret.site:
            return None, ""
        return Place(secret.site, secret.ce or ""), secret.vo

    async def _name(self, unit: Unit, order: RevocationOrder, vo: str) -> str:
        """Return the name in tokens: of users, that is their subject, and people know their names."""
        if order.kind != "user":
            return order.name
        member = await unit.registry.member_called(vo, username=order.name)
        return order.name if member is None else member.sub

    async def _end_proxies(self, unit: Unit, vo: str, sub: str | None) -> int:
        """Forget the proxies that are kept; what was made of them is refused here for as long as it lives."""
        kept = await unit.proxies.remove_of(vo, sub)
        leaves = [(proxy.chain(names.certificates(one.chain)).leaf, one) for one in kept]
        await unit.revocations.put(
            [
                RevocationRecord("proxy", "", names.key_digest(leaf), unit.now, one.expires)
                for leaf, one in leaves
            ]
        )
        return len(kept)

    async def _end_secrets(self, unit: Unit, order: RevocationOrder, vo: str) -> int:
        reach = Reach(
            vo,
            order.name if order.kind == "site" else "",
            order.name if order.kind == "pilot" else "",
        )
        ended = await unit.pilot_secrets.end(reach, unit.now)
        return ended + (0 if reach.stamp else await unit.issued_secrets.end(reach, unit.now))


def _event(identity: Identity, unit: Unit, receipt: RevocationReceipt) -> Event:
    return Event(
        kind=f"identity.{receipt.kind}.revoked",
        vo=receipt.vo,
        subject_kind=receipt.kind,
        subject_id=subject_id(receipt.name),
        time=unit.now,
        actor=identity.subject,
        data={
            "name": receipt.name,
            "sessions": receipt.sessions,
            "secrets": receipt.secrets,
            "nodes": receipt.nodes,
            "proxies": receipt.proxies,
        },
    )
