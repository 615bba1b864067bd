"""Secrets of pilots that are started elsewhere: issued in bulk, for a site, a number of uses, and a time."""

from __future__ import annotations

import hmac
import re
from datetime import timedelta

from dirac.core.entropy import Entropy
from dirac.core.errors import InvalidInputError, NotAllowedError
from dirac.core.unit import Event, Units
from dirac.systems.identity import policy
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.events import subject_id
from dirac.systems.identity.logic.oauth import digest
from dirac.systems.identity.models import Identity, PilotLogin
from dirac.systems.identity.models_tokens import IssuedSecret, SecretOrder
from dirac.systems.identity.ports.pilots import IssuedSecretRecord, PilotSecretRecord
from dirac.systems.identity.ports.unit import Unit

PREFIX = "dirac-pilot."
"""What every secret that was issued begins with; none that was made for a stamp does."""

_FORM = re.compile(r"dirac-pilot\.(?P<id>[0-9a-f]{32})\.[A-Za-z0-9_-]{43}")
_STAMP = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Issuing:
    """Issues secrets, and takes them from pilots.

    Args:
        units: Where digests of them are kept.
        entropy: Where they come from.
    """

    def __init__(self, units: Units[Unit], entropy: Entropy) -> None:
        self._units = units
        self._entropy = entropy

    async def issue(self, identity: Identity, order: SecretOrder) -> list[IssuedSecret]:
        """Issue secrets; this is the only time they are seen.

        Raises:
            NotAllowedError: The VO is not the caller's.
            InvalidInputError: There is no such VO.
        """
        vo = order.vo or identity.vo
        if vo != identity.vo and not policy.is_operator(identity):
            raise NotAllowedError(f"secrets for pilots of {vo!r} are not yours to issue")
        async with self._units.write() as unit:
            if not vo or not await unit.registry.outlines(vo):
                raise InvalidInputError(f"there is no VO {vo!r} here", where="vo", hint="Name the pilots' VO")
            expires = unit.now + timedelta(seconds=order.seconds)
            made: list[IssuedSecret] = []
            records: list[IssuedSecretRecord] = []
            for _ in range(order.count):
                name = self._entropy.bytes(16).hex()
                tail = encoded(self._entropy.bytes(32)).decode()
                secret = f"{PREFIX}{name}.{tail}"
                made.append(IssuedSecret(secret, vo, order.site, order.ce, order.uses, expires))
                records.append(
                    IssuedSecretRecord(
                        name, vo, order.site, order.ce, digest(secret), order.uses, 0, unit.now, expires
                    )
                )
            await unit.issued_secrets.add(records)
            unit.record(
                Event(
                    kind="identity.pilot_secrets.issued",
                    vo=vo,
                    subject_kind="site",
                    subject_id=subject_id(order.site),
                    time=unit.now,
                    actor=identity.subject,
                    data={"ce": order.ce, "count": order.count, "uses": order.uses, "seconds": order.seconds},
                )
            )
        return made

    async def take(self, unit: Unit, login: PilotLogin) -> PilotSecretRecord | None:
        """Let a pilot use a secret for the first time, inside a unit; None if it may not.

        From then on the secret is that of the pilot's stamp. A unit that gets None has to be given up.
        """
        form = _FORM.fullmatch(login.pilot_secret)
        found = await unit.issued_secrets.find(form["id"]) if form is not None else None
        given = digest(login.pilot_secret)
        if found is None or not hmac.compare_digest(given, found.secret_digest) or found.vo != login.vo:
            return None
        if not _STAMP.fullmatch(login.pilot_stamp):
            return None
        record = PilotSecretRecord(
            stamp=login.pilot_stamp,
            vo=found.vo,
            secret_digest=found.secret_digest,
            expires=found.expires,
            used=unit.now,
            site=found.site,
            ce=found.ce,
        )
        if not await unit.pilot_secrets.add_all([record]):
            return None
        if not await unit.issued_secrets.use(found.secret_id, unit.now):
            return None
        known = unit.pilot_records is None or await unit.pilot_records.add(
            stamp=record.stamp,
            vo=record.vo,
            site=found.site,
            ce=found.ce,
            actor=f"{record.vo}:pilot:{record.stamp}",
        )
        return record if known else None
