"""Pilots: a secret that opens the door once, exchanged for a token that is the pilot's own."""

from __future__ import annotations

import hmac
import logging
from datetime import timedelta

from dirac.core.errors import UnauthenticatedError
from dirac.core.unit import Event, Units
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.issuing import PREFIX, Issuing
from dirac.systems.identity.logic.oauth import digest
from dirac.systems.identity.logic.sealing import subkey
from dirac.systems.identity.logic.tokens import BEARER, Tokens
from dirac.systems.identity.models import PilotLogin, TokenResponse
from dirac.systems.identity.ports.pilots import PilotSecretRecord
from dirac.systems.identity.ports.unit import Seconds, Unit
from dirac.systems.identity.settings import IdentitySettings

log = logging.getLogger(__name__)


class _RefusedError(Exception):
    """A pilot may not use a secret."""


class PilotSecrets:
    """Makes the secrets of pilots and exchanges them for tokens.

    Args:
        units: Where digests of the secrets are kept.
        tokens: Makes the tokens.
        issuing: Knows the secrets of pilots that are started elsewhere.
        settings: The master key; how long an exchange may be repeated.
        life: Gives the life of a pilot's token in seconds; that of the settings if absent.
    """

    def __init__(
        self,
        units: Units[Unit],
        tokens: Tokens,
        issuing: Issuing,
        settings: IdentitySettings,
        life: Seconds | None = None,
    ) -> None:
        self._units = units
        self._issuing = issuing
        self._tokens = tokens
        self._settings = settings
        self._life = life
        self._key = subkey(settings.master_key, "pilot secrets")

    def secret(self, stamp: str) -> str:
        """Return the secret of a pilot: always the same, so that a submission can be repeated."""
        code = hmac.digest(self._key, stamp.encode(), "sha256")
        return encoded(code).decode()

    def digest(self, stamp: str) -> str:
        """Return what is kept of the secret of a pilot."""
        return digest(self.secret(stamp))

    async def exchange(self, login: PilotLogin) -> TokenResponse:
        """Exchange a secret for a token.

        A secret is good once for each stamp: those that were made for one stamp once, those that were issued
        for as many as they say. A pilot whose answer was lost may repeat it for a minute; whoever comes
        later with it is refused, and the history says so.

        Raises:
            UnauthenticatedError: The secret is wrong, over, revoked, or was used before.
        """
        record, fresh = await self._known(login), False
        if record is None and login.pilot_secret.startswith(PREFIX):
            record = await self._first(login)
            fresh = record is not None
            if record is None:  # the same pilot may have been faster, by another connection
                record = await self._known(login)
        if record is None:
            log.warning("a pilot's secret was refused", extra={"stamp": login.pilot_stamp, "vo": login.vo})
            raise UnauthenticatedError(
                "the pilot's stamp, VO or secret is wrong, or the secret was used up or has expired"
            )
        if not fresh:
            await self._use(record)
        seconds = self._settings.pilot_token_seconds if self._life is None else await self._life()
        seconds = min(seconds, self._settings.longest_token_seconds)
        token = await self._tokens.pilot_token(
            stamp=record.stamp, vo=record.vo, seconds=seconds, site=record.site or ""
        )
        return TokenResponse(token, seconds, BEARER)

    async def _known(self, login: PilotLogin) -> PilotSecretRecord | None:
        """Return the secret of a stamp, None if this is not it, or it has expired."""
        async with self._units.read() as unit:
            record = await unit.pilot_secrets.find(login.pilot_stamp)
            good = record is not None and self._fits(record, login) and record.expires > unit.now
        return record if good else None

    async def _first(self, login: PilotLogin) -> PilotSecretRecord | None:
        """Let a pilot of an unknown stamp use a secret that was issued; None if it may not."""
        try:
            async with self._units.write() as unit:
                record = await self._issuing.take(unit, login)
                if record is None:
                    raise _RefusedError  # so that nothing of it stays
                unit.record(_event(record, unit, welcome=True, again=False))
        except _RefusedError:
            return None
        return record

    async def _use(self, record: PilotSecretRecord) -> None:
        """Use a secret for the first time, or again if that was moments ago.

        Raises:
            UnauthenticatedError: It was used before.
        """
        async with self._units.write() as unit:
            first = await unit.pilot_secrets.use(record.stamp, unit.now)
            used = None if first else await unit.pilot_secrets.find(record.stamp)
            grace = timedelta(seconds=self._settings.pilot_grace_seconds)
            welcome = first or (used is not None and used.used is not None and unit.now - used.used <= grace)
            unit.record(_event(record, unit, welcome=welcome, again=not first))
        if not welcome:
            raise UnauthenticatedError(
                "the pilot's secret was used before", hint="A secret is good for one login; start a new pilot"
            )

    def _fits(self, record: PilotSecretRecord, login: PilotLogin) -> bool:
        same = hmac.compare_digest(digest(login.pilot_secret), record.secret_digest)
        return same and login.vo == record.vo


def _event(record: PilotSecretRecord, unit: Unit, *, welcome: bool, again: bool) -> Event:
    return Event(
        kind=f"identity.pilot.{'login' if welcome else 'refused'}",
        vo=record.vo,
        subject_kind="pilot",
        subject_id=record.stamp,
        time=unit.now,
        actor=f"{record.vo}:pilot:{record.stamp}" if welcome else "?",
        data={"again": again},
    )
