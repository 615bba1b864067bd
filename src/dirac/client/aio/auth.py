"""Logins and tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

from dirac.client.aio.tokens import as_login
from dirac.client.oauth import as_error, error_code, scope
from dirac.client.session import Session
from dirac.core.errors import InvalidInputError, UnauthenticatedError
from dirac.core.time import Clock
from dirac.systems.identity.models import (
    DeviceFlow,
    Metadata,
    OpenIDConfiguration,
    PilotLogin,
    PublicKeys,
    SessionToken,
    TokenResponse,
    UserInfo,
)
from dirac.transport.http_client import Answer, HttpClient

CLIENT_ID = "dirac"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
_OAUTH_ERRORS = frozenset({400, 401, 403})
_SLOW_DOWN = 5.0
_LOCK_PAUSE = 0.05


class Auth:
    """Calls about logins and tokens."""

    def __init__(self, http: HttpClient, session: Session | None, clock: Clock) -> None:
        self._http = http
        self._session = session
        self._clock = clock

    async def metadata(self) -> Metadata:
        """Return the VOs of the installation and their groups; needs no login.

        Example::

            list((await client.auth.metadata()).virtual_organizations)  # ["astro", "bio"]
        """
        return (await self._open("/.well-known/dirac-metadata")).read(Metadata)

    async def openid_configuration(self) -> OpenIDConfiguration:
        """Return the metadata of the authorisation server (RFC 8414); needs no login.

        Example::

            (await client.auth.openid_configuration()).issuer
        """
        return (await self._open("/.well-known/openid-configuration")).read(OpenIDConfiguration)

    async def jwks(self) -> PublicKeys:
        """Return the public keys that tokens are signed with (RFC 7517); needs no login.

        Example::

            keys = (await client.auth.jwks()).keys
        """
        return (await self._open("/.well-known/jwks.json")).read(PublicKeys)

    async def security_txt(self) -> str:
        """Return whom to tell about a weakness (RFC 9116); needs no login.

        Example::

            print(await client.auth.security_txt())
        """
        return (await self._open("/.well-known/security.txt")).content.decode("utf-8", "replace")

    async def device_login(
        self,
        vo: str | None = None,
        group: str | None = None,
        properties: Sequence[str] = (),
        *,
        show: Callable[[DeviceFlow], None],
        confirm: Callable[[DeviceFlow], Awaitable[None]] | None = None,
    ) -> UserInfo:
        """Log in by the device flow (RFC 8628) and keep the credentials in the session.

        Args:
            vo: The VO; the session's, or the only one of the installation, if not given.
            group: The group; the VO's default one if not given.
            properties: Properties to ask for on top of the group's.
            show: Called once with the address to open and the code to compare.
            confirm: Called after that, to confirm the login without a browser (see `confirm_device`).

        Returns:
            Who is logged in.

        Raises:
            NotAllowedError: The user refused, or may not have what was asked for.
            UnauthenticatedError: Nobody confirmed in time.

        Example::

            await client.auth.device_login("astro", show=lambda flow: print(flow.verification_uri_complete))
        """
        vo = vo or await self._default_vo()
        flow = await self.start_device_flow(vo, group, properties)
        show(flow)
        if confirm is not None:
            await confirm(flow)
        answer = await self._poll(flow, at_once=confirm is not None)
        await self._keep(vo, answer)
        return await self.userinfo(token=answer.access_token)

    async def start_device_flow(
        self, vo: str, group: str | None = None, properties: Sequence[str] = ()
    ) -> DeviceFlow:
        """Begin a login by the device flow; `device_login` does all of it.

        Raises:
            InvalidInputError: There is no such VO, group or property.

        Example::

            flow = await client.auth.start_device_flow("astro", "astro_admin")
        """
        params = {"client_id": CLIENT_ID, "scope": scope(vo, group, properties)}
        answer = await self._http.send(
            "POST", "/api/auth/device", params=params, repeatable=True, authorised=False
        )
        return answer.read(DeviceFlow)

    async def confirm_device(self, user_code: str, username: str, password: str) -> None:
        """Confirm a login at the built-in password provider, as its page does.

        Raises:
            UnauthenticatedError: The password is wrong, or the user may not log in.

        Example::

            await client.auth.confirm_device(flow.user_code, "ada", password)
        """
        form = {"user_code": user_code, "username": username, "password": password}
        await self._http.send(
            "POST",
            "/api/auth/device/confirm",
            form=form,
            headers={"Accept": "application/json"},
            authorised=False,
            accepted=frozenset({302, 303}),
        )

    async def device_token(self, device_code: str) -> TokenResponse | None:
        """Ask once whether a login has been confirmed; None if not yet.

        Raises:
            NotAllowedError: The user refused.
            UnauthenticatedError: The code has expired or is not known.

        Example::

            tokens = await client.auth.device_token(flow.device_code)
        """
        answer = await self._token({"grant_type": _DEVICE_GRANT, "device_code": device_code})
        if answer.status < 300:
            return answer.read(TokenResponse)
        if error_code(answer) in ("authorization_pending", "slow_down"):
            return None
        raise as_error(answer)

    async def certificate_login(self) -> UserInfo:
        """Log in with the certificate or proxy of this client, and keep the token in the session.

        There is nothing to renew the token with: it ends, with the proxy at the latest.

        Raises:
            UnauthenticatedError: The server does not know the certificate, or does not ask for any.
            NotAllowedError: It is that of a host, or a limited proxy, or for no group of the user's.

        Example::

            client = AsyncClient(certificate=Path("/tmp/x509up_u1000"))
            print((await client.auth.certificate_login()).vo)
        """
        sent = await self._http.send("POST", "/api/auth/certificate-token", repeatable=True, authorised=False)
        answer = sent.read(TokenResponse)
        user = await self.userinfo(token=answer.access_token)
        await self._keep(user.vo, answer)
        return user

    async def refresh(self, refresh_token: str) -> TokenResponse:
        """Exchange a refresh token for new tokens; the old one is used up.

        Calls with a session do this by themselves.

        Raises:
            UnauthenticatedError: It is expired, revoked or not ours.

        Example::

            tokens = await client.auth.refresh(refresh_token)
        """
        answer = await self._token({"grant_type": "refresh_token", "refresh_token": refresh_token})
        if answer.status >= 300:
            raise as_error(answer)
        return answer.read(TokenResponse)

    def authorize_url(self, *, scopes: str, challenge: str, redirect_uri: str, state: str) -> str:
        """Return the address at which a browser begins the authorisation code flow (RFC 6749, RFC 7636).

        Args:
            scopes: As `scope` makes it.
            challenge: Of the code verifier, by the method S256.
            redirect_uri: Where the browser comes back to.
            state: Comes back with it.

        Example::

            url = client.auth.authorize_url(
                scopes="vo:astro", challenge=challenge, redirect_uri=address, state=state
            )
        """
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": redirect_uri,
            "scope": scopes,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{self._http.base_url}/api/auth/authorize?{urlencode(query)}"

    async def exchange_code(self, code: str, *, verifier: str, redirect_uri: str) -> TokenResponse:
        """Exchange an authorisation code for tokens (RFC 7636).

        Raises:
            UnauthenticatedError: The code or its verifier is not good.

        Example::

            tokens = await client.auth.exchange_code(code, verifier=verifier, redirect_uri=address)
        """
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
        answer = await self._token({**form, "redirect_uri": redirect_uri})
        if answer.status >= 300:
            raise as_error(answer)
        return answer.read(TokenResponse)

    async def pilot_token(self, login: PilotLogin) -> TokenResponse:
        """Exchange a pilot's one-time secret for its token.

        Raises:
            UnauthenticatedError: The secret is wrong, or was used before.

        Example::

            await client.auth.pilot_token(PilotLogin(pilot_stamp="a1", pilot_secret=secret, vo="astro"))
        """
        answer = await self._http.send(
            "POST", "/api/pilots/token", body=login, repeatable=True, authorised=False
        )
        return answer.read(TokenResponse)

    async def access_token(self) -> str:
        """Return an access token for other programs, renewed if it was about to expire.

        Raises:
            UnauthenticatedError: Nobody is logged in, or the login is over.

        Example::

            headers = {"Authorization": f"Bearer {await client.auth.access_token()}"}
        """
        token = await self._http.tokens.token()
        if token is None:
            raise UnauthenticatedError("you are not logged in", hint="Log in: dirac login")
        return token

    async def capability_token(self, scopes: Sequence[str], audience: str) -> TokenResponse:
        """Return a token for a storage or computing element, of the WLCG profile.

        Args:
            scopes: What for: ``storage.read:/path``, ``storage.create:/path``, ``storage.modify:/path``,
                ``storage.stage:/path``, ``compute.read``, ``compute.create``, ``compute.modify``,
                ``compute.cancel``, ``wlcg.groups``.
            audience: For whom: what the element calls itself.

        Raises:
            UnauthenticatedError: Nobody is logged in, or the login is over.
            InvalidInputError: The VO's configuration does not let the caller's group have that.

        Example::

            token = await client.auth.capability_token(["storage.read:/astro"], "https://se.example.org")
        """
        form = {
            "grant_type": _EXCHANGE_GRANT,
            "subject_token": await self.access_token(),
            "subject_token_type": _ACCESS_TOKEN,
            "scope": " ".join(scopes),
            "audience": audience,
        }
        answer = await self._token(form)
        if answer.status >= 300:
            raise as_error(answer)
        return answer.read(TokenResponse)

    async def userinfo(self, *, token: str | None = None) -> UserInfo:
        """Return who the caller is.

        Args:
            token: An access token to ask about instead of the client's own.

        Example::

            print((await client.auth.userinfo()).preferred_username)
        """
        if token is None:
            return await self._http.call("GET", "/api/auth/userinfo", UserInfo)
        answer = await self._http.send(
            "GET", "/api/auth/userinfo", headers={"Authorization": f"Bearer {token}"}, authorised=False
        )
        return answer.read(UserInfo)

    async def refresh_tokens(self) -> list[SessionToken]:
        """Return the caller's logins that can still be renewed.

        Example::

            for known in await client.auth.refresh_tokens():
                print(known.jti, known.scope)
        """
        return await self._http.call("GET", "/api/auth/refresh-tokens", list[SessionToken])

    async def revoke_refresh_token(self, jti: str) -> None:
        """End one of the caller's logins.

        Raises:
            NotFoundError: There is no such login.

        Example::

            await client.auth.revoke_refresh_token(known.jti)
        """
        await self._http.send("DELETE", f"/api/auth/refresh-tokens/{quote(jti, safe='')}")

    async def revoke(self, refresh_token: str) -> None:
        """End the login that a refresh token belongs to (RFC 7009).

        Example::

            await client.auth.revoke(refresh_token)
        """
        form = {"token": refresh_token, "token_type_hint": "refresh_token", "client_id": CLIENT_ID}
        await self._http.send("POST", "/api/auth/revoke", form=form, repeatable=True, authorised=False)

    async def logout(self, vo: str | None = None) -> bool:
        """End the session's login, on the server and here; returns whether there was one.

        Args:
            vo: Which; the current one if not given.

        Example::

            await client.auth.logout()
        """
        session = self._required_session()
        vo = vo or session.vo
        login = session.logins().get(vo) if vo else None
        if vo is None or login is None:
            return False
        if login.refresh_token is not None:
            await self.revoke(login.refresh_token)
        await self._changed(session, lambda: session.forget(vo))
        return True

    async def _open(self, path: str) -> Answer:
        return await self._http.send("GET", path, authorised=False)

    async def _default_vo(self) -> str:
        known = self._session.vo if self._session is not None else None
        if known:
            return known
        names = sorted((await self.metadata()).virtual_organizations)
        if len(names) == 1:
            return names[0]
        raise InvalidInputError(
            "no virtual organisation was named", hint=f"Name one of {', '.join(names)}" if names else None
        )

    async def _poll(self, flow: DeviceFlow, *, at_once: bool) -> TokenResponse:
        interval = float(flow.interval)
        end = self._clock.monotonic() + flow.expires_in
        pause = 0.0 if at_once else interval
        while True:
            await self._clock.sleep(pause)
            answer = await self._token({"grant_type": _DEVICE_GRANT, "device_code": flow.device_code})
            if answer.status < 300:
                return answer.read(TokenResponse)
            code = error_code(answer)
            if code not in ("authorization_pending", "slow_down"):
                raise as_error(answer)
            # RFC 8628, section 3.5: five seconds more for this and all further questions.
            interval += _SLOW_DOWN if code == "slow_down" else 0.0
            pause = interval
            if self._clock.monotonic() + pause > end:
                raise UnauthenticatedError("nobody confirmed the login in time", hint="Log in again")

    async def _token(self, form: Mapping[str, str]) -> Answer:
        return await self._http.send(
            "POST",
            "/api/auth/token",
            form={**form, "client_id": CLIENT_ID},
            # The server takes a repetition within a moment for what it is: a lost answer.
            repeatable=True,
            authorised=False,
            accepted=_OAUTH_ERRORS,
        )

    async def _keep(self, vo: str, answer: TokenResponse) -> None:
        session = self._session
        if session is not None:
            login = as_login(answer, self._clock.now())
            await self._changed(session, lambda: session.store(vo, login))

    async def _changed(self, session: Session, change: Callable[[], None]) -> None:
        while True:
            with session.locked() as mine:
                if mine:
                    return change()
            await self._clock.sleep(_LOCK_PAUSE)

    def _required_session(self) -> Session:
        if self._session is None:
            raise InvalidInputError("a client with a fixed token has no session")
        return self._session
