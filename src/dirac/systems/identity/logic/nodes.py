"""Credentials of worker nodes that start pilots themselves: one computing element each, revocable."""

from __future__ import annotations

import hmac
import logging
import re
from datetime import UTC, datetime

from dirac.core.entropy import Entropy
from dirac.core.errors import UnauthenticatedError
from dirac.core.unit import Event, Units
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.events import subject_id
from dirac.systems.identity.logic.oauth import digest
from dirac.systems.identity.models import Identity
from dirac.systems.identity.ports.pilots import NodeCredentialRecord
from dirac.systems.identity.ports.unit import Unit

PREFIX = "dirac-node."
"""What every credential of a node begins with; no JSON Web Token does."""

log = logging.getLogger(__name__)
_FORM = re.compile(r"dirac-node\.(?P<id>[0-9a-f]{32})\.[A-Za-z0-9_-]{43}")
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
_HINT = "Ask the operator of the server for another one: dirac-server node-token"


class NodeCredentials:
    """Issues, checks and revokes the credentials of worker nodes.

    A credential does not end by itself: a farm of nodes that stops on one day because nobody thought of the
    date helps nobody. It is looked up each time, so that to revoke it takes effect at once.

    Args:
        units: Where digests of them are kept.
        entropy: Where they come from.
    """

    def __init__(self, units: Units[Unit], entropy: Entropy) -> None:
        self._units = units
        self._entropy = entropy

    async def issue(self, site: str, ce: str, *, actor: str = "installation") -> str:
        """Issue a credential for the nodes of a computing element; this is the only time it is seen."""
        name = self._entropy.bytes(16).hex()
        secret = encoded(self._entropy.bytes(32)).decode()
        credential = f"{PREFIX}{name}.{secret}"
        async with self._units.write() as unit:
            await unit.nodes.add(NodeCredentialRecord(name, site, ce, digest(credential), unit.now))
            unit.record(_event("issued", unit.now, site, ce, actor, credential=name))
        return credential

    async def revoke(self, site: str, ce: str, *, actor: str = "installation") -> int:
        """Revoke all credentials of a computing element; return how many were good."""
        async with self._units.write() as unit:
            revoked = await unit.nodes.revoke(site, ce, unit.now)
            if revoked:
                unit.record(_event("revoked", unit.now, site, ce, actor, credentials=revoked))
        return revoked

    async def authenticate(self, credential: str) -> Identity:
        """Return whose credential this is.

        Raises:
            UnauthenticatedError: It is none of this installation, or was revoked.
        """
        form = _FORM.fullmatch(credential)
        record = None
        if form is not None:
            async with self._units.read() as unit:
                record = await unit.nodes.find(form["id"])
        if record is None or not hmac.compare_digest(digest(credential), record.secret_digest):
            raise UnauthenticatedError("this is no node's credential of this installation", hint=_HINT)
        if record.revoked is not None:
            log.warning("a revoked node's credential came", extra={"site": record.site, "ce": record.ce})
            raise UnauthenticatedError("the node's credential was revoked", hint=_HINT)
        return Identity(
            vo="",
            sub=f"node:{record.site}:{record.ce}",
            username=f"node of {record.ce} at {record.site}",
            group="",
            properties=frozenset(),
            kind="node",
            token_id=record.credential_id,
            expires=_NEVER,
            site=record.site,
            ce=record.ce,
        )


def _event(verb: str, time: datetime, site: str, ce: str, actor: str, **data: str | int) -> Event:
    return Event(
        kind=f"identity.node.{verb}",
        vo="",
        subject_kind="node",
        subject_id=subject_id(f"{site}/{ce}"),
        time=time,
        actor=actor,
        data={"site": site, "ce": ce, **data},
    )
