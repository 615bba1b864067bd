"""Pilots: a secret that opens the door once, exchanged for a token that is the pilot's own."""

from __future__ import annotations

import base64
import hmac
import logging
from datetime import timedelta

from dirac.core.errors import UnauthenticatedError
from dirac.core.unit import Event, Units
from dirac.systems.identity.logic.keys import subkey
from dirac.systems.identity.logic.oauth import digest
from dirac.systems.identity.logic.tokens import BEARER, Tokens
from dirac.systems.identity.models import PilotLogin, TokenResponse
from dirac.systems.identity.ports import PilotSecretRecord, Seconds, Unit
from dirac.systems.identity.settings import IdentitySettings

log = logging.getLogger(__name__)


class PilotSecrets:
    """Makes the secrets of pilots and exchanges them for tokens.

    Args:
        units: Where digests of the secrets are kept.
        tokens: Makes the tokens.
        settings: The master key; how long an exchange may be repeated.
        life: Gives the life of a pilot's token in seconds; that of the settings if absent.
    """

    def __init__(
        self, units: Units[Unit], tokens: Tokens, settings: IdentitySettings, life: Seconds | None = None
    ) -> None:
        self._units = units
        self._tokens = tokens
        self._settings = settings
        self._life = life
        self._key = subkey(settings.master_key, "pilot secrets")

    def secret(self, stamp: str) -> str:
        """Return the secret of a pilot: always the same, so that a submission can be repeated."""
        code = hmac.digest(self._key, stamp.encode(), "sha256")
        return base64.urlsafe_b64encode(code).rstrip(b"=").decode()

    def digest(self, stamp: str) -> str:
        """Return what is kept of the secret of a pilot."""
        return digest(self.secret(stamp))

    async def exchange(self, login: PilotLogin) -> TokenResponse:
        """Exchange a secret for a token.

        The secret is good once. A pilot whose answer was lost may repeat it for a minute; whoever comes
        later with it is refused, and the history says so.

        Raises:
            UnauthenticatedError: The secret is wrong, over, or was used before.
        """
        async with self._units.read() as unit:
            record = await unit.pilot_secrets.find(login.pilot_stamp)
            good = record is not None and self._fits(record, login) and record.expires > unit.now
        if record is None or not good:
            log.warning("a pilot's secret was refused", extra={"stamp": login.pilot_stamp, "vo": login.vo})
            raise UnauthenticatedError("the pilot's stamp, VO or secret is wrong, or the secret has expired")
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
        seconds = self._settings.pilot_token_seconds if self._life is None else await self._life()
        seconds = min(seconds, self._settings.longest_token_seconds)
        token = await self._tokens.pilot_token(stamp=record.stamp, vo=record.vo, seconds=seconds)
        return TokenResponse(token, seconds, BEARER)

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
