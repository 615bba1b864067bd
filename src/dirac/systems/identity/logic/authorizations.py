"""Logins of programs that have a browser: authorisation code with PKCE (RFC 6749, 7636, 8252)."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import msgspec

from dirac.core.addresses import LOOPBACK
from dirac.core.entropy import Entropy
from dirac.core.errors import InvalidInputError, NotAllowedError, NotFoundError
from dirac.core.unit import Units
from dirac.systems.identity.logic.access import complete_scope, grant
from dirac.systems.identity.logic.accounts import Accounts
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.oauth import OAuthError, digest, known_client, parse_scope, plain
from dirac.systems.identity.logic.passwords import Passwords
from dirac.systems.identity.logic.sessions import Session, SessionEndedError, Sessions
from dirac.systems.identity.models import TokenResponse
from dirac.systems.identity.ports.logins import CodeRecord, Scope
from dirac.systems.identity.ports.registry import Member
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")
_LONGEST_URI = 2000


class AuthorizationRequest(msgspec.Struct, frozen=True):
    """What a program asks for, as its browser brought it (RFC 6749, section 4.1.1)."""

    response_type: str
    client_id: str
    redirect_uri: str
    scope: str
    state: str
    code_challenge: str
    code_challenge_method: str


def is_loopback(uri: SplitResult) -> bool:
    """Tell whether an address is one of the browser's own machine (RFC 8252, section 7.3)."""
    try:
        return uri.scheme == "http" and uri.hostname in LOOPBACK and uri.username is None and uri.port != 0
    except ValueError:  # a port that is none
        return False


def with_parameters(uri: str, **parameters: str) -> str:
    """Add parameters to an address; empty ones are left out."""
    parts = urlsplit(uri)
    added = urlencode({name: value for name, value in parameters.items() if value})
    return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, added) if part)))


class Authorizations:
    """Logins that begin and end in a browser.

    Args:
        units: Where codes are kept.
        passwords: Checks who logs in.
        accounts: Knows what is to be accepted.
        sessions: What follows.
        entropy: Where codes come from.
        settings: Known clients and where they may be sent back to.
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

    def check_target(self, request: AuthorizationRequest) -> None:
        """Refuse a request whose sender must not even be told so: the address may be a thief's.

        Raises:
            InvalidInputError: The client is unknown, or may not be sent back there.
        """
        known_client(self._settings, request.client_id)
        uri = plain("redirect_uri", request.redirect_uri, longest=_LONGEST_URI)
        try:
            parts = urlsplit(uri)
        except ValueError:
            raise InvalidInputError(f"the redirect address {uri!r} cannot be read") from None
        allowed = uri in self._settings.redirect_uris
        if not allowed and self._settings.loopback_redirects:
            allowed = is_loopback(parts) and not parts.fragment and uri.isascii()
        if not allowed:
            raise InvalidInputError(
                f"the redirect address {uri!r} is not allowed here",
                hint="An operator can add it to the settings",
            )

    async def check(self, request: AuthorizationRequest) -> Scope:
        """Return what is asked for, completed.

        Raises:
            OAuthError: The request is not one that can be granted; the program is to be told.
        """
        if plain("response_type", request.response_type) != "code":
            raise OAuthError("unsupported_response_type", "only the response type 'code' is supported")
        if request.code_challenge_method != "S256":
            raise OAuthError("invalid_request", "the code challenge method must be S256")
        if not _CHALLENGE.match(request.code_challenge):
            raise OAuthError("invalid_request", "the code challenge is not 43 characters of base64url")
        if request.state:
            plain("state", request.state, longest=_LONGEST_URI)
        wanted = parse_scope(request.scope)
        async with self._units.read() as unit:
            outlines = await unit.registry.outlines(wanted.vo)
        return complete_scope(wanted, outlines[0] if outlines else None)

    async def authenticate(self, request: AuthorizationRequest, username: str, password: str) -> Member:
        """Return the user of that name, if that user may have what is asked for.

        Raises:
            InvalidInputError: The request is not one that can be granted.
            UnauthenticatedError: The name or the password is wrong.
            NotAllowedError: The user may not have what was asked for.
            TooManyRequestsError: Too many logins of this user have failed.
        """
        self.check_target(request)
        wanted = await self.check(request)
        member = await self._passwords.check(wanted.vo, username, password)
        grant(member, wanted)
        return member

    async def approve(self, request: AuthorizationRequest, member: Member) -> str:
        """Return the code for the program, for a user who has shown who that is.

        Raises:
            InvalidInputError: The request is not one that can be granted.
            NotAllowedError: The user may not have what was asked for, or has something to accept before.
        """
        self.check_target(request)
        wanted = await self.check(request)
        if member.vo != wanted.vo:
            raise NotAllowedError(f"the login is one to the VO {wanted.vo!r}")
        grant(member, wanted)
        rules = await self._accounts.rules(wanted.vo)
        code = encoded(self._entropy.bytes(32)).decode()
        async with self._units.write() as unit:
            await self._accounts.demand_consent(unit, rules, member.vo, member.sub)
            await unit.flows.add_code(
                CodeRecord(
                    code_digest=digest(code),
                    client_id=request.client_id,
                    redirect_uri=request.redirect_uri,
                    state=request.state,
                    challenge=request.code_challenge,
                    vo=member.vo,
                    sub=member.sub,
                    scope=wanted,
                    expires=unit.now + timedelta(seconds=self._settings.code_seconds),
                )
            )
            unit.record(
                about_user(
                    "login.confirmed",
                    unit.now,
                    member.vo,
                    member.sub,
                    scope=str(wanted),
                    client=request.client_id,
                )
            )
        return code

    async def target(self, code: str, state: str) -> str:
        """Return where the browser goes with a code.

        Raises:
            NotFoundError: There is no such code, or it belongs to another request.
        """
        async with self._units.read() as unit:
            record = await unit.flows.code(digest(code))
            if record is None or record.state != state or record.expires <= unit.now:
                raise NotFoundError("no login waits for this answer", hint="Start the login again")
        return with_parameters(record.redirect_uri, code=code, state=state, iss=self._settings.issuer)

    async def redeem(
        self, code: str | None, verifier: str | None, redirect_uri: str | None, client_id: str | None
    ) -> TokenResponse:
        """Exchange a code for tokens.

        Raises:
            OAuthError: It is unknown, over, used before, or of another request.
        """
        code = plain("code", code)
        verifier = plain("code_verifier", verifier)
        redirect_uri = plain("redirect_uri", redirect_uri)
        client_id = known_client(self._settings, client_id)
        if not _VERIFIER.match(verifier):
            raise OAuthError("invalid_request", "the code verifier is not 43 to 128 unreserved characters")
        async with self._units.write() as unit:
            outcome = await self._redeem(unit, digest(code), verifier, (client_id, redirect_uri))
        if isinstance(outcome, OAuthError):
            self._sessions.refuse(outcome)
        return await self._sessions.answer(outcome)

    async def _redeem(
        self, unit: Unit, code: str, verifier: str, request: tuple[str, str]
    ) -> Session | OAuthError:
        record = await unit.flows.code(code)
        if record is None or (record.client_id, record.redirect_uri) != request:
            return OAuthError("invalid_grant", "there is no such code for this client and redirect address")
        hashed = encoded(hashlib.sha256(verifier.encode()).digest()).decode()
        if not hmac.compare_digest(hashed, record.challenge):
            return OAuthError("invalid_grant", "the code verifier does not fit the code challenge")
        if record.family is None and record.expires <= unit.now:
            return OAuthError("invalid_grant", "the code has expired", hint="Start the login again")
        if record.family is None:
            session = await self._sessions.begin(unit, record.vo, record.sub, record.scope, record.client_id)
            if isinstance(session, OAuthError):
                return session
            if await unit.flows.take_code(code, session.record.family):
                return session
            await self._sessions.stop(unit, session.record.family)
            record = await unit.flows.code(code) or record
        # Somebody has the code who should not (RFC 6749, section 4.1.2).
        await self._sessions.stop(unit, record.family or "")
        unit.record(about_user("code.reused", unit.now, record.vo, record.sub, actor="?"))
        return SessionEndedError("invalid_grant", "the code was used before; its session is ended")
