"""Sessions: what follows a login, as a family of refresh tokens of which one at a time is good.

A refresh replaces the token. Whoever presents a replaced one is either a client whose answer was lost or a
thief. The first comes back within seconds and with nothing newer: for half a minute, and as long as the
successor has not been used, the same token gets *the same* successor again, so that a family never has two
branches. In all other cases the whole session is ended (RFC 9700, section 4.14).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NoReturn

import msgspec

from dirac.core.entropy import Entropy, uuid7
from dirac.core.errors import InternalError, NotAllowedError, NotFoundError, UnauthenticatedError
from dirac.core.unit import Units
from dirac.systems.identity.logic.access import Grant, grant
from dirac.systems.identity.logic.accounts import Accounts
from dirac.systems.identity.logic.claims import RefreshClaims
from dirac.systems.identity.logic.ending import end_sessions
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.oauth import OAuthError, known_client, plain
from dirac.systems.identity.logic.revocations import Revocations
from dirac.systems.identity.logic.tokens import BEARER, Tokens
from dirac.systems.identity.models import Identity, Property, SessionToken, TokenResponse
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.registry import Member
from dirac.systems.identity.ports.sessions import RefreshRecord
from dirac.systems.identity.ports.tokens import RevocationRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

_HINT = "Log in again: dirac login VO"


class Session(msgspec.Struct, frozen=True):
    """A session at one moment: its good refresh token and what the user gets."""

    record: RefreshRecord
    grant: Grant


class SessionEndedError(OAuthError):
    """What was presented had been used before, and its session was ended."""


class Sessions:
    """Begins, continues and ends sessions.

    Args:
        units: Where refresh tokens are kept.
        tokens: Makes and reads tokens.
        revocations: Is told when something was revoked.
        entropy: Where identifiers come from.
        settings: Lengths of lives.
        accounts: Asks outside providers whether they still stand by somebody.
    """

    def __init__(
        self,
        units: Units[Unit],
        tokens: Tokens,
        revocations: Revocations,
        entropy: Entropy,
        settings: IdentitySettings,
        accounts: Accounts,
    ) -> None:
        self._revocations = revocations
        self._accounts = accounts
        self._units = units
        self._tokens = tokens
        self._entropy = entropy
        self._settings = settings

    async def begin(
        self, unit: Unit, vo: str, sub: str, scope: Scope, client_id: str
    ) -> Session | OAuthError:
        """Begin a session inside a unit; a refusal is returned, so that the unit can commit."""
        member = await unit.registry.member(vo, sub=sub)
        try:
            granted = grant(member, scope)
        except NotAllowedError as error:
            return OAuthError("access_denied", error.message, hint=error.hint)
        ends = unit.now + timedelta(seconds=self._settings.session_seconds)
        record = RefreshRecord(
            jti=self._new_id(unit.now),
            family=self._new_id(unit.now),
            vo=vo,
            sub=sub,
            client_id=client_id,
            scope=scope,
            state="Active",
            created=unit.now,
            expires=self._end(unit.now, ends),
            session_ends=ends,
        )
        await unit.sessions.add(record)
        unit.record(about_user("session.begun", unit.now, vo, sub, scope=str(scope), client=client_id))
        return Session(record, granted)

    async def answer(self, session: Session) -> TokenResponse:
        """Make the pair of tokens of a session."""
        token, seconds = await self._tokens.user_token(session.grant, sid=session.record.family)
        refresh = self._tokens.refresh_token(session.record)
        return TokenResponse(token, seconds, BEARER, refresh)

    async def refresh(self, token: str | None, client_id: str | None) -> TokenResponse:
        """Continue a session.

        Raises:
            OAuthError: The token is not good, or the user may no longer have what the session is for.
        """
        token = plain("refresh_token", token, longest=8192)
        client_id = known_client(self._settings, client_id)
        known = await self._tokens.refresh_claims(token)
        if known is None:
            raise OAuthError("invalid_grant", "this is no refresh token of this installation")
        async with self._units.single() as unit:
            outcome = await self._continue(unit, known, client_id, ask=True)
        if isinstance(outcome, Member):
            # Not in the unit: a provider may take seconds.
            await self._accounts.confirm(outcome)
            async with self._units.single() as unit:
                outcome = await self._continue(unit, known, client_id, ask=False)
        if outcome is None:
            async with self._units.write() as unit:
                outcome = await self._repeat(unit, known, client_id)
        if isinstance(outcome, OAuthError):
            self.refuse(outcome)
        if isinstance(outcome, Member):
            raise InternalError("a provider was asked twice")
        return await self.answer(outcome)

    async def _continue(
        self, unit: Unit, known: RefreshClaims, client_id: str, *, ask: bool
    ) -> Session | OAuthError | Member | None:
        """Replace a token; or return the member about whom the provider is to be asked before.

        None if it was replaced before: that is for `_repeat`.
        """
        if not known.sub:
            known = await _completed(unit, known)
        vo, _, sub = known.sub.partition(":")
        record, member = await unit.sessions.held(known.jti, vo, sub)
        if record is None or record.state == "Rotated":
            return None
        if (refusal := _refusal(unit, record, client_id)) is not None:
            return refusal
        if ask and member is not None and member.outside:
            return member
        try:
            granted = grant(member, record.scope)
        except NotAllowedError as error:
            return OAuthError("invalid_grant", error.message, hint=error.hint)
        successor = await self._replace(unit, record)
        return None if successor is None else Session(successor, granted)

    async def _replace(self, unit: Unit, record: RefreshRecord) -> RefreshRecord | None:
        successor = msgspec.structs.replace(
            record,
            jti=self._new_id(unit.now),
            created=unit.now,
            expires=self._end(unit.now, record.session_ends),
            previous=record.jti,
        )
        return successor if await unit.sessions.rotate(record.jti, successor) else None

    async def _repeat(self, unit: Unit, known: RefreshClaims, client_id: str) -> Session | OAuthError:
        """Go on with the unused successor of a token that was replaced moments ago; else end the session."""
        if not known.sub:
            known = await _completed(unit, known)
        # Servers of the version before this one keep what they have replaced.
        replaced = await unit.sessions.find(known.jti)
        current = await unit.sessions.current(replaced.family if replaced is not None else known.sid)
        if current is None or known.exp <= unit.now.timestamp():
            return OAuthError("invalid_grant", "the session is over", hint=_HINT)
        if (refusal := _refusal(unit, current, client_id)) is not None:
            return refusal
        follows = current.previous == known.jti or (
            replaced is not None and replaced.successor == current.jti
        )
        if follows and unit.now - current.created <= timedelta(seconds=self._settings.refresh_grace_seconds):
            try:
                return Session(
                    current, grant(await unit.registry.member(current.vo, sub=current.sub), current.scope)
                )
            except NotAllowedError as error:
                return OAuthError("invalid_grant", error.message, hint=error.hint)
        await self.stop(unit, current.family)
        unit.record(
            about_user("session.reused", unit.now, current.vo, current.sub, actor="?", token=known.jti)
        )
        return SessionEndedError(
            "invalid_grant",
            "the refresh token was used before; the session is ended in case it was stolen",
            hint=_HINT,
        )

    def refuse(self, error: OAuthError) -> NoReturn:
        """Raise an error once its unit is committed; this process knows at once of a session that it ended.

        Raises:
            OAuthError: Always.
        """
        if isinstance(error, SessionEndedError):
            self._revocations.expect()
        raise error

    async def revoke(self, token: str | None, client_id: str | None) -> None:
        """Revoke a token (RFC 7009); what is no token of ours is no good already.

        With a refresh token ends its session, and with that all access tokens of it. An access token, of
        whatever kind, ends alone, with those that it was exchanged for.

        Raises:
            OAuthError: It is a refresh token that was issued to another client.
        """
        token = plain("token", token, longest=8192)
        client_id = known_client(self._settings, client_id)
        known = await self._tokens.refresh_claims(token)
        if known is None:
            await self._revoke_access_token(token)
            return
        async with self._units.write() as unit:
            record = await unit.sessions.find(known.jti) or await unit.sessions.current(known.sid)
            if record is None:
                return
            if record.client_id != client_id:
                raise OAuthError("invalid_grant", "the refresh token was issued to another client")
            await self._end_session(unit, record, f"{record.vo}:{record.sub}")
        self._revocations.expect()

    async def _revoke_access_token(self, token: str) -> None:
        try:
            claims = await self._tokens.claims(token)
        except UnauthenticatedError:
            return
        async with self._units.write() as unit:
            ends = datetime.fromtimestamp(claims.exp, UTC)
            await unit.revocations.put([RevocationRecord("token", "", claims.jti, ends, ends)])
            sub = claims.sub.partition(":")[2]
            unit.record(about_user("token.revoked", unit.now, claims.vo, sub, token=claims.jti))
        self._revocations.expect()

    async def active(self, identity: Identity) -> list[SessionToken]:
        """Return the refresh tokens in use: one's own, or all of one's VO with ProxyManagement."""
        async with self._units.read() as unit:
            records = await unit.sessions.active(identity.vo, _whose(identity), unit.now)
        return [
            SessionToken(
                jti=record.jti,
                status="CREATED",
                scope=str(record.scope),
                sub=f"{record.vo}:{record.sub}",
                client_id=record.client_id,
                created=record.created,
                expires=record.expires,
            )
            for record in records
        ]

    async def end(self, identity: Identity, jti: str) -> None:
        """End the session of a refresh token, by the token's identifier.

        Raises:
            NotFoundError: There is no such token that the caller may see.
        """
        whose = _whose(identity)
        async with self._units.write() as unit:
            record = await unit.sessions.find(jti)
            if record is None or record.vo != identity.vo or whose not in (None, record.sub):
                raise NotFoundError(f"there is no refresh token {jti!r}")
            await self._end_session(unit, record, identity.subject)
        self._revocations.expect()

    async def _end_session(self, unit: Unit, record: RefreshRecord, actor: str) -> None:
        if await self.stop(unit, record.family):
            unit.record(
                about_user("session.ended", unit.now, record.vo, record.sub, actor=actor, token=record.jti)
            )

    async def stop(self, unit: Unit, family: str) -> int:
        """End a session; return how many could have been continued: one or none."""
        return await end_sessions(unit, [family], self._settings.access_token_seconds)

    def _new_id(self, now: datetime) -> str:
        return str(uuid7(self._entropy, now.timestamp()))

    def _end(self, now: datetime, session_ends: datetime) -> datetime:
        return min(now + timedelta(seconds=self._settings.refresh_token_seconds), session_ends)


async def _completed(unit: Unit, known: RefreshClaims) -> RefreshClaims:
    """Return what a token says that is older than its claims."""
    record = await unit.sessions.find(known.jti)
    if record is None:
        return known
    return msgspec.structs.replace(known, sub=f"{record.vo}:{record.sub}", sid=record.family)


def _refusal(unit: Unit, record: RefreshRecord, client_id: str) -> OAuthError | None:
    """Return why a token is not good, None if it is."""
    if record.expires <= unit.now:
        return OAuthError("invalid_grant", "the session is over", hint=_HINT)
    if record.client_id != client_id:
        return OAuthError("invalid_grant", "the refresh token was issued to another client")
    if record.state == "Revoked":
        return OAuthError("invalid_grant", "the session was ended", hint=_HINT)
    return None


def _whose(identity: Identity) -> str | None:
    """Return the subject whose tokens an identity may see, None for all of its VO."""
    return None if Property.PROXY_MANAGEMENT in identity.properties else identity.sub
