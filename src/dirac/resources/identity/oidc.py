"""Identity providers that speak OpenID Connect: Indigo IAM, EGI Check-in, Keycloak, Dex and others."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec

from dirac.core.errors import InvalidInputError, UnauthenticatedError, UnavailableError
from dirac.core.time import Clock
from dirac.resources.identity import scim
from dirac.resources.identity.answers import read, text, why
from dirac.resources.identity.client_key import assertion
from dirac.resources.identity.handed_on import unfit
from dirac.resources.identity.id_token import Claims, ProviderKeys, identified, verified
from dirac.resources.identity.outside import (
    Begin,
    Grant,
    Keep,
    LoginEndedError,
    Person,
    Proof,
    ProviderSettings,
)
from dirac.transport.http_client import Answer, HttpClient
from dirac.transport.retry import BackOff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

_SECONDS = 10.0  # that a call may take: a person is waiting
# A request is made once: somebody waits for it, who can ask again, or what was said last will do.
_ONCE = BackOff(first=4 * _SECONDS, longest=4 * _SECONDS)
_KEEP = 3600.0  # seconds that the provider's description is believed
_REFUSALS = frozenset(range(400, 500))
_MOST_VALUES = 2000


class Discovered(msgspec.Struct, frozen=True):
    """What we need of the provider's description (OpenID Connect Discovery 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class OidcProvider:
    """Implements `dirac.resources.identity.outside.OutsideProvider`.

    Args:
        settings: Which provider, and who we are there.
        clock: When what it said is to be asked again.
    """

    def __init__(self, settings: ProviderSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._clients: dict[str, HttpClient] = {}
        self._description: Discovered | None = None
        self._described = float("-inf")
        self._reading: tuple[str, datetime] | None = None
        self._keys = ProviderKeys(self._fetch_keys, clock)

    async def probe(self) -> str:
        """Return where the provider lets people log in, if it is usable."""
        await self._secret()
        async with self._bounded():
            found = await self._discover()
            await self._shown(found.token_endpoint)
            if not (await self._fetch_keys()).get("keys"):
                raise UnavailableError(f"{found.jwks_uri} has no keys")
            return found.authorization_endpoint

    async def begin(self, begin: Begin) -> str:
        """Return the address that a person is sent to (RFC 6749, 4.1.1; RFC 7636)."""
        async with self._bounded():
            found = await self._discover()
        hashed = hashlib.sha256(begin.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": begin.redirect_uri,
            "scope": " ".join(dict.fromkeys(["openid", *self._settings.scopes])),
            "state": begin.state,
            "nonce": begin.nonce,
            "code_challenge": base64.urlsafe_b64encode(hashed).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        if "offline_access" in self._settings.scopes:
            asked["prompt"] = "consent"  # without it no refresh token (OpenID Connect Core 11)
        joint = "&" if urlsplit(found.authorization_endpoint).query else "?"
        return f"{found.authorization_endpoint}{joint}{urlencode(asked)}"

    async def finish(self, begin: Begin, code: str, issuer: str) -> Proof:
        """Return who came back with a code."""
        async with self._bounded():
            found = await self._discover()
            expected = found.authorization_response_iss_parameter_supported
            if (issuer or expected) and issuer != found.issuer:
                raise UnauthenticatedError(
                    "the answer is not that of the identity provider that was asked",
                    hint="Start the login again; if it repeats, tell the operators",
                )
            form = {"code": code, "redirect_uri": begin.redirect_uri, "code_verifier": begin.verifier}
            answer = await self._ask(found, "authorization_code", form)
            if answer.status == 401 or why(answer).startswith(("invalid_client", "unauthorized_client")):
                raise UnavailableError(
                    f"the identity provider does not know this installation: {why(answer)}",
                    hint="Tell the operators: dirac-server doctor",
                )
            if answer.status >= 400:
                raise UnauthenticatedError(
                    f"the identity provider does not stand by this login: {why(answer)}",
                    hint="Start the login again",
                )
            tokens = _object(answer)
            claims = await self._identified(tokens.get("id_token"), begin.nonce)
            return await self._proof(found, claims, tokens, old="")

    async def again(self, sub: str, grant: Grant, keep: Keep) -> Proof:
        """Return what the provider says today of a person who logged in earlier."""
        async with self._bounded():
            found = await self._discover()
            tokens: Mapping[str, Any] = {}
            claims: Claims = {"sub": sub}
            if grant.refresh_token:
                answer = await self._ask(found, "refresh_token", {"refresh_token": grant.refresh_token})
                if answer.status >= 400:
                    raise _ended(answer)
                tokens = _object(answer)
                given = self._grant(tokens, grant.refresh_token)
                if given.refresh_token != grant.refresh_token:
                    await keep(given)
                if "id_token" in tokens:
                    claims = await self._identified(tokens["id_token"], None)
            elif grant.expires <= self._clock.now() or not grant.access_token:
                raise LoginEndedError("the login at the identity provider is over")
            else:
                left = (grant.expires - self._clock.now()).total_seconds()
                tokens = {"access_token": grant.access_token, "expires_in": left}
            if claims["sub"] != sub:
                raise LoginEndedError("the identity provider speaks of somebody else now")
            fresh = bool(grant.refresh_token)
            return await self._proof(found, claims, tokens, old=grant.refresh_token, fresh=fresh)

    async def own_token(self, scope: str, audience: str) -> tuple[str, datetime]:
        """Return an access token of our client's own (RFC 6749, 4.4), and its end."""
        form = {"scope": scope} | ({"audience": audience} if audience else {})
        async with self._bounded():
            answer = await self._ask(await self._discover(), "client_credentials", form)
        said = _object(answer) if answer.status < 400 else {}
        token = said.get("access_token")
        # An answer without a scope gives what was asked for (RFC 6749, 5.1), or nothing of it, with some
        # providers: who hands a token to others has to know.
        less = set(scope.split()) - set(text(said.get("scope", "" if audience else scope)).split())
        reason = f"not {' '.join(sorted(less))}" if less else ""
        if not isinstance(token, str):
            token, reason = "", why(answer)
        if reason := reason or (unfit(token, scope, audience) if audience else ""):
            raise UnavailableError(
                f"{self._settings.issuer} gives {self._settings.client_id!r} no token of its own for "
                f"{scope!r}: {reason}",
                hint="Allow the client the grant client_credentials, these scopes and this audience there",
            )
        seconds = said.get("expires_in")
        life = float(seconds) if isinstance(seconds, int | float) else 0.0
        return token, self._clock.now() + timedelta(seconds=min(max(life, 0.0), 86400.0))

    async def people(self) -> dict[str, bool] | None:
        """Return who there is, by subject, and whether they are active; None if there is no address."""
        url = self._settings.scim_url
        return None if url is None else await scim.people(self._look, url)

    async def close(self) -> None:
        """Let go of connections."""
        while self._clients:
            await self._clients.popitem()[1].aclose()

    # What it says of itself

    async def _discover(self) -> Discovered:
        now = self._clock.monotonic()
        if self._description is not None and now - self._described < _KEEP:
            return self._description
        url = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            found = read(await self._send("GET", url), Discovered, url)
        except UnavailableError:
            if self._description is None:
                raise
            return self._description  # it rarely changes
        if found.issuer != self._settings.issuer:
            raise UnavailableError(
                f"{url} calls its issuer {found.issuer!r}, not {self._settings.issuer!r}",
                hint="Write the issuer letter by letter as it is there, also its last slash",
            )
        self._description, self._described = found, now
        return found

    async def _fetch_keys(self) -> dict[str, Any]:
        return _object(await self._send("GET", (await self._discover()).jwks_uri))

    async def _identified(self, token: Any, nonce: str | None) -> Claims:
        return await identified(
            token,
            self._keys,
            issuer=self._settings.issuer,
            client_id=self._settings.client_id,
            nonce=nonce,
            now=self._clock.now().timestamp(),
        )

    # What it lists

    async def _look(self, url: str) -> Answer:
        """Get something of the list of users."""
        answer = await self._got(url, await self._reader())
        if answer.status == 401 and self._reading is not None:
            self._reading = None  # it was revoked, or forgotten
            answer = await self._got(url, await self._reader())
        return answer

    async def _got(self, url: str, token: str) -> Answer:
        async with self._bounded():
            return await self._send("GET", url, headers={"Authorization": f"Bearer {token}"})

    async def _reader(self) -> str:
        """Return the token that reads the list; the client's own is kept for a part of its life."""
        if self._settings.scim_token is not None:
            return await self._settings.scim_token.get()
        if self._reading is None or self._reading[1] <= self._clock.now():
            now = self._clock.now()
            token, expires = await self.own_token(" ".join(self._settings.scim_scopes), "")
            self._reading = token, now + (expires - now) / 2
        return self._reading[0]

    # What it says of people

    async def _proof(
        self, found: Discovered, claims: Claims, tokens: Mapping[str, Any], *, old: str, fresh: bool = True
    ) -> Proof:
        access = tokens.get("access_token")
        if found.userinfo_endpoint and isinstance(access, str):
            answer = await self._send(
                "GET", found.userinfo_endpoint, headers={"Authorization": f"Bearer {access}"}
            )
            if answer.status in (401, 403) and not fresh:
                raise LoginEndedError(f"the identity provider does not stand by its token: {why(answer)}")
            said = await self._said(answer)
            if said.get("sub") != claims["sub"]:  # OpenID Connect Core 5.3.2
                raise UnauthenticatedError("the identity provider speaks of two people at once")
            claims = {**claims, **said}
        values = frozenset(_values(claims, self._settings.group_claims))
        if self._settings.scim_groups and (url := self._settings.scim_url):
            values |= await scim.groups(self._look, url, claims["sub"])
        person = Person(
            sub=claims["sub"],
            username=text(claims.get(self._settings.username_claim)),
            email=text(claims.get("email")) if claims.get("email_verified") is not False else "",
            values=values,
        )
        return Proof(person, self._grant(tokens, old))

    def _grant(self, tokens: Mapping[str, Any], old: str) -> Grant:
        """Return what lets us ask again, with the refresh token that there was if there is no new one."""
        seconds = tokens.get("expires_in")
        life = float(seconds) if isinstance(seconds, int | float) else 0.0
        return Grant(
            refresh_token=text(tokens.get("refresh_token")) or old,
            access_token=text(tokens.get("access_token")),
            expires=self._clock.now() + timedelta(seconds=min(max(life, 0.0), 86400.0)),
        )

    async def _said(self, answer: Answer) -> Claims:
        """Return what it says of a person at the endpoint for that, also if it signs it (5.3.2)."""
        if not answer.headers.get("content-type", "").startswith("application/jwt"):
            return _object(answer)
        claims = await verified(answer.content.decode(errors="replace"), self._keys)
        audience = claims.get("aud", self._settings.client_id)
        meant = self._settings.client_id in (audience if isinstance(audience, list) else [audience])
        if claims.get("iss", self._settings.issuer) != self._settings.issuer or not meant:
            raise UnauthenticatedError("the identity provider speaks to somebody else")
        return claims

    # How we ask

    async def _secret(self) -> str:
        """Return the client's secret, empty for a public client; it may be replaced at any time."""
        secret = self._settings.client_secret
        return "" if secret is None else await secret.get()

    async def _shown(self, audience: str) -> dict[str, str]:
        """Return what our key proves to an endpoint; nothing if we have none."""
        if (key := self._settings.client_key) is None:
            return {}
        names = {"client_id": self._settings.client_id, "audience": audience}
        now = self._clock.now().timestamp()
        return assertion(await key.get(), self._settings.client_key_id, **names, now=now)

    async def _ask(self, found: Discovered, grant: str, form: Mapping[str, str]) -> Answer:
        """Ask the token endpoint for something (RFC 6749, 2.3.1)."""
        try:
            proof = await self._shown(found.token_endpoint)
            secret = "" if proof else await self._secret()
        except InvalidInputError as error:  # of the operators: whoever logs in need not know where it is
            log.error("the secret at %s cannot be had: %s", self._settings.issuer, error)
            raise UnavailableError(
                "this installation cannot show the identity provider who it is",
                hint="Tell the operators: dirac-server doctor",
            ) from None
        client = self._settings.client_id
        form = {"grant_type": grant, **form}
        headers: dict[str, str] = {}
        if proof:
            return await self._send("POST", found.token_endpoint, form={**form, **proof})
        methods = found.token_endpoint_auth_methods_supported
        if not secret:
            form["client_id"] = client
        elif "client_secret_basic" in methods or "client_secret_post" not in methods:
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client, "client_secret": secret}
        return await self._send("POST", found.token_endpoint, form=form, headers=headers)

    async def _send(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        client = self._clients.get(origin)
        if client is None:
            client = HttpClient(origin, deadline=_SECONDS, timeout=_SECONDS, back_off=_ONCE)
            self._clients[origin] = client
        return await client.send(
            method,
            parts.path,
            params=dict(parse_qsl(parts.query)),
            form=form,
            headers={"Accept": "application/json", **(headers or {})},
            authorised=False,
            accepted=_REFUSALS,
        )

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_SECONDS):
                yield
        except TimeoutError:
            raise UnavailableError(
                f"the identity provider {self._settings.issuer} did not answer within {_SECONDS:.0f} s",
                hint="Try again later",
            ) from None


def _ended(answer: Answer) -> LoginEndedError | UnavailableError:
    """Tell a login that is over from a fault of ours, for which nobody is to lose a session."""
    reason = why(answer)
    if answer.status == 400 and reason.startswith("invalid_grant"):
        return LoginEndedError(f"the identity provider does not stand by this login any more: {reason}")
    return UnavailableError(f"the identity provider does not answer as it should: {reason}")


def _object(answer: Answer) -> dict[str, Any]:
    return read(answer, dict[str, Any], "the identity provider")


def _values(claims: Claims, names: Sequence[str]) -> Iterator[str]:
    """Return the texts that some claims hold; of a claim with dots, a name wins over a way into one."""
    for name in names:
        value: Any = claims.get(name)
        if value is None:
            value = claims
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        listed = value if isinstance(value, list) else [value]
        yield from (item for item in listed[:_MOST_VALUES] if isinstance(item, str))
