"""Logins of devices without a browser (RFC 8628)."""

from __future__ import annotations

import re
from datetime import timedelta

from dirac.core.entropy import Entropy
from dirac.core.errors import InternalError, NotAllowedError, NotFoundError
from dirac.core.unit import Units
from dirac.systems.identity.logic.access import complete_scope, grant
from dirac.systems.identity.logic.accounts import Accounts
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.oauth import OAuthError, digest, known_client, parse_scope, plain
from dirac.systems.identity.logic.passwords import Passwords
from dirac.systems.identity.logic.sessions import Session, Sessions
from dirac.systems.identity.models import DeviceFlow, TokenResponse
from dirac.systems.identity.ports.logins import DeviceRecord
from dirac.systems.identity.ports.registry import Member
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

# No vowels, so that no code is a word (RFC 8628, section 6.1).
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"

_CODE_LENGTH = 8
_SLOWER = 5  # what a client adds to its interval on `slow_down` (RFC 8628, section 3.5)
_TOLERANCE = 0.5
_TRIES = 5
_NOT_LETTERS = re.compile(r"[^A-Z]")


def new_user_code(entropy: Entropy) -> str:
    """Make a code that a person can read and type."""
    letters: list[str] = []
    usable = 256 - 256 % len(ALPHABET)
    while len(letters) < _CODE_LENGTH:
        letters += [ALPHABET[byte % len(ALPHABET)] for byte in entropy.bytes(16) if byte < usable]
    return "".join(letters[:_CODE_LENGTH])


def typed_code(text: str) -> str:
    """Return the code that somebody meant who typed this."""
    return _NOT_LETTERS.sub("", text[:64].upper())


def shown_code(code: str) -> str:
    """Return a code as it is shown to people."""
    return f"{code[:4]}-{code[4:]}"


class Devices:
    """Logins that begin on a device and are confirmed in a browser.

    Args:
        units: Where they are kept.
        passwords: Checks who confirms.
        accounts: Knows what is to be accepted.
        sessions: What follows.
        entropy: Where codes come from.
        settings: Addresses and lengths of lives.
    """

    def __init__(
        self,
        units: Units[Unit],
        passwords: Passwords,
        accounts: Accounts,
        sessions: Sessions,
        entropy: Entropy,
        settings: IdentitySettings,
    ) -> None:
        self._units = units
        self._passwords = passwords
        self._accounts = accounts
        self._sessions = sessions
        self._entropy = entropy
        self._settings = settings

    async def start(self, client_id: str | None, scope: str | None) -> DeviceFlow:
        """Begin a login.

        Raises:
            OAuthError: The client is unknown, or nobody could get that scope.
        """
        client_id = known_client(self._settings, client_id)
        wanted = parse_scope(scope)
        device_code = encoded(self._entropy.bytes(32)).decode()
        async with self._units.write() as unit:
            outlines = await unit.registry.outlines(wanted.vo)
            wanted = complete_scope(wanted, outlines[0] if outlines else None)
            for _ in range(_TRIES):
                user_code = new_user_code(self._entropy)
                record = DeviceRecord(
                    device_digest=digest(device_code),
                    user_code=user_code,
                    client_id=client_id,
                    vo=wanted.vo,
                    scope=wanted,
                    state="Pending",
                    sub=None,
                    created=unit.now,
                    expires=unit.now + timedelta(seconds=self._settings.device_seconds),
                    interval=self._settings.device_interval,
                )
                if await unit.flows.add_device(record):
                    break
            else:
                raise InternalError("no free user code was found")
        page = f"{self._settings.issuer}/api/auth/device"
        return DeviceFlow(
            user_code=user_code,
            device_code=device_code,
            verification_uri_complete=f"{page}?user_code={user_code}",
            verification_uri=page,
            expires_in=self._settings.device_seconds,
            interval=self._settings.device_interval,
        )

    async def pending(self, user_code: str) -> DeviceRecord:
        """Return the login that waits for somebody to confirm it.

        Raises:
            NotFoundError: None does under this code.
        """
        code = typed_code(user_code)
        async with self._units.read() as unit:
            record = await unit.flows.device(user_code=code) if code else None
            if record is None or record.state != "Pending" or record.expires <= unit.now:
                raise NotFoundError(
                    f"no login waits under the code {shown_code(code)!r}",
                    hint="It may be mistyped, used or too old; start the login again on your device",
                )
        return record

    async def check(self, user_code: str, username: str, password: str) -> Member:
        """Return the user of that name, if the login may be confirmed by that user.

        Raises:
            NotFoundError: No login waits under this code.
            UnauthenticatedError: The name or the password is wrong.
            NotAllowedError: The user may not have what was asked for.
            TooManyRequestsError: Too many logins of this user have failed.
        """
        record = await self.pending(user_code)
        member = await self._passwords.check(record.vo, username, password)
        grant(member, record.scope)
        return member

    async def approve(self, user_code: str, member: Member) -> None:
        """Confirm a login as a user who has shown who that is.

        Raises:
            NotFoundError: No login waits under this code.
            NotAllowedError: The user may not have what was asked for, or has something to accept before.
        """
        record = await self.pending(user_code)
        if member.vo != record.vo:
            raise NotAllowedError(f"the login is one to the VO {record.vo!r}")
        grant(member, record.scope)
        rules = await self._accounts.rules(record.vo)
        async with self._units.write() as unit:
            await self._accounts.demand_consent(unit, rules, record.vo, member.sub)
            if not await unit.flows.move_device(record.device_digest, "Pending", "Confirmed", member.sub):
                raise NotFoundError("the login was confirmed or refused meanwhile")
            unit.record(
                about_user(
                    "login.confirmed",
                    unit.now,
                    record.vo,
                    member.sub,
                    scope=str(record.scope),
                    client=record.client_id,
                )
            )

    async def refuse(self, user_code: str) -> None:
        """Refuse a login: whoever holds the code says that it is not theirs.

        Raises:
            NotFoundError: No login waits under this code.
        """
        record = await self.pending(user_code)
        async with self._units.write() as unit:
            await unit.flows.move_device(record.device_digest, "Pending", "Denied", None)

    async def redeem(self, device_code: str | None, client_id: str | None) -> TokenResponse:
        """Exchange a device code for tokens, once the login is confirmed.

        Raises:
            OAuthError: It is not confirmed yet, was refused, is over, or is not of this client.
        """
        device_code = plain("device_code", device_code)
        client_id = known_client(self._settings, client_id)
        async with self._units.write() as unit:
            outcome = await self._redeem(unit, digest(device_code), client_id)
        if isinstance(outcome, OAuthError):
            raise outcome
        return await self._sessions.answer(outcome)

    async def _redeem(self, unit: Unit, code: str, client_id: str) -> Session | OAuthError:
        record = await unit.flows.device(digest=code)
        if record is None or record.client_id != client_id:
            return OAuthError("invalid_grant", "there is no login with this device code")
        if record.state == "Denied":
            return OAuthError("access_denied", "the login was refused")
        if record.state == "Redeemed":
            return OAuthError("invalid_grant", "the device code was used before")
        if record.expires <= unit.now:
            return OAuthError("expired_token", "the login was not confirmed in time", hint="Start again")
        if record.state == "Pending" or record.sub is None:
            return await self._wait(unit, record)
        if not await unit.flows.move_device(code, "Confirmed", "Redeemed", record.sub):
            return OAuthError("invalid_grant", "the device code was used before")
        return await self._sessions.begin(unit, record.vo, record.sub, record.scope, client_id)

    async def _wait(self, unit: Unit, record: DeviceRecord) -> OAuthError:
        shortest = timedelta(seconds=record.interval - _TOLERANCE)
        hasty = record.polled is not None and unit.now - record.polled < shortest
        interval = record.interval + _SLOWER if hasty else record.interval
        await unit.flows.poll(record.device_digest, unit.now, interval)
        if hasty:
            return OAuthError("slow_down", f"ask every {interval} seconds at most")
        return OAuthError("authorization_pending", "nobody has confirmed the login yet")
